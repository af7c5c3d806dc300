"""The page of the report: one file that needs no network, and the writing of it.

All markup is in report.html, where jinja2 escapes every value. cards.py draws the images, plots.py the charts. The one
script is report.js; the page allows no other, by its hash.
"""

import base64
import json
from pathlib import Path

from kit.report.cards import card, palette
from kit.report.display import describe
from kit.report.measure import SCORES, measure
from kit.report.object_cards import legend
from kit.report.objects import object_charts
from kit.report.plots import CHART, charts
from kit.report.results import Results
from kit.report.templates import inline_script, template
from kit.scoring.intervals import note_text
from kit.system.files import write_atomic

GALLERY = 6000  # images: about 1.1 kB each in the page


def write_report(results: Results, run_dir: Path) -> dict:
    """Write report.json and report.html into `run_dir`, each whole or not at all; return the measurements."""
    measurements = measure(results)
    text = json.dumps(measurements, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    html = page(results, measurements)
    write_atomic(Path(run_dir) / "report.json", text)
    write_atomic(Path(run_dir) / "report.html", html)
    return measurements


def page(results: Results, measurements: dict) -> str:
    """Return report.html, with its drawings inside."""
    headline, drawings, sections = _headline(measurements), {}, {}
    for section in ("worst", "worst_by_group", "median"):
        new = [row for row in measurements[section] if row["id"] not in drawings]
        drawings |= {row["id"]: card(results, row["id"]) for row in new}
        sections[section] = {"cards": new, "above": len(measurements[section]) - len(new)}
    return template("report.html", FILTERS).render(
        m=measurements,
        headline=headline,
        pooled={name: score["value"] for name, score in measurements["pooled"].items()}
        | {"metric": measurements["metric"]},
        notes=_notes(headline, measurements["per_fold"]),
        sections=sections,
        places={id: place for place, id in enumerate(drawings)},
        drawings=drawings,
        charts=charts(results, measurements) | object_charts(measurements["objects"]),
        chart=CHART,
        swatches=["#{:02x}{:02x}{:02x}".format(*colour) for colour in palette(results.classes)],
        lines=legend(),
        thumbnails=_thumbnails(results, measurements),
        **inline_script("report.js"),
        display=describe(results.read_image(measurements["worst"][0]["id"]), results.channels),
    )


def _thumbnails(results: Results, measurements: dict) -> list[dict]:
    """The rows of the gallery, at most GALLERY, the worst first: each with its WebP as a data URI."""
    drawn = results.thumbnails or {}
    rows = [row for row in measurements["every_image"] if row["id"] in drawn][:GALLERY]
    webps = (base64.b64encode(drawn[row["id"]]).decode() for row in rows)
    return [{**row, "source": f"data:image/webp;base64,{webp}"} for row, webp in zip(rows, webps, strict=True)]


def _headline(measurements: dict) -> list[dict]:
    """The scores at the head of the page: the competition's metric, then those that do not repeat it."""
    labels = {
        "dice_mean": "Dice, mean over images", "dice_dataset": "Dice, data set",
        "iou_mean": "IoU, mean over images", "iou_dataset": "IoU, data set",
    }  # fmt: skip
    if measurements["averaged"]:
        labels = {name: f"Mean {label}" for name, label in reversed(labels.items())}
    scores = [{"key": name, "name": label} | measurements["pooled"][name] for name, label in labels.items()]
    metric = measurements["metric"]
    if metric is None:
        return scores
    ends = ("value", "low", "high")
    return [{"key": "metric"} | metric, *(score for score in scores if any(score[end] != metric[end] for end in ends))]


def _notes(headline: list[dict], per_fold: list[dict]) -> dict[str, list[str]]:
    """The notes of the intervals, each once with the scores or the folds that it is about."""
    pooled, folds = {}, {}
    for score in headline:
        pooled.setdefault(score["note"], []).append(score["name"])
    for row in per_fold:
        own = [row["metric"]["note"]] if row["metric"] else []
        for note in dict.fromkeys([*own, *(row["intervals"][name]["note"] for name in SCORES)]):
            folds.setdefault(note, []).append(str(row["fold"]))
    subjects = {note: "" if len(names) == len(headline) else "; ".join(names) for note, names in pooled.items()}
    about = {note: f"Fold{'s' * (len(which) > 1)} {', '.join(which)}" for note, which in folds.items()}
    return {
        "pooled": [_sentence(note, subject) for note, subject in subjects.items() if note],
        "folds": [_sentence(note, subject) for note, subject in about.items() if note],
    }


def _sentence(note: str, subject: str) -> str:
    """A note of an interval as a sentence about the subject; "" for all scores."""
    what = f"{note_text(note)}."
    return f"{subject} – {what}" if subject else what[0].upper() + what[1:]


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


FILTERS = {
    "score": _score,
    "gain": _gain,
    "duration": _duration,
    "value": _value,
    "threshold": "{:.2f}".format,
    "pixels": lambda value: "–" if value is None else f"{value:.2f}",
    "note": note_text,
    "percent": lambda share: f"{100 * share:.1f} %",
}
