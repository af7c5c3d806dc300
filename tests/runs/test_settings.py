"""The settings of training in a fold's identity: what changes them, and what does not."""

import dataclasses
import functools
import json
import os
import subprocess
import sys

import albumentations as A
import numpy as np
import pytest
import segmentation_models_pytorch as smp
import torch
from tiny import TinyDataset, tiny_network
from tiny_run import ALONE, new_run

from kit.data import cell_augment, photo_augment
from kit.data.augment import Augment
from kit.data.samples import SegmentationDataset
from kit.folds.keeping import keep_folds
from kit.losses import bce, bce_dice
from kit.recipe import finish
from kit.runs import Plan, fit_fold
from kit.runs.run import begin
from kit.runs.settings import optimizer_settings, settings_of, text_of
from kit.runs.training import ARRAY, _of_any_fold
from kit.training import adamw, supervised, warmup_cosine
from kit.training.optimizers import warmup_poly


class Flags:
    """As a recipe's Config, which a loss may know."""

    def __init__(self, fold):
        self.fold = fold


class Weighted:
    """A loss that is an object."""

    def __init__(self, weight):
        self.weight = weight

    def __call__(self, logits, masks):
        return self.weight * bce(logits, masks)

    def halved(self, logits, masks):
        return self(logits, masks) / 2


class Focal(torch.nn.Module):
    def __init__(self, gamma, inner=None):
        super().__init__()
        self.gamma, self.inner = gamma, inner


def made(weights, flags):
    def loss_of(model, batch):
        return weights[0] * bce(model(batch.image), batch.mask) + 0 * flags.fold

    return loss_of


def with_default(weight):
    def loss(logits, masks, scale=weight):
        return scale * bce(logits, masks)

    return loss


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (supervised(bce), supervised(bce_dice)),
        (supervised(Weighted(1.0)), supervised(Weighted(2.0))),
        (supervised(Weighted(1.0).halved), supervised(Weighted(2.0).halved)),
        (functools.partial(bce, ignore_index=255), functools.partial(bce, ignore_index=254)),
        (
            torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(1)),
            torch.nn.BCEWithLogitsLoss(pos_weight=torch.ones(1) * 2),
        ),
        (torch.nn.CrossEntropyLoss(label_smoothing=0.1), torch.nn.CrossEntropyLoss(label_smoothing=0.2)),
        (torch.nn.HuberLoss(delta=1.0), torch.nn.HuberLoss(delta=2.0)),
        (smp.losses.TverskyLoss("binary", alpha=0.3), smp.losses.TverskyLoss("binary", alpha=0.4)),
        (Focal(1.0, Focal(2.0)), Focal(1.0, Focal(3.0))),
        (made(np.ones(2), Flags(0)), made(np.array([1.0, 2.0]), Flags(0))),
        (made(torch.ones(2), Flags(0)), made(torch.ones(2).bfloat16() * 2, Flags(0))),
        (with_default(1.0), with_default(2.0)),
        (SegmentationDataset(None, ["a", "b"]), SegmentationDataset(None, ["a", "c"])),
        (
            Augment([A.Lambda(image=np.copy, name="x"), A.D4(p=1)]),
            Augment([A.Lambda(image=np.copy, name="x"), A.D4(p=0)]),
        ),
    ],
)
def test_a_loss_counts_by_what_it_holds(one, other):
    assert text_of(one) == text_of(one) != text_of(other)
    assert "0x" not in text_of(one)


def test_the_samples_of_folds_differ_in_their_ids_alone():
    def shared(ids, augment):
        """What the folds of a run must have in common."""
        return _of_any_fold({"plan.samples": text_of(SegmentationDataset(None, ids, augment))}, ARRAY)

    first = shared(["a", "b"], photo_augment(0))
    assert first == shared(["c", "d", "e"], photo_augment(0)) != shared(["a", "b"], photo_augment(1))


def test_what_is_no_setting_does_not_count():
    assert text_of(made(np.ones(2), Flags(0))) == text_of(made(np.ones(2) + 1e-9, Flags(1)))
    assert text_of(made([1], Flags(0))) == text_of(made([1, 2], Flags(0)))  # a loss may note its values there
    one, other = tiny_network(seed=0), tiny_network(seed=1)  # a teacher may be built before its weights are read
    assert text_of(lambda model, batch: one) == text_of(lambda model, batch: one)
    assert text_of(made(1, one)) == text_of(made(1, other))
    assert "0x" not in text_of(Augment([A.Lambda(image=np.copy)]))  # its repr raises an error: it has no name

    def unset():
        return later

    assert text_of(unset).endswith("unset")
    later = 0


@pytest.mark.slow
def test_the_text_is_the_same_whatever_the_order_of_hashes():
    code = (
        "import functools; from kit.runs.settings import text_of; f = lambda: 0; "
        "print(text_of({'names': {'a', 'b', 'c', 'd'}, **dict.fromkeys({'e', 'f', 'g', 'h'})}), "
        "text_of(functools.partial(f, names=frozenset('abcdef'))))"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_a_function_that_holds_itself_ends():
    def again(n):
        return again(n - 1) if n else 0

    assert 3 < text_of(again).count("again") < 10


def test_a_plan_counts_field_by_field():
    plan = Plan(3, 4, warmup_cosine, photo_augment(0))
    before = settings_of("plan", plan)
    assert before["plan.epochs"] == "3"
    assert before["plan.schedule"] == "kit.training.optimizers.warmup_cosine"
    others = {
        "epochs": 4, "batch_size": 2, "schedule": warmup_poly, "augment": photo_augment(1), "ema_decay": None,
        "clip": 2.0, "parts": 2,
    }  # fmt: skip
    for name, value in others.items():
        changed = settings_of("plan", Plan(**{**vars(plan), name: value}))
        assert [key for key in before if changed[key] != before[key]] == [f"plan.{name}"]

    @dataclasses.dataclass
    class Flip:
        p: float = 0.5

    class Other(Flip):
        pass

    assert settings_of("augment", Flip()) != settings_of("augment", Other())
    texts = {text_of(one) for one in (None, cell_augment(), cell_augment(sigma=2.0), photo_augment(crop=(8, 8)))}
    assert len(texts) == 4
    assert text_of(photo_augment(0)) == text_of(photo_augment(0))
    assert isinstance(photo_augment(0), Augment)


def test_an_optimizer_counts_by_the_numbers_of_its_groups():
    net = tiny_network()
    assert optimizer_settings(torch.optim.SGD(net.parameters(), lr=0.25, momentum=0.9, nesterov=True)) == {
        "optimizer": "SGD",
        "optimizer.group 0": "2 tensors, dampening 0, lr 0.25, momentum 0.9, nesterov True, weight_decay 0",
    }
    assert optimizer_settings(adamw(net, lr=0.1)) != optimizer_settings(adamw(net, lr=0.2))
    started = adamw(net, lr=0.1)
    started.param_groups[0]["lr"] = 0.05  # as the schedule does
    assert optimizer_settings(started) == optimizer_settings(adamw(net, lr=0.1))
    centred = torch.optim.RMSprop(net.parameters(), centered=True)
    assert optimizer_settings(centred) != optimizer_settings(torch.optim.RMSprop(net.parameters()))
    fused, plain = (torch.optim.AdamW(net.parameters(), fused=fused) for fused in (True, False))
    assert optimizer_settings(fused) == optimizer_settings(plain)


class Learnable(TinyDataset):
    dtype = "uint8"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"lr": 0.02}, r"optimizer\.group 0 .*lr 0\.01.* -> .*lr 0\.02"),
        ({"plan": {"clip": 5.0}}, r"plan\.clip 1 -> 5"),
        ({"plan": {"epochs": 2}}, r"plan\.epochs 1 -> 2"),
        ({"loss": bce_dice}, r"loss .*bce\) -> .*bce_dice\)"),
        ({"size": (16, 24)}, r"frame\.resizing\.size \[24, 40\] -> \[16, 24\]"),
    ],
)
def test_a_fold_is_not_resumed_by_a_script_with_other_settings(tmp_path, change, said):
    """README's script has no flags: an edited number in it is seen all the same."""

    def fit(lr=0.01, plan=None, loss=bce, size=(24, 40)):
        net = tiny_network()
        run = new_run(tmp_path, Learnable(), size=size)
        fit_fold(
            run,
            0,
            net,
            adamw(net, lr),
            supervised(loss),
            Plan(**{"epochs": 1, "batch_size": 3, "schedule": warmup_cosine} | (plan or {})),
        )

    fit()
    fit()  # the same again
    fit(plan={"cache": False})
    with pytest.raises(ValueError, match=said):
        fit(**change)


def test_an_optimizer_without_initial_lr_trains_too(tmp_path):
    net, run = tiny_network(), new_run(tmp_path, Learnable())
    before = net.weight.detach().clone()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.5)
    fit_fold(run, 0, net, optimizer, supervised(bce), Plan(1, 3, warmup_cosine))
    assert optimizer.param_groups[0]["initial_lr"] == 0.5
    assert not torch.equal(net.weight, before)


def test_folds_trained_side_by_side_have_the_same_settings(tmp_path):
    """Each fold is a job of its own on a cluster: an edit between two of them would pool what does not belong."""

    def fit(fold, lr=0.01, clip=1.0, net=None):
        run, net = new_run(tmp_path, Learnable()), net or tiny_network()
        fit_fold(run, fold, net, adamw(net, lr), supervised(bce), Plan(1, 3, warmup_cosine, clip=clip))
        return run

    fit(0)
    with pytest.raises(ValueError, match=r"settings\.json was made by another .*plan\.clip 1 -> 2"):
        fit(1, clip=2.0)
    with pytest.raises(ValueError, match=r"lr 0\.01.* -> .*lr 0\.02"):
        fit(1, lr=0.02)
    assert not (tmp_path / "fold1/last.pt").exists()
    run = fit(1)
    assert json.loads((tmp_path / "settings.json").read_text())["plan.clip"] == "1"
    for path in tmp_path.glob("fold*/last.pt"):
        path.unlink()  # both are to be trained anew: then another rate is right
    fit(0, lr=0.02)
    assert "lr 0.02" in json.loads((tmp_path / "settings.json").read_text())["optimizer.group 0"]
    assert run.num_folds == 2


def test_a_network_that_is_built_otherwise_than_it_was_trained_is_reported(tmp_path, capsys):
    run, net = new_run(tmp_path, Learnable()), torch.nn.Sequential(tiny_network(), torch.nn.Identity())
    net[0].padding_mode = "zeros"
    keep_folds(tmp_path, run.dataset, run.world, lambda: run.folds)

    def train(fold):
        fit_fold(run, fold, net, adamw(net, 0.01), supervised(bce), Plan(1, 3, warmup_cosine))

    def edited():
        return torch.nn.Sequential(tiny_network(), torch.nn.Tanh())

    finish(run, 0, train, lambda: torch.nn.Sequential(tiny_network(), torch.nn.Identity()))
    assert "note:" not in capsys.readouterr().out
    finish(run, 1, train, edited)
    assert "note: Fold 1 was predicted by a network that is not built as in training." in capsys.readouterr().out


def test_another_network_is_called_another_network(tmp_path):
    def fit(fold, net, lr=0.01):
        fit_fold(new_run(tmp_path, Learnable()), fold, net, adamw(net, lr), supervised(bce), Plan(1, 3, warmup_cosine))

    larger = torch.nn.Sequential(tiny_network(), torch.nn.BatchNorm2d(1))
    fit(0, tiny_network())
    said = r"network \(optimizer\.group 1\) 1 tensor -> 3 tensors\. The network is another one, or another part of it"
    for fold in (0, 1):
        with pytest.raises(ValueError, match=said):
            fit(fold, larger)
    with pytest.raises(ValueError, match=r"now\): optimizer\.group 0 \w.* lr 0\.01.* -> .* lr 0\.02") as refused:
        fit(0, tiny_network(), lr=0.02)
    assert "The network" not in str(refused.value)


def test_settings_that_an_earlier_kit_wrote_otherwise_are_refused_with_its_version(tmp_path):
    def fit(run, lr):
        net = tiny_network()
        fit_fold(run, 0, net, adamw(net, lr), supervised(bce), Plan(1, 3, warmup_cosine))

    run = new_run(tmp_path, Learnable())
    fit(run, 0.01)
    origin = run.origin | {"versions": run.origin["versions"] | {"kit": "0.0.9"}}
    (run.fold_folder(0) / "origin.json").write_text(json.dumps(origin))
    with pytest.raises(ValueError, match=r"(?s)last\.pt was made.*\nThe run began with kit 0\.0\.9"):
        fit(new_run(tmp_path, Learnable()), 0.02)


def test_weights_that_come_from_the_masks_of_a_fold_may_differ_between_folds(tmp_path):
    """As those of classes, and of how often an image is drawn; their number of images differs too."""
    run, plain = new_run(tmp_path), Plan(1, 4, warmup_cosine)
    keep_folds(tmp_path, run.dataset, ALONE, lambda: run.folds)
    begin(run)
    for fold, factor in ((0, 1.0), (1, 3.0)):
        plan = dataclasses.replace(plain, weights=np.linspace(1, factor, len(run.trained_on(fold))))
        loss = functools.partial(scaled, by=torch.tensor([factor, 1.0]))
        fit_fold(run, fold, model := tiny_network(), adamw(model, 1e-3), supervised(loss), plan)
    (tmp_path / "fold1/last.pt").unlink()
    other = dataclasses.replace(plan, clip=2.0)
    with pytest.raises(ValueError, match=r"plan.clip 1 -> 2"):
        fit_fold(run, 1, model := tiny_network(), adamw(model, 1e-3), supervised(loss), other)


def scaled(logits, masks, by):
    return bce(logits, masks) * by[0]
