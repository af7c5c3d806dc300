"""The loss of objects and borders against the sums that it stands for."""

import pytest
import torch
from torch.nn import functional as F

from kit.losses import objects_and_borders, soft_dice


@pytest.mark.parametrize("weight", [1.0, 5.0])
def test_a_border_counts_several_times(weight):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 2, 6, 7, generator=generator)
    masks = (torch.rand(3, 2, 6, 7, generator=generator) < 0.3).long()
    each = F.binary_cross_entropy_with_logits(logits, masks.float(), reduction="none")
    times = torch.stack([torch.ones(3, 6, 7), 1 + (weight - 1) * masks[:, 1]], dim=1)
    expected = (each * times).mean() + soft_dice(logits, masks)
    assert objects_and_borders(logits, masks, weight).item() == pytest.approx(expected.item(), rel=1e-5)


def test_what_is_ignored_has_no_weight():
    logits, masks = torch.zeros(1, 2, 4, 4, requires_grad=True), torch.full((1, 2, 4, 4), 255)
    loss = objects_and_borders(logits, masks)
    loss.backward()
    assert loss.item() == 0
    assert not logits.grad.any()
