"""File formats by their first bytes, and the checks of a header before any pixel is decoded.

A format is recognised by the bytes, never by the file's name: Oxford Pet has GIF and PNG files called .jpg, and the web
delivers WebP under any name.
"""

import contextlib
import io
import struct
from collections.abc import Iterator

from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

MAX_PIXELS = 100_000_000
ORIENTATION = 0x0112  # the EXIF tag

MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # BigTIFF
    b"MM\0+": "TIFF",
    b"\x93NUMPY": "NPY",
}
# Opened by class, not by Image.open. That would warn of large images before the check below can refuse them, and it
# would try forty formats, some of which start other programs.
PILLOW = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "GIF": GifImageFile,
    "BMP": BmpImageFile,
    "TIFF": TiffImageFile,
    "WEBP": WebPImageFile,
}


class BadImage(ValueError):
    """An image or mask that is refused. The message starts with the file's name.

    found: what is wrong with it. advice: what to do in code that calls the rules of kit.data.masks; "" where it is part
    of `found`. A data set that is described by arguments gives its own advice.
    """

    def __init__(self, found: str, advice: str = ""):
        super().__init__(f"{found}. {advice}" if advice else found)
        self.found, self.advice = found, advice


def format_of(data: bytes, name: str) -> str:
    """The format's name in capitals, from the first bytes. Raises BadImage where they are of no known format."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    found = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)
    if found is None:
        raise BadImage(
            f"{name}: {_describe(data)}, expected a JPEG, PNG, GIF, BMP, TIFF, WebP or NPY file. Fetch it again"
        )
    return found


def open_with_pillow(data: bytes, name: str) -> Image.Image:
    """Open a file without decoding its pixels. Raises BadImage for what the header already shows.

    Refused: no pixels or more than MAX_PIXELS, several frames, and an orientation that viewers would turn.
    """
    kind = format_of(data, name)
    if kind == "WEBP":
        check_size(*webp_size(data, name), name)  # Pillow takes memory for all pixels when it opens one
    with naming_damage(name):
        image = PILLOW[kind](io.BytesIO(data))
        frames = getattr(image, "n_frames", 1)
    check_size(image.height, image.width, name)
    check_frames(frames, name)
    if kind != "PNG":  # there the question would decode the pixels
        check_upright(image, name)
    return image


def check_size(height: int, width: int, name: str) -> None:
    """Raise BadImage unless there is a pixel, and at most MAX_PIXELS."""
    if not 0 < width * height <= MAX_PIXELS:
        raise BadImage(
            f"{name}: its header says {height}×{width} pixels, expected 1 to {MAX_PIXELS:,}. Tile or shrink it"
        )


def check_frames(frames: int, name: str) -> None:
    """Raise BadImage where a file holds more than one frame or page."""
    if frames > 1:
        raise BadImage(
            f"{name}: {frames} frames or pages, expected one. Save the frame that is meant on its own; where pages are "
            "channels, read them with tifffile.imread and stack them as (height, width, channels)"
        )


def check_upright(image: Image.Image, name: str) -> None:
    """Raise BadImage where EXIF says that the image is to be turned."""
    with naming_damage(name):
        orientation = image.getexif().get(ORIENTATION, 1)
    check_orientation(orientation, name)


def check_orientation(orientation: int, name: str) -> None:
    """Raise BadImage for an orientation that viewers would turn; 0 is what some cameras write for "unknown"."""
    if orientation not in {0, 1}:
        raise BadImage(
            f"{name}: EXIF orientation {orientation}: viewers turn it, its mask may or may not be turned; expected 1 "
            "or none. Save it upright (PIL.ImageOps.exif_transpose) or delete the tag, whichever agrees with the mask"
        )


@contextlib.contextmanager
def naming_damage(name: str) -> Iterator[None]:
    """Turn every error that a decoder raises on damaged bytes (Pillow: a dozen types) into BadImage."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except Exception as error:
        raise BadImage(
            f"{name}: damaged or cut short ({error}). Fetch it again; if it is published so, save it anew"
        ) from error


def webp_size(data: bytes, name: str) -> tuple[int, int]:
    """(H, W) from the header of a WebP file (RFC 9649, section 2); `data` may end after 30 bytes."""
    with naming_damage(name):
        kind = data[12:16]
        if kind == b"VP8X":
            width, height = (1 + int.from_bytes(data[at : at + 3], "little") for at in (24, 27))
        elif kind == b"VP8L":
            bits = struct.unpack_from("<I", data, 21)[0]
            width, height = 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
        elif kind == b"VP8 " and data[23:26] == b"\x9d\x01\x2a":
            width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        else:
            raise ValueError(f"the WebP header begins with {kind!r}")
        if len(data) < 30:
            raise ValueError("the header is cut short")
    return height, width


def _describe(data: bytes) -> str:
    if not data:
        return "an empty file"
    start = data[:64].decode("latin-1")
    if start.lstrip().startswith("<"):
        return f"a web page or XML ({start.strip()[:32]!r}…)"
    return f"no image that is known (it starts with {start[:16]!r})"
