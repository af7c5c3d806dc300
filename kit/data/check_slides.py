"""The check of slides: each is read once, in bands of rows at the size that it is trained at."""

import hashlib
import zlib
from collections.abc import Iterator

import cv2
import numpy as np

from kit.data.dataset import Advice, Dataset
from kit.data.regions import Regions
from kit.data.run_masks import IGNORED, RunMask
from kit.data.sample_checks import DTYPES, describe_error, image_problem, name_error
from kit.data.tasks import Task, task_of

BAND_BYTES = 1 << 25  # of pixels that are in memory together
PART = 256  # pixels along the part of a slide that is compared at each start
THREADS = 2  # slides that are checked at once


def slide_facts(dataset: Dataset, id: str, advice: Advice) -> tuple:
    """What kit.data.check.Measured holds of one slide and its mask: its problems, dtype, shape, labels, …"""
    try:
        image, mask = dataset.regions(id), dataset.mask(id)
    except Exception as error:  # whatever the data set's own code raises
        return ([("slides or their masks cannot be read", name_error(id, error))],)
    size = image.regions.shape
    if problem := _header_problem(dataset, id, image, mask):
        return ([("slides are not as declared", f"{id}: {problem}")],)
    count, moments, limits, crc = 0, [], [], 0
    try:
        for band in _bands(image):
            if problem := image_problem(id, band, dataset.channels, advice.not_finite):
                return ([problem],)
            mean, std = (values.ravel() for values in cv2.meanStdDev(band))
            moments.append((band.shape[0] * band.shape[1], mean, std**2))
            limits.append(cv2.minMaxLoc(band.reshape(len(band), -1))[:2])
            count, crc = count + moments[-1][0], zlib.crc32(band.data, crc)
    except Exception as error:  # damaged tiles
        return ([("slides or their masks cannot be read", name_error(id, error))],)
    mean = sum(number * own for number, own, _ in moments) / count
    variance = sum(number * (own + (middle - mean) ** 2) for number, middle, own in moments) / count
    low, high = min(low for low, _ in limits), max(high for _, high in limits)
    content = f"{crc:08x} {_mask_digest(mask)}"
    labels, share = _count_mask(mask, task_of(dataset))
    return [], image.dtype.name, size, labels, share, None, np.stack([mean, variance]), (low, high), content


def slide_part(dataset: Dataset, id: str) -> np.ndarray:
    """The middle of a slide, at most PART² pixels."""
    image = dataset.regions(id)
    (height, width), (y, x) = image.shape[:2], (side // 2 for side in image.shape[:2])
    return image.read(y, x, min(PART, height - y), min(PART, width - x))


def slide_digest(dataset: Dataset, id: str) -> str:
    """A hash of the middle of a slide, read now; the error's text where reading fails.

    The mask is not read: the data set's fingerprint changes with its file.
    """
    try:
        shape, part = dataset.regions(id).shape, slide_part(dataset, id)
    except Exception as error:  # whatever the data set's own code raises
        return describe_error(error)
    return hashlib.sha256(repr((part.dtype, shape)).encode() + np.ascontiguousarray(part).tobytes()).hexdigest()


def _header_problem(dataset: Dataset, id: str, image: Regions, mask: RunMask) -> str | None:
    size, channels = image.regions.shape, len(dataset.channels)
    if image.dtype.name not in DTYPES:
        return f"the slide is {image.dtype}, expected u8, u16 or f32; save it so"
    if size[2] != channels:
        return f"the slide has {size[2]} channels, expected {channels} ({', '.join(dataset.channels)}) as the others"
    if mask.shape != tuple(size[:2]):
        return f"the mask is {mask.shape}, its slide {tuple(size[:2])} (height, width); they must agree"
    if tuple(dataset.shape(id)) != tuple(size[:2]):
        return f"shape(id) says {tuple(dataset.shape(id))}, the slide is {tuple(size[:2])} (height, width)"
    overlaps, most = task_of(dataset).overlaps, len(dataset.classes) - (not task_of(dataset).overlaps)
    if odd := [label for label in mask.edges if label > most and (label != IGNORED or overlaps)]:
        return f"mask labels {odd}, expected 0 to {most}" + ("" if overlaps else " or 255 (ignored)")
    return None


def _count_mask(mask: RunMask, task: Task) -> tuple[np.ndarray, float]:
    """The pixels of each class, i64 (256,), and the share of the slide that is not background."""
    labels, pixels = mask.counts(), mask.shape[0] * mask.shape[1]
    if task.overlaps:
        return np.append(labels[1:], 0), mask.covered() / pixels
    return labels, float(labels[1:IGNORED].sum() / labels.sum())


def _bands(image: Regions) -> Iterator[np.ndarray]:
    """The slide in bands of rows, each of whole blocks of the file where memory allows it."""
    height, width, channels = image.shape
    most = max(1, BAND_BYTES // (width * channels * image.dtype.itemsize))
    step = max(1, most // image.block[0] * image.block[0]) if most >= image.block[0] else most
    for y in range(0, height, step):
        yield np.ascontiguousarray(image.read(y, 0, min(step, height - y), width))


def _mask_digest(mask: RunMask) -> str:
    content = hashlib.sha256(repr((mask.shape, mask.order)).encode())
    for label, edges in mask.edges.items():
        content.update(label.to_bytes(1, "big") + edges.tobytes())
    return content.hexdigest()[:16]
