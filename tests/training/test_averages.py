"""Averages of weights: NumPy and torch's own update_bn are the references; what training keeps."""

import copy

import numpy as np
import pytest
import safetensors.numpy
import torch
from test_train import train
from torch import nn
from torch.optim.swa_utils import update_bn

from kit.training.averages import kept_epochs, kept_path, mean_weights, renew_batch_norm
from kit.training.checkpoint import save_weights


def normed():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def test_the_mean_is_numpys_and_counters_are_the_last_ones(tmp_path):
    arrays = []
    for number in range(3):
        torch.manual_seed(number)
        model = normed()
        model[1].num_batches_tracked += number
        save_weights(tmp_path / f"{number}.safetensors", model, {})
        arrays.append(safetensors.numpy.load_file(tmp_path / f"{number}.safetensors"))
    mean = mean_weights([tmp_path / f"{number}.safetensors" for number in range(3)])
    for name, value in mean.items():
        expected = np.mean([one[name].astype(np.float64) for one in arrays], axis=0).astype(arrays[0][name].dtype)
        np.testing.assert_array_equal(value.numpy(), 2 if name == "1.num_batches_tracked" else expected)
    save_weights(tmp_path / "other.safetensors", nn.Conv2d(3, 1, 1), {})
    with pytest.raises(ValueError, match=r"other.safetensors holds weights of another network than .*0.safetensors"):
        mean_weights([tmp_path / "0.safetensors", tmp_path / "other.safetensors"])
    (tmp_path / "0.safetensors").write_bytes(b"no tensors")
    with pytest.raises(ValueError, match=r"0.safetensors is damaged"):
        mean_weights([tmp_path / "0.safetensors"])


def test_the_statistics_are_those_of_update_bn():
    torch.manual_seed(0)
    model, batches = normed(), [torch.randn(5, 3, 9, 9) + shift for shift in (0.0, 1.0, 4.0)]
    expected = copy.deepcopy(model)
    update_bn(batches, expected)
    renew_batch_norm(model, iter(batches))
    for name, value in expected.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value, rtol=0, atol=0)
    assert not any(part.training for part in model.modules())
    assert model[1].momentum == 0.1
    renew_batch_norm(nn.Conv2d(3, 1, 1), (pytest.fail("nothing to compute") for _ in range(1)))


def test_the_last_epochs_are_kept_as_the_optimizer_left_them(tmp_path):
    """Without the average over steps; and training gives the same weights as without keeping."""
    states = {epochs: train(tmp_path / f"e{epochs}", epochs=epochs, schedule=lambda _: 1.0) for epochs in (2, 3)}
    kept = train(tmp_path / "kept", epochs=3, keep=2, schedule=lambda _: 1.0)
    assert kept_epochs(tmp_path / "kept") == [2, 3]
    assert not (tmp_path / "e3/kept").exists()
    for epochs, state in states.items():
        own = safetensors.numpy.load_file(kept_path(tmp_path / "kept", epochs))
        for name, value in state.model.state_dict().items():
            np.testing.assert_array_equal(own[name], value.numpy())
    last = [(tmp_path / name / "last.safetensors").read_bytes() for name in ("e3", "kept")]
    assert last[0] == last[1]
    assert not all(torch.equal(*pair) for pair in zip(kept.model.parameters(), kept.average.parameters(), strict=True))


def test_a_kept_epoch_is_written_again_after_a_kill(tmp_path, monkeypatch):
    train(tmp_path / "whole", epochs=3, keep=2)

    def killed(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("kit.training.loop.save", killed)  # after the weights of epoch 1, before its checkpoint
        with pytest.raises(KeyboardInterrupt):
            train(tmp_path / "killed", epochs=3, keep=3)
    assert kept_epochs(tmp_path / "killed") == [1]
    train(tmp_path / "killed", epochs=3, keep=2)
    assert kept_epochs(tmp_path / "killed") == [1, 2, 3]
    for epoch in (2, 3):
        files = [kept_path(tmp_path / name, epoch).read_bytes() for name in ("whole", "killed")]
        assert files[0] == files[1]
