"""How a run trains a fold: its samples, its validation, its state."""

import hashlib
import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from kit.data.cache import sample_reader
from kit.data.crops import SlideCrops, SlideTiles
from kit.data.label_images import foreground_target
from kit.data.pseudo import PseudoSamples
from kit.data.regions import has_regions
from kit.data.samples import SegmentationDataset, collate_samples
from kit.folds.keeping import locked_folds
from kit.runs.changes import changed_kit
from kit.runs.check import check_network
from kit.runs.run import Run
from kit.runs.settings import network_text, optimizer_settings, settings_of, text_of
from kit.scoring.validation import Validation
from kit.system.files import cache_folder, digest, is_locked, write_atomic
from kit.system.run_folder import Fold, fold_name, is_full, read_json
from kit.training.checkpoint import OtherRun, check_identity, load_weights
from kit.training.loaders import loading
from kit.training.loop import LossOf, Settings, fit
from kit.training.processes import EpochBatches
from kit.training.state import TrainState, new_state

ARRAY = r"\w+ \([\d, ]*\) [0-9a-f]{16}"  # as kit.runs.settings writes one
HASH = rf"{ARRAY}|\b[0-9a-f]{{16}}\b"  # or any object
PACKAGE = "package of the first weights"  # a setting of runs whose networks begin with the weights of one
LATER = {"target": None, "weights": None, "crops": 1}  # fields of a plan that are settings only where they are used
Augmentation = Callable[[np.ndarray, np.ndarray, int, int], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Plan:
    """How a fold is trained, besides network, optimizer and loss.

    schedule: share of training done, 0..1 -> factor of the learning rate. augment: None for none.
    ema_decay: of the average of the weights; None keeps none. clip: the largest norm of the gradient.
    parts: micro-batches of a step. cache: keep the samples at the network's size on the disk.
    samples: trained on in place of the images that the fold leaves; slides need them (kit.data.crops.SlideCrops), and
    pseudo-labels (kit.runs.pseudo_samples).
    weights: f64, how often each image that the fold leaves is drawn (kit.training.repeat_factors); None: all alike.
    target: what the loss sees of a mask after augmentation (SegmentationDataset). Of task instances it gets the label
    image, int32 (h, w), at the size of the crop: kit.data.border_target, kit.data.object_labels, or any function. None:
    the mask, of task instances where an object is.
    crops: how often an epoch takes each image, each time augmented anew: for small crops of large images.
    keep: epochs at the end of training whose weights are kept, in fold<k>/kept/, for kit.runs.soup; a file each.
    """

    epochs: int
    batch_size: int
    schedule: Callable[[float], float]
    augment: Augmentation | None = None
    ema_decay: float | None = 0.999
    clip: float = 1.0
    parts: int = 1
    cache: bool = True
    samples: SegmentationDataset | SlideCrops | PseudoSamples | None = None
    weights: np.ndarray | None = None
    target: Callable[[np.ndarray], np.ndarray] | None = None
    crops: int = 1
    keep: int = 0


def fit_fold(
    run: Run, fold: Fold, model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: LossOf, plan: Plan
) -> None:
    """Train the network that has not seen `fold`; resumes from its last checkpoint. A full fit sees all images.

    Raises ValueError where the network does not fit the channels or classes of the data set, or where the fold or
    another one was trained with other settings.
    """
    check_network(run, model)
    check_plan(run, plan)
    try:
        _fit_fold(run, fold, model, optimizer, loss_of, plan)
    except OtherRun as error:
        begun = [read_json(run.fold_folder(k) / "origin.json").get("versions", {}) for k in range(run.num_folds)]
        said = {changed_kit(versions, run.origin["versions"]) for versions in begun} - {""}
        raise OtherRun(f"{error}{''.join(sorted(said))}") from None


def check_plan(run: Run, plan: Plan) -> None:
    """Raise ValueError where the plan's crops are no number of times, or its target is not of the run's rule.

    The target is called on a small label image without objects.
    """
    if not isinstance(plan.crops, int) or plan.crops < 1:
        raise ValueError(f"crops is how often an epoch takes each image, 1 or more; got {plan.crops!r}")
    if not run.task.has_objects or plan.samples is not None:
        return
    shape = () if plan.target is None else np.shape(plan.target(np.zeros((8, 8), np.int32)))
    if shape == (8, 8, 2) and not run.rule.border:
        raise ValueError(
            "the plan's target has two layers, as objects and borders, and the rule knows of no borders: give open_run "
            "rule=Rule(objects=True, border=True), and the network two outputs"
        )
    if run.rule.detected and len(shape) != 2:
        found = "none" if plan.target is None else f"one of shape {shape} for an image of 8×8"
        raise ValueError(
            f"networks that find objects train on label images (h, w), and the plan's target is {found}: give it "
            "target=kit.data.object_labels"
        )


def _fit_fold(
    run: Run, fold: Fold, model: nn.Module, optimizer: torch.optim.Optimizer, loss_of: LossOf, plan: Plan
) -> None:
    facts = run.world.agree(lambda: _settings_of(plan, optimizer, loss_of))
    begun_with = {PACKAGE: package} if (package := getattr(model, "package", "")) else {}
    run.world.agree(lambda: _keep_settings(run, fold, {**facts, **begun_with, "network": network_text(model)}))
    state = new_fold_state(run, fold, model, optimizer, plan.ema_decay, facts)
    settings = Settings(
        plan.epochs,
        run.world,
        run.dtype,
        plan.schedule,
        run.frame.normalise,
        seed=run.seed,
        clip=plan.clip,
        keep=plan.keep,
    )
    evaluate = _no_scores if is_full(fold) else evaluator(run, fold, plan)
    fit(state, train_loader(run, fold, plan), loss_of, evaluate, settings, run.fold_folder(fold))


def _no_scores(model: nn.Module) -> dict[str, float]:
    """Nothing is held out."""
    return {}


def _settings_of(plan: Plan, optimizer: torch.optim.Optimizer, loss_of: LossOf) -> dict[str, str]:
    """What a checkpoint must have been trained with to be resumed."""
    facts = {**settings_of("plan", plan), **optimizer_settings(optimizer), "loss": text_of(loss_of)}
    unused = {f"plan.{name}" for name, default in LATER.items() if getattr(plan, name) is default}
    left_out = {"plan.cache", "plan.keep", *unused}  # as before there were any
    return {name: text for name, text in facts.items() if name not in left_out}


def _keep_settings(run: Run, fold: Fold, facts: dict[str, str]) -> None:
    """Write the settings of the run's folds. Raises ValueError if another fold was trained, or is, with other ones.

    The network is kept for the report: what it is made of may be written otherwise by another version of a package.
    The package of the first weights counts where a fold begins: "imagenet" may be the hub's in one place and a
    package's in another, and the folds of a run begin alike. A fold that is resumed has its weights in its checkpoint.
    Arrays do not count, because weights of classes or of images come from the masks that a fold trains on. A full fit
    is trained as the folds were; its seed may be another, which is a part of hashes, and of the texts of augmentation
    and samples that hold it.
    """
    path = run.folder / "settings.json"
    if is_full(fold):
        if then := read_json(path):
            check_identity(path, *(_of_any_fold(_without_samples(one), HASH) for one in (facts, then)))
        return
    others = [run.fold_folder(k) for k in range(run.num_folds) if k != fold]
    with locked_folds(run.folder):
        then = read_json(path)
        if then and any((other / "last.pt").exists() or is_locked(other) for other in others if other.exists()):
            left_out = {PACKAGE} if run.is_begun(fold) else set()
            check_identity(path, *(_of_any_fold(one, ARRAY, left_out) for one in (facts, then)))
        elif not run.is_begun(fold):
            write_atomic(path, json.dumps(facts, indent=2) + "\n")


def _of_any_fold(facts: dict[str, str], differing: str, left_out: Collection[str] = (PACKAGE,)) -> dict[str, str]:
    """The settings that all folds of a run share. differing: a pattern of what does not count in their texts."""
    return {name: re.sub(differing, "…", text) for name, text in facts.items() if name not in {"network", *left_out}}


def _without_samples(facts: dict[str, str]) -> dict[str, str]:
    """The settings but for the augmentation and the samples of a plan."""
    return {name: text for name, text in facts.items() if not re.match(r"plan\.(augment|samples)\b", name)}


def train_loader(run: Run, fold: Fold, plan: Plan) -> DataLoader:
    """This process's share of the batches, in an order that the seed and the epoch decide."""
    samples, weights = plan.samples, plan.weights
    if samples is not None and (plan.target is not None or plan.crops != 1):
        raise ValueError(
            "the plan has samples of its own, and target or crops, which are of the run's images: leave these out, and "
            "give the samples what they need (SegmentationDataset takes a target; of task instances its reader "
            "must give label images, sample_reader(…, labels=True))"
        )
    if samples is None and has_regions(run.dataset):
        raise ValueError(
            "slides are trained on in crops: give the plan samples=kit.data.crops.SlideCrops(data, "
            "run.trained_on(fold), size, count=crops of an epoch, augment=…, seed=run.seed)"
        )
    if samples is None:
        ids = run.trained_on(fold) * plan.crops
        samples = SegmentationDataset(_reader(run, plan), ids, plan.augment, plan.target)
        weights = None if weights is None else np.tile(weights, plan.crops)
    shared = {"seed": run.seed, "world": run.world, "parts": plan.parts, "weights": weights}
    batches = EpochBatches(len(samples), plan.batch_size, **shared)
    load = {"persistent_workers": run.workers > 0, **loading(run.workers, run.world)}
    return DataLoader(samples, batch_sampler=batches, collate_fn=collate_samples, **load)


def evaluator(run: Run, fold: Fold, plan: Plan) -> Validation:
    """The scores of the images that `fold` holds out, at the network's size; of slides those of some tiles.

    No more images at once than in a micro-batch of training, and by the tiles that training crops: so a validation
    needs no more memory than a step.
    """
    ids, slides = run.world.share(run.held_out(fold)), has_regions(run.dataset)
    if slides:
        held_out = SlideTiles(run.dataset, ids, run.frame.tile, run.dataset.validation)
    else:
        seen = foreground_target if _has_labels(run, plan) else None
        held_out = SegmentationDataset(_reader(run, plan), ids, target=seen)
    is_one_size = slides or run.frame.resizing.size
    at_once = max(1, plan.batch_size // (run.world.size * plan.parts)) if is_one_size else 1
    loader = DataLoader(held_out, at_once, collate_fn=collate_samples, **loading(run.workers, run.world))
    return Validation(loader, run.frame, run.dataset.num_classes, run.world, run.dtype, run.rule)


def _reader(run: Run, plan: Plan) -> Callable[[str], tuple[np.ndarray, np.ndarray]]:
    cache = cache_folder() if plan.cache else None
    return sample_reader(run.dataset, run.frame.resizing, cache, _has_labels(run, plan))


def _has_labels(run: Run, plan: Plan) -> bool:
    """Whether training reads label images."""
    return plan.target is not None and run.task.has_objects


def new_fold_state(
    run: Run,
    fold: Fold,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    ema_decay: float | None = 0.999,
    settings: dict[str, str] | None = None,
) -> TrainState:
    """A new training state. A checkpoint of another fold, split, configuration, data or settings is refused.

    settings: of training, by name.
    """
    held_out = hashlib.sha256("\n".join(run.held_out(fold)).encode()).hexdigest()[:16]
    identity = {**run.identity, "fold": fold, "held out": held_out, **(settings or {})}
    return new_state(model, optimizer, run.dtype, identity, ema_decay, run.flags.defaults)


def load(run: Run, fold: Fold, model: nn.Module) -> nn.Module:
    """Give `model` the weights with which the fold's training ended, on this run's device."""
    load_weights(run.fold_folder(fold) / "last.safetensors", model)
    return model.to(run.world.device)


def load_stage(run: Run, earlier: Path, fold: Fold, model: nn.Module) -> nn.Module:
    """Give `model` the weights with which `fold` ended in the run folder of an earlier stage of training.

    Raises FileNotFoundError while that fold is not finished. Raises ValueError if it was trained on other data, lists
    or folds: it may then have seen images that are held out here.
    """
    if not (earlier / fold_name(fold) / "finished.json").exists():
        raise FileNotFoundError(f"this stage continues {earlier}, where fold {fold} is not finished: run that first")
    then = read_json(earlier / "config.json").get("identity", {})
    is_same_data = all(then.get(name) == value for name, value in run.data.items())
    splits = [path / "folds.csv" for path in (earlier, run.folder)]
    if not is_same_data or not all(map(Path.exists, splits)) or digest(splits[0]) != digest(splits[1]):
        raise ValueError(
            f"{earlier} was trained on other data, lists or folds than this stage is scored on, so its network may "
            "have seen the held-out images. Give both stages the same flags for them"
        )
    load_weights(earlier / fold_name(fold) / "last.safetensors", model)
    return model
