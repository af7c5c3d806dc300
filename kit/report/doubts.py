"""Label or network wrong? The images in which the network contradicts the truth with confidence."""

import numpy as np

from kit.report.results import Results

SURE = 243  # of 256 levels: a probability of 0.95
SHOWN = 10
LEAST = 0.001  # of an image's pixels


def doubtful_images(results: Results) -> list[dict]:
    """Return the content of "doubtful" in report.json, see kit.report.measure; [] where nothing is contradicted.

    Of objects that the network finds one by one, a pixel without one has no probability: none is missed for sure.
    """
    if results.levels is None:
        return []
    levels = results.levels if results.levels.ndim == 4 else results.levels[:, None]
    added, missed = levels[:, :, 0, SURE:].sum(axis=(1, 2)), levels[:, :, 1, : 256 - SURE].sum(axis=(1, 2))
    if results.rule.detected:
        missed = np.zeros_like(missed)
    pixels = np.maximum(levels.sum(axis=(1, 2, 3)), 1)  # of classes that overlap each pixel counts once a class
    share = (added + missed) / pixels
    rows, ids = np.argsort(-share, kind="stable")[:SHOWN], results.images["id"].tolist()
    return [
        {"id": ids[row], "share": share[row], "added": added[row] / pixels[row], "missed": missed[row] / pixels[row]}
        for row in rows
        if share[row] >= LEAST
    ]
