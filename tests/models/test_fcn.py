import urllib.request
from copy import deepcopy

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from kit.models.fcn import FCN8s, FCN16s, FCN32s, FCNTrunk, bilinear_upsampling
from kit.models.vgg import load_vgg16, read_vgg16, vgg16_stages

FCNS = {"32s": FCN32s, "16s": FCN16s, "8s": FCN8s}


def empty(build, **options):
    """Built without its start, which takes a second: for nets that are filled by hand."""
    with torch.device("meta"):
        net = build(**options)
    return net.to_empty(device="cpu").eval()


def fill(net, seed=0):
    """Weights by fan-in from a repeated pattern, biases and statistics around 0.5."""
    pattern = torch.from_numpy(np.random.default_rng(seed).normal(size=65_537).astype(np.float32))
    with torch.no_grad():
        for tensor in net.state_dict().values():
            values = pattern.repeat(-(-tensor.numel() // len(pattern)))[: tensor.numel()].view_as(tensor)
            tensor.copy_(values * (2 / tensor[0].numel()) ** 0.5 if tensor.ndim > 1 else 0.5 + 0.1 * values.abs())
    return net


def noise(*shape):
    return torch.from_numpy(np.random.default_rng(1).normal(size=shape).astype(np.float32))


NARROW = 0.25  # of the paper's width, where the values do not matter


@pytest.fixture(scope="module")
def trunk():
    """One for all tests that only read it."""
    return fill(empty(FCNTrunk, in_channels=3, batch_norm=False, pad_100=False, dropout=0.25, width=NARROW))


def on_trunk(trunk, build, **options):
    """A network with these very weights for its trunk, and scores and upsamplings filled."""
    with torch.device("meta"):
        net = build(**options, width=NARROW)
    own, net.trunk = net.trunk, nn.Identity()
    fill(net.to_empty(device="cpu"))
    own.load_state_dict(trunk.state_dict(), assign=True)
    net.trunk = own
    return net.eval()


# VGG16, counted by hand: 3 × 3 convolutions and biases of the stages, then fc6 and fc7
STAGES = (
    (9 * (3 * 64 + 64 * 64) + 2 * 64)
    + (9 * (64 * 128 + 128 * 128) + 2 * 128)
    + (9 * (128 * 256 + 2 * 256 * 256) + 3 * 256)
    + (9 * (256 * 512 + 2 * 512 * 512) + 3 * 512)
    + (9 * 3 * 512 * 512 + 3 * 512)
)
FC6, FC7 = 512 * 7 * 7 * 4096 + 4096, 4096 * 4096 + 4096
NORM = 2 * (2 * 64 + 2 * 128 + 3 * 256 + 3 * 512 + 3 * 512)  # a scale and a shift for each channel


def counted(name, k):
    score_fr, score_pool4, score_pool3 = (k * channels + k for channels in (4096, 512, 256))
    scores_and_kernels = {
        "32s": score_fr + k * k * 64 * 64,
        "16s": score_fr + score_pool4 + k * k * (4 * 4 + 32 * 32),
        "8s": score_fr + score_pool4 + score_pool3 + k * k * (2 * 4 * 4 + 16 * 16),
    }
    return STAGES + FC6 + FC7 + scores_and_kernels[name]


@pytest.mark.parametrize("name", FCNS)
@pytest.mark.parametrize("k", [3, 21])
def test_as_many_parameters_as_counted_by_hand(name, k):
    with torch.device("meta"):
        net = FCNS[name](num_classes=k)
        normed = FCNS[name](num_classes=k, batch_norm=True)
    assert sum(parameter.numel() for parameter in net.parameters()) == counted(name, k)
    assert sum(parameter.numel() for parameter in normed.parameters()) == counted(name, k) + NORM


def test_the_published_numbers_of_parameters():
    assert STAGES == 14_714_688  # configuration D without its classifier
    assert counted("8s", 21) == 134_489_759


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
@torch.inference_mode()
def test_fc7_is_the_classifier_of_vgg16_where_its_window_covers_the_map(batch_norm):
    name = "vgg16_bn" if batch_norm else "vgg16"
    vgg = fill(empty(models.get_model, name=name))
    weights = {key: value for key, value in reversed(vgg.state_dict().items()) if "num_batches" not in key}
    trunk = FCN32s.from_vgg16(weights, num_classes=2, batch_norm=batch_norm).eval().trunk
    images = noise(1, 3, 224, 224)
    expected = vgg.classifier[:5](vgg.features(images).flatten(1))
    _, _, fc7 = trunk(images)
    assert fc7.shape == (1, 4096, 7, 7)
    assert expected.std() > 0.1
    torch.testing.assert_close(fc7[:, :, 3, 3], expected, rtol=1e-3, atol=1e-4)


def released_fcn8s(net, images):
    """FCN-8s with the release's numbers written out: padding 100, crops 5, 9 and 31."""
    first, features, maps = net.trunk.stages[0][0], images, []
    for stage in net.trunk.stages:
        for layer in stage:
            padding = 100 if layer is first else 1
            conv = isinstance(layer, nn.Conv2d)
            features = F.conv2d(features, layer.weight, layer.bias, padding=padding) if conv else F.relu(features)
        features = F.max_pool2d(features, 2, 2, ceil_mode=True)
        maps.append(features)
    fc6, fc7 = net.trunk.fc6, net.trunk.fc7
    features = F.relu(F.conv2d(F.relu(F.conv2d(features, fc6.weight, fc6.bias)), fc7.weight, fc7.bias))
    fused = F.conv_transpose2d(net.score_fr(features), net.upscore2.weight, stride=2)
    h, w = fused.shape[2:]
    fused = fused + net.score_pool4(0.01 * maps[3])[:, :, 5 : 5 + h, 5 : 5 + w]
    fused = F.conv_transpose2d(fused, net.upscore_pool4.weight, stride=2)
    h, w = fused.shape[2:]
    fused = fused + net.score_pool3(0.0001 * maps[2])[:, :, 9 : 9 + h, 9 : 9 + w]
    h, w = images.shape[2:]
    return F.conv_transpose2d(fused, net.upscore8.weight, stride=8)[:, :, 31 : 31 + h, 31 : 31 + w]


@torch.inference_mode()
def test_with_padding_100_the_logits_are_the_releases(trunk):
    net = on_trunk(deepcopy(trunk), FCN8s, num_classes=3, pad_100=True, at_once=True).double()
    net.score_pool4.weight.mul_(100)  # else the skips are too faint to tell
    net.score_pool3.weight.mul_(10_000)
    images = noise(1, 3, 20, 37).double()
    expected = released_fcn8s(net, images)
    assert expected.shape == (1, 3, 20, 37)
    torch.testing.assert_close(net(images), expected)
    assert net(images[:, :, :1, :1]).shape == (1, 3, 1, 1)


@pytest.fixture(scope="module")
def passing_trunk():
    """Hands each of the image's four channels through, pooled and otherwise as it is."""
    trunk = empty(FCNTrunk, in_channels=4, batch_norm=False, pad_100=False, dropout=0.5, width=NARROW)
    with torch.no_grad():
        for parameter in trunk.parameters():
            parameter.zero_()
        for conv in trunk.modules():
            if isinstance(conv, nn.Conv2d):
                middle = conv.kernel_size[0] // 2
                conv.weight[range(4), range(4), middle, middle] = 1
    return trunk


STREAMS = {"32s": ["score_fr"], "16s": ["score_fr", "score_pool4"], "8s": ["score_fr", "score_pool4", "score_pool3"]}


@pytest.mark.parametrize("pad_100", [False, True])
@pytest.mark.parametrize("name", FCNS)
@torch.inference_mode()
def test_each_stream_brings_a_signal_back_to_its_own_place(passing_trunk, name, pad_100):
    """Numbered columns and rows come back as those numbers, by each stream alone, in two classes of its own.

    Of rising numbers a pooling keeps the last, of falling ones the first: their mean is the middle of the cell.
    """
    height, width = 138, 153
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    images = torch.stack([x, width - 1 - x, y, height - 1 - y])[None]
    streams = STREAMS[name]
    net = on_trunk(passing_trunk, FCNS[name], num_classes=2 * len(streams), in_channels=4, pad_100=pad_100)
    for i, stream in enumerate(streams):
        score = net.get_submodule(stream)
        score.weight.zero_()
        score.bias.zero_()
        score.weight[2 * i : 2 * i + 2, :4, 0, 0] = torch.tensor([[0.5, -0.5, 0, 0], [0, 0, 0.5, -0.5]])
        score.bias[2 * i : 2 * i + 2] = torch.tensor([(width - 1) / 2, (height - 1) / 2])
    for part in net.children():
        if isinstance(part, nn.ConvTranspose2d):
            part.load_state_dict(bilinear_upsampling(2 * len(streams), part.stride[0]).state_dict())
    logits = net(images)
    assert logits.shape == (1, 2 * len(streams), height, width)
    inside = (..., slice(64, height - 64), slice(64, width - 64))  # two cells of 32 from the edge on
    expected = torch.stack([x, y] * len(streams))[None]
    torch.testing.assert_close(logits[inside], expected[inside], rtol=0, atol=1e-3)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
@torch.inference_mode()
def test_an_upsampling_starts_as_torchs_bilinear_resizing(factor):
    maps = noise(1, 3, 5, 6)
    ours = bilinear_upsampling(3, factor)(maps)
    assert ours.shape == (1, 3, factor * 6, factor * 7)
    first, inside = factor // 2, (..., slice(factor, 4 * factor), slice(factor, 5 * factor))
    theirs = F.interpolate(maps, scale_factor=factor, mode="bilinear", align_corners=False)
    ours = ours[:, :, first : first + 5 * factor, first : first + 6 * factor]
    torch.testing.assert_close(ours[inside], theirs[inside], rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_staged_training_goes_on_from_what_was_trained(trunk):
    fcn32s = on_trunk(trunk, FCN32s, num_classes=3)
    fcn32s.trunk.dropout.p = 0.25
    images = noise(1, 3, 70, 97)
    fcn16s = FCN16s.from_fcn32s(fcn32s)
    assert fcn16s.training
    assert fcn16s.trunk.dropout.p == 0.25
    scores = fcn32s.score_fr(fcn32s.trunk(images)[2])  # (1, 3, 3, 4)
    expected = bilinear_upsampling(3, 16)(bilinear_upsampling(3, 2)(scores)[:, :, 1:6, 1:8])[:, :, 8:78, 8:105]
    torch.testing.assert_close(fcn16s.eval()(images), expected)

    fill(fcn16s.score_pool4)
    fcn16s.upscore2.weight.add_(0.1)
    fcn8s = FCN8s.from_fcn16s(fcn16s)
    assert fcn8s.training
    expected = fcn16s.upscore2(scores)[:, :, 1:6, 1:8] + fcn16s.score_pool4(fcn16s.trunk(images)[1])
    expected = bilinear_upsampling(3, 2)(expected)[:, :, 1:10, 1:14]
    expected = bilinear_upsampling(3, 8)(expected)[:, :, 4:74, 4:101]
    torch.testing.assert_close(fcn8s.eval()(images), expected)

    fcn8s.trunk.fc7.weight.zero_()  # a copy: the trained net stays as it was
    assert fcn16s.trunk.fc7.weight.any()


@torch.inference_mode()
def test_at_once_scales_the_skips(trunk):
    net, scaled = on_trunk(trunk, FCN8s, num_classes=3), on_trunk(trunk, FCN8s, num_classes=3, at_once=True)
    images = noise(1, 3, 40, 40)
    expected = net(images)
    assert not torch.allclose(scaled(images), expected)
    scaled.score_pool4.weight.mul_(100)
    scaled.score_pool3.weight.mul_(10_000)
    torch.testing.assert_close(scaled(images), expected)


@pytest.mark.parametrize("size", [(1, 1), (33, 20)])
@torch.inference_mode()
def test_small_images(trunk, size):
    for build in FCNS.values():
        logits = on_trunk(trunk, build, num_classes=1)(noise(2, 3, *size))
        assert logits.shape == (2, 1, *size)
        assert logits.isfinite().all()


@pytest.mark.slow
def test_from_scratch_the_signal_arrives_and_the_logits_start_at_zero():
    torch.manual_seed(0)
    net = FCN16s(num_classes=2, dropout=0)
    for conv, fan_in in ((net.trunk.fc6, 512 * 7 * 7), (net.trunk.fc7, 4096)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.01)
    images = noise(1, 3, 64, 64)
    _, _, fc7 = net.trunk(images)
    assert 1e-3 < fc7.square().mean() < 10
    logits = net(images)
    assert not logits.any()
    F.cross_entropy(logits, torch.zeros(1, 64, 64, dtype=torch.long)).backward()
    assert net.score_fr.weight.grad.any()
    assert net.score_pool4.weight.grad.any()


def test_fc6_and_fc7_drop_half_of_their_channels():
    trunk = fill(empty(FCNTrunk, in_channels=3, batch_norm=False, pad_100=False, dropout=0.5, width=NARROW)).train()
    dropped = []
    trunk.dropout.register_forward_hook(lambda module, given, out: dropped.append((given[0], out)))
    with torch.inference_mode():
        fc7 = trunk(noise(1, 3, 64, 64))[2]
    assert [out.shape[1] for _, out in dropped] == [1024, 1024]
    assert dropped[1][1] is fc7
    for given, out in dropped:
        speaking = given != 0
        assert 0.4 < (out[speaking] == 0).float().mean() < 0.6


SHAPES = {
    name: {key: tuple(value.shape) for key, value in empty(models.get_model, name=name).state_dict().items()}
    for name in ("vgg16", "vgg16_bn")
}


def torchvision_file(path, name, dtype=torch.float32):
    """A file of torchvision's names and shapes; of one value each, which .pth need not write out."""
    tensors = {key: torch.tensor(float(len(key)), dtype=dtype).expand(shape) for key, shape in SHAPES[name].items()}
    if path.suffix == ".pth":
        torch.save(tensors, path)
    else:
        safetensors.torch.save_file({key: value.contiguous() for key, value in tensors.items()}, path)
    return str(path)


@pytest.mark.parametrize("name", SHAPES)
def test_weights_from_a_file(tmp_path, name):
    batch_norm = name == "vgg16_bn"
    stages = vgg16_stages(batch_norm=batch_norm)
    load_vgg16(stages, read_vgg16(torchvision_file(tmp_path / "vgg.pth", name), batch_norm))
    last = f"features.{41 if batch_norm else 28}.weight"
    assert (stages[4][6 if batch_norm else 4].weight == len(last)).all()
    if batch_norm:
        told = r"vgg\.pth is a state dict of 97 tensors; .* not hold the weights of torchvision's vgg16: .*features\.1"
        with pytest.raises(ValueError, match=told):
            read_vgg16(str(tmp_path / "vgg.pth"), batch_norm=False)


@pytest.mark.slow
@torch.inference_mode()
def test_plain_vgg16_between_new_batch_normalisation(tmp_path, capsys):
    """And without its classifier: the convolutions alone are a ninth of the file."""
    vgg = fill(empty(models.get_model, name="vgg16"))
    convolutions = {key: value for key, value in vgg.state_dict().items() if key.startswith("features.")}
    torch.save(convolutions, tmp_path / "vgg.pth")
    weights = read_vgg16(str(tmp_path / "vgg.pth"), batch_norm=True)
    trunk = FCNTrunk(in_channels=3, batch_norm=True, pad_100=False, dropout=0.5, width=1.0).eval()
    fc7 = trunk.fc7.weight.clone()
    trunk.load_vgg16(weights)
    assert torch.equal(trunk.fc7.weight, fc7)
    assert "fc6 and fc7 start new" in capsys.readouterr().out
    features = images = noise(1, 3, 64, 64)
    for stage in trunk.stages:
        features = trunk.pool(stage(features))
    # New normalisation divides by √(1 + 1e-5) at inference, thirteen times over.
    torch.testing.assert_close(features, vgg.features(images), rtol=1e-3, atol=1e-4)


def test_weights_from_a_safetensors_file(tmp_path):
    """In which the tensors come in another order."""
    path = tmp_path / "vgg.safetensors"
    stages = vgg16_stages()
    load_vgg16(stages, read_vgg16(torchvision_file(path, "vgg16", torch.bfloat16), batch_norm=False))
    assert (stages[4][4].weight == len("features.28.weight")).all()
    path.unlink()  # 280 MB


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>Sign in</html>"])
def test_a_file_without_weights_is_refused_by_name(tmp_path, content, suffix):
    path = tmp_path / f"page{suffix}"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=rf"page\{suffix} is neither a safetensors file nor one of torch: it begins"):
        read_vgg16(str(path), batch_norm=False)


def test_what_does_not_exist_is_told():
    assert read_vgg16("none", batch_norm=False) is None
    with pytest.raises(FileNotFoundError, match=r"imagnet: no such file; expected 'imagenet', 'none' or a file"):
        read_vgg16("imagnet", batch_norm=False)


def test_what_does_not_fit_is_told():
    vgg = {key: torch.tensor(0.0).expand(shape) for key, shape in SHAPES["vgg16"].items()}
    with pytest.raises(ValueError, match=r"26 tensors 'features\.\*' do not fit these VGG16 stages.* width 1\.0"):
        load_vgg16(vgg16_stages(width=0.5), vgg)
    normed = {key: torch.tensor(0.0).expand(shape) for key, shape in SHAPES["vgg16_bn"].items()}
    with pytest.raises(ValueError, match="vgg16_bn for stages with batch normalisation"):
        load_vgg16(vgg16_stages(), normed)
    trunk = empty(FCNTrunk, in_channels=3, batch_norm=False, pad_100=False, dropout=0.5, width=1.0)
    del vgg["classifier.3.weight"]
    with pytest.raises(ValueError, match=r"'classifier\.3' has weights None where \(4096, 4096, 1, 1\) is needed"):
        trunk.load_vgg16(vgg)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """Nothing downloaded before, and a proxy at which nobody listens."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    proxy = urllib.request.ProxyHandler({"https": "http://127.0.0.1:9"})
    urllib.request.install_opener(urllib.request.build_opener(proxy))
    yield
    urllib.request.install_opener(None)


@pytest.mark.parametrize(("name", "batch_norm"), [("vgg16", False), ("vgg16_bn", True)])
def test_without_a_network_the_ways_out_are_named(offline, name, batch_norm):
    told = f"^the weights 'imagenet' of '{name}' are not on this machine.* give a file of weights in their place .*none"
    with pytest.raises(OSError, match=told):
        read_vgg16("imagenet", batch_norm)
