"""The report as a table for a terminal, under 80 columns."""

import textwrap

from kit.report.measure import SCORES
from kit.scoring.intervals import note_text
from kit.system.files import counted

WIDTH = 79


def summary(measurements: dict) -> str:
    """Return the measurements as text: the competition's metric first, then the folds, then what to look at."""
    m, folds = measurements, measurements["folds"]
    title = f"{m['title']}: out-of-fold scores" + (" on DRAWN data, not a competition's" if m["drawn"] else "")
    counts = f"{counted(m['images'], 'image')}, {counted(m['groups'], 'group')}, tta {m['tta']}"
    lines = [title, f"{len(folds['finished'])} of {folds['planned']} folds, {counts}", *_metric(m), ""]
    lines += [*_table(m), *_volumes(m), *_objects(m), "", *_further(m), *_threshold(m), *_tuned(m)]
    worst = m["worst"][0]
    own = f"metric {_rounded(worst['metric'])}, " if worst["metric"] not in (None, worst["dice"]) else ""
    return "\n".join([*lines, "", f"worst image: {worst['id'][:36]} ({own}Dice {_rounded(worst['dice'])})"])


def _metric(m: dict) -> list[str]:
    if m["metric"] is None:
        return []
    metric = m["metric"]
    bounds = f"95 % from {metric['low']:.4f} to {metric['high']:.4f}" if metric["low"] is not None else ""
    text = f"{metric['name']}: {_rounded(metric['value'])}" + (f"  ({bounds}, df {metric['df']:.1f})" if bounds else "")
    return ["", *textwrap.wrap(text, WIDTH), *_note(metric["note"])]


def _table(m: dict) -> list[str]:
    lines = [f"{'':8}{'images':>7}{'Dice':>10}{'Dice':>10}{'IoU':>10}{'IoU':>10}"]
    lines.append(f"{'':8}{'':7}" + f"{'mean':>10}{'data set':>10}" * 2)
    rows = [(f"fold {row['fold']}", row["images"], [row[name] for name in SCORES]) for row in m["per_fold"]]
    if len(rows) > 1:
        rows.append(("pooled", m["images"], [m["pooled"][name]["value"] for name in SCORES]))
    lines += [f"{name:8}{count:7}" + "".join(f"{_rounded(s):>10}" for s in scores) for name, count, scores in rows]
    pooled = [m["pooled"][name] for name in SCORES]
    if any(score["low"] is not None for score in pooled):
        lines += [
            f"{label:15}" + "".join(f"{_rounded(score[end]):>10}" for score in pooled)
            for label, end in (("95 % from", "low"), ("     to", "high"))
        ]
    if m["averaged"]:
        names = ", ".join(row["name"] for row in m["per_class"])
        lines += textwrap.wrap(f"Dice and IoU are means over all {m['classes']} classes: {names}", WIDTH)
    scores: dict[str, list[str]] = {}
    for name, score in zip(SCORES, pooled, strict=True):
        scores.setdefault(score["note"], []).append(name)
    for note, names in scores.items():
        lines += _note(note, "" if len(names) == len(SCORES) else f" of {' and '.join(names)}")
    return lines


def _volumes(m: dict) -> list[str]:
    """The scores of whole volumes."""
    volumes = m["volumes"]
    if volumes is None:
        return []
    lines = ["", f"{counted(volumes['count'], 'volume')}, each scored from the sums of its images; means over volumes"]
    for label, score in (("Dice", volumes["dice_mean"]), ("IoU", volumes["iou_mean"])):
        bounds = f"  (95 % from {score['low']:.4f} to {score['high']:.4f})" if score["low"] is not None else ""
        lines.append(f"{label:4} {_rounded(score['value'])}{bounds}")
    notes = dict.fromkeys(volumes[name]["note"] for name in ("dice_mean", "iou_mean"))
    return [*lines, *(line for note in notes for line in _note(note, " over volumes"))]


def _objects(m: dict) -> list[str]:
    """What became of the objects at an IoU of 0.5."""
    found = m["objects"]
    if found is None:
        return []
    scores = ", ".join(f"{name} {_rounded(found[name]['value'])}" for name in ("precision", "recall", "f1"))
    truth, extra = found["truth"], found["prediction"]["extra"]
    kinds = ", ".join(f"{truth[kind]} {kind}" for kind in ("hit", "missed", "split", "merged"))
    text = f"{counted(truth['objects'], 'true object')}: {kinds}; {counted(extra, 'extra prediction')}"
    return ["", f"objects at IoU 0.5: {scores.replace('f1', 'F1')}", *textwrap.wrap(text, WIDTH)]


def _note(note: str, of: str = "") -> list[str]:
    """The note of an interval in lines. of: the scores that it is about, "" for all."""
    return textwrap.wrap(note_text(note, of), WIDTH)


def _further(m: dict) -> list[str]:
    labels = {
        "pixel accuracy": "pixel_accuracy",
        "mean accuracy": "mean_accuracy",
        "mean IoU of all classes": "mean_iou",
    }
    scores = {label: m["dataset"][name] for label, name in labels.items()} | m["further"]
    constant = m["constant"]
    return [
        *(f"{label}: {_rounded(score)}" for label, score in scores.items()),
        f"{constant['class']} everywhere would have a mean IoU of {_rounded(constant['mean_iou'])}",
    ]


def _threshold(m: dict) -> list[str]:
    if m["thresholds"]:
        return _thresholds(m)
    honest = (m["threshold"] or {}).get("honest")
    if not honest:
        return []
    value, gain = honest["dice_mean"]["value"], round(honest["dice_mean"]["gain"], 5) + 0.0
    return [
        "",
        f"threshold picked on the other folds: mean Dice {value:.4f} ({gain:+.5f} over 0.5)",
        f"The scores above and the CSV are at {m['rule']['threshold']:g}.",
    ]


def _tuned(m: dict) -> list[str]:
    """The rule of rule.json: its score on the images that it was chosen on, and the honest one."""
    tuned = m["tuned"]
    if not tuned:
        return []
    scores = [f"as above {_rounded(tuned['before']['score'])}", f"tuned {_rounded(tuned['tuned'])}"]
    if tuned["cross_fitted"] is not None:
        scores += [f"cross-fitted {_rounded(tuned['cross_fitted'])}", f"gap {_rounded(tuned['gap'])}"]
    return ["", *textwrap.wrap(f"tuned rule, {tuned['metric'] or 'score'}: {', '.join(scores)}. {tuned['why']}", WIDTH)]


def _thresholds(m: dict) -> list[str]:
    """The honest gain of a threshold of each class that may overlap others."""
    found = [(one["name"], one["honest"]["dice_mean"]) for one in m["thresholds"] if one["honest"]]
    gains = [f"{name} {honest['value']:.4f} ({round(honest['gain'], 5) + 0.0:+.5f})" for name, honest in found]
    if not gains:
        return []
    text = f"thresholds picked on the other folds: mean Dice (gain over 0.5) of {', '.join(gains[:12])}"
    return ["", *textwrap.wrap(text + (" …" if len(gains) > 12 else ""), WIDTH)]


def _rounded(score: float | None) -> str:
    return "none" if score is None else f"{score:.4f}"
