"""One check, before training, of everything that a data set's own code returns.

    facts = check_dataset(dataset)

It reads every image and mask once, in threads, and lists all problems at once. What it measured on the way is kept
below the cache folder under the data set's key, so a second start reads a few samples only.
"""

import contextlib
import dataclasses
import hashlib
import itertools
import json
import math
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from kit.data.check_slides import THREADS as SLIDE_THREADS
from kit.data.check_slides import slide_digest, slide_facts
from kit.data.dataset import RGB, Advice, Dataset, data_key, has_groups
from kit.data.declared import check_declared
from kit.data.identity import UNSTEADY, held_values, named_values
from kit.data.regions import has_regions
from kit.data.resize import single_threaded_cv2
from kit.data.sample_checks import describe_error, image_problem, mask_problem, name_error
from kit.data.shared_pixels import Shared, shared_in_words
from kit.data.tasks import IGNORED, Task, task_of
from kit.system.files import cache_folder, list_some, raise_all, short_hash, spread, write_atomic
from kit.system.threads import threads_for

FORMAT = 3  # raised when what is measured or checked changes
SAMPLES = 8  # read again before kept facts or a cache are trusted
NO_GROUPS = (
    "no groups were given: every image is its own. Where several images show one patient, car or scene, name it in "
    "`groups`: else such images are on both sides of a split, and the scores are too high"
)
LONG = 5.0  # seconds after which the check says that it is at work


@dataclass(frozen=True)
class Facts:
    """What the check measured, over all training images."""

    dtype: str  # of the images: uint8, uint16 or float32
    channels: int
    images: int
    pixels: tuple[int, ...]  # of each class in the masks
    ignored: int  # pixels of 255
    mean: tuple[
        float, ...
    ]  # of each channel: of u8 and u16 in 0..1 of the type's largest value, of f32 in its own units
    std: tuple[float, ...]
    low: float  # the smallest and the largest value in any image, as stored
    high: float
    shapes: tuple[tuple[int, int, int], ...]  # (height, width, how many images), the most frequent 20
    sizes: int  # different shapes in all
    content: str  # a hash of every image and mask as read
    shares: tuple[float, ...]  # of each image that is not background, 0..1, in the order of the ids
    contents: tuple[str, ...]  # a CRC-32 of the image and one of the mask, of each id
    objects: tuple[int, ...] = ()  # in each image, in the same order; () where masks do not tell objects apart
    shared: str = ""  # a warning about pixels that files give to several objects

    def to_json(self) -> str:
        """The facts as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "Facts":
        """Read what to_json wrote."""
        values = json.loads(text)
        return cls(**{name: _as_tuple(value) for name, value in values.items()})


class Measured(NamedTuple):
    """What one image and its mask show, or its problems, each with its kind."""

    problems: list[tuple[str, str]]
    dtype: str = ""
    shape: tuple[int, int, int] = (0, 0, 0)
    labels: np.ndarray | None = None  # i64 (256,), pixels of each class, at 255 those ignored
    share: float = 0.0  # of the pixels that are not background, 0..1
    objects: int | None = None  # None where the mask does not tell them apart
    moments: np.ndarray | None = None  # f64 (2, C): mean and variance of each channel
    limits: tuple[float, float] = (0.0, 0.0)  # the smallest and the largest value
    content: str = ""  # CRC-32 of the image and of the mask
    shared: Shared = Shared()  # pixels of several objects


def check_dataset(dataset: Dataset) -> Facts:
    """Check all that the data set's own code returns, and measure it. Groups and ids become lists of text in place.

    Raises one ValueError that lists every problem with its id, at most 20 of a kind, and what to do.
    """
    raise_all(check_declared(dataset), "problems with what the data set says of itself")
    vars(dataset).pop(UNSTEADY, None)
    path = cache_folder() / "checks" / f"{dataset.name}-{data_key(dataset)[:16]}-v{FORMAT}.json"
    if (kept := _read_kept(path, dataset)) is None:
        before = _all_values(dataset)
        facts = _measure_all(dataset)
        after = _all_values(dataset)
        names = [name for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
        kept = facts, names
        if not has_groups(dataset):
            print(NO_GROUPS, flush=True)
        if facts.shared:
            print(f"warning: {facts.shared}", flush=True)
        content = {"facts": facts.to_json(), "unsteady": names, "samples": sample_digests(dataset)}
        with contextlib.suppress(OSError):  # a disk that cannot be written to costs the next start the time
            write_atomic(path, json.dumps(content))
    facts, names = kept
    dataset.dtype = facts.dtype
    setattr(dataset, UNSTEADY, frozenset(names))
    return facts


def foreground_shares(dataset: Dataset) -> np.ndarray:
    """The share of each training image that is not background, f64 (n,) in 0..1. check_dataset has measured it."""
    return np.array(check_dataset(dataset).shares)


def data_identity(dataset: Dataset, facts: Facts) -> dict[str, str]:
    """What training was given, as short hashes by name. It changes when something else is read, and only then.

    The place of the files, their format and the code that reads them do not count.
    """
    parts = {
        "ids": dataset.ids,
        "groups": dataset.groups,
        "classes": dataset.classes,
        "channels": getattr(dataset, "channels", RGB),
    }
    hashes = {f"data.{name}": short_hash(list(map(str, values))) for name, values in parts.items()}
    return {**hashes, "data.images and masks": facts.content}


def sample_ids(ids: Sequence[str]) -> list[str]:
    """At most SAMPLES ids, spread evenly, the first and the last among them."""
    return spread(ids, SAMPLES)


def sample_digests(dataset: Dataset) -> dict[str, str]:
    """A hash of image and mask of each of sample_ids, read now; the error's text where reading fails."""
    if has_regions(dataset):
        return {id: slide_digest(dataset, id) for id in sample_ids(dataset.ids)}
    return {
        id: _digest(lambda id=id: [dataset.read_image(id), dataset.read_mask(id)]) for id in sample_ids(dataset.ids)
    }


def image_digest(dataset: Dataset, id: str) -> str:
    """A hash of an image, of a slide's middle, read now; the error's text where reading fails."""
    return slide_digest(dataset, id) if has_regions(dataset) else _digest(lambda: [dataset.read_image(id)])


def _digest(read: Callable[[], Sequence]) -> str:
    try:
        arrays = [np.asarray(array) for array in read()]
    except Exception as error:  # whatever the data set's own code raises
        return describe_error(error)
    content = hashlib.sha256(repr([(array.dtype, array.shape) for array in arrays]).encode())
    for array in arrays:
        content.update(np.ascontiguousarray(array).data)
    return content.hexdigest()


def _read_kept(path: Path, dataset: Dataset) -> tuple[Facts, list[str]] | None:
    """The facts and unsteady names that an earlier check kept, if the samples still read as they did then."""
    try:
        content = json.loads(path.read_text())
        kept = Facts.from_json(content["facts"]), list(content["unsteady"])
    except (OSError, ValueError, KeyError, TypeError):  # none, or half of one from another version
        return None
    return kept if content["samples"] == sample_digests(dataset) else None


def _all_values(dataset: Dataset) -> dict[str, str]:
    return {**held_values(dataset), **named_values(dataset, Dataset)}


def _measure_all(dataset: Dataset) -> Facts:
    """Read everything once, the first image alone: its size says how many may be read at once.

    Raises ValueError listing all problems.
    """
    with single_threaded_cv2():
        first = _measure(dataset, dataset.ids[0])
        size = math.prod(first.shape) * np.dtype(first.dtype or np.uint8).itemsize
        with ThreadPoolExecutor(SLIDE_THREADS if has_regions(dataset) else threads_for(size)) as pool:
            others = pool.map(lambda id: _measure(dataset, id), dataset.ids[1:])
            found = list(_saying_when_long(itertools.chain([first], others), len(dataset.ids)))
    good = [one for one in found if not one.problems]
    problems = [problem for one in found for problem in one.problems]
    if good and not problems:
        problems = [*_dtype_problems(dataset, found), *_class_problems(dataset, found)]
    if problems:
        raise ValueError(_listed(problems, dataset))
    return _facts_of(found, dataset)


def _measure(dataset: Dataset, id: str) -> Measured:
    """Read and check one image and its mask, and keep a few numbers of them."""
    if has_regions(dataset):
        return Measured(*slide_facts(dataset, id, _advice(dataset)))
    image = mask = None
    problems = []
    for what in ("image", "mask"):
        try:
            array = getattr(dataset, f"read_{what}")(id)
            image, mask = (array, mask) if what == "image" else (image, array)
        except Exception as error:  # whatever the data set's own code raises
            problems.append((f"{what}s cannot be read", name_error(id, error)))
    if not problems and (problem := _image_problem(dataset, id, image)):
        problems.append(problem)
    shape = image.shape[:2] if not problems else None
    task = task_of(dataset)
    if not any("mask" in kind for kind, _ in problems) and (problem := mask_problem(id, mask, shape, task)):
        problems.append(problem)
    if not problems and (problem := _shape_problem(dataset, id, shape)):
        problems.append(problem)
    if problems:
        return Measured(problems)
    counted = _count_mask(mask, task)
    image = np.ascontiguousarray(image)
    mean, std = (values.ravel() for values in cv2.meanStdDev(image))
    limits = cv2.minMaxLoc(image.reshape(len(image), -1))[:2]
    content = f"{zlib.crc32(image.data):08x} {zlib.crc32(np.ascontiguousarray(mask).data):08x}"
    shared = getattr(dataset, "shared_pixels", lambda _: Shared())(id) if task.has_objects else Shared()
    return Measured([], image.dtype.name, image.shape, *counted, np.stack([mean, std**2]), limits, content, shared)


def _count_mask(mask: np.ndarray, task: Task) -> tuple[np.ndarray, float, int | None]:
    """The labels, the share and the objects of a Measured."""
    if task.overlaps:
        labels = np.zeros(256, np.int64)
        labels[: mask.shape[2]] = np.count_nonzero(mask, axis=(0, 1))
        return labels, float(mask.any(axis=2).mean()), None
    labels = np.bincount(task.target(mask).ravel(), minlength=256)
    objects = int(np.count_nonzero(np.unique(mask))) if task.has_objects else None
    return labels, float(labels[1:IGNORED].sum() / labels.sum()), objects


def _image_problem(dataset: Dataset, id: str, image: object) -> tuple[str, str] | None:
    return image_problem(id, image, getattr(dataset, "channels", RGB), _advice(dataset).not_finite)


def _advice(dataset: Dataset) -> Advice:
    """The data set's own advice; the usual one for a class that does not inherit from Dataset."""
    return getattr(dataset, "advice", Dataset.advice)


def _shape_problem(dataset: Dataset, id: str, shape: tuple[int, int]) -> tuple[str, str] | None:
    """What is wrong with a shape(id) of the data set's own."""
    if getattr(type(dataset), "shape", Dataset.shape) is Dataset.shape:
        return None
    try:
        said = tuple(dataset.shape(id))
    except Exception as error:
        return "shapes cannot be read", f"{id}: shape(id) raises {describe_error(error)}"
    if said != shape:
        return "shapes are wrong", f"{id}: shape(id) says {said}, the image is {shape} (height, width)"
    return None


def _dtype_problems(dataset: Dataset, found: Sequence[Measured]) -> list[tuple[str, str]]:
    """Images of another dtype than the data set's, or than most of them have."""
    counts = Counter(one.dtype for one in found)
    usual = dataset.dtype if getattr(dataset, "dtype", None) else counts.most_common(1)[0][0]
    fix = _advice(dataset).dtype
    return [
        ("images are of another dtype", f"{id}: {one.dtype}, expected {usual} as the others; {fix}")
        for id, one in zip(dataset.ids, found, strict=True)
        if one.dtype != usual
    ]


def _class_problems(dataset: Dataset, found: Sequence[Measured]) -> list[tuple[str, str]]:
    """Classes that no mask holds, and masks of 0 and 255 where 255 means ignored."""
    labels, kind = np.stack([one.labels for one in found]), "classes are in doubt"
    if labels[:, IGNORED].any() and (doubts := _doubts_about_255(dataset, labels)):
        return [(kind, doubt) for doubt in doubts]
    absent = [
        (number, name)
        for number, name in enumerate(dataset.classes)
        if not labels[:, number].any() and name not in getattr(dataset, "absent", ())
    ]
    return [
        (kind, f"class {number} ({name}) is in no mask. {_advice(dataset).absent.format(name)}")
        for number, name in absent
    ]


def _doubts_about_255(dataset: Dataset, labels: np.ndarray) -> list[str]:
    """Where 255 may mean the first class, and not ignored. labels: i64 (n, 256), pixels of each label."""
    fix = _advice(dataset).only_255.format(dataset.classes[1])
    of_255 = (labels[:, IGNORED] > 0) & (labels[:, 1:IGNORED].sum(axis=1) == 0)
    of_1 = labels[:, 1:IGNORED].sum(axis=1) > 0
    if of_255.any() and not of_1.any():
        return [f"the masks hold only 0 and 255, and 255 means ignored. {fix}"]
    if len(dataset.classes) == 2 and of_255.any() and not (of_1 & (labels[:, IGNORED] > 0)).any():
        some = [id for id, odd in zip(dataset.ids, of_255, strict=True) if odd]
        return [f"{id}: the mask holds only 0 and 255 (ignored), others hold 0 and 1. {fix}" for id in some]
    return []


def _facts_of(found: Sequence[Measured], dataset: Dataset) -> Facts:
    counts = np.array([one.shape[0] * one.shape[1] for one in found], np.float64)
    moments = np.stack([one.moments for one in found])  # (n, 2, C)
    weights = (counts / counts.sum())[:, None]
    mean = (weights * moments[:, 0]).sum(axis=0)
    std = np.sqrt((weights * (moments[:, 1] + (moments[:, 0] - mean) ** 2)).sum(axis=0))
    std[std < 1e-7 * np.abs(mean)] = 0  # one value everywhere: what is left is rounding
    top = {"uint8": 255.0, "uint16": 65535.0}.get(found[0].dtype, 1.0)
    labels = np.sum([one.labels for one in found], axis=0)
    shapes = Counter(one.shape[:2] for one in found)
    return Facts(
        dtype=found[0].dtype,
        channels=found[0].shape[2],
        images=len(found),
        pixels=tuple(labels[: len(dataset.classes)].tolist()),
        ignored=int(labels[IGNORED]),
        mean=tuple((mean / top).tolist()),
        std=tuple((std / top).tolist()),
        low=min(one.limits[0] for one in found),
        high=max(one.limits[1] for one in found),
        shapes=tuple((*shape, count) for shape, count in shapes.most_common(20)),
        sizes=len(shapes),
        content=short_hash([(one.dtype, one.shape, one.content) for one in found]),
        shares=tuple(one.share for one in found),
        contents=tuple(one.content for one in found),
        objects=tuple(one.objects for one in found if one.objects is not None),
        shared=shared_in_words([one.shared for one in found]),
    )


def _saying_when_long(results: Iterator[Measured], count: int) -> Iterator[Measured]:
    """The results; one line after LONG seconds, with how long the rest will take."""
    begin, said = time.perf_counter(), False
    for done, result in enumerate(results, 1):
        elapsed = time.perf_counter() - begin
        if not said and elapsed > LONG and done < count:
            rest = elapsed / done * (count - done)
            print(f"checking {count:,} images and masks, once: about {rest:.0f} s more", flush=True)
            said = True
        yield result


def _listed(problems: Sequence[tuple[str, str]], dataset: Dataset) -> str:
    """All problems in one text, by kind, the first 20 of each."""
    kinds: dict[str, list[str]] = {}
    for kind, text in problems:
        kinds.setdefault(kind, []).append(text)
    parts = [f"{len(texts)} × {kind}:{list_some(texts)}" for kind, texts in kinds.items()]
    return f"the data set {dataset.name} cannot be trained on yet.\n" + "\n".join(parts)


def _as_tuple(value: object) -> object:
    return tuple(map(_as_tuple, value)) if isinstance(value, list) else value
