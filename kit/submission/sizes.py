"""The sizes of the images in a folder, from their headers."""

import contextlib
import functools
from collections.abc import Callable
from pathlib import Path

from kit.data.formats import BadImage
from kit.data.images import image_size
from kit.data.regions import open_regions
from kit.submission.names import one_name

HEADER_BYTES = 65536  # where the size of an image is found without reading all of it
ENDINGS = {".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp", ".npy"}


def sizes_in(folder: Path) -> Callable[[str], tuple[int, int]]:
    """Return id -> (H, W) of the image of that name anywhere in `folder`. Raises FileNotFoundError for no folder.

    A name may be with or without ending, and with or without the folders it lies in.
    """
    if not folder.is_dir():
        raise FileNotFoundError(2, "no such folder", str(folder))
    files: dict[str, list[Path]] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in ENDINGS and path.is_file():
            inside = path.relative_to(folder)
            for name in {path.name, path.stem, inside.as_posix(), inside.with_suffix("").as_posix()}:
                files.setdefault(one_name(name), []).append(path)

    def size(path: Path) -> tuple[int, int]:
        if path.suffix.lower() in {".tif", ".tiff", ".npy"}:  # may be a slide, of any size
            with contextlib.suppress(BadImage):  # of a kind that is read whole alone
                return open_regions(path).shape[:2]
        with path.open("rb") as file:
            head = file.read(HEADER_BYTES)
        try:
            return image_size(head, str(path))
        except ValueError:  # a colour profile may push the size further back
            return image_size(path.read_bytes(), str(path))

    @functools.cache  # an image with several rows is asked for as often
    def find(id: str) -> tuple[int, int]:
        found = {size(path): path for path in files.get(one_name(id), [])}
        if not found:
            raise LookupError(f"no image {id!r:.90} in {folder}")
        if len(found) > 1:
            raise LookupError(f"{folder} has several sizes for {id!r:.90}: {', '.join(map(str, found.values()))}")
        return next(iter(found))

    return find
