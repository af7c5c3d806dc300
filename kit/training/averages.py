"""Averages of the weights of one training: checkpoints of several epochs as one network.

    weights = mean_weights([fold / "kept/epoch018.safetensors", fold / "kept/epoch020.safetensors"])
    renew_batch_norm(network, batches)

Izmailov et al. 2018, "Averaging Weights Leads to Wider Optima and Better Generalization", section 3: the mean of the
weights along one training, and the statistics of batch normalisation by one more pass over training images. Wortsman et
al. 2022, "Model soups", average checkpoints of several trainings; here all are of one training, whose weights lie in
one basin.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

KEPT = "kept"  # the folder of a fold's kept weights


def kept_path(folder: Path, epoch: int) -> Path:
    """Where the weights at the end of an epoch, from 1, are kept. folder: of the fold."""
    return folder / KEPT / f"epoch{epoch:04}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """The epochs, from 1, whose weights a fold's folder keeps."""
    names = (path.stem.removeprefix("epoch") for path in (folder / KEPT).glob("epoch*.safetensors"))
    return sorted(int(name) for name in names if name.isdecimal())


def mean_weights(paths: Sequence[Path]) -> dict[str, Tensor]:
    """The mean of the weights in several files, summed in f64; of whole numbers, as counters, those of the last file.

    Raises ValueError where a file is damaged or holds other tensors than the first.
    """
    total: dict[str, Tensor] = {}
    for path in paths:
        try:
            own = safetensors.torch.load_file(path)
        except SafetensorError as error:
            raise ValueError(f"{path} is damaged ({error}); delete it, or train the fold anew") from error
        if total and {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in total.items()}:
            raise ValueError(f"{path} holds weights of another network than {paths[0]}")
        for name, value in own.items():
            is_float = value.is_floating_point()
            total[name] = value.double() + total.get(name, 0) if is_float else value
        dtypes = {name: value.dtype for name, value in own.items()}
    return {k: (v / len(paths)).to(dtypes[k]) if v.is_floating_point() else v for k, v in total.items()}


@torch.no_grad()
def renew_batch_norm(network: nn.Module, batches: Iterable[Tensor], forward: nn.Module | None = None) -> None:
    """Compute the statistics of batch normalisation anew, as the mean over some batches of normalised images.

    As torch.optim.swa_utils.update_bn, but for dropout, which stays off. forward: what images go through, where it is
    more than the network, as in tiles. A network without such layers stays as it is, and no batch is asked for.
    """
    layers = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    if not layers:
        return
    network.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over batches
        layer.train()
    for images in batches:
        (forward or network)(images)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
    network.eval()
