"""What a run folder keeps for prediction without the data: predictor.json and the code, see kit.prediction.saved."""

import contextlib
import copy
import dataclasses
import functools
import random
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import nn

from kit.data.dataset import RGB, Dataset
from kit.data.identity import own_sources
from kit.data.regions import has_regions
from kit.prediction.plain import LackingValue
from kit.prediction.rebuild import KeptCall, keep, kept_modules, lacking_values, rebuild
from kit.prediction.saved import ADVICE, SavedRun, has_code, write_saved
from kit.runs.provenance import versions
from kit.runs.run import Run, read_only_allowed
from kit.runs.settings import network_text
from kit.scoring.metrics import Metric
from kit.submission.competition import Competition
from kit.submission.rows import ids_of_sample


def saved_run(
    run: Run, network: Callable[[], nn.Module], competition: Competition | None = None, metric: Metric | None = None
) -> SavedRun:
    """What the run folder will say of prediction. Prints a note where the network cannot be made from the code alone.

    metric: of the scores. Where the folder does not have the same code yet, the network is made twice, once from what
    is kept, and the two are compared. No random number is used up.
    """
    dataset = run.dataset
    saved = SavedRun(
        name=run.name,
        recipe=run.origin["recipe"],
        task=getattr(dataset, "task", None) or "binary",
        classes=tuple(dataset.classes),
        channels=tuple(getattr(dataset, "channels", RGB)),
        dtype=dataset.dtype or "uint8",
        frame=run.frame,
        tta=run.tta,
        rule=run.rule,
        drawn=bool(getattr(dataset, "drawn", False)),
        images=dict(getattr(dataset, "reading", {})),
        reads=_reader_of(dataset),
        scale=dataset.scale if has_regions(dataset) else None,
        versions=versions(run.world.device),
    )
    if competition is not None:
        sample, ids = competition.sample_csv, competition.test_ids
        ids = ids if sample is None else ids_of_sample(sample, competition.dialect)
        saved = dataclasses.replace(saved, dialect=competition.dialect, ids=tuple(ids))
    if not run.world.main:
        return saved
    saved = dataclasses.replace(saved, metric=None if metric is None else _kept_metric(run, metric))
    try:
        saved = dataclasses.replace(saved, network=keep(network))
        if not has_code(run.folder, saved.network):
            with _same_random_numbers():
                _compare(network, saved.network)
    except LackingValue as error:
        saved = dataclasses.replace(saved, network=None, problem=str(error))
        run.world.say(
            "note: this run can be predicted by its own script alone, not by kit.prediction.Predictor.load or "
            f"python -m kit predict: the network needs {error}, which no file can keep. {ADVICE}"
        )
    return saved


def _kept_metric(run: Run, metric: Metric) -> KeptCall | None:
    """How the metric is made again; None, and a note, where no file can keep that."""
    try:
        kept = keep(functools.partial(copy.copy, metric))
        if not (lacking := lacking_values(kept)):
            return kept
        problem = " and ".join(lacking)
    except LackingValue as error:
        problem = str(error)
    run.world.say(
        f"note: runs of the metric {metric.name} cannot be compared, tuned or blended later: it needs {problem}, which "
        "no file can keep. Make it a frozen dataclass at the top level of the script"
    )
    return None


def save_predictor(run: Run, saved: SavedRun) -> None:
    """Write predictor.json and the code into the run folder, unless they are there, or the folder is read-only."""
    if not run.world.main:
        return
    if saved.network is not None:
        saved = dataclasses.replace(saved, network=_with_later_modules(saved.network))
    with read_only_allowed(True):
        write_saved(run.folder, saved)


def _with_later_modules(kept: KeptCall) -> KeptCall:
    """The same with the user's modules that were imported since, as by a forward pass."""
    later = {name: text for name, text in own_sources().items() if name not in kept.modules}
    modules, texts = kept_modules(later)
    return dataclasses.replace(kept, modules=kept.modules | modules, texts=kept.texts | texts)


def _compare(network: Callable[[], nn.Module], kept: KeptCall) -> None:
    """Raise LackingValue unless the network made from what is kept is the same, weights aside."""
    expected = network()
    try:
        found = rebuild(kept)()
    except LackingValue:
        raise
    except Exception as error:  # whatever the user's code raises
        lacking = " or ".join(lacking_values(kept)) or "something that its code alone does not give"
        raise LackingValue(f"{lacking} ({type(error).__name__}: {error})") from error
    shapes = [{name: tuple(value.shape) for name, value in one.state_dict().items()} for one in (expected, found)]
    if shapes[0] != shapes[1] or network_text(expected) != network_text(found):
        raise LackingValue("a value that changes while the script runs (made again, it has other layers or settings)")


def _reader_of(dataset: Dataset) -> str:
    """Which code reads images: "files" where it is kit's own, which decodes them as they are; else the class's name."""
    reader = type(dataset).read_image
    return "files" if reader.__module__.startswith("kit.") else reader.__qualname__.partition(".")[0]


@contextlib.contextmanager
def _same_random_numbers() -> Iterator[None]:
    """Give back the random numbers that are drawn inside."""
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (the user's code may use it)
    with torch.random.fork_rng(devices=[]):
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])  # noqa: NPY002
