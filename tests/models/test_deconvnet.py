import numpy as np
import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from kit.models.deconvnet import DeconvNet, SmallDeconvNet, decode, encode, pool, unpool

SIZES = [(8, 8), (97, 131), (7, 5), (3, 1), (1, 1)]


def noise(*size, batch=1, channels=3, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=(batch, channels, *size)).astype(np.float32))


def only_maxima(plane, side):
    """Each window's maximum where it stood and zero elsewhere, the slow way; windows at the border may be cut."""
    kept = np.zeros_like(plane)
    for top in range(0, plane.shape[0], side):
        for left in range(0, plane.shape[1], side):
            window = plane[top : top + side, left : left + side]
            row, column = np.unravel_index(window.argmax(), window.shape)
            kept[top + row, left + column] = window[row, column]
    return kept


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_unpooling_puts_each_maximum_back_and_zero_elsewhere(size, dtype, layout):
    features = noise(*size, batch=2).to(dtype).to(memory_format=layout)
    maxima, switches = pool(features)
    restored = unpool(maxima, switches)
    assert maxima.shape == (2, 3, -(-size[0] // 2), -(-size[1] // 2))
    expected = [[only_maxima(plane.float().numpy(), 2) for plane in planes] for planes in features]
    np.testing.assert_array_equal(restored.float().numpy(), expected)
    assert restored.dtype == dtype
    assert restored.is_contiguous(memory_format=layout)


def test_of_equal_values_the_first_is_the_maximum():
    maxima, switches = pool(torch.ones(1, 1, 3, 4))
    assert unpool(maxima, switches).tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0], [1, 0, 1, 0]]]]


def test_the_gradient_takes_the_same_way_back():
    features = noise(7, 5).requires_grad_()
    maxima, switches = pool(features)
    (unpool(maxima, switches) * torch.arange(35.0).view(7, 5)).sum().backward()
    kept = np.array([only_maxima(plane.numpy(), 2) for plane in features.detach()[0]]) != 0
    np.testing.assert_array_equal(features.grad[0].numpy(), kept * np.arange(35.0).reshape(7, 5))


@pytest.mark.parametrize("size", [(16, 24), (13, 21), (1, 9)])
def test_every_stage_unpools_by_its_own_switches(size):
    """With every layer the identity, of each 8×8 window only the largest value is left, at its place."""
    net = SmallDeconvNet(num_classes=1, in_channels=1, width=1).eval()
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            nn.init.dirac_(module.weight)
    image = noise(*size, channels=1).abs()  # ReLU changes nothing then
    with torch.inference_mode():
        np.testing.assert_array_equal(net(image)[0, 0].numpy(), only_maxima(image[0, 0].numpy(), 8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("batch_norm", [False, True])
@torch.inference_mode()
def test_small_network_takes_any_size(size, batch_norm):
    net = SmallDeconvNet(num_classes=2, in_channels=4, width=4, batch_norm=batch_norm).eval()
    images = noise(*size, batch=2, channels=4)
    logits = net(images)
    assert logits.shape == (2, 2, *size)
    torch.testing.assert_close(net(images[:1]), logits[:1])  # one image alone: the same


def layers(stages, kind):
    return [module for module in stages.modules() if isinstance(module, kind)]


@pytest.mark.parametrize("batch_norm", [False, True])
def test_small_decoder_mirrors_the_encoder(batch_norm):
    net = SmallDeconvNet(num_classes=2, batch_norm=batch_norm)
    convs, deconvs = layers(net.encoder, nn.Conv2d), layers(net.decoder, nn.ConvTranspose2d)
    widths = [(3, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    assert [(conv.in_channels, conv.out_channels) for conv in convs] == widths
    widths[0] = (64, 64)  # not back to colours: the head reads 64 channels
    assert [(deconv.out_channels, deconv.in_channels) for deconv in deconvs] == widths[::-1]
    assert {layer.kernel_size for layer in convs + deconvs} == {(3, 3)}
    assert len(layers(net, nn.ReLU)) == 12
    assert len(layers(net, nn.BatchNorm2d)) == (12 if batch_norm else 0)


def test_small_parameters_by_hand():
    encoder = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 256 * 256) + 2 * (64 + 128 + 256)
    decoder = 9 * (256 * 256 + 256 * 128 + 128 * 128 + 128 * 64 + 64 * 64 + 64 * 64) + 256 + 2 * 128 + 3 * 64
    assert encoder + decoder + 64 * 3 + 3 == 2_325_955  # as in test_models.py
    net = SmallDeconvNet(num_classes=3, batch_norm=True)
    norm = 2 * (5 * 64 + 4 * 128 + 3 * 256)  # scale and shift
    assert sum(parameter.numel() for parameter in net.parameters()) == 2_325_955 + norm


def test_nothing_goes_around_the_dropout():
    net = SmallDeconvNet(num_classes=2, width=4, dropout=1.0).train()
    assert not net(noise(16, 16)).any()
    half = SmallDeconvNet(num_classes=2, width=4).train()
    assert not torch.equal(half(noise(16, 16)), half(noise(16, 16)))
    half.eval()
    assert torch.equal(half(noise(16, 16)), half(noise(16, 16)))
    assert half.dropout.p == 0.5


def squares(count, side, seed):
    """Noise with a brighter square in each image, and where it is."""
    rng = np.random.default_rng(seed)
    images, masks = rng.normal(0, 0.3, size=(count, 3, side, side)), np.zeros((count, side, side), dtype=np.int64)
    for image, mask in zip(images, masks, strict=True):
        top, left = rng.integers(0, side // 2, size=2)
        mask[top : top + side // 2, left : left + side // 2] = 1
        image += mask
    return torch.from_numpy(images.astype(np.float32)), torch.from_numpy(masks)


@pytest.mark.slow
@pytest.mark.parametrize("batch_norm", [False, True])
def test_small_network_learns_from_scratch(batch_norm):
    torch.manual_seed(0)
    net = SmallDeconvNet(num_classes=2, width=8, batch_norm=batch_norm)
    optimizer = torch.optim.Adam(net.parameters(), lr=0.003)
    for step in range(180):
        images, masks = squares(8, 16, seed=step)
        loss = F.cross_entropy(net(images), masks)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    images, masks = squares(32, 16, seed=1000)
    with torch.inference_mode():
        found = net.eval()(images).argmax(1) == 1
    assert (found & (masks == 1)).sum() / (found | (masks == 1)).sum() > 0.85


def by_switches(net, images, switches):
    """The small network with the places of the maxima given, not looked for."""
    features = images
    for stage, (places, _) in zip(net.encoder, switches, strict=True):
        features = stage(features).flatten(2).gather(2, places.flatten(2)).view(places.shape)
    return net.head(decode(net.decoder, features, switches))


@pytest.mark.slow
@torch.inference_mode()
def test_bfloat16_only_moves_a_few_switches():
    """Values that rounding makes equal move a maximum by a pixel; with the switches of float32 little is left."""
    torch.manual_seed(0)
    net, images = SmallDeconvNet(num_classes=2).eval(), noise(49, 67)
    exact, (_, switches) = net(images), encode(net.encoder, images)
    assert torch.equal(by_switches(net, images, switches), exact)
    with torch.autocast("cpu", torch.bfloat16):
        rough, (_, rounded) = by_switches(net, images, switches), encode(net.encoder, images)
        assert net(images).dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.02 * exact.abs().mean()
    moved = [(mine[0] != theirs[0]).float().mean() for mine, theirs in zip(rounded, switches, strict=True)]
    assert 0 < max(moved) < 0.03


def test_large_network_is_vgg16_and_its_mirror():
    with torch.device("meta"):  # no memory, no numbers
        net = DeconvNet(num_classes=3)
    convs, deconvs = layers(net.encoder, nn.Conv2d), layers(net.decoder, nn.ConvTranspose2d)
    mirrored = [(deconv.out_channels, deconv.in_channels) for deconv in deconvs[::-1]]
    assert mirrored == [(64, 64)] + [(conv.in_channels, conv.out_channels) for conv in convs[1:]]
    assert [len(layers(stage, nn.ConvTranspose2d)) for stage in net.decoder] == [3, 3, 3, 2, 2]
    assert [layer.kernel_size for part in (net.fc6, net.fc7, net.fc6_deconv) for layer in part[:1]] == [
        (7, 7),
        (1, 1),
        (7, 7),
    ]
    assert len(layers(net, nn.ReLU)) == len(layers(net, nn.BatchNorm2d)) == 13 + 3 + 13


def test_large_parameters_by_hand():
    """252 million, nearly all of them where the fully connected layers are; the same number as in test_models.py."""
    inner = 64 * 64 + 64 * 128 + 128 * 128 + 128 * 256 + 2 * 256 * 256 + 256 * 512 + 5 * 512 * 512
    per_channel = 3  # a bias, the scale and the shift of batch normalisation
    encoder = 9 * (3 * 64 + inner) + per_channel * (2 * 64 + 2 * 128 + 3 * 256 + 6 * 512)
    decoder = 9 * (inner + 64 * 64) + per_channel * (5 * 512 + 3 * 256 + 2 * 128 + 3 * 64)
    fully_connected = 512 * 49 * 4096 + 4096 * 4096 + 4096 * 49 * 512 + per_channel * (2 * 4096 + 512)
    assert encoder + fully_connected + decoder + 64 * 3 + 3 == 251_804_483


@pytest.fixture(scope="module")
def large():
    torch.manual_seed(0)
    return DeconvNet(num_classes=2).eval()


@torch.inference_mode()
def test_large_network_pads_by_repetition_and_crops():
    torch.manual_seed(0)
    large, image = DeconvNet(num_classes=2, width=0.1).eval(), noise(131, 2)
    padded = np.pad(image.numpy(), ((0, 0), (0, 0), (0, 93), (0, 222)), mode="edge")
    torch.testing.assert_close(large(image), large(torch.from_numpy(padded))[:, :, :131, :2])


@pytest.mark.parametrize("size", [(1, 1), (97, 131), (224, 224), (500, 333)])
def test_large_network_takes_any_size(size):
    with torch.device("meta"):
        assert DeconvNet(num_classes=2, in_channels=4).eval()(torch.zeros(1, 4, *size)).shape == (1, 2, *size)


@pytest.mark.slow
@torch.inference_mode()
def test_large_network_starts_from_torchvisions(large):
    theirs = torchvision.models.vgg16_bn(init_weights=False).eval()
    for norm in layers(theirs, nn.BatchNorm2d):
        norm.running_mean.uniform_(-0.1, 0.1)
        norm.running_var.uniform_(0.5, 1.5)
    large.load_vgg16(theirs.state_dict())
    image, vector = noise(224, 224), noise(1, 1, channels=4096)
    features, _ = encode(large.encoder, image)
    torch.testing.assert_close(features, theirs.features(image))
    torch.testing.assert_close(large.fc6[0](features).flatten(1), theirs.classifier[0](features.flatten(1)))
    torch.testing.assert_close(large.fc7[0](vector).flatten(1), theirs.classifier[3](vector.flatten(1)))


@pytest.mark.slow
def test_weights_without_the_classifier_leave_fc6_and_fc7_as_they_start(large, capsys):
    theirs = torchvision.models.vgg16(init_weights=False)
    before = large.fc6[0].weight[:8].clone()
    large.load_vgg16({f"features.{name}": value for name, value in theirs.features.state_dict().items()})
    assert torch.equal(large.encoder[4][6].weight, theirs.features[28].weight)
    assert torch.equal(large.fc6[0].weight[:8], before)
    assert "fc6 and fc7 start new" in capsys.readouterr().out
