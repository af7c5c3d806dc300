"""Training: a plain PyTorch loop, for one process or many, that a killed run continues, on a CPU bit for bit.

What makes that true is that nothing random is carried along. The order of the images depends on
(seed, epoch), the augmentation of an image on (seed, epoch, index), dropout on (seed, step, rank), the
learning rate on the step: see EpochBatches, Augment, _seed_step and Settings.schedule. So a checkpoint
holds the weights, their average, the optimizer and the step, and everything else follows.
"""

import contextlib
import importlib.util
import json
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from timm.utils import ModelEmaV3
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from kit.data.normalise import IMAGENET as normalise
from kit.data.samples import Sample
from kit.scoring.confusion import confusion_matrix, dice, iou, mean_dice, mean_iou, pixel_accuracy
from kit.system.files import link_atomic, write_atomic
from kit.system.threads import read_ahead
from kit.training import checkpoint
from kit.training.processes import World, data_parallel

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

Criterion = Callable[[Tensor | Sequence[Tensor], Tensor], Tensor]  # several logits: losses.deep_supervision
CHECK_EVERY = 20  # steps between looks at the loss: reading it stops the GPU's queue


@dataclass(frozen=True)
class Settings:
    """How to train; what stays the same from the first step to the last."""

    epochs: int
    world: World
    dtype: torch.dtype  # of the forward pass: bfloat16, float16 or float32
    schedule: Callable[[float], float]  # share of training done, 0..1 -> factor of the learning rate
    seed: int = 0
    num_classes: int = 2  # of the masks; a network with one output channel tells two, background and foreground
    clip: float = 1.0  # largest norm of the gradient
    save_minutes: float = 10.0  # between checkpoints inside an epoch


@dataclass
class TrainState:
    """Everything that changes while training, and so everything that a checkpoint holds."""

    model: nn.Module
    ema: ModelEmaV3 | None  # the exponential moving average of the weights, if one is kept
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    identity: dict = field(default_factory=dict)  # plain values that a checkpoint must share to be continued
    step: int = 0  # optimizer steps done, over all epochs
    loss_sum: float = 0.0  # over the steps of the epoch in progress
    seconds: float = 0.0  # spent on the epoch in progress
    waited: float = 0.0  # of these, for the loader
    best: float = -math.inf
    history: list[dict] = field(default_factory=list)  # the lines of metrics.jsonl

    PARTS = ("model", "optimizer", "scaler")
    VALUES = ("identity", "step", "loss_sum", "seconds", "waited", "best", "history")

    @property
    def average(self) -> nn.Module:
        """The network that is evaluated, kept and predicts: with the averaged weights, if an average is kept."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict:
        """Tensors and plain values only."""
        parts = {name: getattr(self, name).state_dict() for name in self.PARTS}
        average = {"ema": self.ema.module.state_dict()} if self.ema else {}
        return {**parts, **average, **{name: getattr(self, name) for name in self.VALUES}}

    def load_state_dict(self, state: dict) -> None:
        """Take over what state_dict gave."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # empty where it was not in use, as before a change to a GPU without bfloat16
            self.scaler.load_state_dict(state["scaler"])
        if self.ema:
            self.ema.module.load_state_dict(state["ema"])
        for name in self.VALUES:
            setattr(self, name, state[name])


def new_state(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    dtype: torch.dtype,
    identity: dict,
    ema_decay: float | None = 0.999,
) -> TrainState:
    """The state before the first step.

    optimizer: of the model's parameters, its groups with an `initial_lr` each (see parameter_groups and adamw).
    identity: plain values that tell this run from others; a checkpoint with other ones is refused.
    ema_decay: of the exponential moving average of the weights, reached slowly (timm's warm-up:
        1 - (1 + step)^(-2/3)); None keeps no average, as the papers of before 2016. The statistics of batch
        normalisation are the network's own: an average already, which averaged again lags behind the weights.
    """
    device = next(model.parameters()).device
    return TrainState(
        model=model,
        ema=None if ema_decay is None else ModelEmaV3(model, decay=ema_decay, use_warmup=True, exclude_buffers=True),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=dtype == torch.float16),
        identity=identity,
    )


def adamw(model: nn.Module, lr: float, weight_decay: float = 0.01, encoder_factor: float = 1.0) -> torch.optim.AdamW:
    """AdamW (Loshchilov & Hutter 2019) on the parameter_groups of `model`."""
    return torch.optim.AdamW(parameter_groups(model, lr, weight_decay, encoder_factor), fused=True)


def parameter_groups(model: nn.Module, lr: float, weight_decay: float, encoder_factor: float = 1.0) -> list[dict]:
    """Optimizer groups: the learning rate of `model.encoder` times `encoder_factor`, no decay for biases and norms.

    Parameters that need no gradient (a frozen encoder) are left out.
    """
    groups = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = encoder_factor if ".encoder." in f".{name}" else 1.0
            groups.setdefault((lr * factor, weight_decay if parameter.ndim > 1 else 0.0), []).append(parameter)
    return [
        {"params": params, "lr": rate, "initial_lr": rate, "weight_decay": wd} for (rate, wd), params in groups.items()
    ]


def warmup_cosine(progress: float, warmup: float = 0.05) -> float:
    """Up in a straight line during `warmup`, then down half a cosine to zero (Loshchilov & Hutter 2017)."""
    return _warm(progress, warmup, lambda rest: 0.5 * (1 + math.cos(math.pi * rest)))


def warmup_poly(progress: float, warmup: float = 0.05, power: float = 0.9) -> float:
    """Up in a straight line during `warmup`, then (1 - t)^power (Chen et al. 2017, DeepLab v2)."""
    return _warm(progress, warmup, lambda rest: (1 - rest) ** power)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes in it, float16 on older GPUs, else float32.

    A CPU without AVX512-BF16 or AMX emulates bfloat16 and is slower for it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        abilities = getattr(torch.cpu, "get_capabilities", dict)()  # an older PyTorch cannot tell
        return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
    return torch.float32


def fit(
    state: TrainState,
    train_loader: DataLoader,
    val_loader: DataLoader,
    criterion: Criterion,
    settings: Settings,
    folder: Path,
) -> None:
    """Train until settings.epochs and leave checkpoints and metrics.jsonl in `folder`.

    train_loader's batch sampler is an EpochBatches. Where `folder` holds a checkpoint, training goes on
    from it. Raises FloatingPointError at a loss that is not finite, ValueError if the checkpoint is of another run.
    """
    batches, world = train_loader.batch_sampler, settings.world
    resume(state, folder)
    _check_together(state, world)
    forward = data_parallel(state.model, world)
    if state.step == settings.epochs * batches.steps:
        return
    if state.step:
        world.tell(f"goes on from step {state.step} of {settings.epochs * batches.steps}: {folder / 'last.pt'}")
    with _tensorboard(folder, world) as board:
        for epoch in range(state.step // batches.steps, settings.epochs):
            batches.epoch, batches.first_step = epoch, state.step % batches.steps
            train_one_epoch(state, forward, train_loader, criterion, settings, folder)
            average, clock = world.share_buffers(state.average), time.perf_counter()  # as the main process saves it
            line = _epoch_line(state, evaluate(average, val_loader, settings), batches.steps)
            line["val_seconds"] = round(time.perf_counter() - clock, 2)
            state.history.append(line)
            state.loss_sum = state.seconds = state.waited = 0.0
            is_best = line["val_dice"] > state.best  # never true of NaN
            state.best = line["val_dice"] if is_best else state.best
            save(state, folder, world, is_best=is_best)
            if world.main:
                _log(line, settings.epochs, board)
    world.wait()


def train_one_epoch(
    state: TrainState, forward: nn.Module, loader: DataLoader, criterion: Criterion, settings: Settings, folder: Path
) -> None:
    """The steps that are left of the epoch. forward: state.model, or its DistributedDataParallel."""
    state.model.train()
    batches, saved, parts, pending = loader.batch_sampler, time.perf_counter(), [], []
    clock = time.perf_counter() - state.seconds
    source = read_ahead(loader) if loader.num_workers else loader  # to receive what a worker sends takes 2 ms
    name, quiet = f"epoch {batches.epoch + 1}/{settings.epochs}", settings.world.quiet
    bar = tqdm(source, name, total=len(loader), leave=False, disable=quiet)
    for micro_batch in _clocked(bar, state):
        parts.append(micro_batch)
        if len(parts) < batches.parts:
            continue
        _seed_step(settings.seed, state.step, settings.world.rank)
        for group in state.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * settings.schedule(state.step / (settings.epochs * batches.steps))
        loss, norm = _step(state, forward, parts, criterion, settings)
        state.step += 1
        if state.ema:
            state.ema.update(state.model, state.step)
        pending.append((state.step, loss, norm, [id for part in parts for id in part.id]))
        parts = []
        epoch_ends = state.step % batches.steps == 0
        if len(pending) == CHECK_EVERY or epoch_ends:
            bar.set_postfix(loss=f"{_settle(state, pending, settings):.4f}")
            state.seconds = time.perf_counter() - clock
            if not epoch_ends and time.perf_counter() - saved > 60 * settings.save_minutes:
                save(state, folder, settings.world)
                saved = time.perf_counter()


def _clocked(batches: Iterable[Sample], state: TrainState) -> Iterator[Sample]:
    """The batches; the time until each of them is there goes to state.waited."""
    source = iter(batches)
    while True:
        clock = time.perf_counter()
        batch = next(source, None)
        state.waited += time.perf_counter() - clock
        if batch is None:
            return
        yield batch


@torch.inference_mode()
def evaluate(model: nn.Module, loader: DataLoader, settings: Settings) -> np.ndarray:
    """Confusion matrix i64 (K, K), rows = truth, at the network's size, over every process's loader.

    K is settings.num_classes. A loader may be empty: there can be fewer pictures than processes.
    """
    model.eval()
    device, matrix = settings.world.device, np.zeros((settings.num_classes, settings.num_classes), np.int64)
    for batch in loader:
        with torch.autocast(device.type, settings.dtype, enabled=settings.dtype != torch.float32):
            logits = model(normalise(batch.image.to(device))).float()
        predicted = logits[:, 0] > 0 if logits.shape[1] == 1 else logits.argmax(dim=1)
        predicted = predicted.to(torch.uint8).cpu().numpy()
        matrix += confusion_matrix(batch.mask.numpy(), predicted, settings.num_classes)
    return settings.world.sum(torch.from_numpy(matrix).to(device)).cpu().numpy()


def save(state: TrainState, folder: Path, world: World, is_best: bool = False) -> None:
    """Write the checkpoint, and metrics.jsonl from its history, from the main process alone.

    last.pt comes last: it alone says how far training is, so whatever a kill leaves unwritten is written again.
    """
    if world.main:
        note = {"step": state.step, "epochs": len(state.history)}
        checkpoint.save_weights(folder / "last.safetensors", state.average, note)
        if is_best:
            link_atomic(folder / "last.safetensors", folder / "best.safetensors")
        write_atomic(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in state.history))
        checkpoint.save_state(folder / "last.pt", state.state_dict())


def resume(state: TrainState, folder: Path) -> None:
    """Take over the checkpoint in `folder`, if there is one.

    Raises ValueError with the difference if it is of another model, fold, configuration or data.
    """
    path = folder / "last.pt"
    if path.exists():
        found = checkpoint.load_state(path)
        if missing := state.state_dict().keys() - found.keys():
            raise ValueError(
                f"{path} lacks {sorted(missing)}: another version made it. Delete it to train this fold anew"
            )
        checkpoint.check_identity(path, state.identity, found["identity"])
        checkpoint.check_fit(state.model, found["model"], path)
        state.load_state_dict(found)
    for leftover in folder.glob(".*.partial"):  # of writes that were killed
        leftover.unlink(missing_ok=True)


def _step(
    state: TrainState, forward: nn.Module, parts: list[Sample], criterion: Criterion, settings: Settings
) -> tuple[Tensor, Tensor]:
    """One optimizer step over micro-batches: the mean loss and the gradient's norm, both still on the device."""
    device, losses = settings.world.device, []
    for number, part in enumerate(parts, start=1):
        images = normalise(part.image.to(device, non_blocking=True))
        masks = part.mask.to(device, non_blocking=True).long()
        quiet = isinstance(forward, DistributedDataParallel) and number < len(parts)
        with forward.no_sync() if quiet else contextlib.nullcontext():  # gradients travel once a step
            with torch.autocast(device.type, settings.dtype, enabled=settings.dtype != torch.float32):
                logits = forward(images)
            logits = logits.float() if isinstance(logits, Tensor) else [scale.float() for scale in logits]
            loss = criterion(logits, masks) / len(parts)
            state.scaler.scale(loss).backward()
        losses.append(loss.detach())
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses).sum(), norm.detach()


def _settle(state: TrainState, pending: list, settings: Settings) -> float:
    """Read the losses that are still on the device into the epoch's sum; the mean of those read.

    Raises FloatingPointError at the first step whose loss or gradient is not finite, naming its images.
    In float16 the scaler skips steps with infinite gradients, so there only the loss counts.
    """
    losses = settings.world.sum(torch.stack([loss for _, loss, _, _ in pending])) / settings.world.size
    norms = torch.stack([norm for _, _, norm, _ in pending])
    checked = losses if state.scaler.is_enabled() else losses + 0 * norms  # alike in all processes: all stop, or none
    bad = (~checked.isfinite()).nonzero().flatten().tolist()
    if bad:
        step, loss, norm, ids = pending[bad[0]]
        where = f"on {', '.join(ids)}" if not (loss + 0 * norm).isfinite() else "here, but not in another process"
        raise FloatingPointError(
            f"step {step}: the loss is {loss.item()}, the gradient's norm {norm.item()}, {where}. "
            "The last checkpoint is intact; lower --lr, or look at these images and masks"
        )
    if state.scaler.is_enabled() and state.scaler.get_scale() < 1e-3:  # halved 26 times: no step was taken since
        raise FloatingPointError(f"step {state.step}: in float16 every gradient overflows; lower --lr")
    state.loss_sum += losses.sum().item()
    pending.clear()
    return losses.mean().item()


def _epoch_line(state: TrainState, matrix: np.ndarray, steps: int) -> dict:
    """A line of metrics.jsonl. val_ scores are the data set's, at the network's size: for curves, not for claims."""
    binary = len(matrix) == 2  # of two classes only the second counts
    return {
        "epoch": state.step // steps,
        "loss": state.loss_sum / steps,
        "val_dice": float(dice(matrix)[1] if binary else mean_dice(matrix)),
        "val_iou": float(iou(matrix)[1] if binary else mean_iou(matrix)),
        "val_accuracy": float(pixel_accuracy(matrix)),
        "lr": max(group["lr"] for group in state.optimizer.param_groups),
        "seconds": round(state.seconds, 2),
        "waited": round(state.waited, 2),
    }


def _check_together(state: TrainState, world: World) -> None:
    """Raise ValueError if the processes found different checkpoints."""
    mean = world.sum(torch.tensor(state.step, device=world.device)).item() / world.size
    if mean != state.step:
        raise ValueError(
            f"process {world.rank} found a checkpoint of step {state.step}, others did not: "
            "the run folder must be on a disk that all nodes share"
        )


def _seed_step(seed: int, step: int, rank: int) -> None:
    torch.manual_seed(int(np.random.SeedSequence([seed, step, rank]).generate_state(1)[0]))


def _warm(progress: float, warmup: float, decay: Callable[[float], float]) -> float:
    return (progress + 1e-3) / (warmup + 1e-3) if progress < warmup else decay((progress - warmup) / (1 - warmup))


@contextlib.contextmanager
def _tensorboard(folder: Path, world: World) -> Iterator["SummaryWriter | None"]:
    """A writer of TensorBoard's files in the main process, where TensorBoard is installed; else None."""
    if not world.main or importlib.util.find_spec("tensorboard") is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:
        yield writer


def _log(line: dict, epochs: int, board: "SummaryWriter | None") -> None:
    """Print an epoch's line, and send it to TensorBoard."""
    busy = 1 - line["waited"] / max(line["seconds"], 0.01)  # the share of the time that did not wait for pictures
    print(
        f"epoch {line['epoch']:>3}/{epochs}  loss {line['loss']:.4f}  val dice {line['val_dice']:.4f}  "
        f"iou {line['val_iou']:.4f}  lr {line['lr']:.1e}  {line['seconds']:.1f} s, network busy {busy:.0%}",
        flush=True,
    )
    for name in line.keys() - {"epoch"} if board else ():
        board.add_scalar(name, line[name], line["epoch"])
