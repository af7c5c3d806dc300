"""The settings of training in a fold's identity: what changes them, and what does not."""

import functools
import importlib
import linecache
import sys

import numpy as np
import pytest
import torch
from tiny import TinyDataset, tiny_network
from tiny_run import new_run

from kit.data import cell_augment, photo_augment
from kit.data.augment import Augment
from kit.losses import bce, bce_dice
from kit.runs import Plan, fit_fold
from kit.runs.settings import optimizer_settings, settings_of, text_of
from kit.training import adamw, supervised, warmup_cosine
from kit.training.optimizers import warmup_poly

SCRIPT = '''
import numpy as np
from kit.losses import bce_dice

WEIGHT = 0.3

def doubled(loss):
    return 2 * loss

def mine(logits, masks):
    """What it does."""
    return doubled(WEIGHT * bce_dice(logits, masks))

def loss_of(model, batch):
    return mine(model(batch.image), batch.mask)

def make(weights, config):
    def inner(model, batch):
        return weights[0] * mine(model(batch.image), batch.mask) + 0 * config.fold
    return inner
'''


@pytest.fixture
def written(tmp_path, monkeypatch):
    """write(old, new): the script as a module anew, with one text replaced."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(old="", new=""):
        (tmp_path / "script.py").write_text(SCRIPT.replace(old, new) if old else SCRIPT)
        sys.modules.pop("script", None)
        importlib.invalidate_caches()
        linecache.clearcache()
        return importlib.import_module("script")

    yield write
    sys.modules.pop("script", None)


@pytest.mark.parametrize(
    "change", [("0.3", "0.4"), ("2 * loss", "3 * loss"), ("bce_dice(logits, masks))", "bce_dice(logits, masks, 1))")]
)
def test_a_loss_of_the_users_own_counts_by_its_code_and_constants(written, change):
    before = text_of(written().loss_of)
    assert text_of(written().loss_of) == before
    assert text_of(written('"""What it does."""', "# nothing").loss_of) == before
    assert text_of(written(*change).loss_of) != before


def test_a_loss_counts_what_it_was_made_of_and_not_the_flags_of_the_run(written):
    script = written()

    class Flags:
        fold = 0

    class Others:
        fold = 1

    Others.__qualname__ = Flags.__qualname__
    before = text_of(script.make(np.ones(2), Flags()))
    assert text_of(script.make(np.ones(2), Others())) == before
    assert text_of(script.make(np.array([1.0, 2.0]), Flags())) != before
    assert text_of(script.make(torch.ones(2), Flags())) != before


def test_losses_of_kit_and_of_pytorch_count_by_name_and_numbers():
    weighted = [torch.nn.BCEWithLogitsLoss(pos_weight=torch.tensor(weight)) for weight in (1.0, 2.0)]
    partial = [functools.partial(bce, weight=weight) for weight in (1.0, 2.0)]
    for one, other in (weighted, partial, (supervised(bce), supervised(bce_dice))):
        assert text_of(one) == text_of(one) != text_of(other)
    assert text_of(supervised(bce)) == text_of(supervised(bce))
    assert "0x" not in text_of(supervised(lambda logits, masks: logits.mean()))


def test_a_function_that_names_itself_ends():
    def again(n):
        return again(n - 1) if n else 0

    assert text_of(again).count("again") >= 1


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
