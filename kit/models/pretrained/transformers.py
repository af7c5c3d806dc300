"""smp's decoders made for transformers: SegFormer and DPT.

Papers are named at each function; what all share is in kit.models.pretrained, the common arguments at `unet`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import segmentation_models_pytorch as smp

from kit.models.encoders import PadToStride
from kit.models.pretrained.padded import padded


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
    return padded(construct, weights)


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

    encoder: "tu-vit_base_patch16_224.augreg_in21k" and similar, with patches of 8, 16 or 32 pixels: not DINOv2's 14.
    encoder_output_indices: the blocks to read, spread evenly by default; encoder_depth: how many.
    decoder_readout: the use of the class token; "ignore" for encoders that have none.
    Position embeddings are resampled to the image's size; a transformer that cannot do so (BEiT) takes images up to its
    own size alone.
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
    return padded(construct, weights, multiple=2 ** (encoder_depth + 1))  # the scale of the decoder's deepest map
