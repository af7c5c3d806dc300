"""The page of a comparison: one file that needs no network, with drawings of the images that changed most.

The drawings come from the truth and the out-of-fold levels that the run folders keep, so the images themselves are not
needed. Grey is the truth. Orange is the first run and green the second: their outlines, and the pixels that this run
alone has wrong. Pixels that both have wrong are dark red.
"""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from kit.report.cards import HEIGHT, WIDTH, _data_uri, _edges
from kit.report.comparing import Recipes
from kit.report.comparing_text import score, share, shown_slices, signed
from kit.report.templates import template
from kit.report.windows import error_window, resize
from kit.runs.finished import FinishedRun
from kit.system.files import write_atomic

MOST = 24  # images that are drawn
FIRST, SECOND, BOTH = (255, 150, 20), (0, 200, 140), (120, 40, 50)
PAPER, TRUTH, IGNORED_COLOUR = (28, 29, 33), (120, 122, 128), (62, 64, 70)
IGNORED = 255


def write_comparison(facts: dict, recipes: Recipes, path: Path) -> None:
    """Write the page. facts: of compare_recipes(recipes). Of several seeds the first of a recipe is drawn.

    Raises FileNotFoundError where a run has not kept its truth.
    """
    filters = {"score": score, "signed": signed, "share": share, "colour": _hex}
    first, second = (recipes[facts["shown"][name]][0] for name in "ab")
    changed = most_changed(facts["changed"])
    cards = [] if first.has_slides else [row | {"drawings": drawings(first, second, row["id"])} for row in changed]
    html = template("comparing.html", filters).render(
        f=facts,
        cards=cards,
        changed=changed,
        slices=shown_slices(facts["slices"]),
        has_slides=first.has_slides,
        several=any(len(recipes[facts["shown"][name]]) > 1 for name in "ab"),
        colours={"first": FIRST, "second": SECOND, "both": BOTH, "truth": TRUTH, "ignored": IGNORED_COLOUR},
    )
    write_atomic(path, html)


def most_changed(changed: Sequence[dict], most: int = MOST) -> list[dict]:
    """The images whose prediction changed the score most, those that gained and those that lost, largest first."""
    moved = [row for row in changed if row["effect"]]
    return sorted(moved, key=lambda row: -abs(row["effect"]))[:most]


def drawings(first: FinishedRun, second: FinishedRun, id: str) -> dict[str, str]:
    """The image whole, and enlarged where the two runs differ most, as data URIs by what they show."""
    truth = first.truth(id)
    masks = [run.rule.mask(run.levels(id), truth.shape[:2]) for run in (first, second)]
    what = ""
    if truth.ndim == 3:  # one class at a time: that in which the runs differ most
        k = int(np.argmax((masks[0] != masks[1]).sum(axis=(0, 1))))
        truth, *masks = (np.ascontiguousarray(mask[..., k]).view(np.uint8) for mask in (truth, *masks))
        what = f", class {first.saved.classes[k]}"
    canvas, differs = painted(truth, *masks)
    scale = min(WIDTH / truth.shape[1], HEIGHT / truth.shape[0])
    size = max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale))  # OpenCV's (width, height)
    window = error_window(differs if differs.any() else truth > 0, (size[1], size[0]))
    found = {f"the whole image{what}": _data_uri(_outlined(canvas, masks, size))}
    if canvas[window].shape != canvas.shape:
        part = _outlined(canvas[window], [mask[window] for mask in masks], size)
        found[f"where the two differ most, enlarged{what}"] = _data_uri(part)
    return found


def painted(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The truth and the errors as colours, u8 (H, W, 3), and where one run alone is wrong, bool (H, W).

    truth, first, second: u8 (H, W) of classes, 255 in truth is ignored; or int32 labels of objects, of which only
    object or none counts.
    """
    ignored = (truth == IGNORED) & (truth.dtype == np.uint8)
    labels = [mask > 0 if mask.dtype == np.int32 else mask for mask in (truth, first, second)]
    wrong = [(mask != labels[0]) & ~ignored for mask in labels[1:]]
    canvas = np.full((*truth.shape, 3), PAPER, np.uint8)
    shades = np.linspace(1, 0.55, max(1, int(labels[0][~ignored].max(initial=0))))  # a grey of each class
    for label, shade in enumerate(shades, 1):
        canvas[labels[0] == label] = np.array(TRUTH) * shade
    canvas[ignored] = IGNORED_COLOUR
    for where, colour in ((wrong[0] & ~wrong[1], FIRST), (wrong[1] & ~wrong[0], SECOND), (wrong[0] & wrong[1], BOTH)):
        canvas[where] = canvas[where] * 0.35 + np.array(colour) * 0.65
    return canvas, wrong[0] != wrong[1]


def _outlined(canvas: np.ndarray, masks: Sequence[np.ndarray], size: tuple[int, int]) -> np.ndarray:
    """The canvas at `size`, with a thin line of the second mask over a thick one of the first: both show."""
    drawing = resize(np.ascontiguousarray(canvas), size, cv2.INTER_NEAREST)
    drawing[_edges(np.ascontiguousarray(masks[0]), size, 4)] = FIRST
    drawing[_edges(np.ascontiguousarray(masks[1]), size, 2)] = SECOND
    return drawing


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
