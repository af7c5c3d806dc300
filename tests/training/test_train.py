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
from tiny import TinyDataset, tiny_network, triple
from torch import nn
from torch.utils.data import DataLoader, Dataset

from kit.data.cache import sample_reader
from kit.data.normalise import IMAGENET
from kit.data.resize import Resizing
from kit.data.samples import Sample, SegmentationDataset
from kit.losses import bce_dice, deep_supervision
from kit.prediction import TTA, VIEWS, Frame, Predictor
from kit.scoring.validation import Validation
from kit.training import (
    EpochBatches,
    Settings,
    World,
    adamw,
    best_dtype,
    fit,
    new_state,
    supervised,
    warmup_cosine,
)
from kit.training.loop import Float32Network

ALONE = World(0, 1, torch.device("cpu"))


class Images(Dataset):
    """Random images, u8 (3, 12, 20), their masks random among `labels`."""

    def __init__(self, n, labels=(0, 1)):
        random = np.random.default_rng(0)
        images = random.integers(0, 256, (n, 3, 12, 20), np.uint8)
        self.images, self.masks = images, random.choice(np.uint8(labels), (n, 12, 20))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, key):
        index = key[1] if isinstance(key, tuple) else key
        return Sample(torch.from_numpy(self.images[index]), torch.from_numpy(self.masks[index]), f"image{index}")


FRAME = Frame(Resizing((12, 20)), normalise=IMAGENET)


def settings(epochs=2, schedule=warmup_cosine, **more):
    return Settings(epochs, ALONE, torch.float32, schedule, IMAGENET, **more)


def confusion(model, loader, num_classes=2):
    return Validation(loader, FRAME, num_classes, ALONE, torch.float32).count(model)


def network():
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(), nn.Conv2d(8, 1, 1)
    return nn.Sequential(*layers)


def train(
    folder, *, wrap=None, parts=1, criterion=bce_dice, loss_of=None, epochs=3, optimizer=None, dataset=None, **more
):
    """The state after training the network above on 10 images, 4 a step; the last 2 of each epoch are dropped."""
    model = wrap(network()) if wrap else network()
    state = new_state(model, adamw(model, lr=0.01), torch.float32, {}, ema_decay=0.6)
    if optimizer is not None:
        state.optimizer = optimizer(model)
    dataset = dataset or Images(10)
    batches = EpochBatches(len(dataset), 4, seed=3, world=ALONE, parts=parts)
    loader = DataLoader(dataset, batch_sampler=batches)
    evaluate = Validation(DataLoader(Images(5), 2), FRAME, 2, ALONE, torch.float32)
    fit(state, loader, loss_of or supervised(criterion), evaluate, settings(epochs, seed=3, **more), folder)
    return state


@pytest.mark.parametrize(("channels", "labels"), [(1, (0, 1)), (1, (0, 1, 255)), (2, (0, 1)), (4, (0, 1, 2, 3, 255))])
def test_evaluate_counts_as_scikit_learn_does(channels, labels):
    model, images, num_classes = tiny_network(channels), Images(7, labels), max(2, channels)
    matrix = confusion(model, DataLoader(images, 3), num_classes)
    with torch.no_grad():
        logits = model(IMAGENET(torch.from_numpy(images.images))).numpy()
    predicted = (logits[:, 0] > 0) if channels == 1 else logits.argmax(axis=1)
    counted = images.masks != 255
    expected = sklearn_metrics.confusion_matrix(images.masks[counted], predicted[counted], labels=range(num_classes))
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


def test_evaluate_of_no_images_counts_none():
    matrix = confusion(tiny_network(3), DataLoader(Images(0)), 3)
    np.testing.assert_array_equal(matrix, np.zeros((3, 3)))


def test_fit_is_the_plain_loop_written_out(tmp_path, capsys):
    """Order, normalisation, learning rate, clipping, AdamW, EMA and the logged losses, all worked out again."""
    state = train(tmp_path, clip=0.2)
    model, data, losses, norms = network(), Images(10), [], []
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
        images = torch.from_numpy((data.images[rows] / np.float32(255) - mean) / deviation)
        loss = bce_dice(model(images), torch.from_numpy(data.masks[rows]).long())
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
    matrix = confusion(state.ema.module, DataLoader(Images(5), 5))
    tn, fp, fn, tp = matrix.ravel()
    assert lines[-1]["val_dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
    assert lines[-1]["val_iou"] == pytest.approx(tp / (tp + fp + fn))
    assert lines[-1]["val_accuracy"] == pytest.approx((tp + tn) / matrix.sum())
    assert capsys.readouterr().out.count("\n") == 3


class Slow(Images):
    def __getitem__(self, key):
        time.sleep(0.02)
        return super().__getitem__(key)


def test_the_epochs_line_tells_how_long_the_network_waited_for_images(tmp_path, capsys):
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
        state.ema.update(step)
        expected.update(model, step)
    for name, value in expected.module.named_parameters():
        assert torch.equal(state.ema.module.get_parameter(name), value)
    for name, value in model.named_buffers():
        assert torch.equal(state.ema.module.get_buffer(name), value)
        assert not torch.equal(expected.module.get_buffer(name), value) or value.ndim == 0


def test_a_loss_may_use_ids_and_any_outputs(tmp_path):
    """Weights of single samples, from a table in the recipe: those of weight zero teach nothing."""
    weights = {f"image{index}": float(index % 2) for index in range(10)}
    seen = []

    def loss_of(model, batch):
        seen.extend(batch.id)
        each = torch.stack([weights[id] * bce_dice(model(batch.image[i : i + 1]), batch.mask[i : i + 1])
                            for i, id in enumerate(batch.id)])  # fmt: skip
        return each.mean()

    class Odd(Images):
        def __getitem__(self, key):
            sample, index = super().__getitem__(key), key[1] if isinstance(key, tuple) else key
            return sample if index % 2 else sample._replace(mask=1 - sample.mask)  # the even masks are wrong

    right, wrong = (train(tmp_path / kind.__name__, loss_of=loss_of, dataset=kind(10)) for kind in (Images, Odd))
    assert set(seen) <= set(weights)
    assert len(set(seen)) > 6
    for name, value in right.model.state_dict().items():
        assert torch.equal(value, wrong.model.state_dict()[name])


@pytest.mark.parametrize("loss", [lambda logits: logits.mean().bfloat16(), lambda logits: logits.flatten()])
def test_a_loss_that_is_no_float32_scalar_is_refused(tmp_path, loss):
    with pytest.raises(ValueError, match=r"loss_of returned torch\.\w+ .*expected a float32 scalar"):
        train(tmp_path, loss_of=lambda model, batch: loss(model(batch.image)))


def test_outputs_are_float32_whatever_holds_them(tmp_path):
    class Many(nn.Module):
        def __init__(self, net):
            super().__init__()
            self.net = net

        def forward(self, images):
            logits = self.net(images)
            return {"mask": logits.bfloat16(), "pair": (logits.half(), [logits.double()]), "count": torch.tensor(3)}

    found = Float32Network(Many(network()), ALONE.device, torch.float32)(torch.zeros(1, 3, 12, 20))
    assert [x.dtype for x in (found["mask"], found["pair"][0], found["pair"][1][0])] == [torch.float32] * 3
    assert found["count"].dtype == torch.int64


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
    state = train(tmp_path, epochs=2, criterion=criterion, dataset=Images(30))  # 7 steps: 3, 3 and 1
    expected = np.reshape(calls, (2, 7)).mean(axis=1)
    np.testing.assert_allclose([line["loss"] for line in state.history], expected, rtol=1e-6)


def test_each_image_is_augmented_once_an_epoch_by_epoch_and_index(tmp_path, capsys):
    asked = []

    def augment(image, mask, epoch, index):
        asked.append((epoch, index))
        return image, mask

    images = Images(8)
    read = {f"p{i}": (images.images[i].transpose(1, 2, 0), images.masks[i]) for i in range(8)}
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


def resume_discs(folder, world, epochs):
    """Train a network on drawn discs up to `epochs`; the state, and its validation."""
    dataset, dtype, resizing = TinyDataset(), best_dtype(world.device), Resizing((32, 48))
    samples = SegmentationDataset(sample_reader(dataset, resizing, None), dataset.ids)
    batches = EpochBatches(len(samples), 4, seed=3, world=world, parts=2)
    pinned = {"pin_memory": world.device.type == "cuda"}
    model = network().to(world.device)
    state = new_state(model, adamw(model, lr=0.01), dtype, {}, ema_decay=0.6)
    val_loader = DataLoader(samples, 4, **pinned)
    train_loader = DataLoader(samples, batch_sampler=batches, **pinned)
    frame = Frame(resizing, normalise=IMAGENET)
    evaluate = Validation(val_loader, frame, 2, world, dtype)
    how = Settings(epochs, world, dtype, warmup_cosine, IMAGENET)
    fit(state, train_loader, supervised(bce_dice), evaluate, how, folder)
    return state, evaluate


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_resumes_validates_and_predicts(tmp_path, capsys):
    world, dataset = World(0, 1, torch.device("cuda", 0)), TinyDataset()
    dtype, frame = best_dtype(world.device), Frame(Resizing((32, 48)), normalise=IMAGENET)
    first, _ = resume_discs(tmp_path, world, 1)
    state, evaluate = resume_discs(tmp_path, world, 3)
    assert state.history[0] == first.history[0]
    assert [line["epoch"] for line in state.history] == [1, 2, 3]
    assert state.step == 9
    assert np.isfinite([line["loss"] for line in state.history]).all()
    (tn, fp), (fn, tp) = evaluate.count(state.ema.module)
    assert tn + fp + fn + tp == 12 * 32 * 48
    assert state.history[-1]["val_dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn), abs=1e-3)
    predictor = Predictor([state.ema.module], frame, TTA(VIEWS["hflip"]), dtype=dtype)
    found = list(predictor.stream(dataset, dataset.test_ids, triple))
    many = list(predictor.stream(dataset, dataset.test_ids[:4] * 20, triple, threads=2))
    for (id, _, levels), (expected_id, _, expected) in zip(many, found[:4] * 20, strict=True):
        assert id == expected_id
        np.testing.assert_array_equal(levels, expected)
    plain = Predictor([state.ema.module.cpu()], frame, TTA(VIEWS["hflip"])).stream(dataset, dataset.test_ids, triple)
    for (id, size, levels), (expected_id, _, expected) in zip(found, plain, strict=True):
        assert (id, size) == (expected_id, dataset.size)
        assert np.abs(levels.astype(int) - expected).max() <= 8  # of 256, as coarse as bfloat16 is
