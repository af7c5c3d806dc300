"""Strict decoding of images from bytes, as they are stored: damaged, turned or ambiguous files are refused, by name.

    decode_image(data, name)              (H, W, C) with the file's own channels, u8, u16 or f32
    decode_image(data, name, channels=3)  the same with 3 channels: grey repeated, opaque alpha left out
    image_size(data, name)                (H, W) from the header

Each decoder is as strict as its format allows. A JPEG must decode without a single complaint down to its end marker,
every checksum of a PNG must hold, every pixel of a GIF, BMP, TIFF, WebP or NPY file must be there. Truncation is always
found. Flipped bits are found where the format lets them be: in a PNG all of 200, in a Carvana GIF mask 73 % of 200. A
JPEG has no checksum: of 600 single bits flipped in the compressed data of three Carvana photographs 47 % were found (8
to 37 % in other images). Checksums of whole files find the rest; Kaggle's zips carry them, and kit.datasets.files
checks them.
"""

import io

import cv2
import numpy as np
import simplejpeg
from PIL import Image
from PIL.PngImagePlugin import PngImageFile

from kit.data.formats import (
    MAX_PIXELS,
    BadImage,
    check_upright,
    format_of,
    naming_damage,
    open_with_pillow,
    webp_size,
)
from kit.data.formats import check_size as check_pixel_count
from kit.data.npy import decode_npy, npy_header
from kit.data.tiff import decode_tiff, open_tiff

__all__ = ["MAX_PIXELS", "BadImage", "decode_image", "decode_jpeg", "image_size", "load_with_pillow", "stored_values"]

TOPS = {np.dtype(np.uint8): 255, np.dtype(np.uint16): 65535}  # the value of white, or of an opaque pixel


def decode_image(data: bytes, name: str, *, channels: int | None = None, strict: bool = True) -> np.ndarray:
    """Decode an image file -> (H, W, C), u8, u16 or f32 as it is stored.

    channels: the number wanted; None keeps the file's own. One channel is repeated to three; three equal ones become
    one; alpha that is opaque everywhere is left out. Any other difference is refused, so no band is lost unseen.
    strict: False decodes a JPEG as far as it goes; use it for a file that is published damaged.

    A palette gives its colours (three channels, its transparency left out), CMYK is converted without a colour
    profile, black and white is 0 and 255. 16-bit samples keep all their bits. f16, i8 and i16 become f32, and so do
    f64, i32, u32 and 64-bit whole numbers up to 2^24.
    Raises BadImage for damage, an unknown format, no pixels or over MAX_PIXELS (from the header, before memory is
    taken), several frames, an EXIF orientation other than 1, and for channels that do not fit.
    """
    kind = format_of(data, name)
    if kind == "JPEG":
        open_with_pillow(data, name)
        with naming_damage(name):
            pixels = decode_jpeg(data, strict)
    else:
        stored = stored_values(data, name, kind)
        pixels = _pixels_of(load_with_pillow(data, name), data, name) if stored is None else _to_pixels(stored, name)
    return pixels if channels in {None, pixels.shape[2]} else _with_channels(pixels, channels, name)


def image_size(data: bytes, name: str) -> tuple[int, int]:
    """Read (H, W) from the header of an image or mask; `data` may end after it. Raises BadImage as decode_image."""
    kind = format_of(data, name)
    if kind == "NPY":
        return npy_header(data, name)[0][:2]
    if kind == "TIFF":
        page = open_tiff(data, name)
        return page.imagelength, page.imagewidth
    if kind == "WEBP":
        size = webp_size(data, name)
        check_pixel_count(*size, name)
        if data[12:16] == b"VP8X":  # may hold frames or an orientation, which only the whole file shows
            open_with_pillow(data, name)
        return size
    image = open_with_pillow(data, name)
    return image.height, image.width


def stored_values(data: bytes, name: str, kind: str) -> np.ndarray | None:
    """The array (H, W, C) of an NPY or TIFF file in its own dtype; None where Pillow must read the file."""
    if kind == "NPY":
        return decode_npy(data, name)
    return decode_tiff(data, name) if kind == "TIFF" else None


def load_with_pillow(data: bytes, name: str) -> Image.Image:
    """Open and decode with Pillow, strictly. Raises BadImage."""
    image = open_with_pillow(data, name)
    with naming_damage(name):
        if image.format == "PNG":
            PngImageFile(io.BytesIO(data)).verify()  # the checksums, which decoding skips
        image.load()
        if image.format == "BMP" and image.mode == "1" and data[28] != 1:
            # Pillow 13 reads the 4 or 8 bits of a palette of black and white as single bits; OpenCV reads them rightly
            image = Image.fromarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_GRAYSCALE) > 0)
    check_upright(image, name)  # again: a PNG may carry its EXIF after the pixels
    return image


def decode_jpeg(data: bytes, strict: bool = True) -> np.ndarray:
    """Decode a JPEG -> u8 (H, W, 1) or (H, W, 3). Raises ValueError for damage."""
    height, width, colorspace, _ = simplejpeg.decode_jpeg_header(data)
    if colorspace in {"Gray", "GRAY"}:
        return simplejpeg.decode_jpeg(data, "GRAY", strict=strict)
    if colorspace not in {"CMYK", "YCCK"}:
        return simplejpeg.decode_jpeg(data, "RGB", strict=strict)
    stored = simplejpeg.decode_jpeg(data, "CMYK", strict=strict)
    inks = 255 - stored  # inverted, as Adobe does and Pillow assumes
    return np.array(Image.frombytes("CMYK", (width, height), inks.tobytes()).convert("RGB"))


def deep_png(image: Image.Image, data: bytes) -> np.ndarray | None:
    """The pixels u16 (H, W, C) of a PNG of 16 bits and several channels, which Pillow cuts to 8; None of any other."""
    bits, colour = data[24], data[25]
    if image.format != "PNG" or bits != 16 or colour == 0:
        return None
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if pixels is None or pixels.dtype != np.uint16 or pixels.ndim != 3:
        raise ValueError("OpenCV cannot decode its 16-bit channels")
    order = {2: [2, 1, 0], 4: [0, pixels.shape[2] - 1], 6: [2, 1, 0, 3]}[colour]  # OpenCV puts blue first
    return np.ascontiguousarray(pixels[..., order])


def _pixels_of(image: Image.Image, data: bytes, name: str) -> np.ndarray:
    """The pixels (H, W, C) of an image that Pillow has loaded."""
    with naming_damage(name):
        deep = deep_png(image, data)
    if deep is not None:
        return deep
    if image.mode.startswith("I;16"):
        return np.array(image).astype(np.uint16)[..., None]
    if image.mode in {"P", "PA"}:
        image = image.convert("RGBA")  # straight to RGB, Pillow warns of the transparency that it leaves out
        return np.ascontiguousarray(np.asarray(image)[..., :3])
    if image.mode not in {"1", "L", "LA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"}:
        raise BadImage(
            f"{name}: pixels of Pillow's mode {image.mode}, expected grey, RGB, CMYK or a palette. Convert it"
        )
    image = image.convert({"1": "L", "RGBX": "RGB", "CMYK": "RGB", "YCbCr": "RGB"}.get(image.mode, image.mode))
    pixels = np.array(image)
    return pixels if pixels.ndim == 3 else pixels[..., None]


def _to_pixels(stored: np.ndarray, name: str) -> np.ndarray:
    """Bring an array of any dtype to u8, u16 or f32 without losing a value."""
    if stored.dtype.kind == "b":
        return stored * np.uint8(255)
    native = stored.dtype.newbyteorder("=")
    if native in TOPS or native == np.float32:
        return np.array(stored, native, order="C")
    with np.errstate(over="ignore"):
        pixels = stored.astype(np.float32, order="C")
    low, high = stored.min(), stored.max()
    if stored.dtype.kind in "ui" and (low < -(2**24) or high > 2**24):
        raise BadImage(f"{name}: {stored.dtype} values {low} to {high}; f32 holds whole numbers up to 2^24. Scale them")
    if not np.isfinite(pixels[np.isfinite(stored)]).all():
        raise BadImage(f"{name}: {stored.dtype} values {low} to {high}, which f32 cannot hold. Scale them")
    return pixels


def _with_channels(pixels: np.ndarray, wanted: int, name: str) -> np.ndarray:
    """Bring pixels (H, W, C) to `wanted` channels where nothing is lost. Raises BadImage where something would be."""
    found, top = pixels.shape[2], TOPS.get(pixels.dtype)
    if found in {2, 4} and wanted < found and (pixels[..., -1] == top).all():
        pixels = pixels[..., :-1]
    if wanted == 3 and pixels.shape[2] == 1:
        pixels = np.repeat(pixels, 3, axis=2)
    if wanted == 1 and pixels.shape[2] == 3 and (pixels == pixels[..., :1]).all():
        pixels = pixels[..., :1]
    if pixels.shape[2] == wanted:
        return np.ascontiguousarray(pixels)
    why = ". The last one is not opaque: it is transparency, or a band of its own" if found in {2, 4} else ""
    raise BadImage(
        f"{name}: {found} channels, expected {wanted}{why}",
        f"Read it with channels={found} and take those that you mean, or name all {found} in the data set's channels",
    )
