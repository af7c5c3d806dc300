"""Slices: images that have something in common, to see where a score is lost or won.

    for one in slices_of(scores.images, scores.touches): one.kind, one.name, one.rows

kind        names
kind        what the data set calls the kind of image, where it does
area        the quartiles of the truth's area among images that have any, and images without foreground
border      whether the truth touches the border of the image
brightness  the quartiles of the mean of the image as the page shows it
fold, group

An image is in one slice of each kind.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

AREAS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
LIGHTS = ("darkest quarter", "second quarter", "third quarter", "brightest quarter")
EMPTY = "no foreground"


class Slice(NamedTuple):
    """rows: the places of its images in the run's order, i64, rising."""

    kind: str
    name: str
    rows: np.ndarray


def slices_of(
    images: pd.DataFrame,
    touches: np.ndarray | None = None,
    brightness: np.ndarray | None = None,
    kinds: Sequence[str] | None = None,
) -> list[Slice]:
    """The slices of n images, as kit.scoring.counts.Scores has them.

    images: columns area, fold and group. touches: bool (n,); brightness: f64 (n,), 0..1; kinds: n texts;
    None where they are unknown.
    A kind is left out where it says nothing: all images are in one slice, or each is in a slice of its own.
    """
    area = images["area"].to_numpy(float)
    named = {
        "kind": kinds or [],
        "area": _quarters(np.where(area > 0, area, np.nan), AREAS, EMPTY),
        "border": [] if touches is None else ["touches the border" if one else "inside" for one in touches],
        "brightness": [] if brightness is None else _quarters(np.asarray(brightness, float), LIGHTS),
        "fold": [f"fold {fold}" for fold in images["fold"]],
        "group": [f"group {group}" for group in images["group"]],
    }
    return [one for kind, names in named.items() for one in _slices(kind, names)]


def _slices(kind: str, names: Sequence[str]) -> list[Slice]:
    places: dict[str, list[int]] = {}
    for place, name in enumerate(names):
        places.setdefault(name, []).append(place)
    if len(places) in (0, 1, len(names)):
        return []
    order = {"area": (EMPTY, *AREAS), "brightness": LIGHTS}.get(kind, ())
    found = sorted(places, key=lambda name: [name.startswith(one) for one in order].index(True)) if order else places
    found = sorted(places) if kind == "kind" else found
    return [Slice(kind, name, np.array(places[name])) for name in found]


def _quarters(values: np.ndarray, quarters: Sequence[str], without: str = "") -> list[str]:
    """Of each value the name of its quarter with its range in %; `without` where it is NaN."""
    known = values[~np.isnan(values)]
    if not known.size:
        return [without] * len(values)
    ends = np.quantile(known, (0, 0.25, 0.5, 0.75, 1))
    places = np.searchsorted(ends[1:4], values, side="left")
    names = [f"{name} ({100 * ends[k]:.3g} to {100 * ends[k + 1]:.3g} %)" for k, name in enumerate(quarters)]
    return [without if np.isnan(one) else names[place] for place, one in zip(places, values, strict=True)]
