"""The ledger for a person: a table of runs, what the leaderboard says, and which two submissions to choose."""

import re
from collections.abc import Sequence

from kit.ledger.blends import blend_line
from kit.system.files import counted

CHANGES = 3  # shown of what changed
LONGEST = 28  # characters of a value there
OF_LATER_KITS = ("prediction.tta", "prediction.rule", "scoring.metric")  # earlier ones did not record these
CALL = re.compile(r"(\w+)\((.*)\)", re.DOTALL)


def text_of(seen: dict) -> str:
    """The text that `python -m kit ledger` prints. seen: of kit.ledger.view."""
    notes = [f"note: {note}" for note in seen["notes"]]
    if not (seen["runs"] or seen["submissions"] or seen["blends"]):
        return "\n".join(["no finished run yet: a recipe records itself when a fold is finished", *notes])
    return "\n".join(part for part in (_runs(seen), _blends(seen), _leaderboard(seen), _finals(seen), *notes) if part)


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as text, the columns below each other; the first row is the head."""
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def short_names(runs: Sequence[dict]) -> dict[str, str]:
    """How each run is called, by id: its folder's name, with the id's first digits where two ids share it."""
    names = [run["run"] for run in runs]
    return {run["id"]: run["run"] + f" {run['id'][:6]}" * (names.count(run["run"]) > 1) for run in runs}


def with_ends(found: dict) -> str:
    """A score and its interval; "none" where there is no number."""
    if found["value"] is None:
        return "none"
    if found.get("low") is None:
        return f"{found['value']:.4f}"
    return f"{found['value']:.4f} ({found['low']:.4f} to {found['high']:.4f})"


def _runs(seen: dict) -> str:
    names, tests = short_names(seen["runs"]), {test["run"]: test for test in seen["tests"]}
    rows = [("run", "folds", "CV (95 %)", "cross-fitted", "public", "ΔLB − ΔCV", "changed")]
    for run in seen["runs"]:
        test = tests.get(run["id"])
        off = "" if test is None else f"{test['value']:+.4f} ± {test['error']:.4f}{' !' * test['alarm']}"
        rows.append((
            names[run["id"]],
            f"{len(run['folds'])}/{run['of']}",
            with_ends(run["cv"]),
            f"{run['crossfit']['value']:.4f}" if run["crossfit"] else "",
            "" if run["public"] is None else f"{run['public']:.5g}",
            "base" if run["id"] == seen["base"] and seen["tests"] else off,
            _changed(run, names),
        ))  # fmt: skip
    metrics = ", ".join(dict.fromkeys(run["metric"] for run in seen["runs"]))
    return columns(rows) + f"\nmetric: {metrics}" if seen["runs"] else ""


def _blends(seen: dict) -> str:
    return "\n".join(["blends:", *(f"  {blend_line(blend)}" for blend in seen["blends"])]) if seen["blends"] else ""


def _changed(run: dict, names: dict[str, str]) -> str:
    """What changed since the parent."""
    if not run["parent"]:
        return ""
    parts = changes_text(run["changed"])
    more = f"; and {len(parts) - CHANGES} more" if len(parts) > CHANGES else ""
    return f"of {names.get(run['parent'], run['parent'][:6])}: {'; '.join(parts[:CHANGES]) or 'nothing'}{more}"


def changes_text(changed: dict[str, list]) -> list[str]:
    """What changed in words. A change that is known under two names is said once, and of long values what differs."""
    found = {}
    for name, (before, after) in changed.items():
        if name in {"code", "data", "recipe"}:
            found[name] = name
        elif not (name in OF_LATER_KITS and before is None):
            found.setdefault((str(before), str(after)), f"{name} {' → '.join(_differing(before, after))}")
    return list(found.values())


def _differing(before: object, after: object) -> list[str]:
    """Two values as text, of long ones the parts that differ."""
    texts = ["none" if value is None else str(value) for value in (before, after)]
    calls = [CALL.fullmatch(text) for text in texts]
    if all(calls) and calls[0][1] == calls[1][1]:
        parts = [re.split(r", (?=\w+=)", call[2]) for call in calls]
        own = [[part for part in mine if part not in other] for mine, other in (parts, parts[::-1])]
        texts = [", ".join(part) or f"no {_names(other)}" for part, other in (own, own[::-1])]
    return [_short(text, *texts) for text in texts]


def _names(parts: Sequence[str]) -> str:
    return ", ".join(part.partition("=")[0] for part in parts)


def _short(text: str, one: str, other: str) -> str:
    """A text from where two texts begin to differ, cut at its end."""
    if len(text) <= LONGEST:
        return text
    same = next((k for k, pair in enumerate(zip(one, other, strict=False)) if len({*pair}) > 1), 0)
    begin = max(0, same - LONGEST // 3)
    cut = text[begin : begin + LONGEST]
    return f"{'…' * (begin > 0)}{cut}{'…' * (begin + LONGEST < len(text))}"


def _leaderboard(seen: dict) -> str:
    looks, public = seen["looks"], seen["public"]
    if not looks["count"]:
        ways = "`kit ledger score FILE.csv 0.123 --public` or `kit ledger kaggle NAME` adds one"
        return f"leaderboard: no public score. {ways}"
    lines = [f"leaderboard: {counted(looks['count'], 'look')}, the best {looks['best']:.5g}"]
    if looks["noise"]:
        lines[0] += f"; a gain there below {2 * looks['noise']:.4f} is noise (2 standard errors of a difference)"
    if found := seen["shift"]:
        error = "" if found["error"] is None else f" ± {found['error']:.4f}"
        meaning = "more than chance of the images explains" if found["clear"] else "chance of the images explains it"
        said = f": {meaning}" if found["error"] is not None else ""
        lines.append(f"shift: LB − CV is {found['value']:+.4f}{error} over {counted(found['runs'], 'run')}{said}")
    lines += _verdicts(seen)
    basis = f"{public['groups']:g} groups" if public["groups"] else f"{public['share']:.0%} of the test images"
    if seen["tests"] or seen["shift"]:
        how = "as stated" if public["stated"] else "assumed; `kit ledger public --share 0.3` states it"
        lines.append(f"the public score is of {basis} ({how})")
    return "\n".join(lines)


def _verdicts(seen: dict) -> list[str]:
    names = short_names(seen["runs"])
    if not seen["tests"]:
        return []
    alarms = [test for test in seen["tests"] if test["alarm"]]
    if not alarms:
        return [f"CV and leaderboard agree on the differences between {counted(len(seen['tests']) + 1, 'run')}"]
    found = [
        f"! {names[test['run']]} gained {abs(test['value']):.4f} {'more' if test['value'] > 0 else 'less'} on the "
        f"leaderboard than in CV, against {names[test['base']]} (p {test['p']:.2g}): look for a leak in one of the two"
        for test in alarms
    ]
    if 2 * len(alarms) > len(seen["tests"]) > 1:
        found.append(f"most runs differ from {names[seen['base']]}, so it may be the odd one; --base RUN takes another")
    return found


def _finals(seen: dict) -> str:
    names = short_names(seen["runs"])
    lines = [
        f"  {number}. {names[final['run']]}: {final['reason']}" for number, final in enumerate(seen["finals"], start=1)
    ]
    return "\n".join(["final submissions:", *lines]) if lines else ""
