import itertools

import numpy as np
import pytest
import torch
from tiny import TinyCompetition, tiny_network, triple
from torch import nn
from torch.nn import functional as F

from kit.data.normalise import IMAGENET as normalise
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches
from kit.models.pretrained import PadToStride
from kit.prediction.enlarge import enlarge
from kit.prediction.predictor import (
    FOREGROUND,
    TTA,
    VIEWS,
    Tiled,
    View,
    mask_at,
    pictures_at_once,
    predict,
    probabilities,
    quantise,
    rle_at,
    tile_starts,
)
from kit.submission import rle

CPU = torch.device("cpu")


def noise(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def symmetric_network(channels=1):
    """A convolution whose kernel looks the same from all eight sides."""
    net = tiny_network(channels)
    kernels = [torch.rot90(k, n, (2, 3)) for k in (net.weight, net.weight.flip(3)) for n in range(4)]
    net.weight = nn.Parameter(torch.stack(kernels).mean(dim=0).detach())
    return net


@pytest.mark.parametrize("ahead", [False, True])
def test_probabilities_that_are_not_finite_stop_it_and_name_the_pictures(ahead):
    """A mask of them would be empty, and valid."""
    competition, network = TinyCompetition(), tiny_network()
    with torch.no_grad():
        network.bias.fill_(float("nan"))
    batches = ImageBatches(competition, competition.test_ids, Resizing((24, 40)), 2)
    with pytest.raises(FloatingPointError, match="no finite probabilities for one of test_00, test_01"):
        list(predict([network], batches, TTA(), CPU, torch.float32, triple, ahead))


def test_views_are_the_eight_symmetries_and_undo_is_their_inverse():
    picture = noise(2, 3, 5, 7)
    seen = [view.apply(picture) for view in VIEWS["d4"]]
    expected = [torch.rot90(p, n, (2, 3)) for p in (picture, picture.flip(3)) for n in range(4)]
    for one in expected:
        assert sum(one.shape == other.shape and torch.equal(one, other) for other in seen) == 1
    for view in VIEWS["d4"]:
        assert torch.equal(view.undo(view.apply(picture)), picture)
    assert [len(VIEWS[name]) for name in ("none", "hflip", "flips", "d4")] == [1, 2, 4, 8]
    assert VIEWS["none"] == (View(),)
    assert torch.equal(VIEWS["hflip"][1].apply(picture), picture.flip(3))


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize("channels", [1, 3])
def test_views_of_an_equivariant_network_change_nothing(name, channels):
    """Up to the order of float32 sums: 1e-6 of probabilities 0..1."""
    net, picture = symmetric_network(channels), noise(2, 3, 13, 18)
    plain = probabilities([net], picture, TTA())
    torch.testing.assert_close(probabilities([net], picture, TTA(VIEWS[name])), plain, rtol=0, atol=1e-6)


def test_probabilities_are_the_plain_mean_over_models_and_views():
    nets, picture = [tiny_network(seed=1), tiny_network(seed=2)], noise(2, 3, 9, 14)
    with torch.no_grad():
        flipped = [net(picture.flip(3)).sigmoid().flip(3) for net in nets]
        turned = [net(picture.transpose(2, 3)).sigmoid().transpose(2, 3) for net in nets]
        parts = [*(net(picture).sigmoid() for net in nets), *flipped, *turned]
    found = probabilities(nets, picture, TTA((View(), View(horizontal=True), View(transpose=True))))
    torch.testing.assert_close(found, sum(parts) / 6)


def test_several_classes_are_softmaxed_before_they_are_averaged():
    nets, picture = [tiny_network(3, seed=1), tiny_network(3, seed=2)], noise(2, 3, 9, 14)
    with torch.no_grad():
        expected = sum(net(picture).softmax(dim=1) for net in nets) / 2
    found = probabilities(nets, picture, TTA())
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(found.sum(dim=1), torch.ones(2, 9, 14))


@pytest.mark.parametrize("name", ["none", "d4"])
def test_two_logits_are_as_good_as_one(name):
    """A softmax of two is a sigmoid of their difference, and the store, the CSV and the scores take the foreground."""
    two, one, picture = tiny_network(2), tiny_network(1), noise(2, 3, 9, 14)
    one.load_state_dict({key: value[1:] - value[:1] for key, value in two.state_dict().items()})
    found = probabilities([two], picture, TTA(VIEWS[name]))
    torch.testing.assert_close(found, probabilities([one], picture, TTA(VIEWS[name])))


def test_scales_go_there_and_back():
    net, picture = tiny_network(kernel=1), noise(1, 3, 20, 31)
    shapes = []
    net.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(output.shape[2:])))
    found = probabilities([net], picture, TTA(scales=(1.0, 0.5, 1.5)))
    assert shapes == [(20, 31), (10, 16), (30, 46)]
    parts = [net(picture).sigmoid()]
    for size in ((10, 16), (30, 46)):
        scaled = F.interpolate(picture, size=size, mode="bilinear", antialias=True)
        parts.append(F.interpolate(net(scaled).sigmoid(), size=(20, 31), mode="bilinear", antialias=True))
    torch.testing.assert_close(found, sum(parts).detach() / 3)
    flat = torch.full((1, 3, 20, 31), 0.7)
    torch.testing.assert_close(probabilities([net], flat, TTA(scales=(0.5, 2.0))), net(flat).sigmoid())


def test_tiles_cover_every_pixel_and_overlap_as_asked():
    for tile, overlap in itertools.product((1, 2, 7, 16), (0.0, 0.25, 0.5, 0.9)):
        for length in range(tile, 90):
            starts = tile_starts(length, tile, overlap)
            assert starts[0] == 0
            assert starts[-1] == length - tile
            steps = np.diff(starts)
            assert (steps > 0).all()
            assert (steps <= max(1, np.ceil(tile * (1 - overlap)))).all()


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.6])
@pytest.mark.parametrize("size", [(37, 53), (16, 24), (15, 70), (16, 25), (9, 11)])
def test_tiles_of_an_identity_network_give_back_the_picture(size, overlap):
    picture = noise(2, 3, *size)
    torch.testing.assert_close(Tiled(nn.Identity(), (16, 24), overlap)(picture), picture, rtol=1e-5, atol=1e-6)


def test_tiles_of_a_local_network_agree_with_it_away_from_seams():
    """A 1 x 1 convolution sees one pixel, so tiles change nothing; views and tiles go together."""
    net, picture = tiny_network(2, kernel=1), noise(1, 3, 41, 50)
    tta = TTA(VIEWS["d4"])
    whole, tiled = probabilities([net], picture, tta), probabilities([Tiled(net, (16, 20))], picture, tta)
    torch.testing.assert_close(tiled, whole, rtol=0, atol=1e-6)


@pytest.mark.parametrize("stride", [8, 32])
def test_pad_to_stride_repeats_edges_and_crops_back(stride):
    seen = []

    def identity(images):
        seen.append(images)
        return images

    for size in ((97, 131), (64, 96), (1, 33)):
        picture = noise(2, 3, *size)
        assert torch.equal(PadToStride(identity, stride)(picture), picture)
        below, right = (-side % stride for side in size)
        expected = np.pad(picture.numpy(), ((0, 0), (0, 0), (0, below), (0, right)), mode="edge")
        np.testing.assert_array_equal(seen.pop().numpy(), expected)


def test_levels_are_256_equal_steps():
    probs = torch.tensor([0.0, 1 / 256, 0.4999999, 0.5, 0.501, 255.99 / 256, 1.0])
    assert quantise(probs.view(1, 1, 1, -1)).flatten().tolist() == [0, 1, 127, 128, 128, 255, 255]
    assert quantise(torch.full((1, 1, 1, 1), 0.5)).item() == FOREGROUND
    for part in (0.0, 0.1, 0.9):
        steps = (torch.arange(256) + part).view(1, 1, 16, 16) / 256
        assert quantise(steps).flatten().tolist() == list(range(256))


@pytest.mark.parametrize("size", [(131, 97), (64, 96), (33, 48), (200, 301), (20, 15)])
def test_masks_agree_with_torchs_interpolation_and_a_threshold(size):
    """A level stands for the middle of its step: (level + 0.5) / 256."""
    probs = torch.from_numpy(np.random.default_rng(4).random((3, 1, 33, 48), dtype=np.float32))
    levels = quantise(probs)
    for exact, level in zip(probs, levels, strict=True):
        middle = F.interpolate((level[None].double() + 0.5) / 256, size=size, mode="bilinear", align_corners=False)[
            0, 0
        ]
        mask, enlarged = mask_at(level.numpy(), size), enlarge(level[0].numpy(), size)
        assert mask.dtype == enlarged.dtype == np.uint8
        assert mask.shape == enlarged.shape == size
        clear = (middle - 0.5).abs() > 1e-6
        np.testing.assert_array_equal(mask[clear], (middle >= 0.5).numpy()[clear])
        np.testing.assert_array_equal(mask, enlarged >= FOREGROUND)
        for order in "CF":
            assert rle_at(level.numpy(), size, order) == rle.encode(mask, order)
        assert np.abs(enlarged - (middle.numpy() * 256 - 0.5)).max() <= 0.5 + 1e-4
        true = F.interpolate(exact[None], size=size, mode="bilinear", align_corners=False)[0, 0]
        clear = (true - 0.5).abs() > 1 / 512 + 1e-6  # what quantising may move
        np.testing.assert_array_equal(mask[clear], (true >= 0.5).numpy()[clear])


def test_masks_of_several_classes_take_the_likeliest():
    probs = torch.softmax(4 * noise(1, 4, 21, 30), dim=1)
    levels = quantise(probs)[0].numpy()
    np.testing.assert_array_equal(mask_at(levels, (21, 30)), levels.argmax(axis=0))
    enlarged = F.interpolate(torch.from_numpy(levels)[None].double(), size=(47, 63), mode="bilinear")[0]
    first, second = enlarged.topk(2, dim=0).values
    clear = (first - second > 1e-3).numpy()
    np.testing.assert_array_equal(mask_at(levels, (47, 63))[clear], enlarged.argmax(dim=0).numpy()[clear])
    assert clear.mean() > 0.9


def run(ids, batch_size, threads=0, broken=()):
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Dropout(), nn.Conv2d(16, 1, 1)
    )
    batches = ImageBatches(TinyCompetition(tests=13, broken=broken), ids, Resizing((32, 48)), batch_size, threads)
    network = net.to(memory_format=torch.channels_last)
    return predict([network], batches, TTA(VIEWS["hflip"]), CPU, torch.float32, triple, ahead=threads > 0)


def test_predictions_come_in_order_with_their_sizes_and_by_the_networks_own_probabilities():
    ids, net = TinyCompetition().test_ids, tiny_network()
    batches = ImageBatches(TinyCompetition(), ids, Resizing((32, 48)), 2)
    found = list(predict([net], batches, TTA(), CPU, torch.float32, triple))
    assert [(id, size) for id, size, _ in found] == [(id, (45, 61)) for id in ids]
    image = batches.read([ids[3]]).images[:1]
    with torch.no_grad():
        expected = (net(normalise(image)).sigmoid()[0] * 256).floor()
    assert np.abs(found[3][2] - expected.numpy()).max() <= 1  # a sum in another order may cross a step


def test_predictions_do_not_depend_on_what_else_is_in_the_batch():
    ids = TinyCompetition(tests=13).test_ids
    whole = {id: levels.tobytes() for id, _, levels in run(ids, 4)}
    assert list(whole) == ids
    for some in (ids[:1], ids[3:9], ids[::-1], ids[5:]):
        assert {id: levels.tobytes() for id, _, levels in run(some, 4)} == {id: whole[id] for id in some}
    assert {id: levels.tobytes() for id, _, levels in run(ids, 4, threads=2)} == whole


def test_every_batch_has_one_shape_whatever_is_left_or_unreadable():
    """Kernels are chosen by a batch's shape, so a picture alone in the last batch must not get others."""
    shapes, net = [], tiny_network()
    net.register_forward_hook(lambda module, inputs, output: shapes.append(tuple(inputs[0].shape)))
    competition = TinyCompetition(tests=9, broken=["test_01"])
    batches = ImageBatches(competition, competition.test_ids, Resizing((32, 48)), 4)
    with pytest.raises(ValueError, match="1 picture could not be predicted"):
        list(predict([net], batches, TTA(VIEWS["hflip"]), CPU, torch.float32, triple))
    assert shapes == [(8, 3, 32, 48)] * 3


def test_bad_pictures_are_all_told_at_the_end_and_the_good_ones_predicted():
    ids = TinyCompetition(tests=13).test_ids
    bad = [ids[0], *ids[4:8], ids[12]]
    good = []
    with pytest.raises(ValueError, match="6 pictures could not be predicted; all others were") as refusal:
        good.extend(id for id, _, _ in run(ids, 4, broken=bad))
    assert good == [id for id in ids if id not in bad]
    assert all(f"{id}.jpg: damaged" in str(refusal.value) for id in bad)


def test_pictures_at_once_depends_on_the_views_the_size_and_the_device_alone():
    cuda, small = torch.device("cuda"), (64, 96)
    for device in (CPU, cuda):
        assert [pictures_at_once(TTA(VIEWS[name]), small, device) for name in VIEWS] == [8, 4, 2, 1]
    assert pictures_at_once(TTA(VIEWS["d4"] + VIEWS["d4"]), small, CPU) == 1
    sizes = [(128, 128), (256, 384), (512, 768), (1280, 1918)]
    assert [pictures_at_once(TTA(VIEWS["hflip"]), size, CPU) for size in sizes] == [4, 2, 1, 1]
    assert [pictures_at_once(TTA(VIEWS["hflip"]), size, cuda) for size in sizes] == [4, 4, 4, 2]


def test_quantising_never_changes_the_likeliest_class():
    """Of 21 classes many share a level of 256; the first of them would win, and that is the background."""
    torch.manual_seed(0)
    probs = torch.randn(2, 21, 40, 50).mul(0.3).softmax(dim=1)
    plain = (probs * 256).floor()
    assert (plain.argmax(dim=1) != probs.argmax(dim=1)).any()
    levels = quantise(probs)
    assert torch.equal(levels.argmax(dim=1), probs.argmax(dim=1))
    assert (plain - levels).abs().max() == 1
