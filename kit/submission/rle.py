"""Run-length encoding of binary masks, as Kaggle's competitions write it: "start length start length …".

Starts count from 1. Order "C" runs along rows (Carvana), "F" down columns (most other competitions). Runs are in order
and do not overlap. They may touch ("1 2 3 4" is six pixels): some encoders end a run with each row. `encode` never
does that; each of its runs is as long as it can be. Other starts and other cells are the business of
`kit.submission.Dialect`.

The kernels are serial and release Python's lock (GIL), so several threads can encode at once.
"""

import itertools
import operator
from collections.abc import Iterable

import cv2
import numpy as np

from kit.submission.rle_kernels import (
    find_edges,
    find_label_runs,
    format_objects,
    format_runs,
    group_runs,
    parse_runs,
)
from kit.system.edges import mask_of_edges, new_edges
from kit.system.objects import check_labels, in_words, label_image


def encode(mask: np.ndarray, order: str = "C") -> str:
    """Run-length encode a mask; "" when it is empty.

    mask: bool or uint8 (H, W) of 0 and 1, contiguous or not. order: "C" along rows, "F" down columns.
    Raises ValueError on another dtype, number of dimensions or value.
    """
    pixels = _flatten(mask, order)
    edges = new_edges(pixels.size)
    count = find_edges(pixels, pixels[: pixels.size // 8 * 8].view(np.uint64), edges)
    if count < 0:
        values = np.unique(mask)
        shown = ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
        raise ValueError(f"a mask to encode holds 0 and 1 only, this one holds {shown}: compare it with a threshold")
    return encode_edges(edges[:count], pixels.size)


def encode_edges(edges: np.ndarray, pixels: int) -> str:
    """Run-length encode a mask of so many `pixels`, given by its edges: the pixels where its value changes, from 0.

    edges: int32 or int64 (2R,), rising. Even entries begin a run, odd ones are the first pixel after it.
    """
    text = _new_text(edges.size, pixels)
    begin = format_runs(edges, text)
    return str(memoryview(text)[begin:], "ascii")


def encode_objects(labels: np.ndarray, order: str = "C") -> list[str]:
    """Run-length encode every object of a label image, in the order of their first pixels; [] where there is none.

    Each object's text is that of `encode(labels == label, order)`. Arguments and errors are those of `encode_labels`.
    """
    return list(encode_labels(labels, order).values())


def encode_labels(labels: np.ndarray, order: str = "C") -> dict[int, str]:
    """Run-length encode every object of a label image: label -> text, in the order of their first pixels.

    labels: whole numbers (H, W), 0 for the background and a label an object, gaps allowed. One pass over the pixels
    finds the runs of all. Raises ValueError on another dtype, number of dimensions, and on labels below 0 or from 2³¹.
    """
    pixels, words = in_words(_ordered_labels(labels, order))
    starts, ends, owners = (new_edges(pixels.size) for _ in range(3))
    runs = find_label_runs(pixels, words, starts, ends, owners)
    if runs < 0:
        check_labels(labels)
    size = 1 << (2 * runs).bit_length()
    keys, numbers = np.full(size, -1, np.int64), np.empty(size, np.int64)
    names, edges, stops = np.empty(runs, np.int32), np.empty(2 * runs, ends.dtype), np.empty(runs, np.int64)
    count = group_runs(starts[:runs], ends[:runs], owners[:runs], keys, numbers, names, edges, stops)
    text, begins = _new_text(2 * runs, pixels.size), np.empty(count, np.int64)
    format_objects(edges, stops[:count], text, begins)
    first = begins[0] if count else text.size
    written = str(memoryview(text)[first:], "ascii")
    places = [*(begins - first).tolist(), len(written)]
    texts = (written[begin:end] for begin, end in itertools.pairwise(places))
    return dict(zip(names[:count].tolist(), texts, strict=True))


def _new_text(numbers: int, pixels: int) -> np.ndarray:
    """Room for so many numbers up to `pixels`, each with a blank, and for digits that are written in eights."""
    return np.empty(numbers * (len(str(pixels)) + 1) + 24, np.uint8)


def decode(rle: str, shape: tuple[int, int], order: str = "C") -> np.ndarray:
    """Decode `rle` -> uint8 (H, W) of 0 and 1, C-contiguous.

    shape: (H, W). order: "C" along rows, "F" down columns.
    Raises ValueError on anything malformed, saying which token and why: see `runs`.
    """
    _check_order(order)
    height, width = _check_shape(shape)
    found = runs(rle, height * width)
    found[:, 1] += found[:, 0]
    mask = mask_of_edges(found.reshape(-1), (height, width) if order == "C" else (width, height))
    return mask if order == "C" else _transpose(mask)


def decode_objects(texts: Iterable[str], shape: tuple[int, int], order: str = "C") -> np.ndarray:
    """Decode the run lengths of an image's objects -> a label image int32 (H, W): 1, 2, … in their order, else 0.

    Where objects overlap the later one has the pixels. Empty texts are no objects. Raises ValueError as `decode`.
    """
    _check_order(order)
    height, width = _check_shape(shape)
    labels = np.zeros(height * width, np.int32)
    for number, text in enumerate(filter(None, texts), start=1):
        for start, length in runs(text, labels.size).tolist():
            labels[start : start + length] = number
    if order == "C":
        return labels.reshape(height, width)
    return _transpose(labels.reshape(width, height))


def runs(rle: str, pixels: int | None = None) -> np.ndarray:
    """Return the runs of `rle` as int64 (R, 2): start, counted from 0, and length.

    pixels: the size of the image, H times W; None leaves the end unchecked.
    Raises ValueError on anything but a str of blanks and ASCII digits, on an odd number of tokens, a start or length
    of zero, runs that overlap or are out of order, and a run past the end of the image.
    """
    if not isinstance(rle, str):
        hint = " (pandas reads an empty cell as NaN: read with keep_default_na=False)" if isinstance(rle, float) else ""
        raise ValueError(f"a run-length encoding is a str, got {type(rle).__name__} {rle!r:.40}{hint}")
    text = np.frombuffer(rle.encode(errors="replace"), np.uint8)
    limit = np.iinfo(np.int64).max // 16 if pixels is None else pixels
    found = np.empty(((text.size + 3) // 4, 2), np.int64)  # a run is four bytes at least, with its blank
    count = parse_runs(text, limit, found)
    if count < 0:
        raise ValueError(f"malformed run-length encoding: {_complaint(rle.split(' '), limit)}")
    return found[:count]


def _check_order(order: str) -> None:
    if order not in ("C", "F"):
        raise ValueError(f'order is "C" (along rows) or "F" (down columns), got {order!r}')


def _check_shape(shape: tuple[int, int]) -> tuple[int, int]:
    try:
        height, width = (operator.index(side) for side in shape)
    except (TypeError, ValueError):
        raise ValueError(f"shape is (height, width), two whole numbers; got {shape!r}") from None
    if height < 0 or width < 0:
        raise ValueError(f"shape is (height, width), neither below zero; got {shape!r}")
    return height, width


def _flatten(mask: np.ndarray, order: str) -> np.ndarray:
    """Return the mask's bytes in this order, uint8 (H * W); without a copy where memory has them in this order."""
    _check_order(order)
    mask = np.asarray(mask)
    if mask.dtype not in (np.bool_, np.uint8) or mask.ndim != 2:
        raise ValueError(f"a mask to encode is bool or uint8 (H, W), got {mask.dtype} {mask.shape}")
    mask = mask.view(np.uint8)
    if order == "C":
        return np.ascontiguousarray(mask).reshape(-1)
    if mask.flags.f_contiguous:
        return mask.T.reshape(-1)
    return _transpose(np.ascontiguousarray(mask)).reshape(-1)


def _ordered_labels(labels: np.ndarray, order: str) -> np.ndarray:
    """Return the labels, int32, such that memory has them in this order."""
    _check_order(order)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biu" or labels.ndim != 2:
        raise ValueError(f"a label image to encode holds whole numbers (H, W), got {labels.dtype} {labels.shape}")
    labels = label_image(labels)
    return labels if order == "C" else _transpose(labels)


def _transpose(mask: np.ndarray) -> np.ndarray:
    """Return the transpose, C-contiguous. OpenCV works tile by tile and is ten times as fast as NumPy."""
    return cv2.transpose(mask).reshape(mask.shape[::-1]) if mask.size else mask.reshape(mask.shape[::-1])


def _complaint(pieces: list[str], limit: int) -> str:
    """Say in words what `parse_runs` refused. It is slow, and called only then."""
    tokens = [piece for piece in pieces if piece]
    start = end = 0
    for i, token in enumerate(tokens):
        shown = f"token {i + 1} of {len(tokens)}, {token!r:.40},"
        kind = "length" if i % 2 else "start"
        if not (token.isascii() and token.isdigit()):
            return f"{shown} should be a {kind}: digits 0 to 9 and nothing else"
        number = int(token) if len(token.lstrip("0")) < 19 else limit + 1  # int() refuses very long ones
        if number < 1:
            return f"{shown} is a {kind} of zero: starts count from 1 and runs are not empty"
        if kind == "start" and number <= end:
            return f"{shown} starts a run at or before pixel {end}, where the run before ended: overlap or wrong order"
        start, end = (number, number) if kind == "start" else (start, start + number - 1)
        if max(number, end) > limit:
            return f"{shown} goes past the end of an image of {limit} pixels"
    return f"{len(tokens)} tokens, an odd number: each start needs a length"
