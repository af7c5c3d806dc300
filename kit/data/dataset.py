"""What a data set says: its ids, groups and classes, and how an image and a mask are read.

    class Mine(Dataset):
        name = "mine"
        classes = ("background", "cell")

        def __init__(self, folder):
            self.folder = Path(folder)
            self.ids = sorted(path.stem for path in self.folder.glob("*.png"))

        def read_image(self, id):
            return decode_image((self.folder / f"{id}.png").read_bytes(), id, channels=3)

        def read_mask(self, id):
            return binary_mask(decode_mask((self.folder / f"{id}_mask.png").read_bytes(), id), id)

`kit.data.check_dataset` reads all of it once and lists what cannot be trained on.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from kit.data.identity import held_values, named_values, reading_code
from kit.data.shared_pixels import Shared
from kit.data.tasks import task_of

RGB = ("red", "green", "blue")


class Default:
    """An attribute that is computed until an instance or a subclass sets it."""

    def __init__(self, compute: Callable[["Dataset"], object]) -> None:
        self.compute, self.__doc__ = compute, compute.__doc__

    def __get__(self, dataset: "Dataset | None", owner: type) -> object:
        return self if dataset is None else self.compute(dataset)


class Advice(NamedTuple):
    """What to do about a fault that the check finds, in words for the author of a class.

    A data set that is described by arguments has its own. {} stands for the name of a class.
    """

    dtype: str = "convert it in read_image"
    not_finite: str = "replace them in read_image, as by np.nan_to_num"
    only_255: str = "If 255 means {}, read_mask must give 1 there: use binary_mask, or (mask > 0).astype(np.uint8)"
    absent: str = (
        "Check the label values that read_mask gives, or take the name out of classes; where it may be missing, name "
        "it in absent: absent = ({!r},)"
    )


class Dataset:
    """The base class of all data sets. A subclass sets `name`, `ids` and `classes` and writes the two read_ methods.

    name: used in file names.
    ids: text, one an image. groups: one an image; images of one group never stand in two folds.
    classes: the names, the background first; of task multilabel the foreground alone.
    channels: the names. mean, std: of each channel, of u8 and u16 images in 0..1 of the type's largest value, of f32
    images in their own units; None takes ImageNet's for RGB u8, else those measured by check_dataset.
    dtype: "uint8", "uint16" or "float32"; None lets check_dataset find it and set it.
    task: "binary" or "multiclass" by the number of classes; "multilabel" where classes overlap; "instances" where the
    masks tell the objects of one class apart. It decides what read_mask gives, see kit.data.tasks.
    notes: sentences for the report. drawn: kit drew the images, so scores cannot be compared with others.
    absent: names of classes that may be missing, as in a part of a known data set.
    volumes: {id: name of the volume} where images are slices of volumes; the report then scores whole volumes too.
    kinds: the kind of each image, a text an image, where the data set knows several; the report scores each kind.
    advice: what messages say that the user can do about a fault.
    """

    name: str
    ids: list[str]
    classes: tuple[str, ...]
    channels: tuple[str, ...] = RGB
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    dtype: str | None = None
    notes: tuple[str, ...] = ()
    drawn: bool = False
    absent: tuple[str, ...] = ()
    volumes: Mapping[str, str] | None = None
    kinds: Sequence[str] | None = None
    advice: Advice = Advice()

    @Default
    def groups(self) -> list[str]:
        """Every image is a group of its own."""
        return list(self.ids)

    @Default
    def task(self) -> str:
        """One foreground class is binary."""
        return "binary" if len(self.classes) == 2 else "multiclass"

    @Default
    def num_classes(self) -> int:
        """The number of names."""
        return len(self.classes)

    @Default
    def foreground(self) -> tuple[str, ...]:
        """The names that a CSV has labels for: all but the background; of task multilabel all."""
        return task_of(self).foreground

    def read_image(self, id: str) -> np.ndarray:
        """Read an image -> (H, W, C), u8, u16 or f32."""
        raise NotImplementedError(f"{type(self).__name__} has no read_image(self, id)")

    def read_mask(self, id: str) -> np.ndarray:
        """Read a mask -> u8 (H, W) of class numbers, 255 = ignored.

        With task "multilabel" bool (H, W, K), a layer a class; with task "instances" int32 (H, W), 0 for the
        background and a label of its own for each object, gaps allowed.
        """
        raise NotImplementedError(f"{type(self).__name__} has no read_mask(self, id)")

    def shared_pixels(self, id: str) -> Shared:
        """The pixels that an image's files give to several objects, where read_mask gives each to one."""
        return Shared()

    def shape(self, id: str) -> tuple[int, int]:
        """(H, W) of an image. Write it anew where a header can be read without the pixels."""
        return self.read_image(id).shape[:2]

    def fingerprint(self) -> str:
        """A hash that changes when the training data does: here of the ids, values and files that the object holds.

        check_dataset also reads a few images. Write it anew to notice every file that changes, with
        kit.system.name_contents.
        """
        return _hash(list(map(str, self.ids)), held_values(self))

    def test_fingerprint(self) -> str:
        """The same for the test images, where there are any."""
        return _hash(list(map(str, getattr(self, "test_ids", []))), held_values(self))


def has_groups(dataset: Dataset) -> bool:
    """Whether the data set says which images belong together; else every image is a group of its own."""
    return not isinstance(getattr(type(dataset), "groups", None), Default) or "groups" in vars(dataset)


def data_key(dataset: Dataset) -> str:
    """A hash that changes with the data and with the code that reads it.

    It covers name, ids, groups, classes, channels, task, the fingerprint, and the reading code: the class, its bases
    below Dataset, and the functions and constants that they name. Comments and docstrings do not count.
    """
    facts = (
        dataset.name,
        [list(map(str, values)) for values in (dataset.ids, dataset.groups, dataset.classes)],
        list(map(str, getattr(dataset, "channels", RGB))),
        dataset.fingerprint(),
    )
    if (task := task_of(dataset)).overlaps or task.has_objects:  # of the others the classes say it
        facts = (*facts, task.name)
    return _hash(facts, reading_code(dataset, Dataset), named_values(dataset, Dataset))


def _hash(*values: object) -> str:
    return hashlib.sha256(repr(values).encode()).hexdigest()
