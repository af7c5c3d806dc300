"""The ledger as one plain object: runs, submissions, tests of differences, the two final submissions.

    seen = view(Ledger(path).facts())        plain values only: `python -m kit ledger --json` prints it

runs          a fact each (kit.ledger.recording), without its `without`; the latest of each id, with the most folds;
              also "public", "private": of its submission, and "submission": the CSV; null where there are none
submissions   [{"csv", "run": id or null, "public", "private", "source", "date", "description"}], oldest first
looks         {"count", "best", "noise"}: how often a public score was seen, the best one, and the standard error of a
              difference of two runs on the public images
public        {"share", "groups", "stated"}
shift         {"value", "runs", "error", "clear"} of LB - CV; null without a run with both
seed          the standard deviation between runs that differ in their seed alone; null without such runs
base          the id of the run that differences are taken to
blends        [{"csv", "way", "members", "expected", …, "public", "private"}]: see kit.ledger.blends
tests         [{"run", "base", "value", "error", "df", "p", "alarm"}] of (ΔLB - ΔCV)
finals        [{"run", "by", "reason", "value", "error"}]
notes         sentences
"""

import dataclasses
import math
import re
from collections.abc import Sequence

from kit.ledger.blends import blends_of, is_of
from kit.ledger.finals import comparable, propose
from kit.ledger.shifts import Public, honest, is_paired, judge, noise, seed_variance, shift
from kit.system.files import counted

CSV = re.compile(r"\.csv(\.(zip|gz|bz2))?$", re.IGNORECASE)
KINDS = ("", "_fold", "_full")  # of CSVs, the first one leads: all folds, one fold, the full fit


def view(facts: Sequence[dict], base: str | None = None) -> dict:
    """See above. base: the id of the run that differences are taken to; the first one with a public score."""
    recorded = [fact for fact in facts if fact["fact"] == "run"]
    every, public = latest(recorded), public_of(facts)
    runs = [run for run in every if run["cv"]["value"] is not None]  # a metric may give no number
    submissions = [_submission(fact, recorded) for fact in _newest(facts)]
    best = {run["id"]: _own(run, submissions) for run in every}
    scores = {run["id"]: own["public"] for run in runs if (own := best[run["id"]]) and own["public"] is not None}
    zero = next((run for run in runs if run["id"] in scores and base in {None, run["id"]}), None)
    looks, blends = _looks(submissions), blends_of(facts, submissions)
    seed, of_runs = seed_variance(runs), _without(submissions, blends)
    tests = judge(runs, scores, zero, public) if zero else []
    return {
        "runs": [_row(run, best[run["id"]]) for run in every],
        "submissions": submissions,
        "blends": blends,
        "looks": {"count": len(looks), "best": max(looks, default=None), "noise": noise(runs, public)},
        "public": dataclasses.asdict(public),
        "shift": shift(runs, scores, public),
        "seed": None if seed is None else math.sqrt(seed),
        "base": zero and zero["id"],
        "tests": [dataclasses.asdict(test) for test in tests],
        "finals": [dataclasses.asdict(final) for final in propose(runs, scores, public)],
        "notes": [
            *_unscored(every),
            *_of_blends(runs, blends),
            *_notes(runs, of_runs, scores, zero),
        ],
    }


def latest(recorded: Sequence[dict]) -> list[dict]:
    """Of each id the fact with the most folds, of these the latest; in the order in which the ids came."""
    found: dict[str, dict] = {}
    for fact in recorded:
        before = found.get(fact["id"])
        if before is None or len(fact["folds"]) >= len(before["folds"]):
            found[fact["id"]] = fact if before is None else {**fact, **_first_lineage(before)}
    return list(found.values())


def _first_lineage(before: dict) -> dict:
    """A further fold of a run has the parent that the first one had."""
    return {name: before[name] for name in ("parent", "changed") if name in before}


def public_of(facts: Sequence[dict]) -> Public:
    """What was last stated of the public leaderboard."""
    stated = [fact for fact in facts if fact["fact"] == "public"]
    if not stated:
        return Public()
    return Public(stated[-1].get("share") or Public().share, stated[-1].get("groups"), stated=True)


def run_of(name: str, date: str, recorded: Sequence[dict], description: str = "") -> tuple[str | None, str]:
    """The id of the run whose CSV has this name, and which of KINDS it is: the last one recorded before the date.

    A CSV of another name, as submission.csv of a notebook, is known by a description with the name of a run's CSV or
    folder in it.
    """
    words, found = {CSV.sub("", word) for word in re.split(r"[\s,;:]+", description)}, []
    for fact in recorded:
        stem, end = fact["csv"]
        for kind, pattern in zip(KINDS, (r"", r"_fold\d+", r"_full"), strict=True):
            whole = re.compile(re.escape(stem) + pattern + re.escape(end))
            if whole.fullmatch(CSV.sub("", name)):
                found.append((0, fact, kind))
            elif any(map(whole.fullmatch, words)) or (not kind and fact["run"] in words):
                found.append((1, fact, kind))
    if not found:
        return None, ""
    exact = [one for one in found if one[0] == min(way for way, _, _ in found)]
    moment = date.replace(" ", "T")[:19]
    before = [one for one in exact if one[1]["time"][:19] <= moment]
    written = [one for one in before if not _is_stale(*one[1:])]
    _, fact, kind = (written or before or exact[:1])[-1]
    return fact["id"], kind


def _is_stale(fact: dict, kind: str) -> bool:
    """Whether the CSV of this kind was written with another rule than that of the fact."""
    stem, end = fact["csv"]
    pattern = re.compile(re.escape(stem) + (r"_fold\d+" if kind == "_fold" else kind) + re.escape(end))
    return any(map(pattern.fullmatch, fact.get("stale") or ()))


def _newest(facts: Sequence[dict]) -> list[dict]:
    """The scores; of a submission that was read from Kaggle several times, as before it was scored, the last fact."""
    found: dict[object, dict] = {}
    for fact in facts:
        if fact["fact"] == "score":
            name = fact.get("ref") or fact["key"]
            found.pop(name, None)  # a correction back to an earlier value comes last
            found[name] = fact
    return list(found.values())


def _submission(fact: dict, recorded: Sequence[dict]) -> dict:
    csv, date = fact.get("csv") or "", fact.get("date") or fact["time"]
    id, kind = run_of(csv, date, recorded, fact.get("description") or "")
    kept = {name: fact.get(name) for name in ("csv", "public", "private", "source", "ref", "status", "description")}
    return {**kept, "date": date, "run": fact.get("run") or id, "kind": kind}


def _own(run: dict, submissions: Sequence[dict]) -> dict | None:
    """The submission that speaks of a run: of the first kind there is, the latest with a public score."""
    own = [one for one in submissions if one["run"] == run["id"]]
    ranked = sorted(own, key=lambda one: (one["public"] is not None, -KINDS.index(one["kind"]), one["date"]))
    return ranked[-1] if ranked else None


def _looks(submissions: Sequence[dict]) -> list[float]:
    """The public scores that were seen. One typed in and read from Kaggle too counts once."""
    seen = {(one["csv"], one["public"], one["ref"]) for one in submissions if one["public"] is not None}
    named = {(csv, score) for csv, score, ref in seen if ref is not None}
    return [score for csv, score, ref in sorted(seen, key=str) if ref is not None or (csv, score) not in named]


def _row(run: dict, own: dict | None) -> dict:
    kept = {name: value for name, value in run.items() if name not in {"without", "fact", "key"}}
    return {
        **kept,
        "public": own and own["public"],
        "private": own and own["private"],
        "submission": own and own["csv"],
    }


def _unscored(every: Sequence[dict]) -> list[str]:
    names = [run["run"] for run in every if run["cv"]["value"] is None]
    return [f"without a score, so not compared: {', '.join(names)}"] if names else []


def _of_blends(runs: Sequence[dict], blends: Sequence[dict]) -> list[str]:
    """A sentence for each blend that lets expect more than each run alone: only runs are proposed as finals."""
    found = []
    for blend in blends:
        scores = [honest(run) for run in comparable(runs) if run["metric"] == blend["metric"]]
        expected = blend["expected"]["value"]
        if expected is not None and expected > max(scores, default=math.inf):
            more = f"more than each run alone ({max(scores):.4f})"
            found.append(f"{blend['csv']} lets expect {expected:.4f}, {more}: think of it as a final submission")
    return found


def _without(submissions: Sequence[dict], blends: Sequence[dict]) -> list[dict]:
    """The submissions that are of no blend, and those of blends that have no public score."""
    of_blend = [any(is_of(one, blend["csv"]) for blend in blends) for one in submissions]
    return [one for one, known in zip(submissions, of_blend, strict=True) if not known or one["public"] is None]


def _notes(runs: Sequence[dict], submissions: Sequence[dict], scores: dict[str, float], zero: dict | None) -> list[str]:
    """What a reader must know of the numbers."""
    found, field = [], {run["id"] for run in comparable(runs)}
    if leaking := [run["run"] for run in runs if run.get("leaks")]:
        found.append(f"an audit found leaks that nobody allowed, so the CV may be too high: {', '.join(leaking)}")
    if left := [run["run"] for run in runs if run["id"] not in field]:
        found.append(f"scored on other images, folds or by another metric, so not proposed: {', '.join(left)}")
    if zero and (odd := [r["run"] for r in runs if r["id"] in scores and not is_paired(r, zero)]):
        found.append(f"not scored on the images of {zero['run']}, so its difference cannot be tested: {', '.join(odd)}")
    if lost := [one["csv"] or "?" for one in submissions if one["run"] is None]:
        names = ", ".join(dict.fromkeys(lost))
        found.append(f"{counted(len(lost), 'submission')} of no run that is known here: {names}")
    if waiting := [one["csv"] or "?" for one in submissions if one["public"] is None]:
        found.append(f"no public score yet, or the scoring failed: {', '.join(dict.fromkeys(waiting))}")
    return found
