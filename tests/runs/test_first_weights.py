"""The weights with which the networks of a run begin: the same for all folds, and no part of what predicts."""

import json

import pytest
import torch
from tiny import TinyDataset, tiny_network
from tiny_run import new_run

from kit.folds.keeping import keep_folds
from kit.losses import bce
from kit.models.pretrained import unet
from kit.recipe import finish
from kit.runs import Plan, fit_fold
from kit.runs.settings import network_text
from kit.training import adamw, supervised, warmup_cosine

LITE0 = "lite0-model 0.1.0, lite0.pth, sha256 0123456789abcdef"


def network(package=None):
    """package: of the first weights, "" for the hub's; None for a network without any."""
    net = tiny_network()
    if package is not None:
        net.mean, net.std, net.package = (0.5,) * 3, (0.5,) * 3, package
    return net


def fit(folder, fold, package):
    run, net = new_run(folder, TinyDataset(cars=4, views=3)), network(package)
    keep_folds(folder, run.dataset, run.world, lambda: run.folds)
    fit_fold(run, fold, net, adamw(net, 0.01), supervised(bce), Plan(1, 3, warmup_cosine))
    return run


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (LITE0, "", f"first weights {LITE0} -> absent"),
        (LITE0, LITE0.replace("0.1.0", "0.2.0"), r"first weights lite0-model 0\.1\.0, .* -> lite0-model 0\.2\.0, "),
        ("", LITE0, f"first weights absent -> {LITE0}"),
        (None, LITE0, f"first weights absent -> {LITE0}"),
    ],
)
def test_a_fold_does_not_begin_with_the_weights_of_another_place_than_the_folds_before(tmp_path, first, second, said):
    fit(tmp_path, 0, first)
    with pytest.raises(ValueError, match=rf"settings\.json was made by another .*package of the {said}"):
        fit(tmp_path, 1, second)
    assert not (tmp_path / "fold1/last.pt").exists()
    fit(tmp_path, 1, first)


def test_a_fold_is_resumed_where_the_package_is_absent(tmp_path):
    """Its weights are in its checkpoint; a recipe then builds the network without any."""
    for fold in (0, 1):
        fit(tmp_path, fold, LITE0)
    for package in (None, "", LITE0):
        fit(tmp_path, 1, package)
    assert json.loads((tmp_path / "settings.json").read_text())["package of the first weights"] == LITE0


def test_networks_that_predict_are_built_without_the_first_weights(tmp_path, capsys):
    run = new_run(tmp_path, TinyDataset())
    keep_folds(tmp_path, run.dataset, run.world, lambda: run.folds)
    finish(run, 0, lambda fold: fit(tmp_path, fold, LITE0), network)
    assert "note:" not in capsys.readouterr().out


def test_first_weights_are_no_part_of_how_a_network_is_built(tmp_path):
    bare = unet("resnet18", "none", num_classes=1, decoder_channels=(8,) * 5)
    torch.save(bare.net.encoder.state_dict(), tmp_path / "resnet18.pth")
    loaded = unet("resnet18", str(tmp_path / "resnet18.pth"), num_classes=1, decoder_channels=(8,) * 5)
    assert (loaded.mean, loaded.package) == ((0.485, 0.456, 0.406), "")
    assert network_text(loaded) == network_text(bare)
    loaded.stride = 64
    assert network_text(loaded) != network_text(bare)
    own = tiny_network()  # a network of the user's own, whose mean is what it computes with
    own.mean = (0.5, 0.5, 0.5)
    assert network_text(own) != network_text(tiny_network())
