"""Blends in the ledger: which runs a blended CSV is made of, and which score it lets expect.

A fact of a blend, one line, is added where `kit blend` writes its CSV:

    csv         the CSV's name
    way         how it was chosen, as "greedy"
    members     {run: weight}, of classes with weights of their own the mean
    metric, images, groups, folds     what it was chosen on
    expected    {"value", "low", "high", "note"}: chosen on the other folds too
    gain        the same, over the best run alone
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

from kit.ledger.facts import Ledger, place_of
from kit.ledger.recording import rounded

ENDS = ("value", "low", "high", "note")


def record_blend(found: Mapping, csv: Path, ledger: Ledger | None = None) -> dict | None:
    """Add a blend to the ledger of its first run; return its fact, or None where the ledger has it.

    found: of kit.runs.blend.RunsBlend.facts(). Raises OSError where the ledger cannot be written.
    """
    ledger = ledger or Ledger(place_of(Path(found["runs"][0]["folder"])))
    fact = {"fact": "blend", "csv": csv.name, "way": found["chosen"]["name"], "members": _members(found["chosen"])}
    fact |= {name: found[name] for name in ("metric", "images", "groups", "folds")}
    ends = {name: found[of] for name, of in (("expected", "expected"), ("gain", "gain_over_best_run"))}
    fact |= {name: {end: rounded(one.get(end)) for end in ENDS} for name, one in ends.items()}
    return next(iter(ledger.add([fact])), None)


def _members(chosen: Mapping) -> dict[str, float]:
    """The weight of each run, whose sum is 1."""
    weights = chosen["weights"]
    parts = list(weights.values()) if all(isinstance(one, Mapping) for one in weights.values()) else [weights]
    names = dict.fromkeys(name for part in parts for name in part)
    return {name: rounded(sum(part.get(name, 0.0) for part in parts) / len(parts)) for name in names}


def blends_of(facts: Sequence[dict], submissions: Sequence[dict]) -> list[dict]:
    """The blends, the last fact of each CSV, with the public and private score of its latest submission."""
    last = {fact["csv"]: fact for fact in facts if fact["fact"] == "blend"}
    found = []
    for csv, fact in last.items():
        own = [one for one in submissions if is_of(one, csv)]
        own = [one for one in own if one["public"] is not None] or own
        kept = {name: value for name, value in fact.items() if name not in {"fact", "key"}}
        found.append(kept | {board: own[-1][board] if own else None for board in ("public", "private")})
    return found


def is_of(submission: Mapping, csv: str) -> bool:
    """Whether a submission is this blend's CSV: by its name, or by the name in its description."""
    stem = csv.removesuffix(".csv")
    name = (submission["csv"] or "").partition(".csv")[0]
    return submission["run"] is None and (name == stem or stem in (submission["description"] or "").split())


def blend_line(blend: Mapping) -> str:
    """A blend in words, for the ledger's text."""
    parts = sorted(blend["members"].items(), key=lambda one: -one[1])
    members = " + ".join(f"{share:.3g} {name}" for name, share in parts)
    expected = blend["expected"]
    ends = "" if expected["low"] is None else f" ({expected['low']:.4f} to {expected['high']:.4f})"
    value = "none" if expected["value"] is None else f"{expected['value']:.4f}{ends}"
    public = "" if blend["public"] is None else f", public {blend['public']:.5g}"
    return f"{blend['csv']}: {blend['way']}, {members}; expected {value}{public}"
