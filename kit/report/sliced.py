"""The score of slices of the images, each with its interval."""

from kit.report.results import Results
from kit.report.slices import slices_of
from kit.scoring.intervals import interval, interval_of_metric

LEAST = 4  # images of a slice
FAMILIES = {  # kinds of slices that the page has no table of its own for
    "kind": "kind of image",
    "area": "foreground's share of the image",
    "border": "foreground at the image's border",
    "brightness": "brightness of the image",
}
OF_FOREGROUND = {"area", "border"}


def sliced_scores(results: Results) -> list[dict]:
    """Return the content of "slices" in report.json, see kit.report.measure."""
    slices = slices_of(results.images, results.touches, results.brightness, results.kinds)
    kinds = FAMILIES.keys() - (() if results.has_background else OF_FOREGROUND)
    large = [one for one in slices if one.kind in kinds and len(one.rows) >= LEAST]
    several = {one.kind for one in large if sum(other.kind == one.kind for other in large) > 1}
    return [
        {"family": FAMILIES[one.kind], "name": one.name, **_scored(results, one.rows)}
        for one in large
        if one.kind in several
    ]


def _scored(results: Results, rows: object) -> dict:
    """The metric, else mean Dice over images, of the images at `rows`."""
    groups = results.images["group"].iloc[rows].tolist()
    if results.metric is not None:
        found = interval_of_metric(results.metric, results.counts[rows], groups)
    else:
        dice = results.images["dice"].iloc[rows]
        found = interval(dice.fillna(0), dice.notna().astype(float), groups)
    return {"images": len(rows), "groups": len(set(groups)), **found._asdict()}
