"""How well outlines are drawn, and whether probabilities can be believed: two parts of the report.

Both come from what was counted where images were scored, so no image is looked at again.
"""

import numpy as np

from kit.report.results import Results
from kit.scoring.calibration import calibration_error, interval_of_calibration, reliability
from kit.scoring.intervals import Interval, interval, interval_of_score
from kit.scoring.outline_scores import MEASURES

HD95 = MEASURES.index("hd95")


def outline_facts(results: Results) -> dict | None:
    """Return the content of "outlines" in report.json, see kit.report.measure; None of slides and older runs."""
    if results.outlines is None:
        return None
    scores, groups = results.outlines, results.images["group"].tolist()
    first = int(results.has_background)
    inner = scores[:, first:]  # the background has boundary F1 alone
    means = {name: _mean(_image_means(results, name), groups) for name in MEASURES[:HD95]}
    distances = _known_mean(inner[..., HD95])
    finite = inner[..., HD95][np.isfinite(inner[..., HD95])]
    return {
        "measures": {name: found._asdict() for name, found in means.items()},
        "hd95": {
            **_mean_distance(distances, groups)._asdict(),
            "median": np.median(finite) if finite.size else np.nan,
            "images": int(np.isfinite(distances).sum()),
            **_empties(inner),
        },
        "per_class": [_class_row(results, k) for k in range(scores.shape[1])] if results.averaged else [],
    }


def _image_means(results: Results, name: str) -> np.ndarray:
    """The measure of each image, f64 (n,): the mean over its classes, NaN where it has none.

    Of one foreground an image that is empty in truth and prediction has 1, as it has of Dice and IoU.
    """
    at = MEASURES.index(name)
    if name == "boundary_f1":
        return _known_mean(results.outlines[..., at])
    found = _known_mean(results.outlines[:, int(results.has_background) :, at])
    return found if results.averaged else np.where(np.isnan(found), 1.0, found)


def _known_mean(scores: np.ndarray) -> np.ndarray:
    """The mean (n,) over the last axis of (n, K) of the values that are finite, NaN without any."""
    known = np.isfinite(scores)
    counts = known.sum(axis=1)
    sums = np.where(known, scores, 0).sum(axis=1)
    return np.divide(sums, counts, out=np.full(len(scores), np.nan), where=counts > 0)


def _mean(values: np.ndarray, groups: list) -> Interval:
    known = np.isfinite(values)
    return interval(np.where(known, values, 0), known.astype(float), groups)


def _mean_distance(values: np.ndarray, groups: list) -> Interval:
    """The mean of distances (n,), on their own scale: a distance is no share, also where all are below 1 pixel."""
    known = np.isfinite(values)
    counts = np.column_stack([np.where(known, values, 0), known])
    found = interval_of_score(counts, groups, lambda sums: sums[..., 0] / sums[..., 1], sizes=known.astype(float))
    return found if found.low is None else found._replace(low=max(0.0, found.low))


def _empties(scores: np.ndarray) -> dict[str, int]:
    """How many pairs of an image and a class have an empty mask on one side, and how many on both. scores (n, K, 4)."""
    distances = scores[..., HD95]
    return {"one_empty": int(np.isinf(distances).sum()), "both_empty": int(np.isnan(distances).sum())}


def _class_row(results: Results, k: int) -> dict:
    """The means over the images that have the class."""
    own = np.where(np.isinf(results.outlines[:, k]), np.nan, results.outlines[:, k])
    means = [float(one[~np.isnan(one)].mean()) if not np.isnan(one).all() else np.nan for one in own.T]
    one_empty = int(np.isinf(results.outlines[:, k, HD95]).sum())
    return {"name": results.classes[k], **dict(zip(MEASURES, means, strict=True)), "one_empty": one_empty}


def calibration_facts(results: Results) -> dict | None:
    """Return the content of "calibration" in report.json, see kit.report.measure; None where nothing was counted.

    None also where the network finds objects one by one: their scores are no probabilities of pixels.
    """
    if results.rule.detected:
        return None
    groups = results.images["group"].tolist()
    if results.levels is not None:
        of, counted = "class" if results.overlaps else "foreground", {"all": results.levels, "band": results.band}
    elif results.confidence is not None:
        of, counted = "predicted class", {"all": results.confidence[:, 0], "band": results.confidence[:, 1]}
    else:
        return None
    return {
        "of": of,
        **{name: None if one is None else _calibration(_pooled(one), groups) for name, one in counted.items()},
        "per_class": _class_errors(results) if results.overlaps else [],
    }


def _pooled(histograms: np.ndarray) -> np.ndarray:
    """One histogram an image, (n, 2, 256): of classes that overlap the sum over these."""
    return histograms.sum(axis=1) if histograms.ndim == 4 else histograms


def _calibration(histograms: np.ndarray, groups: list) -> dict:
    """The error with its interval, its two directions, and the bins of the diagram."""
    share, probability, foreground = reliability(histograms.sum(axis=0))
    side = np.sign(probability - 0.5)
    return {
        "error": interval_of_calibration(histograms, groups)._asdict(),
        "too_sure": float(np.sum(share * side * (probability - foreground))),
        "leans": float(np.sum(share * (probability - foreground))),
        "bins": [
            {"probability": p, "foreground": f, "share": s}
            for s, p, f in zip(share, probability, foreground, strict=True)
        ],
    }


def _class_errors(results: Results) -> list[dict]:
    parts = {"all": results.levels, "band": results.band}
    errors = {
        name: [None] * len(results.classes) if one is None else calibration_error(one.sum(axis=0))
        for name, one in parts.items()
    }
    return [{"name": name, **{part: errors[part][k] for part in parts}} for k, name in enumerate(results.classes)]
