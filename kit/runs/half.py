"""How far a fold's score moves when its weights are rounded to float16: half the size of a bundle.

    runs/<run>/fold<k>/half.json    the scores of a few held-out images, by the full and by the rounded weights

Measured by `finish`, because only the recipe has the images, the masks and the metric; a bundle is made later, mostly
elsewhere. The full weights' predictions are in the store already, so it costs IMAGES forward passes a fold, once.
"""

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from kit.data.regions import has_regions
from kit.prediction.store import Store
from kit.runs.oof import predictor
from kit.runs.run import Run, read_only_allowed
from kit.runs.training import load
from kit.scoring.counts import score
from kit.scoring.metrics import Metric
from kit.system.files import digest, spread, write_atomic
from kit.system.run_folder import read_json

FILE, IMAGES = "half.json", 16
MOVES = 1e-4  # of a score: less is nothing
DIFFER = 1e-3  # 1 - Dice of the masks by the rounded and by the full weights: less is nothing


@dataclass(frozen=True)
class Half:
    """What was measured of a fold. full, half: the scores by their names. key: a name of the weights and the code.

    dice: of the foreground by the rounded weights against that by the full ones: a score of 0 stays 0 with any mask.

    The metric and the rule are those of then: a fold is not predicted again for others.
    """

    images: int
    full: dict[str, float]
    half: dict[str, float]
    dice: float
    key: str

    @property
    def moved(self) -> float:
        """The largest change of a score."""
        return max(abs(self.full[name] - self.half[name]) for name in self.full)

    @property
    def is_enough(self) -> bool:
        """Whether the rounded weights are as good."""
        return self.moved < MOVES and 1 - self.dice < DIFFER

    def __str__(self) -> str:
        each = [f"{name} {self.full[name]:.6f} -> {self.half[name]:.6f}" for name in self.full]
        return f"{', '.join(each)}, Dice of both masks {self.dice:.6f} on {self.images} held-out images"


def halved(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Kernels and matrices rounded to float16; all else stays as it is: it is small, and rounding it costs more.

    Statistics, biases and scales have one dimension. A tensor with numbers that float16 lacks stays too.
    """
    rounded = {name: tensor.half() if _is_large(tensor) else tensor for name, tensor in tensors.items()}
    return {name: one if bool(one.isfinite().all()) else tensors[name] for name, one in rounded.items()}


def measure_half(run: Run, fold: int, network: Callable[[], nn.Module], metric: Metric | None) -> None:
    """Leave half.json in a finished fold's folder, unless it is there. Slides are left out: they take too long.

    Nothing is left where the rounded weights give probabilities that are not finite.
    """
    folder = run.fold_folder(fold)
    key = _key(folder, run.origin["recipe"])
    if has_regions(run.dataset) or read_half(folder, run.origin["recipe"]) is not None:
        return
    model = load(run, fold, network())
    with torch.no_grad():
        for tensor, rounded in zip(model.state_dict().values(), halved(model.state_dict()).values(), strict=True):
            tensor.copy_(rounded)
    ids = spread(run.held_out(fold), IMAGES)
    with tempfile.TemporaryDirectory() as temporary, contextlib.suppress(FloatingPointError):
        store = Store(Path(temporary), run.channels, run.rule)
        stream = predictor(run, [model]).stream(run.dataset, ids, lambda id, _, levels: store.write(id, levels))
        for _ in stream:
            pass
        found = Half(
            len(ids),
            *(_scores(run, one, ids, fold, metric) for one in (run.store, store)),
            _agreement(run, store, ids),
            key,
        )
        with read_only_allowed(True):
            write_atomic(folder / FILE, json.dumps(asdict(found)))


def read_half(folder: Path, recipe: str) -> Half | None:
    """What was measured of the weights that are in a fold's folder now; None where it was not. recipe: as in Half.key.

    Raises ValueError where half.json is damaged.
    """
    found, names = read_json(folder / FILE), [field.name for field in fields(Half)]
    if found == {}:
        return None
    damaged = f"{folder / FILE} is damaged: expected {', '.join(names)}; delete it and run the recipe again"
    if not isinstance(found, dict) or "key" not in found:
        raise ValueError(damaged)
    if found["key"] != _key(folder, recipe):
        return None
    if set(found) != {*names} or not isinstance(found["full"], dict) or not isinstance(found["half"], dict):
        raise ValueError(damaged)
    return Half(**found)


def _is_large(tensor: Tensor) -> bool:
    return tensor.is_floating_point() and tensor.ndim > 1 and tensor.dtype != torch.float16


def _key(folder: Path, recipe: str) -> str:
    return f"masks {digest(folder / 'last.safetensors')} {recipe}"


def _agreement(run: Run, store: Store, ids: list[str]) -> float:
    """Dice of the foreground of all images by the two stores, where both have the same class; 1 where it is empty."""
    both = total = 0
    for id in ids:
        full, half = (one.mask(id, tuple(run.dataset.shape(id)[:2])) for one in (run.store, store))
        same = (full > 0) == (half > 0) if run.rule.objects else full == half  # objects may be numbered anew
        both += np.count_nonzero(same & (full > 0))
        total += np.count_nonzero(full) + np.count_nonzero(half)
    return 2 * both / total if total else 1.0


def _scores(run: Run, store: Store, ids: list[str], fold: int, metric: Metric | None) -> dict[str, float]:
    """The metric's score; without a metric the means of IoU and Dice."""
    groups = dict(zip(run.dataset.ids, run.dataset.groups, strict=True))
    counted = score(run.dataset, store, ids, [groups[id] for id in ids], fold, metric)
    if metric is not None:
        return {metric.name: float(np.nan_to_num(metric.score(counted.counts.sum(axis=0))))}
    return {name: float(np.nan_to_num(counted.images[name].mean())) for name in ("iou", "dice")}
