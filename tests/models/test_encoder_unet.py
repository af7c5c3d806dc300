"""The U-Net with a skip of full size: what it computes, and that its skip sees single pixels."""

import numpy as np
import pytest
import torch

from kit.models.encoder_unet import EncoderUNet
from kit.models.pretrained import encoder

NARROW = (24, 16, 12, 8, 8)


def built(num_classes=2, in_channels=3, **choices):
    torch.manual_seed(0)
    return EncoderUNet(
        encoder("mobilenet_v2", "none", in_channels),
        num_classes=num_classes,
        in_channels=in_channels,
        decoder_channels=NARROW,
        **choices,
    )


def noise(*size, channels=3):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, channels, *size)).astype(np.float32))


@torch.inference_mode()
def test_images_of_any_size_and_number_of_channels():
    for classes, channels, size in ((2, 3, (50, 75)), (5, 1, (64, 32))):
        assert built(classes, channels).eval()(noise(*size, channels=channels)).shape == (2, classes, *size)


@torch.inference_mode()
def test_each_step_joins_the_skip_of_its_size():
    """The same by hand, step for step."""
    network, images = built().eval(), noise(64, 96)
    _, *skips, x = network.encoder(images)
    for block, skip in zip(network.blocks, [*skips[::-1], network.full(images)], strict=True):
        doubled = x.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
        assert doubled.shape[2:] == skip.shape[2:]
        x = block(torch.cat([doubled, skip], dim=1))
    torch.testing.assert_close(network(images), network.head(x))


def test_every_parameter_learns():
    network = built()
    network(noise(64, 64)).square().mean().backward()
    lost = [name for name, one in network.named_parameters() if one.requires_grad and one.grad is None]
    assert lost == []


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="decoder_channels has 2 numbers, expected 5"):
        EncoderUNet(encoder("mobilenet_v2", "none"), num_classes=1, decoder_channels=(8, 8))
    with pytest.raises(ValueError, match="in_channels is 1 here and 3 in the encoder"):
        EncoderUNet(encoder("mobilenet_v2", "none"), num_classes=1, in_channels=1)
    with pytest.raises(ValueError, match="takes images"):
        built()(noise(64, 64, channels=1))
