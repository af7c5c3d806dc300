"""Strict decoding of images and masks from bytes: what is damaged, turned or ambiguous is refused, by name.

The format (JPEG, PNG, GIF, BMP, TIFF) is told from the bytes, never from the file's name. Each decoder is as strict
as its format allows: a JPEG must decode without a single complaint down to its end marker, every checksum of a
PNG must hold, every pixel of a GIF, BMP or TIFF must be there. Truncation is always found. Flipped bits are found
where the format lets them be: in a PNG all of 200, in a Carvana GIF mask 73 % of 200; a JPEG has no checksum, and of
600 single bits flipped in the compressed data of three Carvana photographs 47 % were found (8 to 37 % in other
pictures). For the rest compare checksums, as Kaggle's zips carry them and kit.datasets.files checks them.
"""

import contextlib
import io
from collections.abc import Iterator

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile

from kit.data.shrink import shrink

MAX_PIXELS = 100_000_000
ORIENTATION = 0x0112  # the EXIF tag

# Opened by class, not by Image.open, which would warn of large images before the check below can refuse them
# and would try forty formats, some of which start other programs.
FORMATS = {
    b"\xff\xd8\xff": JpegImageFile,
    b"\x89PNG\r\n\x1a\n": PngImageFile,
    b"GIF8": GifImageFile,
    b"BM": BmpImageFile,
    b"II*\0": TiffImageFile,
    b"MM\0*": TiffImageFile,
}


class BadImage(ValueError):
    """An image or mask that is refused; the message starts with the file's name."""


def decode_image(data: bytes, name: str, *, strict: bool = True) -> np.ndarray:
    """Decode an image file -> u8 (H, W, 3), RGB.

    strict: False decodes a JPEG as far as it goes, for one that is known to be published damaged.

    Grey becomes three equal channels, a palette its colours, CMYK is converted without a colour profile. 16-bit
    samples keep their high byte. Alpha is dropped: the colours stored under it are returned, not blended.
    Raises BadImage for damage, another format, no pixels or over MAX_PIXELS (from the header, before memory is
    taken), several frames, an EXIF orientation other than 1, and 32-bit samples.
    """
    image = _open(data, name)
    with _naming_damage(name):
        if image.format == "JPEG":
            return _decode_jpeg(data, strict)
        _load(image, data)
    _check_upright(image, name)  # again: a PNG may carry its EXIF after the pixels
    if image.mode.startswith("I;16"):
        return np.repeat((np.asarray(image) >> 8).astype(np.uint8)[..., None], 3, axis=2)
    if image.mode == "P":
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of the transparency that it drops
    if image.mode not in {"1", "L", "LA", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}:
        raise BadImage(f"{name}: pixels of Pillow's mode {image.mode}, expected 1, 8 or 16 bits a sample. Convert it")
    return np.array(image.convert("RGB"))


def decode_mask(data: bytes, name: str) -> np.ndarray:
    """Decode a mask file -> u8 (H, W): palette indices, 0 and 1 of a bilevel file, or greys as stored.

    Colour is accepted where the three channels are equal, alpha where it is opaque, 16 and 32 bits where every
    value is 0..255. A 2- or 4-bit grey PNG comes as Pillow spreads it, over 0..255.
    Raises BadImage for these and for all that decode_image refuses. What the values mean is for the caller to
    say: binary_mask, class_mask or threshold_mask.
    """
    image = _open(data, name)
    if ";16" in str(image.tile) and not image.mode.startswith("I"):  # Pillow would drop the byte that holds labels
        raise BadImage(f"{name}: a mask of 16 bits a channel, expected 8. Save it as 8-bit grey or palette")
    with _naming_damage(name):
        if image.format == "JPEG" and image.mode == "L":
            return simplejpeg.decode_jpeg(data, "GRAY")[..., 0]
        if image.format == "JPEG":
            return _equal_channels(_decode_jpeg(data), name)
        _load(image, data)
    _check_upright(image, name)
    if image.mode in {"1", "L", "P"}:
        return np.asarray(image).astype(np.uint8)
    if image.mode in {"LA", "RGB", "RGBA"}:
        return _equal_channels(np.array(image), name)
    if image.mode != "I" and not image.mode.startswith("I;16"):
        raise BadImage(f"{name}: a mask of Pillow's mode {image.mode}, expected grey or palette. Save it as one")
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 255:
        raise BadImage(f"{name}: mask values {_found(values[(values < 0) | (values > 255)])}, expected 0 to 255")
    return values.astype(np.uint8)


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Read (H, W) from the header of an image or mask; `data` may end after it. Raises BadImage as decode_image."""
    width, height = _open(data, name).size
    return height, width


def binary_mask(values: np.ndarray, name: str) -> np.ndarray:
    """Map u8 (H, W) with values in {0, 1} or in {0, 255} -> u8 {0, 1}; raises BadImage for any other set."""
    top = values.max()
    if top <= 1:
        return values
    if top == 255 and ((values == 0) | (values == 255)).all():
        return values >> 7
    raise BadImage(
        f"{name}: mask values {_found(values)}, expected only 0 and 1, or only 0 and 255. "
        "For soft edges or JPEG masks use threshold_mask, for labels class_mask"
    )


def class_mask(values: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    """Return u8 (H, W) unchanged if it holds only 0..num_classes-1 and 255 (ignored); else raises BadImage."""
    unknown = values[(values >= num_classes) & (values != 255)]
    if unknown.size:
        raise BadImage(
            f"{name}: mask values {_found(unknown)}, expected 0 to {num_classes - 1}, or 255 for ignored pixels. "
            "Raise num_classes or map the labels"
        )
    return values


def threshold_mask(values: np.ndarray, threshold: int, name: str) -> np.ndarray:
    """Map u8 (H, W) of any values -> u8 {0, 1}: 1 where above `threshold`, 0..254; for soft edges and JPEG masks."""
    if not 0 <= threshold < 255:
        raise ValueError(f"{name}: a threshold of {threshold} puts every pixel in one class; expected 0 to 254")
    return (values > threshold).astype(np.uint8)


def resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize u8 (H, W) to `size` without a new label and without a shift.

    A mask of 0 and 1 that shrinks is 1 where at least half of the cell is; anything else takes the label at the
    cell's centre. The majority is the better of the two for what comes back up: an ellipse of 1280×1918 brought to
    512×768 and up again (bilinear, 0.5) is off by 0.29 % of its area, by 0.31 % from centres, and by 0.63 % from
    OpenCV's plain nearest neighbour, which takes corners and shifts by half a cell.
    """
    height, width = size
    if mask.max() <= 1 and height <= mask.shape[0] and width <= mask.shape[1]:
        return cv2.resize(mask * np.uint8(255), (width, height), interpolation=cv2.INTER_AREA) >> 7
    return cv2.resize(mask, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)


def resize_image(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize u8 (H, W, 3) to `size`: the mean over each cell where it shrinks, bilinear where a side grows."""
    height, width = size
    if height <= image.shape[0] and width <= image.shape[1]:
        return shrink(image, size)
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)


@contextlib.contextmanager
def single_threaded_cv2():
    """Keep OpenCV from starting its own threads inside ours, then give it back its number."""
    threads = cv2.getNumThreads()
    cv2.setNumThreads(0)
    try:
        yield
    finally:
        cv2.setNumThreads(threads)


def _open(data: bytes, name: str) -> Image.Image:
    """Open without decoding; refuse what the header already tells."""
    opener = next((opener for magic, opener in FORMATS.items() if data.startswith(magic)), None)
    if opener is None:
        raise BadImage(f"{name}: {_describe(data)}, expected a JPEG, PNG, GIF, BMP or TIFF image. Fetch it again")
    with _naming_damage(name):
        image = opener(io.BytesIO(data))
        frames = getattr(image, "n_frames", 1)
    width, height = image.size
    if not 0 < width * height <= MAX_PIXELS:
        raise BadImage(
            f"{name}: its header says {height}×{width} pixels, expected 1 to {MAX_PIXELS:,}. Tile or shrink it"
        )
    if frames > 1:
        raise BadImage(f"{name}: {frames} frames or pages, expected one. Save the frame that is meant on its own")
    if image.format != "PNG":  # there the question would decode the pixels
        _check_upright(image, name)
    return image


def _check_upright(image: Image.Image, name: str) -> None:
    with _naming_damage(name):
        orientation = image.getexif().get(ORIENTATION, 1)
    if orientation not in {0, 1}:  # 0 is what some cameras write for "unknown"
        raise BadImage(
            f"{name}: EXIF orientation {orientation}: viewers turn it, its mask may or may not be turned; expected 1 "
            "or none. Save it upright (PIL.ImageOps.exif_transpose) or delete the tag, whichever agrees with the mask"
        )


def _decode_jpeg(data: bytes, strict: bool = True) -> np.ndarray:
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    if colorspace not in {"CMYK", "YCCK"}:
        return simplejpeg.decode_jpeg(data, "RGB", strict=strict)
    stored = simplejpeg.decode_jpeg(data, "CMYK", strict=strict)
    inks = 255 - stored  # inverted, as Adobe does and Pillow assumes
    return np.array(Image.frombytes("CMYK", (width, height), inks.tobytes()).convert("RGB"))


def _load(image: Image.Image, data: bytes) -> None:
    if image.format == "PNG":
        PngImageFile(io.BytesIO(data)).verify()  # the checksums, which decoding skips
    image.load()


def _equal_channels(pixels: np.ndarray, name: str) -> np.ndarray:
    """Reduce (H, W, 2 to 4), the last of 2 or 4 being alpha, to the one channel that it repeats."""
    if pixels.shape[2] in {2, 4}:
        if (pixels[..., -1] != 255).any():
            raise BadImage(
                f"{name}: a mask with transparency, and it may be the mask. Save the one meant as plain grey"
            )
        pixels = pixels[..., :-1]
    if (pixels != pixels[..., :1]).any():
        raise BadImage(f"{name}: a mask in colour, expected class numbers or greys. Map its colours to class numbers")
    return np.ascontiguousarray(pixels[..., 0])


@contextlib.contextmanager
def _naming_damage(name: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged bytes (Pillow: a dozen types) into BadImage."""
    try:
        yield
    except (BadImage, MemoryError):
        raise
    except Exception as error:
        raise BadImage(
            f"{name}: damaged or cut short ({error}). Fetch it again; if it is published so, save it anew"
        ) from error


def _describe(data: bytes) -> str:
    if not data:
        return "an empty file"
    start = data[:64].decode("latin-1")
    if start.lstrip().startswith("<"):
        return f"a web page or XML ({start.strip()[:32]!r}…)"
    return f"no image that is known (it starts with {start[:16]!r})"


def _found(values: np.ndarray) -> str:
    found = np.unique(values)
    return ", ".join(map(str, found[:10])) + (f" … ({found.size} in all)" if found.size > 10 else "")
