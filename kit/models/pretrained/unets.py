"""smp's decoders with skips at every stage: U-Net, UNet++, MA-Net and LinkNet.

Papers are named at each function; what all share is in kit.models.pretrained.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp

from kit.models.encoders import PadToStride
from kit.models.pretrained.padded import Norm, padded


def unet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    decoder_attention: Literal["scse"] | None = None,
    decoder_use_norm: Norm = "batchnorm",
    decoder_interpolation: str = "nearest",
) -> PadToStride:
    """U-Net (Ronneberger, Fischer, Brox 2015), with a padded and batch-normalised decoder that enlarges by repeating.

    encoder: smp's name ("resnet34"), or timm's with tu- before it ("tu-convnext_tiny").
    weights: "imagenet" or another set that smp has for the encoder ("ssl"); "none" (or None); or the path of a file
    with weights of the encoder or of a network with it (kit.models.weight_files lists the kinds). "imagenet" is taken
    from an installed package where one holds it (kit.models.packages), else from the hub.
    num_classes: channels of the logits, 1 for sigmoid. in_channels: of the images; kit.models.encoders says how
    pretrained weights are adapted. decoder_channels: from the deepest block to the last, one for each stage of the
    encoder. decoder_attention: None or "scse" (Roy et al. 2018).
    Raises OSError when the hub cannot be reached, FileNotFoundError when there is no such file, ValueError when the
    encoder, the file or an option does not fit.
    """
    construct = partial(
        smp.Unet,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_use_norm=decoder_use_norm,
        decoder_channels=decoder_channels,
        decoder_attention_type=decoder_attention,
        decoder_interpolation=decoder_interpolation,
        in_channels=in_channels,
        classes=num_classes,
    )
    return padded(construct, weights)


def unetplusplus(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    decoder_attention: Literal["scse"] | None = None,
    decoder_use_norm: Norm = "batchnorm",
    decoder_interpolation: str = "nearest",
) -> PadToStride:
    """UNet++ (Zhou et al. 2018), nested skips, without the paper's deep supervision. Options: see `unet`."""
    construct = partial(
        smp.UnetPlusPlus,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_use_norm=decoder_use_norm,
        decoder_channels=decoder_channels,
        decoder_attention_type=decoder_attention,
        decoder_interpolation=decoder_interpolation,
        in_channels=in_channels,
        classes=num_classes,
    )
    return padded(construct, weights)


def manet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_channels: Sequence[int] = (256, 128, 64, 32, 16),
    decoder_use_norm: Norm = "batchnorm",
    decoder_pab_channels: int = 64,
    decoder_interpolation: str = "nearest",
) -> PadToStride:
    """MA-Net (Fan et al. 2020): a U-Net with attention over positions in the middle and over channels in the decoder.

    decoder_pab_channels: of the attention over positions; its memory grows with the square of the image's area.
    """
    construct = partial(
        smp.MAnet,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_use_norm=decoder_use_norm,
        decoder_channels=decoder_channels,
        decoder_pab_channels=decoder_pab_channels,
        decoder_interpolation=decoder_interpolation,
        in_channels=in_channels,
        classes=num_classes,
    )
    return padded(construct, weights)


def linknet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_use_norm: Norm = "batchnorm",
) -> PadToStride:
    """LinkNet (Chaurasia & Culurciello 2017): skips are added, not concatenated."""
    construct = partial(
        smp.Linknet,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_use_norm=decoder_use_norm,
        in_channels=in_channels,
        classes=num_classes,
    )
    return padded(construct, weights)
