"""The score of slices of the images: by the size of the foreground, at the edge of the image or not, by brightness."""

from collections.abc import Iterator

import numpy as np

from kit.report.results import Results
from kit.scoring.intervals import interval, interval_of_metric

LEAST = 4  # images of a slice
PARTS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
LIGHTS = ("darkest quarter", "second quarter", "third quarter", "brightest quarter")


def slices(results: Results) -> list[dict]:
    """Return the content of "slices" in report.json, see kit.report.measure."""
    found = []
    for family, parts in _families(results):
        known = [(name, inside) for name, inside in parts if inside.sum() >= LEAST]
        if len(known) > 1:
            found += [{"family": family, "name": name, **_scored(results, inside)} for name, inside in known]
    return found


def _families(results: Results) -> Iterator[tuple[str, list[tuple[str, np.ndarray]]]]:
    """Ways to part the images; each is its name, and its slices as (name, inside bool (n,))."""
    area = results.images["area"].to_numpy(float)
    full = area > 0
    sizes = [(f"{name}, {low:.2%} to {high:.2%}", at) for name, at, low, high in _quarters(area, full, PARTS)]
    yield "foreground's share of the image", [*sizes, ("no foreground", ~full)]
    if results.touches is not None:
        yield "foreground at the image's edge", [("yes", results.touches & full), ("no", ~results.touches & full)]
    if results.brightness is not None:
        every = np.ones(len(area), bool)
        yield "brightness", [(name, at) for name, at, _, _ in _quarters(results.brightness, every, LIGHTS)]


def _quarters(values: np.ndarray, inside: np.ndarray, names: tuple[str, ...]) -> Iterator[tuple]:
    """Name, images, lowest and highest value of each quarter of the images `inside`; equal values stay together."""
    if not inside.any():
        return
    cuts = np.quantile(values[inside], (0.25, 0.5, 0.75), method="lower")
    part = np.searchsorted(cuts, values, side="left")
    for k, name in enumerate(names):
        at = inside & (part == k)
        if at.any():
            yield name, at, values[at].min(), values[at].max()


def _scored(results: Results, inside: np.ndarray) -> dict:
    """The metric, else mean Dice over images, of the images `inside`."""
    groups = results.images["group"][inside].tolist()
    if results.metric is not None:
        found = interval_of_metric(results.metric, results.counts[inside], groups)
    else:
        dice = results.images["dice"][inside]
        found = interval(dice.fillna(0), dice.notna().astype(float), groups)
    return {"images": int(inside.sum()), "groups": len(set(groups)), **found._asdict()}
