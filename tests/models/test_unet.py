"""U-Net against the sizes and numbers of its paper, and the compact one; what all networks share is in test_models."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from kit.models.unet import CompactUNet, MirrorTiled, UNet, mirror


def noise(*size, dtype=torch.float32):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(1, 3, *size))).to(dtype)


def parameters(model):
    return sum(parameter.numel() for parameter in model.parameters())


def small(**choices):
    torch.manual_seed(0)
    return UNet(num_classes=2, width=4, **choices).eval()


def test_parameters_counted_from_figure_1():
    """Grey in, two maps out, as drawn; and the same for C channels and K classes."""
    levels = (64, 128, 256, 512, 1024)
    inner = sum(9 * a * b + b + 9 * b * b + b for a, b in pairwise(levels))  # going down
    inner += sum(9 * 2 * b * b + b + 9 * b * b + b for b in levels[:-1])  # going up, the skip beside as many
    inner += sum(4 * 2 * b * b + b for b in levels[:-1])  # up-convolutions, 2×2
    for channels, classes, total in ((1, 2, 31_030_658), (3, 3, 31_031_875)):
        ends = 9 * channels * 64 + 64 + 9 * 64 * 64 + 64 + 64 * classes + classes
        with torch.device("meta"):
            assert parameters(UNet(num_classes=classes, in_channels=channels)) == inner + ends == total


def test_parameters_of_the_compact_one():
    def block(a, b):
        return 9 * a * b + 9 * b * b + 2 * 2 * b  # two convolutions without bias, two batch normalisations

    down = block(3, 64) + block(64, 128) + block(128, 256) + block(256, 256)
    up = block(256 + 256, 256) + block(256 + 128, 128) + block(128 + 64, 64)
    assert parameters(CompactUNet(num_classes=3)) == down + up + 64 * 3 + 3 == 4_835_715


@torch.inference_mode()
def test_every_size_of_figure_1():
    net, sides = small(valid=True), []
    for block in (*net.contracting, *net.up, *net.expanding):
        block.register_forward_hook(lambda module, given, out: sides.append(out.shape[2]))
    assert net.unpadded(noise(572, 572)).shape == (1, 2, 388, 388)
    assert sides == [568, 280, 136, 64, 28, 56, 52, 104, 100, 200, 196, 392, 388]


@torch.inference_mode()
@pytest.mark.parametrize("size", [(1, 1), (3, 50), (93, 200), (97, 131), (388, 20)])
def test_valid_logits_of_the_images_size(size):
    assert small(valid=True)(noise(*size)).shape == (1, 2, *size)


@torch.inference_mode()
def test_the_mirrored_image_is_numpys():
    for size, wanted in (((150, 171), (343, 370)), ((20, 3), (220, 204)), ((1, 2), (188, 188))):
        image = noise(*size)
        around = [(92, whole - side - 92) for side, whole in zip(size, wanted, strict=True)]
        expected = np.pad(image.numpy(), ((0, 0), (0, 0), *around), mode="reflect")
        np.testing.assert_array_equal(mirror(image, wanted).numpy(), expected)


@torch.inference_mode()
def test_valid_and_padded_agree_far_from_the_border():
    """The same weights: what either puts around the image reaches 92 + 16 pixels in at most."""
    valid, padded = small(valid=True).double(), small().double()
    padded.load_state_dict(valid.state_dict())
    image = noise(240, 256, dtype=torch.float64)
    whole = valid(image)
    # Valid convolutions take 2, 4, 8 ... pixels between the poolings: they pair off from the image's pixel 2 on.
    around = padded(F.pad(image, (14, 2, 14, 2)))[:, :, 14:-2, 14:-2]
    torch.testing.assert_close(
        around[:, :, 108:-108, 108:-108], whole[:, :, 108:-108, 108:-108], rtol=1e-10, atol=1e-10
    )
    assert (around - whole).abs().max() > 1e-3


@torch.inference_mode()
@pytest.mark.parametrize(("size", "tile"), [((100, 150), 64), ((50, 33), 16), ((50, 60), 128)])
def test_tiles_equal_the_whole_image(size, tile):
    net = small(valid=True).double()
    image = noise(*size, dtype=torch.float64)
    whole = net(image)
    assert whole.std() > 1e-3
    torch.testing.assert_close(MirrorTiled(net, tile)(image), whole, rtol=1e-11, atol=1e-11)


@torch.inference_mode()
def test_tiles_are_no_larger_than_the_image():
    fed, net = [], small(valid=True)
    net.contracting[0].register_forward_pre_hook(lambda module, given: fed.append(tuple(given[0].shape[2:])))
    MirrorTiled(net, 512)(noise(33, 64))
    assert fed == [(48 + 188, 64 + 188)]  # multiples of 16, and the least margin with even poolings


@torch.inference_mode()
def test_tiles_must_begin_where_the_poolings_do():
    """What the multiple of 16 is for: shifted by 8, the network says something else about the same pixels."""
    net, image = small(valid=True).double(), noise(236, 236, dtype=torch.float64)
    whole = net.unpadded(image)
    for shift, equal in ((16, True), (8, False)):
        part = net.unpadded(image[:, :, shift : shift + 204, :204])
        assert torch.allclose(part, whole[:, :, shift : shift + 20, :20], rtol=1e-10, atol=1e-10) == equal


def test_starts_as_the_paper_says():
    """Standard deviation sqrt(2 / N): N is 9 C for 3×3, and C for an up-convolution, where no two inputs meet."""
    for module in UNet(num_classes=2, width=32).modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            inputs = module.in_channels * (9 if module.kernel_size == (3, 3) else 1)
            tolerance = 5 / (2 * module.weight.numel()) ** 0.5  # five standard errors
            assert module.weight.std().item() == pytest.approx((2 / inputs) ** 0.5, rel=tolerance)
            assert not module.bias.any()


def test_dropout_at_the_end_of_the_contracting_path():
    net, dropped = small(dropout=1.0).train(), []
    net.dropout.register_forward_hook(lambda module, given, out: dropped.append(out.shape[1]))
    logits = net(noise(32, 32))
    assert dropped == [32, 64]  # the fourth and the fifth level
    silent = small(dropout=1.0)
    assert logits.any()  # the upper skips still speak
    assert not torch.equal(logits, silent(noise(32, 32)))


def test_batch_norm_takes_the_place_of_the_biases():
    plain, normed = small(), small(batch_norm=True)
    norms = [module for module in normed.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 18
    assert parameters(normed) - parameters(plain) == sum(norm.num_features for norm in norms)
    assert normed(noise(20, 30)).shape == (1, 2, 20, 30)


def test_what_does_not_fit_is_refused():
    for net, size, told in (
        (small(), (16, 40), r"must be multiples of 16, got \(16, 40\)"),
        (small(valid=True), (572, 570), r"16 n \+ 60, from 188 on, got \(572, 570\)"),
        (small(valid=True), (172, 572), r"from 188 on, got \(172, 572\)"),
    ):
        with pytest.raises(ValueError, match=told):
            net.unpadded(noise(*size))
    with pytest.raises(ValueError, match=r"needs a UNet\(valid=True\)"):
        MirrorTiled(small())
    for tile in (388, 0):
        with pytest.raises(ValueError, match=f"multiple of 16, got {tile}"):
            MirrorTiled(small(valid=True), tile)
