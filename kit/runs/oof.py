"""Out-of-fold predictions of a run, by networks that have not seen the image's group, and their scores."""

import json
import time
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from torch import nn

from kit.data.identity import held_values, named_values, reading_code
from kit.data.regions import has_regions
from kit.prediction.predictor import Predictor
from kit.prediction.slides import stream
from kit.runs.run import Run, read_only_allowed
from kit.runs.settings import network_text
from kit.runs.training import load
from kit.runs.truth import Truth
from kit.scoring.counts import VERSION, Scores, score
from kit.scoring.metrics import Metric
from kit.system.files import digest, short_hash, write_atomic
from kit.system.run_folder import Fold, read_json


def predictor(run: Run, networks: Sequence[nn.Module]) -> Predictor:
    """How this run predicts: by the mean of `networks`."""
    return Predictor(networks, run.frame, run.tta, run.rule, run.dtype)


def predict_oof(run: Run, fold: int, network: Callable[[], nn.Module], metric: Metric | None = None) -> None:
    """Predict the images that `fold` holds out and score them; resumes where it was stopped.

    network(): the architecture, without weights. It gets those of last.safetensors: of the last epoch, not of the best
    one, because choosing the epoch by the held-out score would flatter that very score.
    """
    started = time.perf_counter()
    if run.world.agree(lambda: fold in up_to_date(run)):
        return
    key = run.world.agree(lambda: _forget_others(run, fold))
    left = run.world.agree(lambda: run.store.missing(run.held_out(fold)))
    if todo := run.world.share(left):
        model = network()
        key["network"] = network_text(model)
        predict = predictor(run, [load(run, fold, model)])
        for _ in stream(predict, run.dataset, todo, lambda id, size, levels: run.store.write(id, levels), run.workers):
            pass
    run.world.wait()
    if run.world.main:
        _score_fold(run, fold, metric)
        facts = {"metric": scoring_key(run, metric), "counts": VERSION}
        facts |= {"seconds": round(time.perf_counter() - started, 2)}
        write_atomic(run.fold_folder(fold) / "finished.json", json.dumps({**key, **facts}))
    run.world.wait()


def _forget_others(run: Run, fold: int) -> dict[str, str]:
    """Remove what was predicted by other settings or by other code of the recipe. Returns the key of now."""
    folder, key = run.fold_folder(fold), {"key": prediction_key(run, [fold]), "recipe": run.origin["recipe"]}
    if read_json(folder / "oof.json") != key:
        (folder / "finished.json").unlink(missing_ok=True)
        run.store.forget(run.held_out(fold))
        write_atomic(folder / "oof.json", json.dumps(key))
    return key


def score_again(run: Run, metric: Metric | None) -> None:
    """Score the finished folds that were scored by another metric, rule or kit. Their predictions are kept."""
    done, own = finished(run), scoring_key(run, metric)
    for fold, facts in scored(run).items():
        if fold in done:
            with read_only_allowed(True):
                _keep_truth(run, fold)  # a run of an earlier kit lacks it
        if fold in done and (facts.get("metric"), facts.get("counts")) != (own, VERSION):
            with read_only_allowed(facts.get("metric") == own):  # the scores of an earlier kit are as good
                _score_fold(run, fold, metric)
                facts = {**facts, "metric": own, "counts": VERSION}
                write_atomic(run.fold_folder(fold) / "finished.json", json.dumps(facts))


def _keep_truth(run: Run, fold: int) -> None:
    slides = has_regions(run.dataset)
    read = run.dataset.mask if slides else run.dataset.read_mask
    Truth(run.folder, run.task, slides).keep(run.held_out(fold), read, short_hash(sorted(run.data.items())))


def _score_fold(run: Run, fold: int, metric: Metric | None) -> None:
    ids, groups = run.held_out(fold), dict(zip(run.dataset.ids, run.dataset.groups, strict=True))
    _keep_truth(run, fold)
    score(run.dataset, run.store, ids, [groups[id] for id in ids], fold, metric).write(run.fold_folder(fold))


def prediction_key(run: Run, folds: Sequence[Fold]) -> str:
    """A name of what decides a prediction: weights, flags, data, split, frame, views.

    A flag with its default does not count, so that a new flag leaves what was predicted before as it is. The recipe's
    code has a name of its own beside it. The dtype, which depends on the device, does not count.
    """
    weights = [digest(run.fold_folder(fold) / "last.safetensors") for fold in folds]
    defaults, no_default = run.flags.defaults, object()
    flags = {k: value for k, value in run.flags.identity.items() if defaults.get(k, no_default) != value}
    own = [name for name in ("border", "detected") if getattr(run.rule, name)]  # what the networks give
    rest = (sorted(run.data.items()), run.folds.tolist(), run.frame, run.tta, *own)
    return short_hash((weights, sorted(flags.items()), rest))


def metric_key(metric: Metric | None) -> str | None:
    """A name of all that decides a metric's counts: its name, its values, its code."""
    if metric is None:
        return None
    values = held_values(metric), named_values(metric, object)
    return short_hash((metric.name, values, reading_code(metric, object)))


def scoring_key(run: Run, metric: Metric | None) -> str | None:
    """A name of what decides the counts of predicted images: the metric, and the rule where it is an own one."""
    return short_hash((metric_key(metric), run.own_rule)) if run.own_rule else metric_key(metric)


def finished(run: Run) -> list[int]:
    """The folds that are trained, predicted and scored as this run would do it, and whose predictions are all there."""
    lost = set(run.store.missing(run.dataset.ids))
    return [
        fold
        for fold, facts in scored(run).items()
        if facts["key"] == prediction_key(run, [fold]) and lost.isdisjoint(run.held_out(fold))
    ]


def up_to_date(run: Run) -> list[int]:
    """The finished folds that were predicted by the recipe's code of now: an edit may have changed the network."""
    facts, recipe = scored(run), run.origin["recipe"]
    return [fold for fold in finished(run) if facts.get(fold, {}).get("recipe") == recipe != "unknown"]


def scored(run: Run) -> dict[int, dict]:
    """finished.json of the folds that are finished, by whatever settings."""
    found = {fold: read_json(run.fold_folder(fold) / "finished.json") for fold in range(run.num_folds)}
    return {fold: facts for fold, facts in found.items() if "key" in facts}


def scores(run: Run) -> Scores:
    """Those of the finished folds, one after the other."""
    return Scores.join([Scores.read(run.fold_folder(fold)) for fold in finished(run)])


def oof_masks(run: Run) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Id, truth and out-of-fold prediction, masks of the task's kind, of every held-out image of the finished folds.

    Raises ValueError for slides, which are not read whole.
    """
    if has_regions(run.dataset):
        raise ValueError("masks of slides are not read whole: take run.dataset.mask(id) and run.store.read(id).masks()")
    for id in [id for fold in finished(run) for id in run.held_out(fold)]:
        truth = run.dataset.read_mask(id)
        yield id, truth, run.store.mask(id, truth.shape[:2])
