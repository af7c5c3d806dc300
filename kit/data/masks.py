"""Masks by the file's own meaning: what is stored, and the rules that make class numbers of it.

    decode_mask(data, name)     the stored values (H, W), with the colours of a palette
    binary_mask(values, name)   0 and 1: by the palette's colours, black is 0 and white 1
    class_mask(values, n, name) class numbers 0 to n - 1, and 255 for ignored pixels: by the palette's indices
    threshold_mask(values, t)   0 and 1: soft edges, JPEG masks; by greys
    colour_mask(pixels, map)    class numbers by colours

Where a file may mean two things, the rule refuses it and the message names the rules to choose from.
"""

from collections.abc import Mapping

import numpy as np
from PIL import Image

from kit.data.formats import BadImage, format_of, naming_damage, open_with_pillow
from kit.data.images import decode_jpeg, deep_png, load_with_pillow, stored_values

STEPS = {1: 255, 2: 85, 4: 17, 8: 1}  # between greys of so many bits on the scale to 255, as the PNG standard has it


class StoredMask(np.ndarray):
    """Values (H, W) as a file stores them, with what they stand for.

    colours: u8 (n, 3), the RGB of each value, where the file has a palette. bits: of a grey value, 1 to 16; white is
    2^bits - 1. A part of the array keeps both; a result of arithmetic is a plain array. It is an array because most
    callers need no more.
    """

    colours: np.ndarray | None = None
    bits: int = 8

    def __array_finalize__(self, source: object) -> None:
        self.colours, self.bits = getattr(source, "colours", None), getattr(source, "bits", 8)

    def __array_wrap__(self, array: np.ndarray, context: object = None, return_scalar: bool = False) -> object:
        return array[()] if return_scalar else np.asarray(array)


def decode_mask(data: bytes, name: str) -> StoredMask:
    """Decode a mask file -> the stored values (H, W): u8, u16 where there are values over 255, f32 for fractions.

    A palette gives its indices and keeps the colours for the rules. Colour is accepted where the three channels are
    equal, alpha where it is opaque, other whole numbers from 0 to 65535. The rules below say what the values mean.
    Raises BadImage for any other file, and for all that decode_image refuses.
    """
    kind = format_of(data, name)
    if kind == "JPEG":
        open_with_pillow(data, name)
        with naming_damage(name):
            pixels = decode_jpeg(data)
        return _stored(_equal_channels(pixels, name))
    stored = stored_values(data, name, kind)
    return _decode_with_pillow(data, name) if stored is None else _whole(_equal_channels(stored, name), name)


def binary_mask(values: np.ndarray, name: str) -> np.ndarray:
    """Map (H, W) of two values -> u8 {0, 1}: {0, 1}, {0, 255}, {0, 65535}, or a palette of black and white.

    A palette of black first and one other colour is also clear: its indices 0 and 1 are taken.
    Raises BadImage for any other values or colours.
    """
    if getattr(values, "colours", None) is not None:
        return _binary_palette(values, name)
    values = np.asarray(values if np.max(values) <= 1 else _greys(values))
    top = values.max()
    if top <= 1 and values.dtype.kind in "bu":
        return values.astype(np.uint8)
    if top in {255, 65535} and ((values == 0) | (values == top)).all():
        return (values == top).astype(np.uint8)
    raise _not_binary(values, name)


def class_mask(values: np.ndarray, num_classes: int, name: str) -> np.ndarray:
    """Return u8 (H, W) of class numbers: only 0 to num_classes - 1, and 255 (ignored).

    A palette's indices are the classes. A palette of greys alone is a grey image whose values were numbered anew, as
    GIF files have it: there the greys are the classes, and black and white are 0 and 1 of two classes.
    Raises BadImage for other values, and for a palette of greys that are no class numbers.
    """
    colours = getattr(values, "colours", None)
    if colours is not None and (colours == colours[:, :1]).all():
        greys = _greys(values)
        labels = greys[(greys > 0) & (greys != 255)]
        natural = num_classes == 2 and len(colours) > 1 and tuple(colours[:2, 0]) == (0, 255) and values.max() < 2
        if labels.size and labels.max() < num_classes:
            values = greys
        elif not natural and (greys != values).any():
            raise _ambiguous(values, name, "greys that are class numbers, or black first and white for two classes")
    values = np.asarray(values)
    odd = (values >= num_classes) & (values != 255)
    unknown = values[odd | (values != np.rint(values)) if values.dtype.kind == "f" else odd]
    if unknown.size:
        raise BadImage(
            f"{name}: mask values {_found(unknown)}, expected 0 to {num_classes - 1}, or 255 for ignored pixels",
            "Raise num_classes or map the labels; for a mask of two values use binary_mask",
        )
    return values.astype(np.uint8)


def threshold_mask(values: np.ndarray, threshold: float, name: str) -> np.ndarray:
    """Map (H, W) of any greys -> u8 {0, 1}: 1 where above `threshold`; for soft edges and JPEG masks.

    threshold: in the file's units, 0 to 254, in a file of 16 bits to 65534. Raises BadImage for a palette in colour.
    """
    top = 65535 if getattr(values, "bits", 8) == 16 else 255
    if not 0 <= threshold < top:
        raise ValueError(f"{name}: a threshold of {threshold} puts every pixel in one class; expected 0 to {top - 1}")
    greys = _greys(values)
    if greys is None:
        raise _ambiguous(values, name, "greys")
    return (greys > threshold).astype(np.uint8)


def colour_mask(pixels: np.ndarray, classes: Mapping[tuple[int, int, int], int], name: str) -> np.ndarray:
    """Map colours to class numbers -> u8 (H, W).

    pixels: (H, W, 3) of decode_image(data, name, channels=3), or the (H, W) of a palette from decode_mask.
    classes: {(red, green, blue): class number}; 255 for ignored pixels. Several colours may share a class.
    Raises BadImage listing the colours that are not in `classes`.
    """
    colours = getattr(pixels, "colours", None)
    if colours is not None:
        pixels = colours[np.asarray(pixels)]
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype.kind != "u":
        raise BadImage(f"{name}: {pixels.dtype} {pixels.shape}, expected RGB (height, width, 3) of decode_image")
    known = sorted((_pack(np.array(colour, np.int64)), label) for colour, label in classes.items())
    codes, labels = np.array([code for code, _ in known]), np.array([label for _, label in known], np.uint8)
    packed = _pack(pixels.astype(np.int64))
    places = np.minimum(np.searchsorted(codes, packed), len(codes) - 1)
    unknown = codes[places] != packed
    if unknown.any():
        found = sorted({tuple(map(int, colour)) for colour in np.unique(pixels[unknown], axis=0)[:10]})
        raise BadImage(
            f"{name}: colours {', '.join(map(str, found))}, which have no class; expected one of "
            f"{', '.join(map(str, classes))}",
            "Add them to the colours, or save the mask without compression losses",
        )
    return labels[places]


def _decode_with_pillow(data: bytes, name: str) -> StoredMask:
    """Decode a PNG, GIF, BMP, WebP or a TIFF that Pillow reads."""
    image = load_with_pillow(data, name)
    with naming_damage(name):
        deep = deep_png(image, data)
    if deep is not None:
        return _whole(_equal_channels(deep, name), name)
    values = np.asarray(image)
    if image.mode == "P":
        return _stored(values, colours=_palette_of(image, values))
    if image.mode in {"1", "L"}:
        bits = 1 if image.mode == "1" else data[24] if image.format == "PNG" else 8
        return _stored(values.astype(np.uint8) if bits == 1 else values // STEPS[bits], bits)
    if image.mode in {"LA", "RGB", "RGBA"}:
        return _stored(_equal_channels(values, name))
    if image.mode != "I" and not image.mode.startswith("I;16"):
        raise BadImage(f"{name}: a mask of Pillow's mode {image.mode}, expected grey or palette. Save it as one")
    return _whole(values, name)


def _palette_of(image: Image.Image, values: np.ndarray) -> np.ndarray:
    """The palette's colours u8 (n, 3); an index beyond its end is black, as viewers show it."""
    colours = np.array(image.getpalette("RGB"), np.uint8).reshape(-1, 3)
    return np.pad(colours, ((0, max(0, int(values.max()) + 1 - len(colours))), (0, 0)))


def _stored(values: np.ndarray, bits: int = 8, colours: np.ndarray | None = None) -> StoredMask:
    mask = np.array(values, order="C").view(StoredMask)
    mask.bits, mask.colours = bits, colours
    return mask


def _whole(values: np.ndarray, name: str) -> StoredMask:
    """Values of any type as u8 or u16, fractions as f32. Raises BadImage for those that are below 0 or too large."""
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise BadImage(f"{name}: a mask with NaN or infinite values. Replace them")
    if (odd := values[(values < 0) | (values > 65535)]).size:
        raise BadImage(f"{name}: mask values {_found(odd)}, expected 0 to 255, or to 65535 in 16 bits")
    fractions = values.dtype.kind == "f" and (values != np.rint(values)).any()
    dtype = np.float32 if fractions else np.uint8 if values.max() <= 255 else np.uint16
    return _stored(values.astype(dtype), 16 if values.dtype.itemsize > 1 else 8)


def _equal_channels(pixels: np.ndarray, name: str) -> np.ndarray:
    """Reduce (H, W, C), the last of 2 or 4 being alpha, to the one channel that it repeats."""
    if pixels.shape[2] in {2, 4}:
        opaque = np.iinfo(pixels.dtype).max if pixels.dtype.kind in "ui" else 1
        if (pixels[..., -1] != opaque).any():
            raise BadImage(
                f"{name}: a mask with transparency, and it may be the mask. Save the one meant as plain grey"
            )
        pixels = pixels[..., :-1]
    if pixels.shape[2] > 1 and (pixels != pixels[..., :1]).any():
        raise BadImage(
            f"{name}: a mask in colour, expected class numbers or greys",
            "Map its colours to class numbers: "
            "colour_mask(decode_image(data, name, channels=3), {(255, 0, 0): 1, …}, name)",
        )
    return np.ascontiguousarray(pixels[..., 0])


def _greys(values: np.ndarray) -> np.ndarray | None:
    """The grey (H, W) of each pixel; None where a colour in use is no grey."""
    colours, values, bits = getattr(values, "colours", None), np.asarray(values), getattr(values, "bits", 8)
    if colours is None:
        return values * np.uint8(STEPS[bits]) if bits < 8 else values
    used = colours[_used(values)]
    return colours[values, 0] if (used == used[:, :1]).all() else None


def _used(values: np.ndarray) -> np.ndarray:
    """The indices that are in use, sorted; ten times as fast as np.unique."""
    return np.flatnonzero(np.bincount(np.asarray(values).ravel()))


def _binary_palette(values: np.ndarray, name: str) -> np.ndarray:
    """binary_mask of the indices of a palette."""
    colours, used = values.colours[:, 0], values.colours[_used(values)]
    alike = len(used) > 1 and (used == used[0]).all()
    if (used == used[:, :1]).all() and not alike:
        greys = used[:, 0]
        top = greys.max()
        if top not in {0, 1, 255} or not np.isin(greys, [0, top]).all():
            raise _not_binary(greys, name)
        return ((colours == top) & (top > 0)).astype(np.uint8)[np.asarray(values)]
    if int(np.max(values)) <= 1 and not values.colours[0].any() and values.colours[1:2].any():
        return np.asarray(values).astype(np.uint8)  # only the first is black: order and colours agree
    raise _ambiguous(values, name, "black and white")


def _not_binary(values: np.ndarray, name: str) -> BadImage:
    return BadImage(
        f"{name}: mask values {_found(values)}, expected only 0 and 1, or only 0 and 255 (65535 in 16 bits)",
        "For soft edges or JPEG masks use threshold_mask, for labels class_mask",
    )


def _ambiguous(values: np.ndarray, name: str, expected: str) -> BadImage:
    used = [f"{index} is {tuple(map(int, values.colours[index]))}" for index in _used(values)[:10]]
    return BadImage(
        f"{name}: a palette whose colours can be read in two ways ({', '.join(used)}), expected {expected}",
        "Say what is meant: class_mask takes the indices of a palette in colour as classes, binary_mask takes white as "
        "1, and colour_mask maps colours: colour_mask(mask, {(255, 255, 255): 1, (0, 0, 0): 0}, name)",
    )


def _pack(colours: np.ndarray) -> np.ndarray:
    return (colours[..., 0] << 32) | (colours[..., 1] << 16) | colours[..., 2]


def _found(values: np.ndarray) -> str:
    found = np.unique(np.asarray(values))
    return ", ".join(map(str, found[:10])) + (f" … ({found.size} in all)" if found.size > 10 else "")
