"""Where the score is lost: by kinds of errors, and by images.

An image loses what it lacks to a full score. For a metric that is a ratio of sums that is (second - first) / Σ second;
else it is (1 - Dice) / n. The losses of all images add up to 1 - score. The loss of an image is shared out to the kinds
of its wrong pixels (kit.scoring.errors) by their numbers.
"""

import numpy as np

from kit.report.results import Results
from kit.scoring.errors import KINDS, NEAR

SHOWN = 10  # images that lose most
WORDS = {
    "boundary": f"within {NEAR} pixels of a border of the truth",
    "missed": "missed: foreground taken for background",
    "extra": "extra: background taken for foreground",
    "swapped": "a foreground class taken for another one",
    "empty": "something predicted where there is nothing, or nothing where there is something",
    "other": "without a wrong pixel",
}


def loss_budget(results: Results) -> dict | None:
    """Return the content of "budget" in report.json, see kit.report.measure; None where errors were not counted."""
    if results.errors is None:
        return None
    name, losses = image_losses(results)
    lost = float(losses.sum())
    kinds = {} if results.task == "instances" else _by_kind(losses, results.errors)  # objects are no pixels
    worst = np.argsort(-losses, kind="stable")[:SHOWN]
    ids = results.images["id"].tolist()
    rows = [
        {"id": ids[row], "loss": losses[row], "share": _share(losses[row], lost)} for row in worst if losses[row] > 0
    ]
    return {
        "of": name,
        "lost": lost,
        "kinds": [
            {"kind": kind, "words": WORDS[kind], "loss": loss, "share": _share(loss, lost)}
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
    dice = results.images["dice"].to_numpy(float)
    return "mean Dice over images", np.where(np.isnan(dice), 0, 1 - dice) / max(1, np.count_nonzero(~np.isnan(dice)))


def _by_kind(losses: np.ndarray, errors: np.ndarray) -> dict[str, float]:
    """What is lost by each kind; "other" is lost by images without a wrong pixel, as a metric of borders may."""
    wrong = errors.sum(axis=1)
    shares = errors / np.maximum(wrong, 1)[:, None]
    found = dict(zip(KINDS, (losses[:, None] * shares).sum(axis=0).tolist(), strict=True))
    return found | {"other": float(losses[wrong == 0].sum())}


def _share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0
