"""What names a run beside its flags: how its images are predicted and scored. And values without places on a disk.

PyTorch takes seconds to import, so predictor.json is read as the JSON that it is (kit.prediction.plain says its form).
"""

import re
from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath

VIEWS, RULE, METRIC, TUNED = "prediction.tta", "prediction.rule", "scoring.metric", "prediction.tuned"
PART = r"[^\s'\",;()\[\]{}/\\]+"
INSIDE = re.compile(rf"(?<![^\s'\"(=\[{{,])(?:~|[A-Za-z]:)?[/\\](?:{PART}[/\\])+(?={PART})")


def naming_values(saved: dict, scored: str | None, tuned: dict | None) -> dict[str, str]:
    """The views, the rule and the metric as text, by name; the tuned rule where one is in use.

    saved: predictor.json. scored: of finished.json, a hash of the metric, for one that could not be kept. tuned: the
    fields of the rule.
    """
    metric = saved.get("metric")
    found = {
        VIEWS: views_text(saved.get("tta")),
        RULE: text_of(saved.get("rule")),
        METRIC: metric_text(metric) if isinstance(metric, dict) else scored,
        TUNED: tuned and rule_text(tuned),
    }
    return {name: text for name, text in found.items() if text is not None}


def views_text(tta: object) -> str | None:
    """Each view by the letters of its transpose, vertical and horizontal flip: "plain, h"; then the scales."""
    try:
        views = [one["fields"] for one in tta["fields"]["views"]]
        names = ["".join(flip[0] for flip in ("transpose", "vertical", "horizontal") if one.get(flip)) for one in views]
        scales = [float(scale) for scale in tta["fields"].get("scales", [1.0])]
    except (TypeError, KeyError, ValueError, AttributeError):
        return None if tta is None else text_of(tta)
    at = "" if scales == [1.0] else f" at scales {', '.join(map(str, scales))}"
    return ", ".join(name or "plain" for name in names) + at


def metric_text(kept: dict) -> str:
    """The metric's class and values, and those of the script that it needs."""
    call, values = kept.get("call"), kept.get("values")
    if isinstance(call, dict) and len(call.get("arguments") or ()) == 1:  # a copy of one that is at hand
        call = call["arguments"][0]
    return text_of(call) + (f" {text_of(values)}" if values else "")


def text_of(value: object) -> str:
    """A value of predictor.json as text: Rule(threshold=0.3). Fields that are false, 0 or none are left out."""
    if isinstance(value, dict) and "object" in value:
        name, fields = str(value["object"].get("name")).rpartition(":")[2], value.get("fields", {})
        return rule_text(fields) if name == "Rule" else f"{name}({_listed(fields)})"
    if isinstance(value, dict):
        return str(value["name"]).rpartition(":")[2] if value.keys() == {"name"} else f"{{{_listed(value)}}}"
    return f"[{', '.join(map(text_of, value))}]" if isinstance(value, list) else str(value)


def rule_text(fields: Mapping) -> str:
    """A rule as text. `top` decides nothing without an area, `seed` without borders; earlier runs have neither."""
    decided_by = {"top": "top_area", "seed": "border"}
    idle = {name for name, other in decided_by.items() if not fields.get(other)}
    return f"Rule({_listed({k: v for k, v in fields.items() if k not in idle})})"


def _listed(fields: Mapping) -> str:
    return ", ".join(f"{name}={text_of(one)}" for name, one in sorted(fields.items()) if one not in (None, False, 0))


def without_places(value: object) -> object:
    """The value with the last part alone of each absolute path in it: a ledger may be public."""
    if isinstance(value, dict):
        return {str(without_places(name)): without_places(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [without_places(one) for one in value]
    if not isinstance(value, str):
        return value
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(value).is_absolute() or value.startswith(("~/", "~\\")):
            return kind(value).name or value
    return INSIDE.sub("", value)
