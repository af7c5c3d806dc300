"""Slices: images that have something in common, found from the truth alone, to see where a score is lost or won.

    for one in slices_of(run): one.kind, one.name, one.rows

kind        names
area        the quartiles of the truth's area among images that have any, and images without foreground
border      whether the truth touches the border of the image
fold, group

An image is in one slice of each kind.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from kit.data.run_masks import RunMask
from kit.runs.finished import FinishedRun

IGNORED = 255
THREADS = 4  # that read masks
QUARTILES = ("smallest quarter", "second quarter", "third quarter", "largest quarter")


class Slice(NamedTuple):
    """rows: the places of its images in the run's order, i64, rising."""

    kind: str
    name: str
    rows: np.ndarray


def slices_of(run: FinishedRun) -> list[Slice]:
    """The slices of a run's held-out images.

    A kind is left out where it says nothing: all images are in one slice, or each is in a slice of its own. Slices by
    the border are left out too where the run has not kept its truth.
    """
    images = run.scores.images
    named = {
        "area": _area_names(images["area"].to_numpy(float)),
        "border": _border_names(run),
        "fold": [f"fold {fold}" for fold in images["fold"]],
        "group": [f"group {group}" for group in images["group"]],
    }
    return [one for kind, names in named.items() for one in _slices(kind, names)]


def _slices(kind: str, names: Sequence[str]) -> list[Slice]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    if len(places) in (1, len(names)):
        return []
    found = sorted(places, key=_rank) if kind == "area" else places
    return [Slice(kind, name, np.array(places[name])) for name in found]


def _rank(name: str) -> int:
    """The place of a name among the slices by area."""
    return [name.startswith(one) for one in ("no foreground", *QUARTILES)].index(True)


def _area_names(shares: np.ndarray) -> list[str]:
    """Of each image the quartile of its area, with its range in % of the image."""
    filled = shares[shares > 0]
    if not filled.size:
        return ["no foreground"] * len(shares)
    ends = np.quantile(filled, (0, 0.25, 0.5, 0.75, 1))
    places = np.searchsorted(ends[1:4], shares, side="left")
    names = [
        f"{name} ({100 * ends[k]:.3g} to {100 * ends[k + 1]:.3g} % of the image)" for k, name in enumerate(QUARTILES)
    ]
    return [names[place] if share > 0 else "no foreground" for place, share in zip(places, shares, strict=True)]


def _border_names(run: FinishedRun) -> list[str]:
    try:
        run.check_truth()
    except FileNotFoundError:
        return []
    with ThreadPoolExecutor(THREADS) as pool:
        touches = list(pool.map(lambda id: _touches_border(run.truth(id)), run.ids))
    return ["touches the border" if one else "inside" for one in touches]


def _touches_border(truth: np.ndarray | RunMask) -> bool:
    """Whether foreground is in the first or last row or column."""
    height, width = truth.shape[:2]
    if isinstance(truth, RunMask):
        regions = ((0, 0, 1, width), (height - 1, 0, 1, width), (0, 0, height, 1), (0, width - 1, height, 1))
        sides = [truth.read(*region) for region in regions]
    else:
        sides = [truth[0], truth[-1], truth[:, 0], truth[:, -1]]
    ignored = IGNORED if truth.shape[2:] == () and getattr(truth, "dtype", np.uint8) == np.uint8 else -1
    return any(((side > 0) & (side != ignored)).any() for side in sides)
