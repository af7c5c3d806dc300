"""The architectures of segmentation-models-pytorch (smp) 0.6, for pictures of any size, with pretrained encoders.

Papers are named at each function; the encoders are trained on ImageNet, so none is its paper's network to the letter.
Every option of smp's constructors is an argument here, with smp's default, under smp's name but for those that kit
has its own for: encoder, weights, num_classes, decoder_attention. smp takes any option it does not know in silence;
here Python refuses it. Two are fixed: activation=None, for losses and metrics want logits, and aux_params=None, for
no data of kit's has labels of whole pictures.

All functions share, beside what `unet` explains:
encoder_depth     stages of the encoder, each of half the size; fewer than the default make it smaller and coarser
decoder_use_norm  "batchnorm", "instancenorm", False, or a dict of a type and torch's arguments for it
upsampling        from the decoder's size to the picture's; change it with the depth, the message says to what

In training, pan, deeplabv3, deeplabv3plus and upernet need two pictures a batch or more: each normalises what it has
pooled from a whole picture to one value. The others take one, if larger than the encoder's stride. pan, deeplabv3 and
deeplabv3plus want an encoder that can be dilated: not VGG, DenseNet, Inception, Xception or most transformers.
"""

import math
from collections.abc import Sequence
from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp
import torch

from kit.models.encoders import PadToStride, build, check
from kit.models.encoders import encoder as encoder
from kit.models.encoders import freeze_encoder as freeze_encoder
from kit.models.encoders import load_encoder as load_encoder

Norm = bool | str | dict


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

    encoder: smp's name ("resnet34") or timm's with tu- before it ("tu-convnext_tiny"); weights: "imagenet" or another
    set that smp has for the encoder ("ssl"), "none" (or None), or the path of a state dict of the encoder (.pth or
    .safetensors); num_classes: channels of the logits, 1 for sigmoid; decoder_channels: from the deepest block to the
    last, one a stage of the encoder; decoder_attention: None or "scse" (Roy et al. 2018).
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
    return _padded(construct, weights)


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
    return _padded(construct, weights)


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

    decoder_pab_channels: of the attention over positions, whose memory grows with the square of the picture's area.
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
    return _padded(construct, weights)


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
    return _padded(construct, weights)


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
    return _padded(construct, weights)


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
    """PSPNet (Zhao et al. 2017): pools over 1, 4, 9 and 36 parts of the picture; no dilation, no auxiliary loss.

    By default on the encoder's first three stages alone (stride 8); the rest is not run and not trained.
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
    return _padded(construct, weights)


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
    """Pyramid attention network (Li et al. 2018). Pictures under 8 strides of the encoder (128 pixels) are padded."""
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
    return _padded(construct, weights, cells=8)  # it halves the encoder's map three times


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
    return _padded(construct, weights)


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
    return _padded(construct, weights)


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
    return _padded(construct, weights)


def segformer(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 5,
    decoder_segmentation_channels: int = 256,
    upsampling: int = 4,
) -> PadToStride:
    """SegFormer (Xie et al. 2021): a decoder of linear layers; the paper's encoders are mit_b0 to mit_b5."""
    construct = partial(
        smp.Segformer,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        decoder_segmentation_channels=decoder_segmentation_channels,
        in_channels=in_channels,
        classes=num_classes,
        upsampling=upsampling,
    )
    return _padded(construct, weights)


def dpt(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    encoder_depth: int = 4,
    encoder_output_indices: list[int] | None = None,
    decoder_readout: Literal["ignore", "add", "cat"] = "cat",
    decoder_intermediate_channels: Sequence[int] = (256, 512, 1024, 1024),
    decoder_fusion_channels: int = 256,
) -> PadToStride:
    """Dense prediction transformer (Ranftl, Bochkovskiy, Koltun 2021), on timm's vision transformers alone.

    encoder: "tu-vit_base_patch16_224.augreg_in21k" and its like, of patches of 8, 16 or 32 pixels: not DINOv2's 14;
    encoder_output_indices: the blocks to read, spread evenly by default, and encoder_depth how many;
    decoder_readout: what becomes of the class token; "ignore" for encoders that have none.
    Position embeddings are resampled to the picture's size; a transformer that cannot do so (BEiT) takes pictures up to
    its own size alone.
    """
    construct = partial(
        smp.DPT,
        encoder_name=encoder,
        encoder_depth=encoder_depth,
        encoder_output_indices=encoder_output_indices,
        decoder_readout=decoder_readout,
        decoder_intermediate_channels=decoder_intermediate_channels,
        decoder_fusion_channels=decoder_fusion_channels,
        in_channels=in_channels,
        classes=num_classes,
    )
    return _padded(construct, weights, multiple=2 ** (encoder_depth + 1))  # the scale of the decoder's deepest map


def _padded(construct: partial, weights: str | None, *, cells: int = 1, multiple: int = 1) -> PadToStride:
    """The network for pictures of any size: at least `cells` strides of its encoder, and multiples of `multiple`."""
    architecture, name = construct.func.__name__.lower(), construct.keywords["encoder_name"]
    net, fixed = build(construct, architecture, name, weights)
    stride = fixed or math.lcm(multiple, net.encoder.output_stride)
    smallest = math.ceil(max(64, cells * stride) / stride) * stride
    images = torch.zeros(1, construct.keywords["in_channels"], smallest, smallest)
    size = check(net, images, architecture, name).shape[2]
    if size != smallest:
        right = construct.keywords["upsampling"] * smallest / size
        raise ValueError(
            f"{architecture}: logits of {size} x {size} for pictures of {smallest} x {smallest}; encoder_depth="
            f"{construct.keywords['encoder_depth']} needs upsampling={right:g}"
        )
    return PadToStride(net, stride, smallest=cells * stride if cells > 1 else 0)
