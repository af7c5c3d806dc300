"""What networks on a pretrained encoder share: its number of channels, its statistics, its batch normalisation."""

from torch import nn


def check_encoder(encoder: nn.Module, in_channels: int) -> None:
    """Raise ValueError where the encoder was built for another number of channels."""
    if (theirs := getattr(encoder, "in_channels", in_channels)) != in_channels:
        raise ValueError(f"in_channels is {in_channels} here and {theirs} in the encoder: give both the same")


def take_statistics(network: nn.Module, encoder: nn.Module) -> None:
    """Give the network the encoder's `.mean`, `.std` and `.package`, where it began with weights that have them."""
    if getattr(encoder, "mean", None) is not None:
        network.mean, network.std = encoder.mean, encoder.std
        network.package = getattr(encoder, "package", "")


def still_batchnorm(encoder: nn.Module) -> None:
    """Put the encoder's batch normalisation in evaluation mode: it uses its stored statistics."""
    for module in encoder.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):  # SyncBatchNorm too
            module.eval()
