import numpy as np
import pytest
import torch
from torch import nn

from kit.training import parameter_groups, warmup_cosine, warmup_poly


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
