"""Run lengths with other starts: counted from 0, or from the end of the run before.

The canonical text counts from 1 over the whole image. This module changes the starts and checks nothing else:
`kit.submission.rle.runs` refuses runs that overlap, that are empty or that leave the image.
"""

import re

import numpy as np

# How competitions write an empty mask. "0 1" and the like are none: they are runs somewhere.
EMPTY_TOKENS = frozenset({"", "-1", "-", "1 0", "0 0", "0", "nan", "NaN", "None", "null", "empty"})
NUMBERS = re.compile("[0-9]{1,18}( +[0-9]{1,18})*", re.ASCII)


def to_canonical(cell: str, base: int, relative: bool) -> str:
    """Return canonical run lengths of a cell whose starts count from `base`, or from the run before.

    Raises ValueError on other things than whole numbers of up to 18 digits, and on an odd number of them.
    """
    starts, lengths = _pairs(cell)
    starts -= base
    if relative:
        starts = np.cumsum(starts + np.concatenate([[0], lengths[:-1]]))
    return _text(starts + 1, lengths)


def from_canonical(rle: str, base: int, relative: bool) -> str:
    """Return the cell of canonical run lengths: the inverse of `to_canonical`."""
    starts, lengths = _pairs(rle)
    starts -= 1
    if relative:
        starts -= np.concatenate([[0], (starts + lengths)[:-1]])
    return _text(starts + base, lengths)


def _pairs(cell: str) -> tuple[np.ndarray, np.ndarray]:
    if not NUMBERS.fullmatch(cell.strip(" ")):
        raise ValueError(
            f'malformed run-length encoding: expected "start length …" in digits and blanks, got {cell!r:.60}'
        )
    numbers = np.array(cell.split(), np.int64)
    if len(numbers) % 2:
        raise ValueError(
            f"malformed run-length encoding: {len(numbers)} tokens, an odd number: each start needs a length"
        )
    return numbers[::2].copy(), numbers[1::2].copy()


def _text(starts: np.ndarray, lengths: np.ndarray) -> str:
    return " ".join(map(str, np.column_stack([starts, lengths]).reshape(-1).tolist()))
