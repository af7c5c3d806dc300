"""What every hand-written network must do; what its own paper says stands in its own test file."""

import functools
import math

import numpy as np
import pytest
import torch

from kit.models.deconvnet import DeconvNet, SmallDeconvNet
from kit.models.dynamic_unet import DynamicUNet
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.pretrained import encoder
from kit.models.segnet import SegNet, SegNetBasic
from kit.models.unet import CompactUNet, UNet

SIZE = (97, 131)  # odd, and no multiple of any stride

# name: how to build it for three classes, its number of parameters counted by hand in its own test file, and its
# golden number (see `golden`), which changes only when the computation does
NETWORKS = {
    "FCN32s": (lambda: FCN32s(num_classes=3), 134_309_699, 0.62002157),
    "FCN16s": (lambda: FCN16s(num_classes=3), 134_283_734, 1.24477518),
    "FCN8s": (lambda: FCN8s(num_classes=3), 134_277_737, 2.04178478),
    "SmallDeconvNet": (lambda: SmallDeconvNet(num_classes=3), 2_325_955, 7.13337475),
    "DeconvNet": (lambda: DeconvNet(num_classes=3), 251_804_483, 16.13462889),
    "SegNet": (lambda: SegNet(num_classes=3), 29_444_739, 6.89955892),
    "SegNetBasic": (lambda: SegNetBasic(num_classes=3), 1_415_555, 2.65319070),
    "UNet": (lambda: UNet(num_classes=3), 31_031_875, 14.47108648),
    "CompactUNet": (lambda: CompactUNet(num_classes=3), 4_835_715, 13.57090683),
    "DynamicUNet": (lambda: DynamicUNet(encoder("resnet18", "none"), num_classes=3), 31_113_108, 298.05248128),
}
# bfloat16 rounds some of the values that are pooled to the same, and a maximum then moves by a pixel: about one in
# a hundred does, and adds up; test_deconvnet.py shows that nothing else is the matter
UNPOOLING = {"SmallDeconvNet", "DeconvNet", "SegNet", "SegNetBasic"}

ALL = pytest.mark.parametrize("name", NETWORKS)


@functools.cache
@torch.inference_mode(False)  # whichever test asks first
def network(name):
    """Built once and filled from a fixed pattern, scaled by fan-in, so that no random stream of torch's matters."""
    pattern = torch.from_numpy(np.random.default_rng(0).normal(size=65_537).astype(np.float32))
    model = NETWORKS[name][0]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            repeats = math.ceil(parameter.numel() / len(pattern))
            scale = (2 / parameter[0].numel()) ** 0.5 if parameter.ndim > 1 else 0.1
            values = pattern.repeat(repeats)[: parameter.numel()].view_as(parameter) * scale
            parameter.copy_(values + (1 if parameter.ndim == 1 else 0))
    return model


def image(size=SIZE, seed=1):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(1, 3, *size)).astype(np.float32))


def golden(logits):
    """The mean of the logits' absolute values, each weighted by its place: a shift, a swap or another value shows."""
    weights = torch.linspace(0.5, 1.5, logits.numel()).view_as(logits)
    return (logits.double().abs() * weights).mean().item()


@ALL
@torch.inference_mode()
def test_logits_of_the_images_size_and_value(name):
    logits = network(name)(image())
    assert logits.shape == (1, 3, *SIZE)
    assert logits.isfinite().all()
    assert golden(logits) == pytest.approx(NETWORKS[name][2], rel=1e-3)


@ALL
def test_as_many_parameters_as_counted_by_hand(name):
    assert sum(parameter.numel() for parameter in network(name).parameters()) == NETWORKS[name][1]


@ALL
def test_a_gradient_reaches_every_parameter(name):
    model = network(name)
    model(image()).square().mean().backward()
    dead = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.any()]
    model.zero_grad(set_to_none=True)
    assert dead == []


@ALL
@torch.inference_mode()
def test_one_image_in_training(name):
    """By a copy of the statistics: the networks here are shared."""
    model = network(name)
    kept = {key: value.clone() for key, value in model.named_buffers()}
    model.train()
    try:
        if name == "DeconvNet":
            with pytest.raises(ValueError, match="2 images a batch or more"):
                model(image())
        else:
            assert model(image()).isfinite().all()
    finally:
        model.eval()
        for key, value in model.named_buffers():
            value.copy_(kept[key])


@ALL
@torch.inference_mode()
def test_bfloat16_is_close_to_float32(name):
    exact = network(name)(image())
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(name)(image())
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < (0.3 if name in UNPOOLING else 0.05) * exact.abs().mean()


@ALL
def test_one_graph_for_compile(name):
    """Captured whole, with no break that would fall back to Python; the backend that generates code is torch's."""
    torch.compiler.reset()
    compiled = torch.compile(network(name), backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(image()), network(name)(image()))


@ALL
def test_export_gives_the_same_network(name):
    with torch.no_grad():
        exported = torch.export.export(network(name), (image(),)).module()
        torch.testing.assert_close(exported(image(seed=2)), network(name)(image(seed=2)))
