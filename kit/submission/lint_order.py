"""Whether rows and columns of pixels are swapped: each mask votes by how ragged it is in either order.

The runs of a mask are one long row of N = H·W pixels. Order "C" cuts it into lines of W pixels, order "F" into lines of
H. In the right order a line is much like the line before it. In the wrong one neighbouring lines are shifted against
each other. So the raggedness of a mask in an order of L pixels a line is

    pixels that differ from the pixel L before them / the most that could: 2·Σ min(run, L), over runs or over gaps

The cap at L matters. A band of whole lines is one long run. Moved by L it differs from itself at its two ends only, so
without the cap it would look smoother in the order with the shorter lines, whichever order is right. With the cap the
raggedness is 1 in both.

A mask votes for the order in which it is less than a third as ragged. It does not vote when both are alike: square
images (a transposed mask is as smooth), thin lines and bands. A vote against the dialect's order also needs a
raggedness of 0.1: a smoother mask may well be right.

Where one side is k times the other, k lines of the short side are exactly one of the long side. Columns read as rows
then look smooth too, only k times less. So there the order with the short lines gets the vote already when the other
is 1.4 times as ragged. A mask made with the long lines does not come near it: moved by the short side, its runs meet
other pixels of their row.
"""

import numpy as np

from kit.submission.problems import Problems

MARGIN = 3  # times as ragged
RAGGED = 0.1  # below it, a mask is no evidence against the order
MULTIPLE_MARGIN = 1.4  # times as ragged, where one side is a multiple of the other
SMOOTH = 0.3  # and the other order at most so ragged
LEAST_SIDE = 8  # pixels; of a mask of fewer lines little can be said
LEAST_DIFFERENCE = 8  # pixels between the sides; below it, slanted outlines look straight in the other order
LEAST_PIXELS = 16  # of the mask, and of the background
LEAST_SHARE = 0.2  # of the masks that could vote; fewer votes are chance
SHOWN = 5  # lines of such masks that are named
FEW = 3  # votes; from here on, and with no vote for the dialect's order, they are an error


def vote(runs: np.ndarray, shape: tuple[int, int], order: str) -> int | None:
    """Return 1 if the mask speaks for `order`, -1 if for the other, 0 if it cannot tell; None if it never could.

    runs: int (R, 2), start from 0 and length. shape: (H, W) of the image.
    """
    along, across = shape if order == "F" else shape[::-1]
    runs = joined(runs)
    filled = int(runs[:, 1].sum())
    sides = min(shape), abs(along - across)
    if sides[0] < LEAST_SIDE or sides[1] < max(LEAST_DIFFERENCE, 0.02 * max(shape)):
        return None
    if min(filled, along * across - filled) < LEAST_PIXELS:
        return None
    claimed, other = raggedness(runs, along * across, along), raggedness(runs, along * across, across)
    if other * MARGIN < claimed and claimed >= RAGGED:
        return -1
    if _is_multiple(along, across) and other < SMOOTH and other * MULTIPLE_MARGIN < claimed:
        return -1
    margin = MULTIPLE_MARGIN if _is_multiple(across, along) and claimed < SMOOTH else MARGIN
    return int(claimed * margin < other)


def _is_multiple(along: int, across: int) -> bool:
    times = round(along / across)
    return times >= 2 and abs(along - times * across) <= 0.02 * along


def joined(runs: np.ndarray) -> np.ndarray:
    """Return the runs with those that touch made one: some encoders end a run with each line."""
    apart = np.flatnonzero(runs[1:, 0] > runs[:-1].sum(1))
    if len(apart) == len(runs) - 1:
        return runs
    first, last = np.concatenate([[0], apart + 1]), np.concatenate([apart, [len(runs) - 1]])
    return np.column_stack([runs[first, 0], runs[last].sum(1) - runs[first, 0]])


def raggedness(runs: np.ndarray, pixels: int, line: int) -> float:
    """Return the raggedness of a mask cut into lines of so many pixels: 0 smooth, 1 as ragged as it could be."""
    most = 2 * min(np.minimum(lengths, line).sum() for lengths in (runs[:, 1], _gaps(runs, pixels)))
    return min(1.0, differing(runs, pixels, line) / most) if most else 0.0


def differing(runs: np.ndarray, pixels: int, line: int) -> int:
    """Return how many pixels differ from the pixel `line` before them, of those that have one.

    The number of mask pixels before a position grows along the runs and is level between them; from it follows how
    many lie in a stretch, so no mask is decoded.
    """
    starts, lengths = runs[:, 0], runs[:, 1]
    edges = np.column_stack([starts, starts + lengths]).reshape(-1)
    counts = np.repeat(np.cumsum(lengths), 2)
    counts[::2] -= lengths

    def before(position: np.ndarray | int) -> np.ndarray:
        return np.interp(position, edges, counts)

    in_both = (before(edges[1::2] - line) - before(edges[::2] - line)).sum()
    later, earlier = counts[-1] - before(line), before(pixels - line)
    return round(float(later + earlier - 2 * in_both))


def _gaps(runs: np.ndarray, pixels: int) -> np.ndarray:
    """The lengths of the stretches between the runs, before the first and after the last."""
    ends = np.concatenate([[0], runs.sum(1)])
    return np.concatenate([runs[:, 0], [pixels]]) - ends


COMPARE = "Where there is a training CSV and mask files, compare them: kit.submission.compare_masks"


class OrderLint:
    """Counts the votes of the masks; `finish` reports the result, or that no mask could vote.

    advice: what to do then; None: nothing, because the order is known, and nothing is reported.
    """

    def __init__(self, problems: Problems, order: str, advice: str | None = COMPARE):
        self._problems, self._order, self._advice = problems, order, advice
        self._votes = {-1: 0, 0: 0, 1: 0, None: 0}
        self._lines: list[int] = []  # of the first masks that vote for the other order

    def check(self, runs: np.ndarray, shape: tuple[int, int], line: int) -> None:
        """Count the vote of one mask. line: of its row."""
        found = vote(runs, shape, self._order)
        self._votes[found] += 1
        if found == -1 and len(self._lines) < SHOWN:
            self._lines.append(line)

    def finish(self, filled: int) -> bool:
        """Report the result; return whether it is an error. filled: the number of masks that are not empty."""
        swapped, right, unsure = self._votes[-1], self._votes[1], self._votes[0]
        other = "F" if self._order == "C" else "C"
        if swapped > right and swapped >= LEAST_SHARE * (swapped + right + unsure):
            lines = ", ".join(map(str, self._lines)) + ", …" * (swapped > len(self._lines))
            what = (
                f"rows and columns look swapped: {swapped:,} of {swapped + right:,} masks are ragged in order "
                f'"{self._order}" and smooth in "{other}", as in line {lines}. If the competition reads masks in order '
                f'"{self._order}", encode them so, and check that shapes are (height, width); else the dialect is '
                f'order="{other}" (--order {other})'
            )
            tell = self._problems.error if swapped >= FEW else self._problems.warning
            tell("orders", "", what)
            return swapped >= FEW
        if filled and not swapped + right and self._advice is not None:
            seen = sum(self._votes.values())
            why = "the images are square or nearly so, or all masks are thin, small or bands"
            why = why if seen else "no mask is well formed and of an image whose size is known"
            what = f"swapped rows and columns could not be looked for: {why}. {self._advice}"
            self._problems.warning("orders", "", what)
        return False
