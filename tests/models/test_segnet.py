import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torchvision.models import vgg

from kit.models.deconvnet import encode
from kit.models.segnet import SegNet, SegNetBasic
from kit.models.vgg import load_vgg16


def noise(*size, batch=1, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, 3, *size)).astype(np.float32))


def layers(stages, kind):
    return [module for module in stages.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("build", [SegNet, SegNetBasic])
@torch.inference_mode()
def test_any_size(build):
    torch.manual_seed(0)
    net = build(num_classes=2).eval()
    for size in [(97, 131), (33, 1), (1, 1)]:
        images = noise(*size, batch=2)
        logits = net(images)
        assert logits.shape == (2, 2, *size)
        assert logits.isfinite().all()
        torch.testing.assert_close(net(images[:1]), logits[:1])  # one image alone: the same


def test_thirteen_convolutions_and_their_mirror():
    net = SegNet(num_classes=11)
    encoder, decoder = layers(net.encoder, nn.Conv2d), layers(net.decoder, nn.Conv2d)
    assert len(encoder) == len(decoder) == 13
    mirrored = [(conv.out_channels, conv.in_channels) for conv in decoder[::-1]]
    assert mirrored == [(11, 64)] + [(conv.in_channels, conv.out_channels) for conv in encoder[1:]]
    assert {conv.kernel_size for conv in encoder + decoder} == {(3, 3)}
    assert len(layers(net, nn.BatchNorm2d)) == len(layers(net, nn.ReLU)) == 25
    assert net.decoder[-1][-1] is decoder[-1]  # nothing after the last convolution: its output is the logits


def segnet_parameters(num_classes):
    inner = 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512
    per_channel = 3  # a bias, the scale and the shift of batch normalisation
    encoder = 9 * (3 * 64 + inner) + per_channel * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    decoder = 9 * (inner + 64 * num_classes) + per_channel * (5 * 512 + 3 * 256 + 2 * 128 + 2 * 64) + num_classes
    return encoder + decoder


def test_parameters_by_hand_and_as_the_paper_has_them():
    counted = sum(parameter.numel() for parameter in SegNet(num_classes=11).parameters())
    assert counted == segnet_parameters(11)
    assert counted * 4 // 1_000_000 == 117  # MB in table 6
    assert segnet_parameters(3) == 29_444_739  # as in test_models.py


def test_basic_parameters_by_hand():
    stages = 49 * (3 * 64 + 7 * 64 * 64) + 8 * 2 * 64  # no biases; the scale and the shift of batch normalisation
    counted = sum(parameter.numel() for parameter in SegNetBasic(num_classes=11).parameters())
    assert counted == stages + 64 * 11 + 11
    assert counted == pytest.approx(1.425e6, rel=0.01)  # table 1; what the other 0.6 % were, it does not say
    assert stages + 64 * 3 + 3 == 1_415_555  # as in test_models.py


def test_basic_has_neither_biases_nor_relu_in_the_decoder():
    net = SegNetBasic(num_classes=2)
    convs = layers(net.encoder, nn.Conv2d) + layers(net.decoder, nn.Conv2d)
    assert [(conv.kernel_size, conv.out_channels, conv.bias) for conv in convs] == [((7, 7), 64, None)] * 8
    assert (len(layers(net.encoder, nn.ReLU)), len(layers(net.decoder, nn.ReLU))) == (4, 0)
    assert len(layers(net, nn.BatchNorm2d)) == 8


@torch.inference_mode()
def test_basic_sees_106_pixels():
    """Section 3.1: a pixel of the deepest features goes back to a window of 106×106 in the image."""
    net = SegNetBasic(num_classes=2).eval()
    for conv in layers(net.encoder, nn.Conv2d):
        nn.init.constant_(conv.weight, 0.01)
    dots = torch.eye(192).view(192, 1, 1, 192).expand(-1, 3, -1, -1)  # one bright pixel each, along a row
    features, _ = encode(net.encoder, dots)
    assert (features[:, 0, 0, 6] > 0).sum() == 106


@torch.inference_mode()
def test_the_encoder_starts_from_torchvisions():
    torch.manual_seed(0)
    theirs, net = vgg.make_layers(vgg.cfgs["D"], batch_norm=True).eval(), SegNet(num_classes=2).eval()
    for norm in layers(theirs, nn.BatchNorm2d):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    load_vgg16(net.encoder, {f"features.{name}": value for name, value in theirs.state_dict().items()})
    torch.testing.assert_close(encode(net.encoder, noise(64, 96))[0], theirs(noise(64, 96)))


@torch.inference_mode()
def test_the_authors_normalisation_would_change_nothing_here():
    """As the head of segnet.py says: local response normalisation of images with mean 0 and deviation 1."""
    images = noise(64, 64)
    changed = F.local_response_norm(images, size=5, alpha=1e-4, beta=0.75, k=1.0)
    assert ((changed - images).abs() < 1e-3 * images.abs()).all()
    pixels = 127 + 60 * images
    assert ((F.local_response_norm(pixels, size=5, alpha=1e-4, beta=0.75, k=1.0) - pixels).abs() > 10).any()


def test_basic_learns_from_scratch():
    torch.manual_seed(0)
    net = SegNetBasic(num_classes=2)
    images = noise(24, 24, batch=4)
    masks = torch.zeros(4, 24, 24, dtype=torch.long)
    masks[:, 8:20, 4:16] = 1
    images = images + 2 * masks[:, None]
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1, momentum=0.9)  # the paper's
    losses = []
    for _ in range(6):
        loss = F.cross_entropy(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 < 0.5 < losses[0]
