"""All that changes while a network is trained, and how it is saved and taken over again."""

import json
import math
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from kit.system.files import link_atomic, write_atomic
from kit.training import checkpoint
from kit.training.averages import kept_path
from kit.training.moving import MovingAverage
from kit.training.processes import World


@dataclass
class TrainState:
    """Everything that changes while training, and so everything that a checkpoint holds."""

    model: nn.Module
    ema: MovingAverage | None  # the exponential moving average of the weights, if one is kept
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    identity: dict = field(default_factory=dict)  # plain values that a checkpoint must share to be resumed
    defaults: dict = field(default_factory=dict)  # of flags: an older checkpoint may lack one that has its default
    step: int = 0  # optimizer steps done, over all epochs
    loss_sum: float = 0.0  # over the steps of the epoch in progress
    seconds: float = 0.0  # spent on the epoch in progress
    waited: float = 0.0  # the part of `seconds` spent waiting for the loader
    best: float = -math.inf
    history: list[dict] = field(default_factory=list)  # the lines of metrics.jsonl

    PARTS = ("model", "optimizer", "scaler")
    VALUES = ("identity", "step", "loss_sum", "seconds", "waited", "best", "history")

    @property
    def average(self) -> nn.Module:
        """The network that is validated, kept and predicts: with the averaged weights, if an average is kept."""
        return self.ema.module if self.ema else self.model

    def state_dict(self) -> dict:
        """Tensors and plain values only."""
        parts = {name: getattr(self, name).state_dict() for name in self.PARTS}
        average = {"ema": self.ema.module.state_dict()} if self.ema else {}
        return {**parts, **average, **{name: getattr(self, name) for name in self.VALUES}}

    def load_state_dict(self, state: dict) -> None:
        """Take over what state_dict returned."""
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
    defaults: dict | None = None,
) -> TrainState:
    """The state before the first step.

    optimizer: over the model's parameters. Each of its groups keeps its learning rate as `initial_lr`.
    identity: plain values. A checkpoint with other values is refused. defaults: values that a checkpoint may lack.
    ema_decay: of the MovingAverage of the weights. None keeps no average, as in papers before 2016.
    """
    device = next(model.parameters()).device
    for group in optimizer.param_groups:
        group.setdefault("initial_lr", group["lr"])
    return TrainState(
        model=model,
        ema=None if ema_decay is None else MovingAverage(model, ema_decay),
        optimizer=optimizer,
        scaler=torch.amp.GradScaler(device.type, enabled=dtype == torch.float16),
        identity=identity,
        defaults=defaults or {},
    )


def save(state: TrainState, folder: Path, world: World, is_best: bool = False) -> None:
    """Write the checkpoint, and metrics.jsonl from its history, from the main process alone.

    last.pt is written last. It alone says how far training is, so what a kill leaves unwritten is written again.
    """
    if world.main:
        note = {"step": state.step, "epochs": len(state.history)}
        checkpoint.save_weights(folder / "last.safetensors", state.average, note)
        if is_best:
            link_atomic(folder / "last.safetensors", folder / "best.safetensors")
        write_atomic(folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in state.history))
        checkpoint.save_state(folder / "last.pt", state.state_dict())


def keep_weights(state: TrainState, folder: Path, world: World) -> None:
    """Keep the weights at the end of an epoch as they are, without their average over steps."""
    if world.main:
        note = {"step": state.step, "epochs": len(state.history)}
        path = kept_path(folder, len(state.history))
        path.parent.mkdir(exist_ok=True)
        checkpoint.save_weights(path, state.model, note)


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
        checkpoint.check_identity(path, state.identity, found["identity"], state.defaults)
        checkpoint.check_fit(state.model, found["model"], path)
        state.load_state_dict({**found, "identity": state.identity})
    for leftover in folder.glob(".*.partial"):  # of writes that were killed
        leftover.unlink(missing_ok=True)
