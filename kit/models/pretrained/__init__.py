"""The architectures of segmentation-models-pytorch (smp) 0.6, for images of any size, with pretrained encoders.

    unets.py         unet, unetplusplus, manet, linknet
    pyramids.py      fpn, pspnet, pan, deeplabv3, deeplabv3plus, upernet
    transformers.py  segformer, dpt
    padded.py        builds them, and wraps them for images of any size

Papers are named at each function. The encoders are trained on ImageNet, so no network is its paper's to the letter.
Every option of smp's constructors is an argument here, with smp's default and smp's name, except those for which kit
has its own name: encoder, weights, num_classes, decoder_attention. smp silently accepts any option that it does not
know; here Python refuses it. Two are fixed: activation=None, because losses and metrics want logits, and
aux_params=None, because no data of kit's has labels of whole images.

All functions share, beside the arguments that `unet` explains:
encoder_depth     stages of the encoder, each of half the size; fewer than the default make it smaller and coarser
decoder_use_norm  "batchnorm", "instancenorm", False, or a dict of a type and torch's arguments for it
upsampling        from the decoder's size to the image's; change it with the depth, the message says to which number

In training, pan, deeplabv3, deeplabv3plus and upernet need two images or more per batch: each normalises one value that
it has pooled from a whole image. The others take one, if it is larger than the encoder's stride. pan, deeplabv3 and
deeplabv3plus need an encoder that can be dilated: not VGG, DenseNet, Inception, Xception or most transformers.
"""

from kit.models.encoders import (
    PadToStride,
    check_encoder,
    encoder,
    freeze_encoder,
    load_encoder,
    statistics,
)
from kit.models.packages import packaged_weights
from kit.models.pretrained.pyramids import deeplabv3, deeplabv3plus, fpn, pan, pspnet, upernet
from kit.models.pretrained.transformers import dpt, segformer
from kit.models.pretrained.unets import linknet, manet, unet, unetplusplus

__all__ = [
    "PadToStride",
    "check_encoder",
    "deeplabv3",
    "deeplabv3plus",
    "dpt",
    "encoder",
    "fpn",
    "freeze_encoder",
    "linknet",
    "load_encoder",
    "manet",
    "packaged_weights",
    "pan",
    "pspnet",
    "segformer",
    "statistics",
    "unet",
    "unetplusplus",
    "upernet",
]
