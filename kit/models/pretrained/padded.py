"""Builds one of smp's networks, checks it once, and wraps it for images of any size."""

import math
from functools import partial

import torch

from kit.models.encoders import build, check_output
from kit.models.inputs import PadToStride, check_numbers

Norm = bool | str | dict


def padded(construct: partial, weights: str | None, *, cells: int = 1, multiple: int = 1) -> PadToStride:
    """The network for images of any size: at least `cells` strides of its encoder, and multiples of `multiple`."""
    in_channels, num_classes = construct.keywords["in_channels"], construct.keywords["classes"]
    check_numbers(num_classes, in_channels)
    architecture, name = construct.func.__name__.lower(), construct.keywords["encoder_name"]
    net, fixed = build(construct, architecture, name, weights)
    stride = fixed or math.lcm(multiple, net.encoder.output_stride)
    smallest = math.ceil(max(64, cells * stride) / stride) * stride
    images = torch.zeros(1, in_channels, smallest, smallest)
    size = check_output(net, images, architecture, name).shape[2]
    if size != smallest:
        right = construct.keywords["upsampling"] * smallest / size
        raise ValueError(
            f"{architecture}: logits of {size} x {size} for images of {smallest} x {smallest}; encoder_depth="
            f"{construct.keywords['encoder_depth']} needs upsampling={right:g}"
        )
    network = PadToStride(net, stride, smallest=cells * stride if cells > 1 else 0, in_channels=in_channels)
    network.num_classes = num_classes
    if hasattr(net, "mean"):
        network.mean, network.std, network.package = net.mean, net.std, net.package
    return network
