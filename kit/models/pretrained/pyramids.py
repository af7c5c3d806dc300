"""smp's decoders that pool or merge maps of several scales: FPN, PSPNet, PAN, DeepLabv3 and v3+, UPerNet.

Papers are named at each function; what all share is in kit.models.pretrained, the common arguments at `unet`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp

from kit.models.encoders import PadToStride
from kit.models.pretrained.padded import Norm, padded


def fpn(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_pyramid_channels: int = 256,
    decoder_segmentation_channels: int = 128,
    decoder_merge_policy: Literal["add", "cat"] = "add",
    decoder_dropout: float = 0.2,
    decoder_interpolation: str = "nearest",
    upsampling: int = 4,
) -> PadToStride:
    """A feature pyramid (Lin et al. 2017) with the semantic branch of Kirillov et al. 2019, figure 3."""
    construct = partial(
        smp.FPN,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_pyramid_channels=decoder_pyramid_channels,
        decoder_segmentation_channels=decoder_segmentation_channels,
        decoder_merge_policy=decoder_merge_policy,
        decoder_dropout=decoder_dropout,
        decoder_interpolation=decoder_interpolation,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights)


def pspnet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 3,
    psp_out_channels: int = 512,
    decoder_use_norm: Norm = "batchnorm",
    psp_dropout: float = 0.2,
    upsampling: int = 8,
) -> PadToStride:
    """PSPNet (Zhao et al. 2017): pools over 1, 4, 9 and 36 parts of the image; no dilation, no auxiliary loss.

    By default on the encoder's first three stages alone (stride 8); the others are not run and not trained.
    """
    construct = partial(
        smp.PSPNet,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        psp_out_channels=psp_out_channels,
        decoder_use_norm=decoder_use_norm,
        psp_dropout=psp_dropout,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights)


def pan(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: Literal[3, 4, 5] = 5,
    encoder_output_stride: Literal[16, 32] = 16,
    decoder_channels: int = 32,
    decoder_interpolation: str = "bilinear",
    upsampling: int = 4,
) -> PadToStride:
    """Pyramid attention network (Li et al. 2018). Images under 8 strides of the encoder (128 pixels) are padded."""
    construct = partial(
        smp.PAN,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        encoder_output_stride=encoder_output_stride,
        decoder_channels=decoder_channels,
        decoder_interpolation=decoder_interpolation,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights, cells=8)  # it halves the encoder's map three times


def deeplabv3(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    encoder_output_stride: Literal[8, 16] = 8,
    decoder_channels: int = 256,
    decoder_atrous_rates: Sequence[int] = (12, 24, 36),
    decoder_aspp_separable: bool = False,
    decoder_aspp_dropout: float = 0.5,
    upsampling: int | None = None,
) -> PadToStride:
    """DeepLabv3 (Chen et al. 2017): dilated convolutions at three rates beside a global pooling.

    decoder_atrous_rates: the paper's for stride 8 are these, for stride 16 half of them; upsampling: None fits the
    depth and the stride.
    """
    construct = partial(
        smp.DeepLabV3,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        encoder_output_stride=encoder_output_stride,
        decoder_channels=decoder_channels,
        decoder_atrous_rates=decoder_atrous_rates,
        decoder_aspp_separable=decoder_aspp_separable,
        decoder_aspp_dropout=decoder_aspp_dropout,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights)


def deeplabv3plus(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: Literal[3, 4, 5] = 5,
    encoder_output_stride: Literal[8, 16] = 16,
    decoder_channels: int = 256,
    decoder_atrous_rates: Sequence[int] = (12, 24, 36),
    decoder_aspp_separable: bool = True,
    decoder_aspp_dropout: float = 0.5,
    upsampling: int = 4,
) -> PadToStride:
    """DeepLabv3+ (Chen et al. 2018): DeepLabv3, separable, and a skip of stride 4. The paper's rates: see there."""
    construct = partial(
        smp.DeepLabV3Plus,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        encoder_output_stride=encoder_output_stride,
        decoder_channels=decoder_channels,
        decoder_atrous_rates=decoder_atrous_rates,
        decoder_aspp_separable=decoder_aspp_separable,
        decoder_aspp_dropout=decoder_aspp_dropout,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights)


def upernet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_channels: int = 256,
    decoder_use_norm: Norm = "batchnorm",
    upsampling: int = 4,
) -> PadToStride:
    """UPerNet (Xiao et al. 2018): PSPNet's pooling on top of a feature pyramid."""
    construct = partial(
        smp.UPerNet,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_channels=decoder_channels,
        decoder_use_norm=decoder_use_norm,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return padded(construct, weights)
