"""The scores of an epoch: a line on the screen, a line of metrics.jsonl, a point in TensorBoard."""

import contextlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from kit.training.processes import World
from kit.training.state import TrainState

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


def epoch_line(state: TrainState, scores: dict[str, float], steps: int) -> dict:
    """A line of metrics.jsonl. steps: in a whole epoch.

    scores: those of the validation, by name. They are taken at the network's size: use them for curves, not for claims.
    """
    return {
        "epoch": state.step // steps,
        "loss": state.loss_sum / steps,
        **{f"val_{name}": float(score) for name, score in scores.items()},
        "lr": max(group["lr"] for group in state.optimizer.param_groups),
        "seconds": round(state.seconds, 2),
        "waited": round(state.waited, 2),
    }


@contextlib.contextmanager
def tensorboard(folder: Path, world: World) -> Iterator["SummaryWriter | None"]:
    """A writer of TensorBoard's files in the main process, where TensorBoard is installed; else None."""
    if not world.main or importlib.util.find_spec("tensorboard") is None:
        yield None
        return
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(folder / "tensorboard") as writer:
        yield writer


def log(line: dict, epochs: int, board: "SummaryWriter | None") -> None:
    """Print an epoch's line, and send it to TensorBoard."""
    busy = 1 - line["waited"] / max(line["seconds"], 0.01)  # the share of the time that did not wait for images
    scores = "  ".join(
        f"{name.removeprefix('val_')} {value:.4f}"
        for name, value in line.items()
        if name.startswith("val_") and name != "val_seconds"
    )
    shown = f"val {scores}  " if scores else ""  # nothing is held out of a full fit
    print(
        f"epoch {line['epoch']:>3}/{epochs}  loss {line['loss']:.4f}  {shown}lr {line['lr']:.1e}  "
        f"{line['seconds']:.1f} s, network busy {busy:.0%}",
        flush=True,
    )
    for name in line.keys() - {"epoch"} if board else ():
        board.add_scalar(name, line[name], line["epoch"])
