"""The dynamic U-Net: what starts as what, what is frozen, and which encoders it builds on."""

import numpy as np
import pytest
import torch
from timm.layers import convert_sync_batchnorm
from torch import nn
from torch.nn import functional as F

from kit.models.dynamic_unet import DynamicUNet, SubPixel
from kit.models.pretrained import encoder
from kit.training import parameter_groups


def noise(*size, channels=3):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, channels, *size)).astype(np.float32))


def parameters(module):
    return sum(parameter.numel() for parameter in module.parameters())


def mobile(**choices):
    torch.manual_seed(0)
    return DynamicUNet(encoder("mobilenet_v2", "none"), num_classes=2, middle_channels=32, **choices)


@torch.inference_mode()
def test_sub_pixel_starts_as_nearest_enlarging_of_a_convolution():
    """ICNR: every fourth kernel of its convolution is that convolution."""
    layer, x = SubPixel(24, 10), noise(7, 9, channels=24)
    layer.conv.bias.copy_(torch.arange(10.0).repeat_interleave(4) / 10)
    small = F.relu(F.conv2d(x, layer.conv.weight[::4], layer.conv.bias[::4]))
    assert small.shape == (2, 10, 7, 9)
    torch.testing.assert_close(layer(x), F.interpolate(small, scale_factor=2.0, mode="nearest"), rtol=0, atol=0)
    assert len(torch.unique(layer.conv.weight[:, 0])) == 10
    assert layer.conv.weight.std().item() == pytest.approx((2 / 24) ** 0.5, rel=0.25)  # five standard errors of 240


def test_every_enlarging_of_the_network_starts_so():
    enlargings = [module for module in mobile().modules() if isinstance(module, SubPixel)]
    assert len(enlargings) == 5
    for layer in enlargings:
        four = layer.conv.weight.reshape(-1, 4, layer.conv.in_channels)
        assert torch.equal(four, four[:, :1].expand_as(four))
        assert not layer.conv.bias.any()


@torch.inference_mode()
def test_four_channels_become_a_square():
    """Shi et al., by indexing: channel 4 c + 2 i + j lies at row i, column j of each 2×2 square."""
    layer, x = SubPixel(5, 3), noise(4, 6, channels=5)
    nn.init.normal_(layer.conv.weight)
    channels = F.relu(layer.conv(x)).reshape(2, 3, 2, 2, 4, 6)
    expected = torch.empty(2, 3, 8, 12)
    for row in (0, 1):
        for column in (0, 1):
            expected[:, :, row::2, column::2] = channels[:, :, row, column]
    assert torch.equal(layer(x), expected)


@torch.inference_mode()
def test_the_blur_is_the_mean_of_four_neighbours():
    layer, x = SubPixel(5, 3, blur=True), noise(4, 6, channels=5)
    sharp = F.pixel_shuffle(F.relu(layer.conv(x)), 2).numpy()
    padded = np.pad(sharp, ((0, 0), (0, 0), (1, 0), (1, 0)), mode="edge")
    mean = (padded[..., 1:, 1:] + padded[..., :-1, 1:] + padded[..., 1:, :-1] + padded[..., :-1, :-1]) / 4
    np.testing.assert_allclose(layer(x).numpy(), mean, rtol=1e-5, atol=1e-6)


def test_the_blur_reaches_every_enlarging():
    for blur in (False, True):
        found = [module.blur for module in mobile(blur=blur).modules() if isinstance(module, SubPixel)]
        assert found == [blur] * 5


def test_parameters_counted_by_hand():
    """fast.ai's widths on resnet18, whose maps have 64, 64, 128, 256 and 512 channels."""

    def conv(a, b, kernel=3):
        return kernel * kernel * a * b + b

    def block(up, skip, out):
        """The 1×1 convolution to four times half the channels, the skip's normalisation, two convolutions."""
        joined = up // 2 + skip
        return conv(up, 4 * (up // 2), 1) + 2 * skip + conv(joined, out) + conv(out, out)

    middle = 2 * 512 + conv(512, 1024) + conv(1024, 512)
    blocks = block(512, 256, 512) + block(512, 128, 384) + block(384, 64, 256) + block(256, 64, 96)  # the last halves
    end = conv(96, 4 * 96, 1) + 2 * conv(99, 99) + conv(99, 3, 1)
    resnet18 = 11_689_512 - (512 * 1000 + 1000)  # torchvision's table of models, less its classifier
    model = DynamicUNet(encoder("resnet18", "none"), num_classes=3)
    assert parameters(model.encoder) == resnet18
    assert parameters(model) == resnet18 + middle + blocks + end == 31_113_108


@torch.inference_mode()
@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenet_v2", 4),
        ("tu-convnext_atto", 3),
        ("tu-mobilenetv3_small_050", 1),
        pytest.param("vgg11", 3, marks=pytest.mark.slow),
    ],
)
def test_any_encoder_any_size(name, channels):
    """VGG's first map has the image's size, ConvNeXt's second has no channels."""
    torch.manual_seed(0)
    net = DynamicUNet(encoder(name, "none", channels), num_classes=2, in_channels=channels, middle_channels=16).eval()
    for size in ((33, 40), (1, 20)):
        assert net(noise(*size, channels=channels)).shape == (2, 2, *size)


@pytest.mark.slow
def test_an_encoder_of_one_size_gets_images_padded_to_multiples_of_it():
    net = DynamicUNet(encoder("tu-maxvit_pico_rw_256", "none"), num_classes=2, middle_channels=16).eval()
    assert net.encoder.multiple == 256
    with torch.inference_mode():
        assert net(noise(97, 131)).shape == (2, 2, 97, 131)


def test_a_shallower_encoder_has_a_smaller_stride():
    net = DynamicUNet(encoder("resnet18", "none", depth=3), num_classes=2, middle_channels=16).eval()
    assert (net.encoder.multiple, len(net.blocks)) == (8, 2)
    assert net(noise(20, 30)).shape == (2, 2, 20, 30)


def test_the_image_itself_reaches_the_end():
    """The last crossing: with everything before it silenced, the logits still depend on the image."""
    net = mobile().eval()
    with torch.no_grad():
        net.enlarge.conv.weight.zero_()
        assert not torch.allclose(net(noise(32, 32)), net(noise(32, 32).flip(3)).flip(3))
        net.cross.convs[0].weight[:, -3:] = 0
        net.head.weight[:, -3:] = 0
        flat = net(noise(32, 32))
    assert (flat - flat[:, :, :1, :1]).abs().max() < 1e-5


def test_the_encoder_has_a_learning_rate_of_its_own():
    net = mobile()
    groups = parameter_groups(net, lr=1.0, weight_decay=0.0, encoder_factor=0.1)
    slow = sum(p.numel() for group in groups if group["lr"] == pytest.approx(0.1) for p in group["params"])
    assert slow == parameters(net.encoder)
    assert sum(p.numel() for group in groups for p in group["params"]) == parameters(net)


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_batch_norm_keeps_its_statistics_and_still_learns(frozen):
    net = mobile()
    if frozen:
        net.freeze_batchnorm()
    net.eval().train()  # as every epoch does; it must not thaw
    before = {name: value.clone() for name, value in net.encoder.state_dict().items()}
    decoder = net.middle[0].running_mean.clone()
    net(noise(64, 64)).square().mean().backward()
    torch.optim.SGD(net.parameters(), lr=0.1).step()
    kept = {name for name, value in net.encoder.state_dict().items() if torch.equal(value, before[name])}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert (statistics <= kept) == frozen
    assert (statistics & kept == set()) == (not frozen)
    assert "features.0.1.weight" in before.keys() - kept
    assert not torch.equal(net.middle[0].running_mean, decoder)


def test_batch_norm_in_the_decoder_takes_the_place_of_the_biases():
    plain, normed = mobile(), mobile(batch_norm=True)
    assert parameters(normed) > parameters(plain)
    assert normed(noise(40, 33)).shape == (2, 2, 40, 33)
    convs = [m for m in normed.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert all(conv.bias is None for conv in convs)


def test_frozen_statistics_stay_frozen_when_batchnorm_is_synchronised_between_gpus():
    model = DynamicUNet(encoder("resnet18", "none"), num_classes=1, middle_channels=32)
    model.freeze_batchnorm()
    model = convert_sync_batchnorm(model)
    model.train()
    kinds = {type(module) for module in model.encoder.modules() if not module.training}
    assert nn.SyncBatchNorm in kinds
    assert not any(module.training for module in model.encoder.modules() if isinstance(module, nn.SyncBatchNorm))
