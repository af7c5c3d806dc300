import importlib.util
import itertools
import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics
from timm.utils import ModelEmaV3
from tiny import TinyCompetition, tiny_network, triple
from torch import nn
from torch.utils.data import DataLoader, Dataset

from kit.data.cache import SizedReader
from kit.data.normalise import IMAGENET as normalise
from kit.data.resize import Resizing
from kit.data.samples import ImageBatches, Sample, SegmentationDataset
from kit.losses.region import bce_dice, deep_supervision
from kit.prediction.predictor import TTA, VIEWS, predict
from kit.training.loop import (
    Settings,
    adamw,
    best_dtype,
    evaluate,
    fit,
    new_state,
    parameter_groups,
    warmup_cosine,
    warmup_poly,
)
from kit.training.processes import EpochBatches, World

ALONE = World(0, 1, torch.device("cpu"))


class Pictures(Dataset):
    """Random pictures, u8 (3, 12, 20), their masks random among `labels`."""

    def __init__(self, n, labels=(0, 1)):
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (n, 3, 12, 20), np.uint8)
        self.images, self.masks = images, random.choice(np.uint8(labels), (n, 12, 20))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        index = key[1] if isinstance(key, tuple) else key
        return Sample(torch.from_numpy(self.images[index]), torch.from_numpy(self.masks[index]), f"picture{index}")


def settings(epochs=2, schedule=warmup_cosine, num_classes=2, **more):
    return Settings(epochs, ALONE, torch.float32, schedule, num_classes=num_classes, **more)


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 1, 1)
    return nn.Sequential(*layers)


def train(folder, *, wrap=None, parts=1, criterion=bce_dice, epochs=3, optimizer=None, dataset=None, **more):
    """The state after training the network above on 10 pictures, 4 a step; the last 2 of each epoch are dropped."""
    model = wrap(network()) if wrap else network()
    state = new_state(model, adamw(model, lr=0.01), torch.float32, {}, ema_decay=0.6)
    if optimizer is not None:
        state.optimizer = optimizer(model)
    dataset = dataset or Pictures(10)
    batches = EpochBatches(len(dataset), 4, seed=3, world=ALONE, parts=parts)
    loader = DataLoader(dataset, batch_sampler=batches)
    fit(state, loader, DataLoader(Pictures(5), 2), criterion, settings(epochs, seed=3, **more), folder)
    return state


@pytest.mark.parametrize(("channels", "labels"), [(1, (0, 1)), (1, (0, 1, 255)), (2, (0, 1)), (4, (0, 1, 2, 3, 255))])
def test_evaluate_counts_as_scikit_learn_does(channels, labels):
    model, pictures, num_classes = tiny_network(channels), Pictures(7, labels), max(2, channels)
    matrix = evaluate(model, DataLoader(pictures, 3), settings(num_classes=num_classes))
    with torch.no_grad():
        logits = model(normalise(torch.from_numpy(pictures.images))).numpy()
    predicted = (logits[:, 0] > 0) if channels == 1 else logits.argmax(axis=1)
    counted = pictures.masks != 255
    expected = sklearn_metrics.confusion_matrix(pictures.masks[counted], predicted[counted], labels=range(num_classes))
    np.testing.assert_array_equal(matrix, expected)
    assert matrix.dtype == np.int64
    assert not model.training


class Supervised(nn.Module):
    """Gives logits at half the size too while it trains."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, images):
        logits = self.net(images)
        return (logits, nn.functional.avg_pool2d(logits, 2)) if self.training else logits


def test_a_network_of_several_logits_is_trained_by_deep_supervision(tmp_path):
    """Without the weight of the second it learns what it learns from the first alone."""
    plain = train(tmp_path / "plain")
    first = train(tmp_path / "first", wrap=Supervised, criterion=deep_supervision(bce_dice, (1.0, 0.0)))
    both = train(tmp_path / "both", wrap=Supervised, criterion=deep_supervision(bce_dice, (1.0, 0.5)))
    learnt = [next(state.model.parameters()) for state in (plain, first, both)]
    assert torch.equal(learnt[0], learnt[1])
    assert not torch.allclose(learnt[0], learnt[2])
    assert first.history[-1]["val_dice"] == plain.history[-1]["val_dice"]


def test_evaluate_of_no_pictures_counts_none():
    matrix = evaluate(tiny_network(3), DataLoader(Pictures(0)), settings(num_classes=3))
    np.testing.assert_array_equal(matrix, np.zeros((3, 3)))


def test_fit_is_the_plain_loop_written_out(tmp_path, capsys):
    """Order, normalisation, learning rate, clipping, AdamW, EMA and the logged losses, all worked out again."""
    state = train(tmp_path, clip=0.2)
    model, pictures, losses, norms = network(), Pictures(10), [], []
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": weights, "weight_decay": 0.01}, {"params": others, "weight_decay": 0}])
    average = {name: value.clone() for name, value in model.state_dict().items()}
    for epoch, step in itertools.product(range(3), range(2)):
        done = 2 * epoch + step
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * warmup_cosine(done / 6)
        rows = np.random.default_rng([3, epoch]).permutation(10)[4 * step : 4 * step + 4]
        mean, deviation = np.float32([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])[:, :, None, None]
        images = torch.from_numpy((pictures.images[rows] / np.float32(255) - mean) / deviation)
        loss = bce_dice(model(images), torch.from_numpy(pictures.masks[rows]).long())
        optimizer.zero_grad()
        loss.backward()
        norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters()))
        for p in model.parameters():
            p.grad *= min(1, 0.2 / norm)
        optimizer.step()
        decay = min(0.6, 1 - (1 + done) ** (-2 / 3))  # timm's warm-up; no memory of the weights before step 1
        for name, value in model.state_dict().items():
            average[name] += (1 - decay) * (value - average[name])
        losses.append(loss.item())
        norms.append(norm)
    assert max(norms) > 0.2 > min(norms)  # some were clipped, some were not
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state.model.state_dict()[name], value, rtol=0, atol=1e-6)
        torch.testing.assert_close(state.ema.module.state_dict()[name], average[name], rtol=0, atol=1e-6)
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert lines == state.history
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    np.testing.assert_allclose([line["loss"] for line in lines], np.reshape(losses, (3, 2)).mean(axis=1), rtol=1e-6)
    np.testing.assert_allclose([line["lr"] for line in lines], [0.01 * warmup_cosine(n / 6) for n in (1, 3, 5)])
    matrix = evaluate(state.ema.module, DataLoader(Pictures(5), 5), settings())
    tn, fp, fn, tp = matrix.ravel()
    assert lines[-1]["val_dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert lines[-1]["val_iou"] == pytest.approx(tp / (tp + fp + fn))
    assert lines[-1]["val_accuracy"] == pytest.approx((tp + tn) / matrix.sum())
    assert capsys.readouterr().out.count("\n") == 3


class Slow(Pictures):
    def __getitem__(self, key):
        time.sleep(0.02)
        return super().__getitem__(key)


def test_the_epochs_line_tells_how_long_the_network_waited_for_pictures(tmp_path, capsys):
    state = train(tmp_path, dataset=Slow(10))
    printed = capsys.readouterr().out
    for line in state.history:
        assert 8 * 0.02 <= line["waited"] <= line["seconds"]
        assert f"network busy {1 - line['waited'] / line['seconds']:.0%}\n" in printed
    assert state.waited == 0


def test_the_average_is_timms_and_its_batch_statistics_are_the_networks():
    """Averaged twice over, statistics begin near 0 and 1: after 180 steps a network of Dice 0.95 had 0.03."""
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    state = new_state(model, adamw(model, 0.1), torch.float32, {}, ema_decay=0.9)
    expected = ModelEmaV3(model, decay=0.9, use_warmup=True)
    for step in range(1, 40):
        with torch.no_grad():
            model[0].weight += step
        model(torch.full((2, 3, 4, 4), 5.0) + torch.arange(4))
        state.ema.update(model, step)
        expected.update(model, step)
    for name, value in expected.module.named_parameters():
        assert torch.equal(state.ema.module.get_parameter(name), value)
    for name, value in model.named_buffers():
        assert torch.equal(state.ema.module.get_buffer(name), value)
        assert not torch.equal(expected.module.get_buffer(name), value) or value.ndim == 0


def test_accumulation_changes_nothing(tmp_path, capsys):
    whole = train(tmp_path / "1")
    for parts in (2, 4):
        state = train(tmp_path / str(parts), parts=parts)
        for name, value in whole.model.state_dict().items():
            torch.testing.assert_close(state.model.state_dict()[name], value, rtol=0, atol=1e-6)
        for line, expected in zip(state.history, whole.history, strict=True):
            assert line["loss"] == pytest.approx(expected["loss"], rel=1e-6)


def test_a_step_is_no_longer_than_the_clip(tmp_path, capsys):
    before = torch.cat([p.detach().flatten() for p in network().parameters()])

    def plain_descent(model):
        return torch.optim.SGD([{"params": model.parameters(), "lr": 1.0, "initial_lr": 1.0}])

    state = train(
        tmp_path, epochs=1, optimizer=plain_descent, clip=1e-3, schedule=lambda progress: float(progress == 0)
    )
    after = torch.cat([p.detach().flatten() for p in state.model.parameters()])  # the second step had no rate
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-3)


def test_batches_of_a_last_look_that_is_not_full_are_counted(tmp_path, capsys, monkeypatch):
    calls = []

    def criterion(logits, masks):
        loss = bce_dice(logits, masks)
        calls.append(loss.item())
        return loss

    monkeypatch.setattr("kit.training.loop.CHECK_EVERY", 3)
    state = train(tmp_path, epochs=2, criterion=criterion, dataset=Pictures(30))  # 7 steps: 3, 3 and 1
    expected = np.reshape(calls, (2, 7)).mean(axis=1)
    np.testing.assert_allclose([line["loss"] for line in state.history], expected, rtol=1e-6)


def test_each_picture_is_augmented_once_an_epoch_by_epoch_and_index(tmp_path, capsys):
    asked = []

    def augment(image, mask, epoch, index):
        asked.append((epoch, index))
        return image, mask

    pictures = Pictures(8)
    read = {f"p{i}": (pictures.images[i].transpose(1, 2, 0), pictures.masks[i]) for i in range(8)}
    train(tmp_path, epochs=2, dataset=SegmentationDataset(read.__getitem__, list(read), augment))
    assert sorted(asked) == list(itertools.product(range(2), range(8)))


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_tensorboard_has_the_scores_of_each_epoch(tmp_path, capsys):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    state = train(tmp_path, epochs=2)
    [events] = (tmp_path / "tensorboard").iterdir()
    train(tmp_path, epochs=2)  # finished already: there is nothing to add
    assert list((tmp_path / "tensorboard").iterdir()) == [events]
    found = EventAccumulator(str(events)).Reload()
    assert set(found.Tags()["scalars"]) == state.history[0].keys() - {"epoch"}
    for name in ("val_dice", "loss"):
        points = [(point.step, point.value) for point in found.Scalars(name)]
        assert points == [(line["epoch"], pytest.approx(line[name], rel=1e-6)) for line in state.history]


def test_schedules_at_their_corners():
    for schedule, half in ((warmup_cosine, 0.5), (warmup_poly, 0.5**0.9)):
        for warmup in (0.05, 0.2):
            assert schedule(0, warmup) == pytest.approx(1e-3 / (warmup + 1e-3))
            assert schedule(warmup / 2, warmup) == pytest.approx((warmup / 2 + 1e-3) / (warmup + 1e-3))
            assert schedule(warmup, warmup) == 1
            assert schedule((1 + warmup) / 2, warmup) == pytest.approx(half)
            assert schedule(1, warmup) == pytest.approx(0, abs=1e-12)
            rates = [schedule(progress / 1000, warmup) for progress in range(1000)]
            assert min(rates) > 0
            assert np.argmax(rates) == 1000 * warmup
            assert (np.diff(rates[int(1000 * warmup) :]) < 0).all()
        assert schedule(0, 0.0) == 1


class Pretrained(nn.Module):
    def __init__(self):
        super().__init__()
        self.net = nn.Module()
        self.net.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 4, 1))
        self.net.decoder = nn.Sequential(nn.Conv2d(4, 4, 3), nn.GroupNorm(2, 4))


def test_parameter_groups():
    model = Pretrained()
    model.net.encoder[2].requires_grad_(False)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    found = {}
    for group in parameter_groups(model, lr=0.1, weight_decay=0.05, encoder_factor=0.5):
        assert group["lr"] == group["initial_lr"]
        for parameter in group["params"]:
            found[names[id(parameter)]] = group["lr"], group["weight_decay"]
    slow, fast = (0.05, 0.05), (0.1, 0.05)
    assert found == {
        "net.encoder.0.weight": slow, "net.encoder.0.bias": (0.05, 0), "net.encoder.1.weight": (0.05, 0),
        "net.encoder.1.bias": (0.05, 0), "net.decoder.0.weight": fast, "net.decoder.0.bias": (0.1, 0),
        "net.decoder.1.weight": (0.1, 0), "net.decoder.1.bias": (0.1, 0),
    }  # fmt: skip
    assert len(parameter_groups(model, lr=0.1, weight_decay=0.01)) == 2
    torch.optim.SGD(parameter_groups(model, lr=0.1, weight_decay=0.01))  # takes them


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="needs Linux to say what the processor can")
def test_a_cpu_computes_in_bfloat16_only_where_it_can():
    flags = Path("/proc/cpuinfo").read_text().split()
    able = "avx512_bf16" in flags or "amx_bf16" in flags
    assert best_dtype(torch.device("cpu")) == (torch.bfloat16 if able else torch.float32)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_best_dtype_of_a_gpu():
    able = torch.cuda.get_device_capability() >= (8, 0)
    assert best_dtype(torch.device("cuda")) == (torch.bfloat16 if able else torch.float16)


def go_on_with_discs(folder, world, epochs):
    """Train a network on drawn discs up to `epochs`; the state, and the loader that it was validated on."""
    competition, dtype = TinyCompetition(), best_dtype(world.device)
    pictures = SegmentationDataset(SizedReader(competition, Resizing((32, 48))), competition.ids)
    batches = EpochBatches(len(pictures), 4, seed=3, world=world, parts=2)
    pinned = {"pin_memory": world.device.type == "cuda"}
    model = network().to(world.device, memory_format=torch.channels_last)
    state = new_state(model, adamw(model, lr=0.01), dtype, {}, ema_decay=0.6)
    val_loader = DataLoader(pictures, 5, **pinned)
    train_loader = DataLoader(pictures, batch_sampler=batches, **pinned)
    fit(state, train_loader, val_loader, bce_dice, Settings(epochs, world, dtype, warmup_cosine), folder)
    return state, val_loader


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_goes_on_evaluates_and_predicts(tmp_path, capsys):
    world, competition = World(0, 1, torch.device("cuda", 0)), TinyCompetition()
    dtype = best_dtype(world.device)
    first, _ = go_on_with_discs(tmp_path, world, 1)
    state, val_loader = go_on_with_discs(tmp_path, world, 3)
    assert state.history[0] == first.history[0]
    assert [line["epoch"] for line in state.history] == [1, 2, 3]
    assert state.step == 9
    assert np.isfinite([line["loss"] for line in state.history]).all()
    (tn, fp), (fn, tp) = evaluate(state.ema.module, val_loader, Settings(3, world, dtype, warmup_cosine))
    assert tn + fp + fn + tp == 12 * 32 * 48
    assert state.history[-1]["val_dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-3)
    batches = ImageBatches(competition, competition.test_ids, Resizing((32, 48)), 2)
    found = list(predict([state.ema.module], batches, TTA(VIEWS["hflip"]), world.device, dtype, triple))
    pinned = ImageBatches(competition, competition.test_ids[:4] * 20, Resizing((32, 48)), 2, threads=2, pin=True)
    many = list(predict([state.ema.module], pinned, TTA(VIEWS["hflip"]), world.device, dtype, triple, ahead=True))
    for (id, _, levels), (expected_id, _, expected) in zip(many, found[:4] * 20, strict=True):
        assert id == expected_id
        np.testing.assert_array_equal(levels, expected)
    plain = predict([state.ema.module.cpu()], batches, TTA(VIEWS["hflip"]), torch.device("cpu"), torch.float32, triple)
    for (id, size, levels), (expected_id, _, expected) in zip(found, plain, strict=True):
        assert (id, size) == (expected_id, competition.size)
        assert np.abs(levels.astype(int) - expected).max() <= 8  # of 256, as coarse as bfloat16 is
