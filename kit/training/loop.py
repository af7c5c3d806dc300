"""The training loop: plain PyTorch, for one process or many. A killed run resumes, on a CPU bit for bit.

Nothing random is carried along; that makes it exact. The order of the images depends on (seed, epoch), the augmentation
of an image on (seed, epoch, index), dropout on (seed, step, rank), the learning rate on the step: see EpochBatches,
Augment, _seed_step and Settings.schedule. So a checkpoint holds the weights, their average, the optimizer and the
step, and everything else follows.

What is learnt is not the loop's concern. `loss_of(model, batch)` gives the loss: it may use sample weights by id,
several outputs, border maps, boxes, or mix images. `evaluate(model)` gives the scores of a validation.
"""

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader
from tqdm import tqdm

from kit.data.normalise import Normalisation
from kit.data.samples import Sample
from kit.system.threads import read_ahead
from kit.training import progress
from kit.training.processes import World, data_parallel
from kit.training.state import TrainState, keep_weights, resume, save

LossOf = Callable[["Float32Network", Sample], Tensor]
Evaluate = Callable[[nn.Module], dict[str, float]]
CHECK_EVERY = 20  # steps between looks at the loss: reading it stops the GPU's queue


@dataclass(frozen=True)
class Settings:
    """How to train: what stays the same from the first step to the last."""

    epochs: int
    world: World
    dtype: torch.dtype  # of the forward pass: bfloat16, float16 or float32
    schedule: Callable[[float], float]  # share of training done, 0..1 -> factor of the learning rate
    normalise: Normalisation
    seed: int = 0
    clip: float = 1.0  # largest norm of the gradient
    save_minutes: float = 10.0  # between checkpoints inside an epoch
    keep: int = 0  # epochs at the end of training whose weights are kept, for averages: see averages.py


class Float32Network:
    """What loss_of calls: the network in the dtype of the forward pass, its outputs in float32.

    A loss in float16 overflows: Dice at 1024² is NaN. Outputs may be tensors, or lists, tuples and dicts of them.
    """

    def __init__(self, network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
        self.network, self.device, self.dtype = network, device, dtype

    def __call__(self, *inputs: object) -> object:
        """Run the network."""
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            outputs = self.network(*inputs)
        return _in_float32(outputs)


def supervised(criterion: Callable[[Tensor, Tensor], Tensor]) -> LossOf:
    """The loss_of of a criterion (logits, masks) -> scalar: what most recipes train with."""
    return lambda model, batch: criterion(model(batch.image), batch.mask)


def best_dtype(device: torch.device) -> torch.dtype:
    """bfloat16 where the hardware computes in it, float16 on older GPUs, else float32.

    A CPU without AVX512-BF16 or AMX emulates bfloat16 and is slower for it.
    """
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    if device.type == "cpu":
        abilities = getattr(torch.cpu, "get_capabilities", dict)()  # an older PyTorch does not know
        return torch.bfloat16 if abilities.get("avx512_bf16") or abilities.get("amx_bf16") else torch.float32
    return torch.float32


def fit(
    state: TrainState,
    train_loader: DataLoader,
    loss_of: LossOf,
    evaluate: Evaluate,
    settings: Settings,
    folder: Path,
) -> None:
    """Train until settings.epochs and leave checkpoints and metrics.jsonl in `folder`.

    train_loader: batches of Sample; its batch sampler is an EpochBatches.
    loss_of(model, batch): a scalar. It is given a Float32Network, and the batch on the device with normalised images
        f32 (N, C, H, W) and masks i64 (N, H, W).
    evaluate(model): the scores of the validation by name, in every process. The first one chooses the best epoch.
    Resumes from the checkpoint in `folder`, if there is one. Raises FloatingPointError at a loss that is not finite,
    ValueError if the checkpoint is of another run.
    """
    batches, world = train_loader.batch_sampler, settings.world
    resume(state, folder)
    _check_together(state, world)
    network = Float32Network(data_parallel(state.model, world), world.device, settings.dtype)
    if state.step == settings.epochs * batches.steps:
        return
    if state.step:
        world.say(f"resuming from step {state.step} of {settings.epochs * batches.steps}: {folder / 'last.pt'}")
    with progress.tensorboard(folder, world) as board:
        for epoch in range(state.step // batches.steps, settings.epochs):
            batches.epoch, batches.first_step = epoch, state.step % batches.steps
            train_one_epoch(state, network, train_loader, loss_of, settings, folder)
            average, clock = world.share_buffers(state.average), time.perf_counter()  # as the main process saves it
            scores = evaluate(average)
            line = progress.epoch_line(state, scores, batches.steps)
            line["val_seconds"] = round(time.perf_counter() - clock, 2)
            state.history.append(line)
            state.loss_sum = state.seconds = state.waited = 0.0
            score = next(iter(scores.values()), float("nan"))
            is_best = score > state.best  # never true of NaN
            state.best = float(score) if is_best else state.best
            if epoch >= settings.epochs - settings.keep:
                keep_weights(state, folder, world)  # before the checkpoint, which says that the epoch is done
            save(state, folder, world, is_best=is_best)
            if world.main:
                progress.log(line, settings.epochs, board)
    world.wait()


def train_one_epoch(
    state: TrainState,
    network: Float32Network,
    loader: DataLoader,
    loss_of: LossOf,
    settings: Settings,
    folder: Path,
) -> None:
    """Do the steps that are left of the epoch."""
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
        loss, norm = _step(state, network, parts, loss_of, settings)
        state.step += 1
        if state.ema:
            state.ema.update(state.step)
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
    """The batches. The time until each of them is there is added to state.waited."""
    source = iter(batches)
    while True:
        clock = time.perf_counter()
        batch = next(source, None)
        state.waited += time.perf_counter() - clock
        if batch is None:
            return
        yield batch


def _step(
    state: TrainState, network: Float32Network, parts: list[Sample], loss_of: LossOf, settings: Settings
) -> tuple[Tensor, Tensor]:
    """One optimizer step over micro-batches: the mean loss and the gradient's norm, both still on the device."""
    losses = []
    for number, part in enumerate(parts, start=1):
        batch = _on_device(part, settings)
        quiet = isinstance(network.network, DistributedDataParallel) and number < len(parts)
        with network.network.no_sync() if quiet else contextlib.nullcontext():  # gradients travel once a step
            loss = loss_of(network, batch) / len(parts)
            if loss.dtype != torch.float32 or loss.ndim:
                raise ValueError(f"loss_of returned {loss.dtype} {tuple(loss.shape)}, expected a float32 scalar")
            state.scaler.scale(loss).backward()
        losses.append(loss.detach())
    state.scaler.unscale_(state.optimizer)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), settings.clip)
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)
    return torch.stack(losses).sum(), norm.detach()


def _on_device(batch: Sample, settings: Settings) -> Sample:
    """The batch on the device: normalised images f32, masks i64; what a target gave as floats stays so."""
    device = settings.world.device
    images, mask = (
        settings.normalise(batch.image.to(device, non_blocking=True)),
        batch.mask.to(device, non_blocking=True),
    )
    return batch._replace(image=images, mask=mask if mask.is_floating_point() else mask.long())


def _in_float32(outputs: object) -> object:
    if isinstance(outputs, Tensor):
        return outputs.float() if outputs.is_floating_point() else outputs
    if isinstance(outputs, dict):
        return {name: _in_float32(output) for name, output in outputs.items()}
    if isinstance(outputs, list | tuple):
        return [_in_float32(output) for output in outputs]
    return outputs


def _settle(state: TrainState, pending: list, settings: Settings) -> float:
    """Add the losses that are still on the device to the epoch's sum. Returns the mean of those read.

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
            "The last checkpoint is intact; lower the learning rate, or look at these images and masks"
        )
    if state.scaler.is_enabled() and state.scaler.get_scale() < 1e-3:  # halved 26 times: no step was taken since
        raise FloatingPointError(f"step {state.step}: in float16 every gradient overflows; lower the learning rate")
    state.loss_sum += losses.sum().item()
    pending.clear()
    return losses.mean().item()


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
