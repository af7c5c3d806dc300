"""Every hand-written network at its paper's width: values and parameters; and one graph of each, narrow."""

import functools

import pytest
import torch
from networks import HAND_WRITTEN, dynamic_unet, fill, noise

from kit.models.deconvnet import DeconvNet, SmallDeconvNet
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.segnet import SegNet, SegNetBasic
from kit.models.unet import CompactUNet, UNet

SIZE = (97, 131)  # odd, and no multiple of any stride

# name: how to build it for three classes, its number of parameters counted by hand in its own test file, and its
# golden number (see `golden`), which changes only when the computation does
NETWORKS = {
    "FCN32s": (FCN32s, 134_309_699, 0.62002157),
    "FCN16s": (FCN16s, 134_283_734, 1.24477518),
    "FCN8s": (FCN8s, 134_277_737, 2.04178478),
    "SmallDeconvNet": (SmallDeconvNet, 2_325_955, 7.13337475),
    "DeconvNet": (DeconvNet, 251_804_483, 16.13462889),
    "SegNet": (SegNet, 29_444_739, 6.89955892),
    "SegNetBasic": (SegNetBasic, 1_415_555, 2.65319070),
    "UNet": (UNet, 31_031_875, 14.47108648),
    "CompactUNet": (CompactUNet, 4_835_715, 13.57090683),
    "DynamicUNet": (functools.partial(dynamic_unet, name="resnet18"), 31_113_108, 298.05248128),
}
HUNDREDS_OF_MEGABYTES = {"FCN32s", "FCN16s", "FCN8s", "DeconvNet"}
BY_WEIGHT = [pytest.param(name, marks=pytest.mark.slow) if name in HUNDREDS_OF_MEGABYTES else name for name in NETWORKS]


def golden(logits):
    """The mean of the logits' absolute values, each weighted by its place: a shift, a swap or another value shows."""
    weights = torch.linspace(0.5, 1.5, logits.numel()).view_as(logits)
    return (logits.double().abs() * weights).mean().item()


@pytest.mark.parametrize("name", BY_WEIGHT)
@torch.inference_mode()
def test_logits_have_the_value_that_they_always_had(name):
    build, _, expected = NETWORKS[name]
    with torch.inference_mode(False):
        net = fill(build(num_classes=3)).eval()
    logits = net(noise(*SIZE))
    assert logits.shape == (1, 3, *SIZE)
    assert golden(logits) == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("name", NETWORKS)
def test_as_many_parameters_as_counted_by_hand(name):
    build, counted, _ = NETWORKS[name]
    if name == "DynamicUNet":  # smp's encoder is run once when it is built
        net = build(num_classes=3)
    else:
        with torch.device("meta"):
            net = build(num_classes=3)
    assert sum(parameter.numel() for parameter in net.parameters()) == counted


@pytest.mark.parametrize("build", [FCN32s, FCN16s, FCN8s, DeconvNet, SegNet])
def test_the_width_scales_every_count_of_channels_and_nothing_else(build):
    with torch.device("meta"):
        full, half = (build(num_classes=3, width=width).state_dict() for width in (1.0, 0.5))
        plain = build(num_classes=3).state_dict()
    assert list(full) == list(half) == list(plain)
    for name, tensor in plain.items():
        assert full[name].shape == tensor.shape
        if name.startswith("upscore"):  # from class to class
            assert half[name].shape == tensor.shape
        for whole, part in zip(tensor.shape, half[name].shape, strict=True):
            assert part == (whole // 2 if whole >= 64 and not name.startswith("upscore") else whole), name
    for width in (0, -1.0):
        with pytest.raises(ValueError, match=r"width must be more than 0 \(1.0 is the paper's\), got"):
            build(num_classes=3, width=width)


@functools.cache
@torch.inference_mode(False)
def network(name):
    return fill(HAND_WRITTEN[name](num_classes=3)).eval()


@pytest.mark.slow
@pytest.mark.parametrize("name", HAND_WRITTEN)
def test_one_graph_for_compile(name):
    """Captured whole, with no break that would fall back to Python; the backend that generates code is torch's."""
    torch.compiler.reset()
    compiled = torch.compile(network(name), backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(noise(*SIZE)), network(name)(noise(*SIZE)))


EXPORTED = {"UNet", "SmallDeconvNet"}  # one that copies and one that unpools; the slow tests take all


@pytest.mark.parametrize(
    "name", [n if n in EXPORTED else pytest.param(n, marks=pytest.mark.slow) for n in HAND_WRITTEN]
)
def test_export_gives_the_same_network(name):
    with torch.no_grad():
        exported = torch.export.export(network(name), (noise(*SIZE),)).module()
        torch.testing.assert_close(exported(noise(*SIZE, seed=2)), network(name)(noise(*SIZE, seed=2)))
