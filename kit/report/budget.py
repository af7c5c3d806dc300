"""Where the score is lost: by kinds of errors, and by images.

An image loses what it lacks to a full score. For a metric that is a ratio of sums that is (second - first) / Σ second;
else it is (1 - Dice) / n. The losses of all images add up to 1 - score. The loss of an image is shared out to the kinds
of its wrong pixels (kit.scoring.errors) by their numbers.

Of objects it is shared out, at each IoU threshold, to what became of those that are no hits: see
kit.scoring.object_errors. That is exact for the precision and F-beta of objects; the loss by another ratio is shared
out as that of the precision is. Where the metric is no ratio the precision of the objects stands in its place.
"""

import numpy as np

from kit.report.objects import beta_of, score_name, thresholds_of
from kit.report.results import Results
from kit.scoring.errors import KINDS, NEAR
from kit.scoring.object_errors import ERRORS

SHOWN = 10  # images that lose most
WORDS = {
    "boundary": f"within {NEAR} pixels of a border of the truth",
    "missed": "missed: foreground taken for background",
    "extra": "extra: background taken for foreground",
    "swapped": "a foreground class taken for another one",
    "empty": "something predicted where there is nothing, or nothing where there is something",
    "other": "without a wrong pixel",
}
OF_OBJECTS = {
    "inexact": "inexact outlines: hits at an IoU of 0.5, and not at a higher threshold",
    "missed": "missed: true objects that no prediction fits",
    "extra": "extra: predictions that fit no true object",
    "split": "split: true objects predicted in parts, and these parts",
    "merged": "merged: true objects predicted as one, and these predictions",
    "other": "in images whose objects are all hits",
}


def loss_budget(results: Results) -> dict | None:
    """Return the content of "budget" in report.json, see kit.report.measure; None where errors were not counted."""
    if results.errors is None:
        return None
    name, losses = image_losses(results)
    lost = float(losses.sum())
    kinds, words = _kinds(results, losses)
    worst = np.argsort(-losses, kind="stable")[:SHOWN]
    ids = results.images["id"].tolist()
    rows = [
        {"id": ids[row], "loss": losses[row], "share": _share(losses[row], lost)} for row in worst if losses[row] > 0
    ]
    return {
        "of": name,
        "lost": lost,
        "kinds": [
            {"kind": kind, "words": words[kind], "loss": loss, "share": _share(loss, lost)}
            for kind, loss in sorted(kinds.items(), key=lambda item: -item[1])
            if loss > 0
        ],
        "images": rows,
        "share_of_images": _share(sum(row["loss"] for row in rows), lost),
    }


def image_losses(results: Results) -> tuple[str, np.ndarray]:
    """The name of the score, and what each image loses of it, f64 (n,)."""
    metric = results.metric
    if metric is not None and metric.ratio:
        counts = np.asarray(results.counts, float)
        return metric.name, (counts[:, 1] - counts[:, 0]).clip(0) / max(counts[:, 1].sum(), 1e-300)
    if results.objects is not None:
        lost = _of_objects(results).sum(axis=1)
        return score_name(metric), lost / len(lost)
    dice = results.images["dice"].to_numpy(float)
    return "mean Dice over images", np.where(np.isnan(dice), 0, 1 - dice) / max(1, np.count_nonzero(~np.isnan(dice)))


def _kinds(results: Results, losses: np.ndarray) -> tuple[dict[str, float], dict[str, str]]:
    """What is lost by each kind, and the kinds in words."""
    if results.objects is not None:
        return _by_kind(losses, ERRORS, _of_objects(results)), OF_OBJECTS
    return {} if results.task == "instances" else _by_kind(losses, KINDS, results.errors), WORDS


def _of_objects(results: Results) -> np.ndarray:
    """What each image loses of the score of its objects, by each of ERRORS, f64 (n, 5)."""
    return results.objects.losses(thresholds_of(results.metric), beta_of(results.metric))


def _by_kind(losses: np.ndarray, kinds: tuple[str, ...], errors: np.ndarray) -> dict[str, float]:
    """What is lost by each kind; "other" is lost by images without a wrong pixel, as a metric of borders may."""
    wrong = errors.sum(axis=1)
    shares = errors / np.where(wrong > 0, wrong, 1)[:, None]
    found = dict(zip(kinds, (losses[:, None] * shares).sum(axis=0).tolist(), strict=True))
    return found | {"other": float(losses[wrong == 0].sum())}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
