"""Every network of kit, made narrow: name -> how to build it, and the one pattern that fills their weights."""

import math
from functools import partial

import numpy as np
import torch

from kit.models import pretrained
from kit.models.deconvnet import DeconvNet, SmallDeconvNet
from kit.models.dynamic_unet import DynamicUNet
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.segnet import SegNet, SegNetBasic
from kit.models.unet import CompactUNet, UNet

TENTH = 0.1  # of the paper's width


def dynamic_unet(num_classes, in_channels=3, name="tu-test_efficientnet", weights="none", **options):
    encoder = pretrained.encoder(name, weights, in_channels)
    return DynamicUNet(encoder, num_classes=num_classes, in_channels=in_channels, **options)


HAND_WRITTEN = {
    "FCN32s": partial(FCN32s, width=TENTH),
    "FCN16s": partial(FCN16s, width=TENTH),
    "FCN8s": partial(FCN8s, width=TENTH),
    "SmallDeconvNet": partial(SmallDeconvNet, width=8),
    "DeconvNet": partial(DeconvNet, width=TENTH),
    "SegNet": partial(SegNet, width=TENTH),
    "SegNetBasic": SegNetBasic,
    "UNet": partial(UNet, width=8),
    "valid UNet": partial(UNet, width=4, valid=True),
    "CompactUNet": CompactUNet,
    "DynamicUNet": partial(dynamic_unet, middle_channels=16),
}

SKIPS = {"decoder_channels": (16, 8, 8, 8, 8)}
OPTIONS = {  # of each of smp's architectures: what makes its decoder narrow
    "unet": SKIPS,
    "unetplusplus": SKIPS,
    "manet": SKIPS,
    "linknet": {},
    "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "pspnet": {"psp_out_channels": 32},
    "pan": {},
    "deeplabv3": {"decoder_channels": 16},
    "deeplabv3plus": {"decoder_channels": 16},
    "upernet": {"decoder_channels": 16},
    "segformer": {"decoder_segmentation_channels": 16},
    "dpt": {"decoder_intermediate_channels": (8, 8, 8, 8), "decoder_fusion_channels": 8},
}


# timm's encoders for tests have half a million weights where resnet18 has eleven million to be drawn; the attention of
# manet and pan has a sixteenth of their channels, four, of which some are dead by chance
ENCODERS = {"dpt": "tu-test_vit", "manet": "resnet18", "pan": "resnet18"}


def small_encoder(architecture):
    return ENCODERS.get(architecture, "tu-test_efficientnet")


def pretrained_network(architecture, num_classes, in_channels=3, weights="none"):
    build = getattr(pretrained, architecture)
    options = {"num_classes": num_classes, "in_channels": in_channels, **OPTIONS[architecture]}
    return build(small_encoder(architecture), weights, **options)


NETWORKS = HAND_WRITTEN | {name: partial(pretrained_network, name) for name in OPTIONS}


def fill(model):
    """Weights from a fixed pattern, scaled by fan-in, so that no random stream of torch's matters."""
    pattern = torch.from_numpy(np.random.default_rng(0).normal(size=65_537).astype(np.float32))
    with torch.no_grad():
        for parameter in model.parameters():
            repeats = math.ceil(parameter.numel() / len(pattern))
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            values = pattern.repeat(repeats)[: parameter.numel()].view_as(parameter) * scale
            parameter.copy_(values + (1 if parameter.ndim == 1 else 0))
    return model


def noise(*size, batch=1, channels=3, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, channels, *size)).astype(np.float32))
