"""What the ledger keeps of a run: read from its folder, so that the folder may be changed or lost later.

    record(Path("runs/mine"))                at the end of a recipe, and by `python -m kit ledger` for all run folders

A recipe records its run itself: a folder is trained anew or removed, and the score it had must stay known. `kit
ledger` also reads the folders, because some were trained by an earlier kit or on another machine. A run that is there
already adds nothing.

A fact of a run, one line:

    id          of configuration, code of the recipe, commit of kit, data, views, metric, rule, and the tuned rule while
                it is in use: two trainings of one thing share it; a run is another one once it is tuned, as its CSV is
    run, recipe, drawn, commit, code, data, config
    folder      the run folder, from the ledger's own folder on
    folds, of   the finished folds, and how many there are
    metric, cv  {"value", "low", "high", "df", "note", "images", "groups"}; of the held-out images of the folds
    without     the score without each of at most 64 blocks of whole groups: differences between two runs are tested
                on them; `images` is a hash of ids and blocks, which must be the same for that
    predictions the name of all out-of-fold predictions and of how they were scored, as `key` in rule.json
    crossfit    {"value"} of the tuned rule, each fold scored with one chosen on the others; null where none is in use
    leaks       the leaks that an audit found and nobody allowed; absent where there are none
    stale       the CSVs there that were written with another rule than that of now, without their ending
    csv         how the names of its submissions begin, and end where the data is drawn
    parent      the id of the earlier run that differs least; changed: {name: [there, here]} is how
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kit.ledger.facts import Ledger, place_of, subject_of
from kit.ledger.naming import naming_values, without_places
from kit.scoring.intervals import degrees_of_freedom, interval_of_metric
from kit.submission.names import csv_stem
from kit.system.files import short_hash
from kit.system.run_folder import finished_json, name_of_predictions, of_code, open_leaks, read_json

if TYPE_CHECKING:
    from kit.runs.finished import FinishedRun
    from kit.scoring.metrics import Metric

BLOCKS = 64
APART = {"network"}  # in settings.json, a hash that other versions of packages change


def record(
    folder: Path, ledger: Ledger | None = None, metric: "Metric | None" = None, parent: str | None = None
) -> dict | None:
    """Add a run to the ledger; return its fact, or None where the ledger has it or no fold is finished.

    metric: of its scores, where it is at hand; else it is made from what the folder keeps. parent: an id; else the
    earlier run that differs least.
    Raises ValueError or OSError where the folder is damaged.
    """
    ledger = ledger or Ledger(place_of(folder))
    about = facts_of(folder)
    if about is None:
        return None
    about["folder"] = place_in(folder, ledger.path.parent)
    runs = [fact for fact in ledger.facts() if fact["fact"] == "run"]
    last = next((fact for fact in reversed(runs) if subject_of(fact) == subject_of(about)), {})
    if all(last.get(name) == value for name, value in about.items()):
        return None
    from kit.runs.finished import read_run  # imported here: PyTorch takes seconds

    fact = {**about, **scores_of(read_run(folder, metric))}
    fact |= lineage(fact, runs, parent)
    return next(iter(ledger.add([fact])), None)


def record_run(folder: Path, metric: "Metric | None") -> None:
    """The end of a recipe: add its run to the ledger. Whatever goes wrong is a note: the run itself is whole."""
    try:
        record(folder, metric=metric)
    except Exception as error:  # a full disk, a read-only one, a lock that another process keeps, a damaged file
        print(f"note: the run is not in the ledger ({type(error).__name__}: {error}); python -m kit ledger adds it")


def facts_of(folder: Path) -> dict | None:
    """What a run folder says without its scores being read; None where no fold is finished."""
    saved, config = read_json(folder / "predictor.json"), read_json(folder / "config.json")
    folds = finished_of(folder, saved.get("recipe"))
    if not folds or not saved or not config:
        return None
    begun = read_json(folder / f"fold{min(folds)}/origin.json")
    commit = begun.get("versions", config.get("versions", {})).get("commit", "unknown")
    identity = config.get("identity", {})
    settings = {k: v for k, v in read_json(folder / "settings.json").items() if k not in APART}
    predictions, scored = name_of_predictions(folds), next(iter(folds.values())).get("metric")
    rule = tuned_of(folder, predictions)
    values = {k: v for k, v in identity.items() if not k.startswith("data.")} | settings
    named = rule and {**rule.get("rule", {}), **({"views": rule["views"]} if "views" in rule else {})}
    values |= naming_values(saved, scored, named)
    data = short_hash(sorted((k, v) for k, v in identity.items() if k.startswith("data.")))
    code = begun.get("recipe", config.get("recipe", "unknown"))
    drawn = bool(saved.get("drawn"))
    stem = csv_stem(folder, saved.get("name") or "", drawn)
    return {
        "fact": "run",
        "id": short_hash((sorted((k, str(v)) for k, v in values.items()), code, commit, data)),
        "run": folder.resolve().name,
        "recipe": saved.get("name"),
        "drawn": drawn,
        "commit": commit,
        "code": code,
        "data": data,
        "config": without_places(values),
        "folds": sorted(folds),
        "of": planned_of(folder),
        "predictions": predictions,
        "crossfit": crossfit_of(rule),
        "stale": stale_of(folder, named),
        "csv": [stem, "_drawn" * drawn],
        "tests": len(saved.get("ids") or ()),
        **({"leaks": leaks} if (leaks := open_leaks(folder)) else {}),
    }


def scores_of(run: "FinishedRun") -> dict:
    """The score of a run with its interval, and the score without each block of groups."""
    counts, groups = np.asarray(run.scores.counts, float), list(run.groups)
    found = interval_of_metric(run.metric, counts, groups)
    blocks = blocks_of(groups)
    sums = np.zeros((max(blocks) + 1, counts.shape[1]))
    np.add.at(sums, blocks, counts)
    with np.errstate(divide="ignore", invalid="ignore"):  # one block may hold all that there is to score
        fix, total = getattr(run.metric, "fix_classes", None), sums.sum(axis=0)
        score = fix(total) if fix else run.metric.score
        without = np.asarray(score(total - sums), float) if len(sums) > 2 else np.array([])
    cv = {**found._asdict(), "images": len(groups), "groups": len(set(groups))}
    return {
        "metric": run.metric.name,
        "cv": {name: rounded(value) for name, value in cv.items()},
        "without": [rounded(value) for value in without] if np.isfinite(without).all() else [],
        "df": rounded(degrees_of_freedom(np.bincount(blocks).astype(float))) if len(sums) > 2 else None,
        "images": short_hash(sorted(zip(run.ids, blocks, strict=True))),
    }


def blocks_of(groups: Sequence[str]) -> list[int]:
    """The block of each image: whole groups, at most BLOCKS of about one size. They depend on the groups alone."""
    names, sizes = np.unique(np.asarray(groups, str), return_counts=True)
    totals, block_of = np.zeros(min(BLOCKS, len(names))), {}
    for place in np.argsort(-sizes, kind="stable"):
        block_of[names[place]] = int(totals.argmin())
        totals[block_of[names[place]]] += sizes[place]
    return [block_of[group] for group in groups]


def lineage(fact: dict, earlier: Sequence[dict], parent: str | None = None) -> dict:
    """The parent of a run, an id, and what changed since; of several that differ alike, the latest."""
    others = [other for other in earlier if other["id"] != fact["id"] and parent in {None, other["id"]}]
    if not others:
        return {"parent": None, "changed": {}}
    differing = [changes(other, fact) for other in others]
    place = max(range(len(others)), key=lambda i: (-len(differing[i]), i))
    return {"parent": others[place]["id"], "changed": differing[place]}


def changes(before: dict, after: dict) -> dict[str, list]:
    """The values that differ, {name: [before, after]}: of the configuration, then code, commit and data."""
    names = dict.fromkeys([*before["config"], *after["config"]])
    pairs = {name: [one["config"].get(name) for one in (before, after)] for name in names}
    pairs |= {name: [before[name], after[name]] for name in ("recipe", "code", "commit", "data")}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def finished_of(folder: Path, recipe: str | None) -> dict[int, dict]:
    """finished.json of the folds that are finished; where some were by the code that the folder keeps, of these."""
    return of_code({fold: facts for fold, facts in finished_json(folder).items() if "key" in facts}, recipe)


def planned_of(folder: Path) -> int:
    """How many folds folds.csv has; 0 without one."""
    path = folder / "folds.csv"
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    return 1 + max((int(line.rpartition(",")[2]) for line in lines if line), default=-1)


def tuned_of(folder: Path, predictions: str) -> dict | None:
    """rule.json, where it says that the rule is used, and was chosen on these predictions."""
    kept = read_json(folder / "rule.json")
    return kept if kept.get("used") and kept.get("key") == predictions else None


def crossfit_of(rule: dict | None) -> dict | None:
    """The cross-fitted score of the tuned rule in use. rule: of tuned_of."""
    found = (rule or {}).get("cross_fitted")
    value = None if found is None else rounded(float(found))
    return None if value is None else {"value": value}


def stale_of(folder: Path, tuned: dict | None) -> list[str]:
    """The run's CSVs, without their ending, that were written with another rule. tuned: fields of the tuned one."""
    written = {path.name.partition(".csv.")[0]: read_json(path) for path in folder.glob("written/*.csv.json")}
    return sorted(name for name, facts in written.items() if facts.get("tuned") != tuned)


def place_in(folder: Path, ledgers: Path) -> str:
    """The run folder's path from the ledger's folder on; of one that lies elsewhere the last two parts."""
    own, above = folder.resolve(), ledgers.resolve()
    return own.relative_to(above).as_posix() if own.is_relative_to(above) else "/".join(own.parts[-2:])


def rounded(value: object) -> object:
    """A float with nine significant digits, None where it is not finite; anything else as it is."""
    if isinstance(value, float | np.floating):
        return float(f"{value:.9g}") if np.isfinite(value) else None
    return value
