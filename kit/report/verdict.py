"""The first sentence of the page: what is known, and what speaks against trusting it.

"fail": the score cannot be used as it stands. "warn": it can, with care. "pass": nothing was found against it.
"""

from collections.abc import Iterator

from kit.system.files import counted

FEW_GROUPS = 6  # below it not even an exact test of all sign flips reaches 5 %
WIDE = 0.1  # of an interval between 0 and 1
NO_BETTER = 0.01  # above a prediction that knows the commonest class alone
OPTIMISM = 0.005  # of a threshold picked on the images that it is scored on


def verdict(measurements: dict) -> dict:
    """Return the content of "verdict" in report.json, see kit.report.measure. measurements: the rest of it."""
    reasons = [{"level": level, "text": text, "todo": todo} for level, text, todo in _reasons(measurements)]
    levels = [reason["level"] for reason in reasons]
    level = "fail" if "fail" in levels else "warn" if "warn" in levels else "pass"
    return {"level": level, "text": _sentence(measurements), "reasons": reasons}


def _sentence(m: dict) -> str:
    score = m["metric"] or {"name": "mean Dice over images", **m["pooled"]["dice_mean"]}
    is_grouped = m["groups"] < m["images"]
    on = f"on {counted(m['images'], 'held-out image')}" + f" of {counted(m['groups'], 'group')}" * is_grouped
    new = "new groups" if is_grouped else "new images"
    value = "none" if score["value"] is None else f"{score['value']:.4f}"
    text = f"{score['name'][0].upper()}{score['name'][1:]}: {value} {on}"
    if score["low"] is None:
        return f"{text}; there is no interval for {new}."
    return f"{text}; on {new} it is between {score['low']:.4f} and {score['high']:.4f} with 95 % confidence."


def _reasons(m: dict) -> Iterator[tuple[str, str, str]]:
    """Level, what was found, what to do."""
    yield from _of_data(m)
    constant = m["constant"]
    if m["dataset"]["mean_iou"] is not None and m["dataset"]["mean_iou"] < (constant["mean_iou"] or 0) + NO_BETTER:
        yield (
            "fail",
            f"The network is no better than {constant['class']} everywhere (mean IoU {constant['mean_iou']:.4f}).",
            "Look at the images below: are masks and images of one another? Then train longer, or with another rate.",
        )
    if len(m["folds"]["finished"]) < m["folds"]["planned"]:
        yield (
            "warn",
            f"{len(m['folds']['finished'])} of {m['folds']['planned']} folds are finished: the score is of a part of "
            "the images.",
            "Train the other folds before you choose between two recipes.",
        )
    yield from _of_interval(m)
    yield from _of_threshold(m)


def _of_data(m: dict) -> Iterator[tuple[str, str, str]]:
    if m["drawn"]:
        yield "warn", "The data are drawn by kit.", "Scores of drawn images say nothing about a competition."
    for note in m["conventions"]:
        if "Groups shared with the held-out ones" in note:
            yield (
                "fail",
                "Groups are both trained on and held out.",
                "Give such images to one fold, or say why they may be on both sides: the score is too high.",
            )
        if note.startswith("The audit found"):
            is_open = "Nobody has given a reason" in note
            todo = "The reason why they are allowed is below"
            if is_open:
                todo = "Mend the folds, or say why the leaks are meant"
            yield (
                "fail" if is_open else "warn",
                f"{note.partition(', so')[0]}.",
                f"{todo}: the score may be too high.",
            )
        if note.startswith("No groups were given"):
            yield (
                "warn",
                "No groups were given.",
                "If several images show one patient, car or scene, give them one group, or the score is too high.",
            )


def _of_interval(m: dict) -> Iterator[tuple[str, str, str]]:
    score = m["metric"] or m["pooled"]["dice_mean"]
    if score["value"] is None:
        yield "fail", "There is no score.", "Look at the masks: they may hold nothing to score."
    if m["groups"] < FEW_GROUPS:
        yield (
            "warn",
            f"There are {counted(m['groups'], 'group')}; below {FEW_GROUPS} no gain over another run can be shown.",
            "Train the other folds, or hold out more groups.",
        )
    elif score["low"] is not None and score["high"] - score["low"] > WIDE:
        yield (
            "warn",
            f"The interval is {score['high'] - score['low']:.2f} wide.",
            "A small gain between two runs cannot be seen in this score; compare them image by image.",
        )
    if "skewed" in score["note"]:
        yield "warn", "A few groups decide the score.", "Look at the groups with the lowest scores."


def _of_threshold(m: dict) -> Iterator[tuple[str, str, str]]:
    found, tuned = m["threshold"], m["tuned"]
    if tuned and tuned["used"] and tuned["gap"] is not None:
        what, gap = "tuned rule", tuned["gap"]
    elif found and found["honest"]:
        what, gap = "best threshold", found["best"]["dice_mean"]["value"] - found["honest"]["dice_mean"]["value"]
    else:
        return
    if gap > OPTIMISM:
        yield (
            "warn",
            f"On the images that it was picked on, the {what} flatters by {gap:.4f}.",
            "Judge it by the score of the other folds alone.",
        )
