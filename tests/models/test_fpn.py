"""The feature pyramid against torchvision's, and on all kinds of encoders."""

import pytest
import torch
from networks import noise
from torch import nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from kit.models.fpn import FPN, STRIDES, Pyramid
from kit.models.pretrained import encoder
from kit.training import parameter_groups


@torch.inference_mode()
def test_the_bare_pyramid_is_torchvisions():
    torch.manual_seed(0)
    theirs = FeaturePyramidNetwork([8, 12, 20], 16, LastLevelMaxPool())
    ours = FPN([8, 12, 20], 16, group_norm=False)
    names = {"lateral": "inner_blocks", "smooth": "layer_blocks"}
    state = {name: theirs.state_dict()[name.replace(k := name.split(".")[0], names[k])] for name in ours.state_dict()}
    ours.load_state_dict(state)
    maps = [noise(20, 28, channels=8), noise(10, 14, channels=12), noise(5, 7, channels=20)]
    expected = theirs({str(i): each for i, each in enumerate(maps)})
    for found, right in zip(ours(maps), expected.values(), strict=True):
        torch.testing.assert_close(found, right)


@torch.inference_mode()
@pytest.mark.parametrize(("name", "channels"), [("mobilenet_v2", 4), ("tu-convnext_atto", 3), ("resnet18", 1)])
def test_any_encoder_any_size(name, channels):
    pyramid = Pyramid(encoder(name, "none", channels), channels, 16).eval()
    for height, width in ((70, 33), (1, 64)):
        maps = pyramid(noise(height, width, channels=channels, batch=2))
        padded = [32 * -(-side // 32) for side in (height, width)]
        assert [each.shape for each in maps] == [
            (2, 16, *(-(-side // stride) for side in padded)) for stride in STRIDES
        ]


def test_group_norm_keeps_the_maps_in_bounds_whatever_the_encoder_gives():
    torch.manual_seed(0)
    maps = [1000 * noise(32 // 2**i, 32 // 2**i, channels=24) for i in range(4)]
    normed, bare = (FPN([24] * 4, 48, group_norm=normed)(maps) for normed in (True, False))
    assert max(each.abs().max() for each in normed) < 10
    assert min(each.abs().max() for each in bare) > 100
    assert sum(isinstance(module, nn.GroupNorm) for module in FPN([24] * 4, 48).modules()) == 8


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_batch_norm_keeps_its_statistics_and_still_learns(frozen):
    pyramid = Pyramid(encoder("resnet18", "none"), 3, 16)
    if frozen:
        pyramid.freeze_batchnorm()
    pyramid.eval().train()  # as every epoch does; it must not thaw
    before = {name: value.clone() for name, value in pyramid.encoder.state_dict().items()}
    sum(each.square().mean() for each in pyramid(noise(64, 64, batch=2))).backward()
    torch.optim.SGD(pyramid.parameters(), lr=0.1).step()
    kept = {name for name, value in pyramid.encoder.state_dict().items() if torch.equal(value, before[name])}
    statistics = {name for name in before if "running" in name or "num_batches" in name}
    assert (statistics <= kept) == frozen
    assert (statistics & kept == set()) == (not frozen)
    assert "bn1.weight" in before.keys() - kept


def test_the_encoder_has_a_learning_rate_of_its_own():
    pyramid = Pyramid(encoder("resnet18", "none"), 3, 16)
    groups = parameter_groups(pyramid, lr=1.0, weight_decay=0.0, encoder_factor=0.1)
    slow = sum(p.numel() for group in groups if group["lr"] == pytest.approx(0.1) for p in group["params"])
    assert slow == sum(p.numel() for p in pyramid.encoder.parameters())


def test_an_encoder_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="in_channels is 3 here and 4 in the encoder: give both the same"):
        Pyramid(encoder("resnet18", "none", 4), 3, 16)
    with pytest.raises(ValueError, match=r"strides 1 to 32, the encoder gives \[1, 2, 4, 8, 16\]: take depth=5"):
        Pyramid(encoder("resnet18", "none", depth=4), 3, 16)
    with pytest.raises(ValueError, match=r"takes images \(N, 3, H, W\), got \(1, 4, 64, 64\)"):
        Pyramid(encoder("resnet18", "none"), 3, 16)(noise(64, 64, channels=4))
