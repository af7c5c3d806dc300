"""The objects of a run in numbers: the score at every IoU threshold, what became of each object, by size and by kind.

The content of "objects" in report.json; null where the masks are no objects. At an IoU of 0.5:

score       the name of the score at the thresholds; mean, over: that of their mean, and over which ones, in words
thresholds  [{"at", "value", interval, "hits"}]: of each threshold, the mean over images, and all hits
precision, recall, f1, iou, pq   {"value", interval}: over all objects, each weighs the same. iou: the mean of the hits
truth       {"objects", "hit", "missed", "split", "merged"}: what became of the true objects
prediction  {"objects", "hit", "extra", "split", "merged"}: what the predicted ones are
sizes       [{"name", "low", "high", "objects", "hit", "missed", "split", "merged", "extra", "recall": {"value",
            interval}, "iou"}] by pixels of the object; extra: predicted ones of that size. The last row is a part of
            the first one
slices      [{"family", "name", "images", "groups", "objects", "score": {"value", interval}, "precision", "recall",
            "f1", "missed", "extra", "split", "merged"}], score: the mean over the thresholds, and over images
images      {id: {"objects", "hit", "missed", "extra", "split", "merged"}}: split and merged are those of the truth
"""

import itertools

import numpy as np

from kit.report.plots import line_chart
from kit.report.results import Results
from kit.report.slices import Slice, slices_of
from kit.scoring.instance_metrics import InstanceFBeta, InstancePrecision
from kit.scoring.intervals import interval
from kit.scoring.matching import EXTRA, HIT, KINDS, MERGED, MISSED, SPLIT, THRESHOLDS
from kit.scoring.metrics import Metric
from kit.scoring.object_errors import FoundObjects

OF_TRUTH, OF_PREDICTION = (HIT, MISSED, SPLIT, MERGED), (HIT, EXTRA, SPLIT, MERGED)
QUARTERS = ("smallest quarter", "second quarter", "third quarter", "largest quarter")
TINY = 0.1  # of the median area: smaller objects are tiny
LEAST = 4  # images of a slice
MOST = 12  # groups that have a row each
FAMILIES = {"kind": "kind of image", "group": "group", "brightness": "brightness of the image"}
CROWD = "true objects in the image"


def beta_of(metric: Metric | None) -> float | None:
    """The beta of a metric that scores F-beta of objects; None: precision."""
    return metric.beta if isinstance(metric, InstanceFBeta) else None


def thresholds_of(metric: Metric | None) -> tuple[float, ...]:
    """The IoU thresholds over which the metric takes the mean; of a metric that is none of objects the usual ones."""
    return metric.thresholds if isinstance(metric, InstanceFBeta) else THRESHOLDS


def score_name(metric: Metric | None) -> str:
    """What the score of the objects is called: the metric's name where it is of objects."""
    return metric.name if isinstance(metric, InstanceFBeta) else InstancePrecision.name


def object_scores(results: Results) -> dict | None:
    """Return the content of "objects" in report.json, see above."""
    found = results.objects
    if found is None:
        return None
    groups, ids = results.images["group"].tolist(), results.images["id"].tolist()
    beta = beta_of(results.metric)
    return {
        "score": "precision of objects" if beta is None else f"F{beta:g} of objects",
        "mean": score_name(results.metric),
        "over": _named(thresholds_of(results.metric)),
        "thresholds": [
            {"at": at, **_mean(found.precision(at, beta), groups), "hits": int(found.hits(at).sum())}
            for at in THRESHOLDS
        ],
        **_at_half(found, groups),
        "truth": {"objects": len(found.truth.kind), **_kinds(found.truth.kind, OF_TRUTH)},
        "prediction": {"objects": len(found.prediction.kind), **_kinds(found.prediction.kind, OF_PREDICTION)},
        "sizes": _sizes(found, np.asarray(groups)),
        "slices": [_slice(results, one) for one in _slices(results)],
        "images": dict(zip(ids, _of_images(found), strict=True)),
    }


def object_charts(objects: dict | None) -> dict[str, dict]:
    """The geometry of the chart of "objects"; {} without objects."""
    if objects is None:
        return {}
    rows = objects["thresholds"]
    lines = {objects["score"]: [row["value"] for row in rows]}
    if all(row["low"] is not None for row in rows):
        lines |= {"95 %, from": [row["low"] for row in rows], "95 %, to": [row["high"] for row in rows]}
    at = [row["at"] for row in rows]
    ticks = {step / 5: f"{step / 5:.1f}" for step in range(6)}
    chart = line_chart({name: (at, values) for name, values in lines.items()}, "IoU threshold", ticks)
    for path in chart["paths"][1:]:
        path["dashed"] = True
    return {"objects": chart}


def _mean(values: np.ndarray, groups: list) -> dict:
    """The mean over images with its interval."""
    return interval(values, np.ones(len(values)), groups)._asdict()


def _at_half(found: FoundObjects, groups: list) -> dict[str, dict]:
    """Precision, recall, F1, the mean IoU of the hits, and PQ = F1 times that mean, over all objects."""
    hits, ious, true, predicted = found.hits(), found.hit_ious(), found.true(), found.predicted()
    half = (true + predicted) / 2  # TP + FP/2 + FN/2
    parts = {
        "precision": (hits, predicted), "recall": (hits, true), "f1": (hits, half), "iou": (ious, hits),
        "pq": (ious, half),
    }  # fmt: skip
    return {name: interval(*pair, groups)._asdict() for name, pair in parts.items()}


def _named(thresholds: tuple[float, ...]) -> str:
    """Thresholds in words."""
    if len(thresholds) == 1:
        return f"the IoU threshold {thresholds[0]:g}"
    return f"the {len(thresholds)} IoU thresholds from {min(thresholds):g} to {max(thresholds):g}"


def _kinds(kinds: np.ndarray, of: tuple[int, ...]) -> dict[str, int]:
    return {KINDS[kind]: int(np.count_nonzero(kinds == kind)) for kind in of}


def _sizes(found: FoundObjects, groups: np.ndarray) -> list[dict]:
    """Rows of the quarters of the true objects by area, and of tiny ones where there are any, true or predicted."""
    areas = found.truth.area
    if not len(areas):
        return []
    ends = np.ceil(np.quantile(areas, (0.25, 0.5, 0.75))).astype(int).tolist()
    parts = list(zip(QUARTERS, (0, *ends), (*ends, np.inf), strict=True))
    tiny = int(np.ceil(TINY * np.median(areas)))
    if (areas < tiny).any() or (found.prediction.area < tiny).any():
        parts.append(("tiny, of these", 0, tiny))
    rows = [_size(found, groups, low, high) for _, low, high in parts]
    return [{"name": part[0], **row} for part, row in zip(parts, rows, strict=True) if row["objects"] or row["extra"]]


def _size(found: FoundObjects, groups: np.ndarray, low: float, high: float) -> dict:
    """Of objects of `low` to less than `high` pixels."""
    truth, prediction = (_between(objects, low, high) for objects in (found.truth, found.prediction))
    part = FoundObjects(truth, prediction, found.images)
    whole, hits = part.true(), part.true(HIT)
    ious = truth.iou[truth.kind == HIT]
    known = (truth if len(truth.kind) else prediction).area.tolist()
    return {
        "low": min(known, default=None), "high": max(known, default=None), "objects": len(truth.kind),
        **_kinds(truth.kind, OF_TRUTH), "extra": int(np.count_nonzero(prediction.kind == EXTRA)),
        "recall": interval(hits, whole, groups.tolist())._asdict(), "iou": ious.mean() if len(ious) else None,
    }  # fmt: skip


def _between(objects: tuple, low: float, high: float) -> tuple:
    inside = (objects.area >= low) & (objects.area < high)
    return objects._replace(**{name: column[inside] for name, column in objects._asdict().items()})


def _slices(results: Results) -> list[Slice]:
    """Slices by kind, group, brightness and number of objects; families of one slice, and small ones, are left out."""
    every = slices_of(results.images, None, results.brightness, results.kinds)
    groups = [one for one in every if one.kind == "group"]
    found = [one for one in every if one.kind in FAMILIES and (one.kind != "group" or len(groups) <= MOST)]
    found = [one._replace(kind=FAMILIES[one.kind]) for one in found] + _crowds(results.objects.true())
    large = [one for one in found if len(one.rows) >= LEAST]
    return [one for one in large if sum(other.kind == one.kind for other in large) > 1]


def _crowds(counts: np.ndarray) -> list[Slice]:
    """The quarters of the images by how many true objects they hold, and those without."""
    some = counts[counts > 0]
    ends = [0, *np.unique(np.quantile(some, (0.25, 0.5, 0.75, 1), method="lower")).astype(int)] if len(some) else []
    found = [Slice(CROWD, "none", np.flatnonzero(counts == 0))]
    for low, high in itertools.pairwise(ends):
        name = f"{low + 1} to {high}" if high > low + 1 else f"{high}"
        found.append(Slice(CROWD, name, np.flatnonzero((counts > low) & (counts <= high))))
    return found


def _slice(results: Results, one: Slice) -> dict:
    found, rows = results.objects, one.rows
    groups = results.images["group"].iloc[rows].tolist()
    thresholds, beta = thresholds_of(results.metric), beta_of(results.metric)
    scores = np.mean([found.precision(at, beta)[rows] for at in thresholds], axis=0)
    hits, true, predicted = (counts[rows].sum() for counts in (found.hits(), found.true(), found.predicted()))
    return {
        "family": one.kind, "name": one.name, "images": len(rows), "groups": len(set(groups)), "objects": int(true),
        "score": _mean(scores, groups), "precision": _share(hits, predicted), "recall": _share(hits, true),
        "f1": _share(hits, (true + predicted) / 2), **_errors(found, rows),
    }  # fmt: skip


def _errors(found: FoundObjects, rows: np.ndarray) -> dict[str, int]:
    of = {"missed": found.true(MISSED), "extra": found.predicted(EXTRA)}
    of |= {"split": found.true(SPLIT), "merged": found.true(MERGED)}
    return {name: int(counts[rows].sum()) for name, counts in of.items()}


def _of_images(found: FoundObjects) -> list[dict[str, int]]:
    columns = {
        "objects": found.true(), "hit": found.true(HIT), "missed": found.true(MISSED), "extra": found.predicted(EXTRA),
        "split": found.true(SPLIT), "merged": found.true(MERGED),
    }  # fmt: skip
    return [dict(zip(columns, row, strict=True)) for row in np.stack([*columns.values()], axis=1).astype(int).tolist()]


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None
