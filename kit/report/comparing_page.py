"""The page of a comparison: one file that needs no network, with drawings of the images that changed most.

Each is drawn with both runs in it, and with each run alone, to slide from one to the other: comparing.js.

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
from kit.report.templates import inline_script, template
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
    names = [facts["shown"][name] for name in "ab"]
    cards = [] if first.has_slides else [row | drawn(first, second, row["id"], names) for row in changed]
    html = template("comparing.html", filters).render(
        f=facts,
        cards=cards,
        **inline_script("comparing.js"),
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


def drawn(first: FinishedRun, second: FinishedRun, id: str, names: Sequence[str]) -> dict[str, dict]:
    """The image whole, and enlarged where the two runs differ most, as data URIs.

    "drawings": both runs in one, by what is shown; "pairs": the same of each run alone, by what is shown and by the
    names of the two runs.
    """
    truth, masks, what = _masks(first, second, id)
    canvas, differs = painted(truth, *masks)
    scale = min(WIDTH / truth.shape[1], HEIGHT / truth.shape[0])
    size = max(1, round(truth.shape[1] * scale)), max(1, round(truth.shape[0] * scale))  # OpenCV's (width, height)
    window = error_window(differs if differs.any() else truth > 0, (size[1], size[0]))
    parts = {f"the whole image{what}": (slice(None), slice(None))}
    if canvas[window].shape != canvas.shape:
        parts[f"where the two differ most, enlarged{what}"] = window
    alone = [
        (name, painted_alone(truth, mask, colour), mask, colour)
        for name, mask, colour in zip(names, masks, (FIRST, SECOND), strict=True)
    ]
    return {
        "drawings": {
            text: _data_uri(_outlined(canvas[part], [mask[part] for mask in masks], (FIRST, SECOND), size))
            for text, part in parts.items()
        },
        "pairs": {
            text: {
                name: _data_uri(_outlined(own[part], [mask[part]], [colour], size)) for name, own, mask, colour in alone
            }
            for text, part in parts.items()
        },
    }


def _masks(first: FinishedRun, second: FinishedRun, id: str) -> tuple[np.ndarray, list[np.ndarray], str]:
    """The truth and the masks of both runs, and words for the class that they are of, where classes overlap."""
    truth = first.truth(id)
    masks = [run.rule.mask(run.levels(id), truth.shape[:2]) for run in (first, second)]
    if truth.ndim == 2:
        return truth, masks, ""
    k = int(np.argmax((masks[0] != masks[1]).sum(axis=(0, 1))))  # one at a time: that in which the runs differ most
    truth, *masks = (np.ascontiguousarray(mask[..., k]).view(np.uint8) for mask in (truth, *masks))
    return truth, masks, f", class {first.saved.classes[k]}"


def painted(truth: np.ndarray, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The truth and the errors as colours, u8 (H, W, 3), and where one run alone is wrong, bool (H, W).

    truth, first, second: u8 (H, W) of classes, 255 in truth is ignored; or int32 labels of objects, of which only
    object or none counts.
    """
    canvas, *wrong = _canvas(truth, first, second)
    for where, colour in ((wrong[0] & ~wrong[1], FIRST), (wrong[1] & ~wrong[0], SECOND), (wrong[0] & wrong[1], BOTH)):
        canvas[where] = canvas[where] * 0.35 + np.array(colour) * 0.65
    return canvas, wrong[0] != wrong[1]


def painted_alone(truth: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """The truth, and what one run has wrong in its colour, u8 (H, W, 3). truth, mask: as in painted."""
    canvas, wrong = _canvas(truth, mask)
    canvas[wrong] = canvas[wrong] * 0.35 + np.array(colour) * 0.65
    return canvas


def _canvas(truth: np.ndarray, *masks: np.ndarray) -> tuple[np.ndarray, ...]:
    """The truth as colours, u8 (H, W, 3), and of each mask where it is wrong, bool (H, W)."""
    ignored = (truth == IGNORED) & (truth.dtype == np.uint8)
    labels = [mask > 0 if mask.dtype == np.int32 else mask for mask in (truth, *masks)]
    canvas = np.full((*truth.shape, 3), PAPER, np.uint8)
    shades = np.linspace(1, 0.55, max(1, int(labels[0][~ignored].max(initial=0))))  # a grey of each class
    for label, shade in enumerate(shades, 1):
        canvas[labels[0] == label] = np.array(TRUTH) * shade
    canvas[ignored] = IGNORED_COLOUR
    return canvas, *((mask != labels[0]) & ~ignored for mask in labels[1:])


def _outlined(
    canvas: np.ndarray, masks: Sequence[np.ndarray], colours: Sequence[tuple], size: tuple[int, int]
) -> np.ndarray:
    """The canvas at `size`, with the lines of the masks in their colours, thinner ones over thicker ones: all show."""
    drawing = resize(np.ascontiguousarray(canvas), size, cv2.INTER_NEAREST)
    for place, (mask, colour) in enumerate(zip(masks, colours, strict=True), 1):
        drawing[_edges(np.ascontiguousarray(mask), size, 2 * (len(masks) - place) + 2)] = colour
    return drawing


def _hex(colour: tuple[int, int, int]) -> str:
    return "#{:02x}{:02x}{:02x}".format(*colour)
