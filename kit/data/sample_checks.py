"""What is wrong with one image or one mask that a data set's own code returned."""

from collections.abc import Sequence

import numpy as np

from kit.data.dataset import Advice
from kit.data.formats import BadImage
from kit.data.masks import StoredMask, class_mask
from kit.data.tasks import IGNORED, Task
from kit.system.files import counted

DTYPES = ("uint8", "uint16", "float32")

Problem = tuple[str, str]  # its kind, with a plural; the text, which begins with the id


def check_sample(id: str, image: np.ndarray, mask: np.ndarray, channels: Sequence[str], task: Task) -> None:
    """Raise ValueError, naming the id, unless image and mask are as a data set must return them."""
    check_image(id, image, channels)
    if problem := mask_problem(id, mask, image.shape[:2], task):
        raise ValueError(problem[1])


def check_image(id: str, image: np.ndarray, channels: Sequence[str], dtype: str | None = None) -> None:
    """Raise ValueError, naming the id, unless the image is as a data set must return it. dtype: None takes any."""
    if problem := image_problem(id, image, channels, "replace them where the image is read, or in its file"):
        raise ValueError(problem[1])
    if dtype is not None and image.dtype != dtype:
        raise ValueError(f"{id}: the image is {image.dtype}, expected {dtype} as the training images; convert it")


def image_problem(
    id: str, image: object, channels: Sequence[str], not_finite: str = Advice().not_finite
) -> Problem | None:
    """What is wrong with an image; None where it is right. not_finite: what to do about NaN and infinite values."""
    kind = "images are not as declared"
    if not isinstance(image, np.ndarray):
        return kind, f"{id}: read_image returns a {type(image).__name__}, expected an array; use np.asarray"
    if image.dtype.name not in DTYPES:
        return kind, f"{id}: the image is {image.dtype}, expected u8, u16 or f32; {_cast_of(image)}"
    if image.ndim != 3 or not image.size:
        return kind, (
            f"{id}: the image is {image.shape}, expected (height, width, {len(channels)}), not empty; "
            f"{_axes_of(image, len(channels))}"
        )
    if image.shape[2] != len(channels):
        first = image.shape[0] == len(channels)
        fix = "put the channels last: np.moveaxis(image, 0, -1)" if first else "name the image's channels in channels"
        return kind, (
            f"{id}: the image is {image.shape}, expected {len(channels)} channels ({', '.join(map(str, channels))}); "
            f"{fix}, or decode with channels={len(channels)}"
        )
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        count = int(image.size - np.isfinite(image).sum())
        return kind, f"{id}: {counted(count, 'value')} {'is' if count == 1 else 'are'} NaN or infinite; {not_finite}"
    return None


def mask_problem(id: str, mask: object, shape: tuple[int, int] | None, task: Task) -> Problem | None:
    """What is wrong with a mask; None where it is right. shape: of the image, None where that is not known."""
    kind = "masks are not as declared"
    if not isinstance(mask, np.ndarray):
        return kind, f"{id}: read_mask returns a {type(mask).__name__}, expected an array; use np.asarray"
    find = _layer_problem if task.overlaps else _label_problem if task.has_objects else None
    if find is None:
        return _class_problem(id, mask, shape, len(task.classes))
    problem = find(mask, task.classes) or _size_problem(mask, shape)
    return None if problem is None else (kind, f"{id}: {problem}")


def _size_problem(mask: np.ndarray, shape: tuple[int, int] | None) -> str | None:
    """What is wrong with the height and width of a mask."""
    if shape is None or mask.shape[:2] == tuple(shape):
        return None
    return f"the mask is {mask.shape}, its image {tuple(shape)} (height, width); they must agree"


def _layer_problem(mask: np.ndarray, classes: Sequence[str]) -> str | None:
    """What is wrong with a mask of task multilabel."""
    wanted = f"bool (height, width, {len(classes)}), a layer a class ({', '.join(classes)})"
    if mask.ndim != 3 or mask.shape[2] != len(classes) or not mask.size:
        first = mask.ndim == 3 and mask.shape[0] == len(classes)
        fix = "put the layers last: np.moveaxis(mask, 0, -1)" if first else "np.stack([…], axis=2) makes it of K masks"
        return f"the mask is {mask.dtype} {mask.shape}, expected {wanted}; {fix}"
    if mask.dtype != np.bool_:
        return f"the mask is {mask.dtype}, expected {wanted}; return mask > 0"
    return None


def _label_problem(mask: np.ndarray, classes: Sequence[str]) -> str | None:
    """What is wrong with a mask of task instances."""
    wanted = f"int32 (height, width), 0 for the {classes[0]} and a label of its own for each {classes[1]}"
    if mask.ndim != 2 or not mask.size:
        return f"the mask is {mask.dtype} {mask.shape}, expected {wanted}"
    if mask.dtype != np.int32:
        fix = "number its objects first, as scipy.ndimage.label does" if mask.dtype == np.bool_ else "map its labels"
        if mask.dtype.kind in "iu" and int(mask.min()) >= 0 and int(mask.max()) < 2**31:
            fix = "mask.astype(np.int32), if its values are labels; else number its objects first"
        return f"the mask is {mask.dtype}, expected {wanted}; {fix}"
    if (least := int(mask.min())) < 0:
        return f"the mask holds the label {least}, expected {wanted}; map labels below 0 to 0"
    return None


def _class_problem(id: str, mask: np.ndarray, shape: tuple[int, int] | None, num_classes: int) -> Problem | None:
    """What is wrong with a mask of class numbers."""
    kind = "masks are not as declared"
    if mask.dtype != np.uint8:
        return kind, f"{id}: the mask is {mask.dtype}, expected u8 class numbers; {_label_cast_of(mask, num_classes)}"
    if mask.ndim != 2:
        fix = "take one channel: mask[..., 0]" if mask.ndim == 3 else "read one mask at a time"
        return kind, f"{id}: the mask is {mask.shape}, expected (height, width); {fix}"
    if problem := _size_problem(mask, shape):
        return kind, f"{id}: {problem}"
    if getattr(mask, "colours", None) is not None and (problem := _palette_problem(mask, num_classes)):
        return kind, f"{id}: {problem}"
    counts = np.bincount(mask.ravel(), minlength=256)
    bad = [int(label) for label in np.flatnonzero(counts[:IGNORED]) if label >= num_classes]
    if bad:
        return kind, f"{id}: mask labels {bad}, expected 0 to {num_classes - 1} or 255 (ignored); map them in read_mask"
    return None


def _palette_problem(mask: StoredMask, num_classes: int) -> str | None:
    """What is wrong with a mask that decode_mask read from a palette and that went through no rule."""
    try:
        if (class_mask(mask, num_classes, "the mask") == np.asarray(mask)).all():
            return None
    except BadImage as error:
        return str(error)
    return "the indices of a palette of greys are no class numbers; return class_mask(mask, num_classes, name)"


def describe_error(error: Exception) -> str:
    """The error's text; before it the type, where the text alone would not say enough (KeyError: 'a')."""
    return str(error) if isinstance(error, ValueError | OSError) and str(error) else f"{type(error).__name__}: {error}"


def name_error(id: str, error: Exception) -> str:
    """The error's text with the id; kit's own messages begin with a file's name, which mostly holds it."""
    text = describe_error(error)
    return text if isinstance(error, ValueError | OSError) and id in text else f"{id}: {text}"


def _axes_of(image: np.ndarray, channels: int) -> str:
    """How to bring an image of another number of dimensions, or without pixels, to (H, W, C)."""
    if image.ndim != 2:
        return "read one image at a time"
    if channels == 1:
        return "add the channel: image[..., None]"
    return 'add the channel, image[..., None], and name it: channels = ("grey",)'


def _cast_of(image: np.ndarray) -> str:
    """How to bring an image of another dtype to one of the three."""
    if image.dtype == bool:
        return "for 0 and 255: image * np.uint8(255)"
    if image.dtype.kind == "f":
        return "image.astype(np.float32)"
    if image.dtype.kind in "iu" and image.size and image.min() >= 0 and image.max() <= 65535:
        return f"image.astype(np.{'uint8' if image.max() <= 255 else 'uint16'}), the same type for all images"
    return "image.astype(np.float32)" if image.dtype.kind in "iu" else "return an array of numbers, not of objects"


def _label_cast_of(mask: np.ndarray, classes: int) -> str:
    """How to bring a mask of another dtype to class numbers."""
    if mask.dtype.kind in "iuf" and mask.size:
        labels = np.unique(mask)
        if mask.dtype.kind == "f" and (labels != np.rint(labels)).any():
            return f"its values {labels.min()} to {labels.max()} are fractions: (mask > 0.5).astype(np.uint8)"
        bad = labels[(labels < 0) | (labels >= classes) & (labels != IGNORED)]
        if bad.size:
            listed = ", ".join(map(str, bad[:10].tolist()))
            return f"map its labels {listed} to 0 to {classes - 1} or 255 (ignored), then .astype(np.uint8)"
    return "mask.astype(np.uint8)" if mask.dtype.kind in "biuf" else "return an array of numbers, not of objects"
