"""What every data set does with the files it reads: sizes from headers, the check of sizes, strict decoding of all."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from kit.data.dataset import Dataset
from kit.data.formats import BadImage
from kit.data.images import image_size
from kit.datasets.files import DataFolder

HEADER_BYTES = 65536  # where the size of a photograph is found without reading all of it


def read_size(data: DataFolder, path: str) -> tuple[int, int]:
    """(H, W) of an image from its header; most of the file is not read. Raises BadImage or OSError."""
    try:
        return image_size(data.read(path, HEADER_BYTES), path)
    except BadImage:  # a colour profile or thumbnail may push the size further back
        return image_size(data.read(path), path)


def check_size(mask: np.ndarray, size: tuple[int, int], name: str, image: str) -> np.ndarray:
    """Return `mask` if it has its image's `size` (height, width), else raise BadImage naming both files."""
    if mask.shape != size:
        raise BadImage(f"{name}: a mask of {mask.shape}, expected {size} like {image}")
    return mask


def unreadable(dataset: Dataset, ids: Iterable[str], masked: Iterable[str]) -> list[str]:
    """Decode the images of `ids` and the masks of `masked` strictly, in threads; a line for each that is refused."""
    return complaints([(dataset.read_image, id) for id in ids] + [(dataset.read_mask, id) for id in masked])


def complaints(checks: Iterable[tuple[Callable[[str], object], str]]) -> list[str]:
    """Call each check with its id or path, in threads; the message of each that raises ValueError or OSError, once."""

    def complaint(check: tuple[Callable[[str], object], str]) -> str | None:
        function, argument = check
        try:
            function(argument)
        except (ValueError, OSError) as error:
            return str(error)
        return None

    with ThreadPoolExecutor() as pool:
        return list(dict.fromkeys(filter(None, pool.map(complaint, checks))))
