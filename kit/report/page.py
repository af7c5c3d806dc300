"""The page of the report: the geometry of its charts, the pictures of its images, and the template filled in.

All markup is in report.html, where jinja2 escapes every value; this file makes numbers and pictures only.
One pair of colours carries one meaning throughout: blue is the truth and what was missed of it, orange is
the prediction and what it added (Okabe and Ito's palette, distinct with any colour vision).
"""

import base64
import colorsys
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import jinja2
import numpy as np
import simplejpeg

if TYPE_CHECKING:
    from kit.report.measure import Results

BLUE, ORANGE, GREY = (64, 170, 255), (255, 150, 20), (150, 150, 150)
WIDTH, HEIGHT = 480, 400  # the box, in pixels, that every picture fits into
CHART = {"width": 400, "height": 240, "left": 52, "right": 8, "top": 10, "bottom": 34}
IGNORED = 255
DICE_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def page(results: "Results", measurements: dict) -> str:
    """Return report.html: one file with its pictures inside, which asks no network for anything."""
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    environment.trim_blocks = environment.lstrip_blocks = True
    environment.filters |= {"score": _score, "gain": _gain, "duration": _duration, "value": _value}
    environment.filters["threshold"] = "{:.2f}".format
    template = environment.from_string(Path(__file__).with_name("report.html").read_text(encoding="utf-8"))
    rows = {row["id"]: row for row in measurements["worst"] + measurements["median"]}
    pictures = {name: card(results, name) for name in rows}
    swatches = ["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette(results.classes)]
    plots = charts(results, measurements)
    return template.render(m=measurements, charts=plots, pictures=pictures, chart=CHART, swatches=swatches)


# Pictures


def card(results: "Results", name: str) -> dict[str, str]:
    """The pictures of one image as data URIs, by what they show.

    Two classes: outlines, errors and, at full resolution, the largest error. More: truth, prediction, errors.
    """
    image, truth, prediction = results.read_image(name), results.read_truth(name), results.read_prediction(name)
    if not truth.shape == prediction.shape == image.shape[:2]:
        shapes = f"image {image.shape[:2]}, truth {truth.shape}, prediction {prediction.shape}"
        raise ValueError(f"{name}: {shapes}: expected one height and width")
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))  # OpenCV's (width, height)
    wrong = (truth != prediction) & (truth != IGNORED)
    if len(results.classes) > 2:
        colours = np.array(palette(results.classes) + [(0, 0, 0)] * (IGNORED - len(results.classes)) + [GREY])
        drawings = {
            "the truth": _painted(image, truth, colours, size),
            "the prediction": _painted(image, prediction, colours, size),
            "its errors": _error_map(image, truth == IGNORED, wrong, np.zeros_like(wrong), size),
        }
        return {key: _data_uri(drawing) for key, drawing in drawings.items()}
    missed = wrong & (truth == 1)
    window = _error_window(wrong if wrong.any() else truth > 0, (size[1], size[0]))
    tinted = image[window].copy()
    for mask, colour in ((missed, BLUE), (wrong & ~missed, ORANGE)):
        tinted[mask[window]] = tinted[mask[window]] * 0.6 + np.array(colour) * 0.4
    drawings = {
        "the outlines of truth and prediction": _outlined(image, truth, prediction, size),
        "its errors": _error_map(image, truth == IGNORED, wrong, missed, size),
        "its largest error, enlarged": _outlined(tinted, truth[window], prediction[window], size),
    }
    return {key: _data_uri(drawing) for key, drawing in drawings.items()}


def palette(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """A colour a class, neighbours far apart in hue; grey for a background, which is not painted over the image."""
    colours = []
    for k in range(len(classes)):
        hue = (0.2 + k * (5**0.5 - 1) / 2) % 1  # steps of the golden ratio come close to none before
        red, green, blue = colorsys.hsv_to_rgb(hue, *((0.85, 1.0), (0.5, 1.0), (0.9, 0.6))[k % 3])
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return [GREY, *colours[1:]] if classes[0] == "background" else colours


def _painted(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at `size` under the colours of its classes, u8 (h, w, 3); grey classes only darken it."""
    drawing, paint = _resize(image, size), colours[cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)]
    share = np.where((paint == GREY).all(axis=-1), 0.25, 0.6)[..., None]
    return (drawing * (1 - share) + paint * share).astype(np.uint8)


def _resize(image: np.ndarray, size: tuple[int, int], enlarge: int = cv2.INTER_CUBIC) -> np.ndarray:
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if size[0] < image.shape[1] else enlarge)


def _edges(mask: np.ndarray, size: tuple[int, int], thickness: int) -> np.ndarray:
    """Where neighbours differ in the mask brought to `size`: bool (H, W)."""
    small = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    edges = np.zeros(small.shape, np.uint8)
    edges[:, 1:] |= small[:, 1:] != small[:, :-1]
    edges[1:] |= small[1:] != small[:-1]
    return cv2.dilate(edges, np.ones((thickness, thickness), np.uint8)) > 0


def _outlined(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at `size` with thin prediction over thick truth, so that both show where they agree."""
    drawing = _resize(image, size)
    drawing[_edges(truth, size, 4)] = BLUE
    drawing[_edges(prediction, size, 2)] = ORANGE
    return drawing


def _error_map(
    image: np.ndarray, ignored: np.ndarray, wrong: np.ndarray, missed: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """A dark grey image; a pixel is coloured where any of the pixels behind it is wrong, so thin errors show."""
    grey = cv2.cvtColor(_resize(image, size), cv2.COLOR_RGB2GRAY)
    drawing = np.repeat((grey // 3 + 12)[..., None], 3, axis=2)
    for mask, colour in ((ignored, GREY), (wrong & ~missed, ORANGE), (missed, BLUE)):
        drawing[_resize(mask.astype(np.float32), size, enlarge=cv2.INTER_NEAREST) > 1e-6] = colour
    return drawing


def _error_window(wrong: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Where most pixels are wrong: a window of `shape` / 4, or larger where errors fill over half of that."""
    for zoom in (4, 2, 1):
        height, width = (max(1, min(wrong.shape[i], shape[i] // zoom)) for i in (0, 1))
        sums = cv2.boxFilter(wrong.astype(np.float32), -1, (width, height), normalize=False, anchor=(0, 0))
        inside = sums[: wrong.shape[0] - height + 1, : wrong.shape[1] - width + 1]
        top, left = np.unravel_index(inside.argmax(), inside.shape)
        if inside[top, left] <= height * width / 2:
            break
    rows, columns = np.nonzero(wrong[top : top + height, left : left + width])
    if rows.size:  # of equal sums the first was taken, with the errors at its end: bring them to the middle
        top = _around(top + rows.min(), top + rows.max(), height, wrong.shape[0])
        left = _around(left + columns.min(), left + columns.max(), width, wrong.shape[1])
    return slice(top, top + height), slice(left, left + width)


def _around(first: int, last: int, side: int, whole: int) -> int:
    """Where a span of `side` begins that has `first` to `last` in its middle, inside 0 to `whole`."""
    return int(np.clip((first + last + 1 - side) // 2, 0, whole - side))


def _data_uri(image: np.ndarray) -> str:
    # 4:4:4, because halved chroma blurs coloured lines two pixels thin
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(image), 80, "RGB", "444")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


# Charts


def charts(results: "Results", measurements: dict) -> dict[str, dict]:
    """The geometry of every chart by name; {} for one without data."""
    threshold = measurements["threshold"] or {}
    shown = {"mean over images": "dice_mean", "data set": "dice_dataset"} if threshold else {}
    curves = {label: (threshold["at"], threshold[name]) for label, name in shown.items()}
    return {
        "threshold": line_chart(curves, "threshold", mark=0.5),
        "loss": line_chart(_history(results, "loss"), "epoch"),
        "val_dice": line_chart(_history(results, "val_dice"), "epoch"),
        "dice": _sorted_dice(np.sort(results.images["dice"].dropna().to_numpy(float))),
    }


def _history(results: "Results", key: str) -> dict[str, tuple[list, list]]:
    lines = {}
    for fold, epochs in sorted(results.history.items()):
        known = [line for line in epochs if line.get(key) is not None and math.isfinite(line[key])]
        points = [(line["epoch"], line[key]) for line in known]
        if points:
            lines[f"fold {fold}"] = tuple(zip(*points, strict=True))
    return lines


def _sorted_dice(scores: np.ndarray) -> dict:
    """Every image from the worst to the best, on a scale where 0.9, 0.99 and 0.999 lie one step apart."""
    share = 100 * (np.arange(len(scores)) + 0.5) / len(scores)
    height = -np.log10(np.clip(1 - scores, 1e-4, 1))
    ticks = {-math.log10(max(1 - score, 1e-4)): f"{score:g}" for score in DICE_TICKS}
    bottom = max([at for at in ticks if at <= height.min() and at < max(ticks)], default=0)
    top = min(at for at in ticks if at >= height.max() - 1e-9 and at > bottom)  # also where all images score alike
    shown = {at: label for at, label in ticks.items() if bottom <= at <= top}
    return line_chart({"images": (share, height)}, "% of images, worst first", y_ticks=shown)


def line_chart(
    lines: dict[str, tuple], x_label: str, y_ticks: dict[float, str] | None = None, mark: float | None = None
) -> dict:
    """Return the SVG geometry of `lines` (label -> x values, y values) in the box CHART; {} without a line.

    y_ticks: position -> label, which also span the axis; by default round numbers. mark: an x to point out.
    """
    if not lines:
        return {}
    x_values, y_values = (np.concatenate([line[axis] for line in lines.values()]) for axis in (0, 1))
    x_ticks = _ticks(x_values, 6, smallest=1 if x_label == "epoch" else 0)
    y_ticks = y_ticks or _ticks(y_values, 5)
    right, bottom = CHART["width"] - CHART["right"], CHART["height"] - CHART["bottom"]
    x_range = min(x_values), max(max(x_values), min(x_values) + 1e-9)
    y_range = min(y_ticks), max(y_ticks)

    def across(x: float) -> float:
        return round(CHART["left"] + (x - x_range[0]) / (x_range[1] - x_range[0]) * (right - CHART["left"]), 1)

    def up(y: float) -> float:
        return round(bottom - (y - y_range[0]) / (y_range[1] - y_range[0]) * (bottom - CHART["top"]), 1)

    paths = [
        {"label": label, "d": "M" + " ".join(f"{across(x)},{up(y)}" for x, y in zip(*line, strict=True)) + "h0"}
        for label, line in lines.items()
    ]
    return {
        "paths": paths, "x_label": x_label, "mark": None if mark is None else across(mark),
        "x_ticks": [(across(at), label) for at, label in x_ticks.items() if x_range[0] <= at <= x_range[1]],
        "y_ticks": [(up(at), label) for at, label in y_ticks.items()],
    }  # fmt: skip


def _ticks(values: np.ndarray, count: int, smallest: float = 0) -> dict[float, str]:
    """About `count` round numbers, `smallest` or more apart, that span the values."""
    low, high = float(np.min(values)), float(np.max(values))
    span = high - low or abs(high) * 0.1 or 1.0
    steps = [digit * 10.0**exponent for exponent in range(-9, 10) for digit in (1, 2, 5)]
    step = min((step for step in steps if step >= smallest), key=lambda step: abs(step - span / count))
    decimals = max(0, -math.floor(math.log10(step) + 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return {i * step: f"{i * step:.{decimals}f}" for i in range(min(first, last - 1), last + 1)}


# Text


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _gain(value: float) -> str:
    return f"{round(value, 5) + 0.0:+.5f}".replace("-", "−")  # + 0.0, for there is no minus zero


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, hours = round(seconds / 60), seconds // 3600
    return f"{minutes} min" if hours < 1 else f"{hours:.0f} h {minutes - 60 * hours:02.0f} min"


def _value(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
