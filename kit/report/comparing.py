"""Compare finished runs: every number of the comparison, computed once, as plain values for JSON, terminal and page.

    recipes = join_recipes(recipes_of([read_run("runs/a"), read_run("runs/b")]))
    facts = compare_recipes(recipes)
    facts["verdict"]                        "b better than a by 0.0012 ± 0.0009 on 32 groups; these networks only"

metric, images, groups, margin      what was compared
recipes         name, runs (folders), seeds, scores of each run, score (their mean)
sigma_seed      {"value", "df"}; null where each recipe has one run
pairs           of all recipes: a, b, difference (b less a), low, high, p, holm, better, worse, equal, detectable,
                sign_flips {"p", "count", "exact", "smallest"}, about, note
shown           {"a", "b"}: the pair that changed and slices are about: of two the pair, of more the best two
changed         every image: id, group, fold, a, b (its scores), effect: by how much the score of a would rise if this
                image alone had b's prediction. The largest gain comes first
slices          kind, name, score (of a class: the name of the score of its row; else null, the metric), images, groups,
                a, b, difference, low, high, p, note
notes           sentences
"""

from collections.abc import Mapping, Sequence

import numpy as np

from kit.report.comparing_text import notes, verdict
from kit.report.slices import slices_of
from kit.runs.allowed import leak_notes
from kit.runs.finished import FinishedRun
from kit.runs.joining import join_runs
from kit.runs.seeds import are_seeds, seeds_of
from kit.scoring.compare import Comparison, Pair, compare, compare_all, score_function
from kit.scoring.metrics import DatasetDice, DatasetIoU, MeanIoU, Metric, scores_of_images
from kit.system.plain import number

SCORES_OF_CLASSES = {DatasetDice: "Dice over all pixels", DatasetIoU: "IoU over all pixels"}
Recipes = Mapping[str, Sequence[FinishedRun]]  # of one recipe the runs with several seeds


def join_recipes(recipes: Recipes) -> dict[str, list[FinishedRun]]:
    """The same runs with the same images in the same order. Raises ValueError where they cannot be compared."""
    runs = [run for own in recipes.values() for run in own]
    if len(recipes) < 2:
        given = ", ".join(str(run.folder) for run in runs)
        raise ValueError(f"a comparison needs two runs or more, got {given or 'none'}")
    joined = iter(join_runs(runs, same_folds=False))
    return {name: [next(joined) for _ in own] for name, own in recipes.items()}


def compare_recipes(recipes: Recipes, margin: float = 0.0) -> dict:
    """All numbers of the comparison of joined recipes; see the head of this file. margin: see kit.scoring.compare."""
    first = next(iter(recipes.values()))[0]
    counts = {name: np.stack([run.scores.counts for run in own]) for name, own in recipes.items()}
    pairs = compare_all(counts, first.groups, first.metric, margin=margin)
    scores = {name: [_total(first.metric, one) for one in own] for name, own in counts.items()}
    a, b = shown = _shown(scores)
    spread = pairs[0].found.spread
    facts = {
        "metric": first.metric.name,
        "images": len(first.ids),
        "groups": len(set(first.groups)),
        "folds": list(first.folds),
        "margin": margin,
        "recipes": _recipes(recipes, scores),
        "sigma_seed": spread and {"value": spread.variance**0.5, "df": spread.df},
        "pairs": [_pair(pair) for pair in pairs],
        "shown": {"a": a, "b": b},
        "changed": _changed(first, *(counts[name].mean(axis=0) for name in shown)),
        "slices": _slices(first, [recipes[name] for name in shown]),
    }
    every = [run for own in recipes.values() for run in own]
    seeds_alone = all(len(own) == 1 for own in recipes.values()) and are_seeds(every)
    other_folds = any(not np.array_equal(run.fold_of, first.fold_of) for run in every)
    facts["notes"] = notes(facts, seeds_alone=seeds_alone, other_folds=other_folds)
    facts["notes"] += [f"{run.name}: {note}" for run in every for note in leak_notes(run.folder)]
    return {"verdict": verdict(facts), **facts}


def _total(metric: Metric, counts: np.ndarray) -> float:
    return float(metric.score(counts.sum(axis=0)))


def _shown(scores: Mapping[str, Sequence[float]]) -> tuple[str, str]:
    """The two recipes in their order; of more the second best and the best."""
    if len(scores) == 2:
        return tuple(scores)
    second, best = sorted(scores, key=lambda name: float(np.mean(scores[name])))[-2:]
    return second, best


def _recipes(recipes: Recipes, scores: Mapping[str, Sequence[float]]) -> list[dict]:
    seeds = seeds_of(recipes)
    return [
        {
            "name": name,
            "runs": [str(run.folder) for run in own],
            "seeds": seeds[name],
            "scores": list(scores[name]),
            "score": float(np.mean(scores[name])),
        }
        for name, own in recipes.items()
    ]


def _pair(pair: Pair) -> dict:
    found = pair.found
    names = ("difference", "low", "high", "error", "df", "p")
    facts = {"a": pair.a, "b": pair.b} | {name: getattr(found, name) for name in names}
    chances = {name: getattr(found, name) for name in ("better", "worse", "equal", "detectable", "groups")}
    flips = found.flips and found.flips._asdict()
    return facts | {"holm": pair.holm} | chances | {"sign_flips": flips, "about": found.about, "note": found.note}


def _changed(run: FinishedRun, a: np.ndarray, b: np.ndarray) -> list[dict]:
    """All images, the largest gain first. a, b: counts (n, M), of several seeds their mean."""
    total = a.sum(axis=0)
    score = score_function(run.metric, total)
    own = [scores_of_images(run.metric, counts) for counts in (a, b)]
    with np.errstate(divide="ignore", invalid="ignore"):
        effects = np.asarray(score(total - a + b), float) - float(score(total))
    effects = np.where((a == b).all(axis=1), 0.0, effects)
    order = np.lexsort((np.arange(len(a)), -np.nan_to_num(effects)))
    folds = run.fold_of
    return [
        {
            "id": run.ids[row],
            "group": run.groups[row],
            "fold": int(folds[row]),
            "a": number(own[0][row]),
            "b": number(own[1][row]),
            "effect": number(effects[row]),
        }
        for row in order.tolist()
    ]


def _slices(run: FinishedRun, recipes: Sequence[Sequence[FinishedRun]]) -> list[dict]:
    """The slices by truth and the classes, each compared by itself."""
    counts = [np.stack([one.scores.counts for one in own]) for own in recipes]
    groups = np.array(run.groups, object)
    found = [
        _slice(one.kind, one.name, [part[:, one.rows] for part in counts], groups[one.rows], run.metric)
        for one in slices_of(run.scores.images, run.scores.touches)
    ]
    return found + _classes(run, recipes, groups)


def _slice(kind: str, name: str, counts: Sequence[np.ndarray], groups: np.ndarray, metric: Metric) -> dict:
    found: Comparison = compare(*counts, groups.tolist(), metric, flips=False)
    scores = [number(np.mean([_total(metric, one) for one in own])) for own in counts]
    of_class = SCORES_OF_CLASSES[type(metric)] if kind == "class" else None
    facts = {
        "kind": kind,
        "name": name,
        "score": of_class,
        "images": len(groups),
        "groups": found.groups,
        "a": scores[0],
        "b": scores[1],
    }
    ends = {name: getattr(found, name) for name in ("low", "high", "p")}
    return facts | {"difference": number(found.difference)} | ends | {"note": found.note}


def _classes(run: FinishedRun, recipes: Sequence[Sequence[FinishedRun]], groups: np.ndarray) -> list[dict]:
    """IoU of each class over all pixels where the metric is one of IoU, else Dice; [] where there is one foreground."""
    overlaps, names = run.task.overlaps, run.saved.classes
    if len(names) == (1 if overlaps else 2) or run.task.has_objects:
        return []
    skipped = 1 if names[0] == "background" and not overlaps else 0
    metric = DatasetIoU() if isinstance(run.metric, MeanIoU | DatasetIoU) else DatasetDice()
    matrices = [np.stack([one.scores.matrices for one in own]) for own in recipes]
    return [
        _slice("class", name, [_of_class(part, k, overlaps, metric) for part in matrices], groups, metric)
        for k, name in enumerate(names[skipped:], skipped)
    ]


def _of_class(matrices: np.ndarray, k: int, overlaps: bool, metric: Metric) -> np.ndarray:
    """The counts (S, n, 2) of IoU or Dice of one class."""
    if overlaps:
        matrices, k = matrices[:, :, k], 1
    hits, true, predicted = matrices[..., k, k], matrices[..., k, :].sum(axis=-1), matrices[..., :, k].sum(axis=-1)
    both = (hits, true + predicted - hits) if isinstance(metric, DatasetIoU) else (2 * hits, true + predicted)
    return np.stack(both, axis=-1).astype(float)
