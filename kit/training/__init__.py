"""How is a network trained?

loop.py        fit: the epochs and steps, resumable bit for bit
state.py       all that changes while training: what a checkpoint holds
optimizers.py  AdamW and parameter groups, schedules of the learning rate
sampling.py    images of rare classes are drawn more often
progress.py    the scores of an epoch: the printed line, metrics.jsonl, TensorBoard
checkpoint.py  files that are whole or absent, and never run code
averages.py    the mean of the weights of several epochs, and batch normalisation after it
loaders.py     how data workers are started
processes.py   the process group: which batches and images are this process's share
"""

from kit.training.checkpoint import load_weights, save_weights
from kit.training.loop import Settings, best_dtype, fit, supervised
from kit.training.optimizers import adamw, parameter_groups, warmup_cosine, warmup_poly
from kit.training.processes import EpochBatches, World
from kit.training.sampling import repeat_factors
from kit.training.state import TrainState, new_state

__all__ = [
    "EpochBatches",
    "Settings",
    "TrainState",
    "World",
    "adamw",
    "best_dtype",
    "fit",
    "load_weights",
    "new_state",
    "parameter_groups",
    "repeat_factors",
    "save_weights",
    "supervised",
    "warmup_cosine",
    "warmup_poly",
]
