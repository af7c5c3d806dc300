"""The geometry of the page's charts: paths and ticks in pixels, which report.html draws as SVG."""

import math

import numpy as np

from kit.report.results import Results

CHART = {"width": 400, "height": 240, "left": 52, "right": 8, "top": 10, "bottom": 34}
IDEAL = "a calibrated network"  # the diagonal of the diagram of calibration, dashed
DICE_TICKS = (0, 0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999)


def charts(results: Results, measurements: dict) -> dict[str, dict]:
    """Return the geometry of every chart by name; {} for one without data."""
    threshold = measurements["threshold"] or {}
    shown = {"mean over images": "dice_mean", "data set": "dice_dataset"} if threshold else {}
    curves = {label: (threshold["at"], threshold[name]) for label, name in shown.items()}
    return {
        "threshold": line_chart(curves, "threshold", mark=0.5),
        "calibration": _reliability(measurements["calibration"]),
        "loss": line_chart(_history(results, "loss"), "epoch"),
        "val_dice": line_chart(_history(results, "val_dice"), "epoch"),
        "dice": _sorted_dice(np.sort(results.images["dice"].dropna().to_numpy(float))),
    }


def _history(results: Results, key: str) -> dict[str, tuple[list, list]]:
    lines = {}
    for fold, epochs in sorted(results.history.items()):
        known = [line for line in epochs if line.get(key) is not None and math.isfinite(line[key])]
        points = [(line["epoch"], line[key]) for line in known]
        if points:
            lines[f"fold {fold}"] = tuple(zip(*points, strict=True))
    return lines


def _reliability(found: dict | None) -> dict:
    """The share of foreground over the probability, of all pixels and of the band, beside the diagonal."""
    parts = {"band around the outlines": "band", "all pixels": "all"}
    parts = {label: (found or {}).get(name) for label, name in parts.items()}
    bins = {label: part["bins"] for label, part in parts.items() if part and part["bins"][0]["probability"] is not None}
    lines = {
        label: tuple([one[axis] for one in own] for axis in ("probability", "foreground"))
        for label, own in bins.items()
    }
    if not lines:
        return {}
    ticks = {place / 5: f"{place / 5:g}" for place in range(6)}
    return line_chart(lines | {IDEAL: ([0, 1], [0, 1])}, "probability", y_ticks=ticks)


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

    y_ticks: position -> label; they also span the axis. By default round numbers. mark: an x with a vertical line.
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
    for path in paths:
        path["dashed"] = path["label"] == IDEAL
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
