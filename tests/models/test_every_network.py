"""The one tester of all networks: what each must do, whatever its paper says."""

import copy
import functools

import pytest
import torch
from networks import HAND_WRITTEN, NETWORKS, fill, noise

SIZE = (33, 45)  # odd, and no multiple of any stride; the deepest maps, of stride 32, are still 2 x 2
SMALL = (31, 45)  # the same in 32 x 64 padded pixels: without bfloat16 in hardware a convolution in it takes long
ALL = pytest.mark.parametrize("name", NETWORKS)
OWN_FIRST = pytest.mark.parametrize(
    "name", [name if name in HAND_WRITTEN else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
)
NEEDS_TWO = {"DeconvNet", "pan", "deeplabv3", "deeplabv3plus", "upernet"}  # images a batch, to train
# what no output needs is not trained: PSPNet stops at stride 8, DPT reads blocks and not timm's norm and head
UNUSED = {"pspnet": ("net.encoder.model.blocks.3", "net.encoder.model.blocks.4"), "dpt": ("net.encoder.model.",)}
# bfloat16 rounds some of the values that are pooled to the same, and a maximum then moves by a pixel: about one in
# a hundred does, and adds up; test_deconvnet.py shows that nothing else is the matter
UNPOOLING = {"SmallDeconvNet", "DeconvNet", "SegNet", "SegNetBasic"}


@functools.cache
@torch.inference_mode(False)  # whichever test asks first
def network(name):
    torch.manual_seed(0)
    net = NETWORKS[name](num_classes=3)
    return (fill(net) if name in HAND_WRITTEN else net).eval()


@ALL
@torch.inference_mode()
def test_logits_have_the_images_size_and_no_chance_in_them(name):
    net = network(name)
    assert (net.num_classes, net.in_channels) == (3, 3)
    for size in (SIZE, (32, 48)):
        images = noise(*size, batch=2)
        logits = net(images)
        assert logits.shape == (2, 3, *size)
        assert logits.dtype == torch.float32
        assert logits.isfinite().all()
        assert torch.equal(net(images), logits)  # evaluation is deterministic
    torch.testing.assert_close(net(images[:1]), logits[:1], rtol=1e-3, atol=1e-4)  # one image alone: the same


@OWN_FIRST
@torch.inference_mode()
def test_channels_last_gives_the_same(name):
    images = noise(64, 48, batch=2)
    expected = network(name)(images)
    turned = copy.deepcopy(network(name))
    found = turned.to(memory_format=torch.channels_last)(images.contiguous(memory_format=torch.channels_last))
    assert (found - expected).abs().max() < 1e-3 * expected.abs().max()


@OWN_FIRST
@torch.inference_mode()
def test_bfloat16_is_close_to_float32(name):
    images = noise(*SMALL)
    exact = network(name)(images)
    with torch.autocast("cpu", torch.bfloat16):
        rough = network(name)(images)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < (0.3 if name in UNPOOLING else 0.1) * exact.abs().mean()


@ALL
def test_gradients_reach_every_parameter_that_trains(name):
    net = copy.deepcopy(network(name)).train()
    net(noise(*SIZE, batch=2)).square().mean().backward()
    # a bias before a normalisation cancels, in PAN's pyramid
    dead = [key for key, value in net.named_parameters() if value.requires_grad and not (value.grad != 0).any()]
    none = [key for key, value in net.named_parameters() if value.grad is None]
    still = [key for key, value in net.named_parameters() if not value.requires_grad]
    assert [key for key in dead if not key.startswith("net.decoder.fpa.down")] == []
    assert none == still
    assert all(key.startswith(UNUSED.get(name, ())) for key in still)
    assert bool(still) == (name in UNUSED)


@ALL
def test_a_batch_of_one_trains_or_says_why_not(name):
    net = copy.deepcopy(network(name)).train()
    if name in NEEDS_TWO:
        with pytest.raises(ValueError, match="1 image of 33 x 45 leaves batch normalisation one value per channel"):
            net(noise(*SIZE))
    else:
        assert net(noise(*SIZE)).isfinite().all()


# smp's architectures share their encoders' first convolution: other numbers of channels with two of them; 2 and 12 are
# made as 4 is
CHANNELS = [(name, 4) for name in NETWORKS]
CHANNELS += [(name, 1) for name in (*HAND_WRITTEN, "unet", "dpt")]
SLOW = {"marks": pytest.mark.slow}
CHANNELS += [pytest.param(name, channels, **SLOW) for name in (*HAND_WRITTEN, "unet", "dpt") for channels in (2, 12)]


@pytest.mark.parametrize(("name", "channels"), CHANNELS)
@torch.inference_mode()
def test_images_of_any_number_of_channels(name, channels):
    net = NETWORKS[name](num_classes=2, in_channels=channels).eval()
    assert (net.num_classes, net.in_channels) == (2, channels)
    assert net(noise(65, 40, channels=channels)).shape == (1, 2, 65, 40)
    told = rf"takes images \(N, {channels}, H, W\), got \(1, 3, 65, 40\); build it with in_channels=3"
    with pytest.raises(ValueError, match=told):
        net(noise(65, 40))


@ALL
def test_no_classes_or_no_channels_are_refused(name):
    with pytest.raises(ValueError, match="num_classes must be 1 or more, got 0"):
        NETWORKS[name](num_classes=0)
    with pytest.raises(ValueError, match="in_channels must be 1 or more, got 0"):
        NETWORKS[name](num_classes=1, in_channels=0)
