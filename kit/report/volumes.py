"""Scores of whole volumes: a volume that is stored slice by slice is scored from the summed counts of its slices."""

import numpy as np

from kit.report.results import Results
from kit.scoring.confusion import foreground_scores
from kit.scoring.intervals import interval


def volume_scores(results: Results) -> dict | None:
    """Mean Dice and mean IoU over volumes: {"count", "dice_mean", "iou_mean"}, each score with its interval.

    Of each volume the confusion matrices of its images are summed and scored once, with the conventions of an image.
    Intervals are taken over the groups of images. Where the images of a volume are in several groups, the volume is a
    group of its own. None where the data set has no volumes.
    """
    if not results.volumes:
        return None
    names = [results.volumes.get(id, id) for id in results.images["id"]]
    volumes = list(dict.fromkeys(names))
    place = {name: row for row, name in enumerate(volumes)}
    sums = np.zeros((len(volumes), *results.matrices.shape[1:]), np.int64)
    np.add.at(sums, [place[name] for name in names], results.matrices)
    own: dict[str, set[str]] = {}
    for name, group in zip(names, results.images["group"], strict=True):
        own.setdefault(name, set()).add(str(group))
    groups = [min(own[name]) if len(own[name]) == 1 else f"volume {name}" for name in volumes]
    dice, iou = _scores(results, sums)
    scored = ~np.isnan(dice)
    found = {
        name: interval(np.where(scored, values, 0), scored.astype(float), groups)._asdict()
        for name, values in (("dice_mean", dice), ("iou_mean", iou))
    }
    return {"count": len(volumes), **found}


def _scores(results: Results, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Dice and IoU of each volume, f64 (V,); NaN where every pixel is ignored."""
    if not (results.averaged or results.overlaps):
        return foreground_scores(sums)[1], foreground_scores(sums)[0]
    found = results.of_classes.mean_dice(sums), results.of_classes.mean_iou(sums)
    return tuple(np.nan_to_num(values, nan=1.0) for values in found) if results.overlaps else found
