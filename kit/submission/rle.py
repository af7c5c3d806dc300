"""Run-length encoding of binary masks, as Kaggle's competitions write it: "start length start length …".

Starts count from 1. Order "C" runs along rows (Carvana), "F" down columns (most other competitions). Runs are in order
and do not overlap. They may touch ("1 2 3 4" is six pixels): some encoders end a run with each row. `encode` never
does that; each of its runs is as long as it can be. Other starts and other cells are the business of
`kit.submission.Dialect`.

The kernels are serial and release Python's lock (GIL), so several threads can encode at once.
"""

import operator
from collections.abc import Iterable

import cv2
import numpy as np

from kit.system.edges import mask_of_edges, new_edges
from kit.system.kernels import kernel

_BLOCK = 128  # bytes compared together; most blocks of a mask hold one value only
_PAIRS = np.array([[48 + number // 10, 48 + number % 10] for number in range(100)], np.uint8)  # "00" to "99"


def encode(mask: np.ndarray, order: str = "C") -> str:
    """Run-length encode a mask; "" when it is empty.

    mask: bool or uint8 (H, W) of 0 and 1, contiguous or not. order: "C" along rows, "F" down columns.
    Raises ValueError on another dtype, number of dimensions or value.
    """
    pixels = _flatten(mask, order)
    edges = new_edges(pixels.size)
    count = _find_edges(pixels, pixels[: pixels.size // 8 * 8].view(np.uint64), edges)
    if count < 0:
        values = np.unique(mask)
        shown = ", ".join(map(str, values[:10])) + (", …" if len(values) > 10 else "")
        raise ValueError(f"a mask to encode holds 0 and 1 only, this one holds {shown}: compare it with a threshold")
    return encode_edges(edges[:count], pixels.size)


def encode_edges(edges: np.ndarray, pixels: int) -> str:
    """Run-length encode a mask of so many `pixels`, given by its edges: the pixels where its value changes, from 0.

    edges: int32 or int64 (2R,), rising. Even entries begin a run, odd ones are the first pixel after it.
    """
    # each number with its blank, and room for digits that are written in eights and then overwritten
    text = np.empty(edges.size * (len(str(pixels)) + 1) + 24, np.uint8)
    begin = _format_runs(edges, text)
    return str(memoryview(text)[begin:], "ascii")


def encode_objects(labels: np.ndarray, order: str = "C") -> list[str]:
    """Run-length encode every object of a label image, in the order of their first pixels; [] where there is none.

    labels: whole numbers (H, W), 0 for the background and a label an object, gaps allowed. Each object's text is that
    of `encode(labels == label, order)`. One pass over the pixels finds the runs of all. Raises ValueError on another
    dtype, number of dimensions, and on labels below 0 or from 2³¹ on.
    """
    pixels = _flatten_labels(labels, order)
    starts, ends, owners = new_edges(pixels.size), new_edges(pixels.size), new_edges(pixels.size)
    count = _find_runs(pixels, starts, ends, owners)
    starts, ends, owners = starts[:count], ends[:count], owners[:count]
    grouped = np.argsort(owners, kind="stable")
    edges = np.stack([starts[grouped], ends[grouped]], axis=1).reshape(-1)
    begin = np.flatnonzero(np.diff(owners[grouped], prepend=-1))  # of each object among the sorted runs
    end = np.append(begin[1:], count)
    first = np.argsort(starts[grouped][begin])
    return [encode_edges(edges[2 * begin[at] : 2 * end[at]], pixels.size) for at in first]


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
    count = _parse_runs(text, limit, found)
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


def _flatten_labels(labels: np.ndarray, order: str) -> np.ndarray:
    """Return the labels in this order, int32 (H * W)."""
    _check_order(order)
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biu" or labels.ndim != 2:
        raise ValueError(f"a label image to encode holds whole numbers (H, W), got {labels.dtype} {labels.shape}")
    if labels.size and not 0 <= int(labels.min()) <= int(labels.max()) < 2**31:
        raise ValueError(f"labels are 0 to 2^31 - 1, got {labels.min()} to {labels.max()}")
    labels = np.ascontiguousarray(labels, np.int32)
    return (labels if order == "C" else _transpose(labels)).reshape(-1)


def _transpose(mask: np.ndarray) -> np.ndarray:
    """Return the transpose, C-contiguous. OpenCV works tile by tile and is ten times as fast as NumPy."""
    return cv2.transpose(mask).reshape(mask.shape[::-1]) if mask.size else mask.reshape(mask.shape[::-1])


@kernel
def _find_edges(pixels, words, edges):
    """Write where the value changes, from 0 before the first pixel to 0 after the last; return how many times.

    words: the same bytes, eight at a time. Even entries of `edges` are starts of runs, odd ones their ends.
    Returns -1 when a byte is neither 0 nor 1.
    """
    count = 0
    value = np.uint8(0)
    alike = np.uint64(0)  # the value, eight times
    seen = np.uint64(0)
    words_of_block = _BLOCK // 8
    for block in range(0, words.size // words_of_block * words_of_block, words_of_block):
        different = np.uint64(0)
        for word in range(block, block + words_of_block):
            different |= words[word] ^ alike
        if different == 0:
            continue
        for word in range(block, block + words_of_block):
            if words[word] == alike:
                continue
            seen |= words[word]
            for i in range(word * 8, word * 8 + 8):
                edges[count] = i  # written always, kept rarely: on noise the processor would mispredict a branch here
                count += pixels[i] != value
                value = pixels[i]
            alike = np.uint64(value) * np.uint64(0x0101010101010101)
    for i in range(words.size // words_of_block * _BLOCK, pixels.size):
        edges[count] = i
        count += pixels[i] != value
        value = pixels[i]
        seen |= np.uint64(value)
    if value:
        edges[count] = pixels.size
        count += 1
    return count if seen & np.uint64(0xFEFEFEFEFEFEFEFE) == 0 else -1


@kernel
def _find_runs(labels, starts, ends, owners):
    """Write where each run of one label begins and ends, and whose it is; return how many there are. 0 has none."""
    count = 0
    value = np.int32(0)
    for i in range(labels.size):
        if labels[i] == value:
            continue
        if value != 0:
            ends[count] = i
            count += 1
        value = labels[i]
        starts[count] = i
        owners[count] = value
    if value != 0:
        ends[count] = labels.size
        count += 1
    return count


@kernel
def _format_runs(edges, text):
    """Write "start length …" as ASCII up to the end of `text`; return where it begins.

    The numbers are written from the last to the first, eight digits at a time. The zeros in front of a number are
    overwritten by the number before it.
    """
    ten = np.uint64(10)  # numba divides uint64 by a plain int in floating point
    at = text.size
    digits, least = 19, ten ** np.uint64(18)  # digits of the current start, and the least number with as many
    for i in range(edges.size - 2, -2, -2):
        start, length = np.uint64(edges[i]) + np.uint64(1), np.uint64(edges[i + 1] - edges[i])
        _write_digits(length, text, at)
        at -= 1
        bound = ten
        while length >= bound:
            bound *= ten
            at -= 1
        at -= 1
        text[at] = 32  # a blank
        _write_digits(start, text, at)
        while start < least:
            least //= ten
            digits -= 1
        at -= digits + 1
        text[at] = 32
    return min(at + 1, text.size)


@kernel
def _write_digits(number, text, end):
    """Write `number` (uint64) before text[end], with zeros in front of it up to a multiple of eight digits.

    Pairs of digits are computed independently; single digits, by repeated division, would wait for each other.
    """
    myriad = np.uint64(10_000)
    if number < np.uint64(10):
        text[end - 1] = np.uint64(48) + number  # 48 is "0"
        return
    while number:
        for _ in range(2):
            rest = number // myriad
            _write_four(number - rest * myriad, text, end)
            number = rest
            end -= 4


@kernel
def _write_four(number, text, end):
    high = number // np.uint64(100)
    low = number - high * np.uint64(100)
    text[end - 4] = _PAIRS[high, 0]
    text[end - 3] = _PAIRS[high, 1]
    text[end - 2] = _PAIRS[low, 0]
    text[end - 1] = _PAIRS[low, 1]


@kernel
def _parse_runs(text, limit, found):
    """Read "start length …" into `found` (R, 2), starts from 0; return R, or -1 when malformed."""
    tokens = 0
    end = 0  # of the last run
    at = 0
    while at < text.size:
        if text[at] == 32:
            at += 1
            continue
        number = 0
        while at < text.size and text[at] != 32:
            if text[at] < 48 or text[at] > 57 or number > limit:
                return -1
            number = number * 10 + np.int64(text[at] - 48)
            at += 1
        if number < 1 or number > limit:
            return -1
        run = tokens // 2
        if tokens % 2 == 0:
            found[run, 0] = number - 1
            if number <= end:
                return -1
        else:
            found[run, 1] = number
            end = found[run, 0] + number
            if end > limit:
                return -1
        tokens += 1
    return tokens // 2 if tokens % 2 == 0 else -1


def _complaint(pieces: list[str], limit: int) -> str:
    """Say in words what `_parse_runs` refused. It is slow, and called only then."""
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
