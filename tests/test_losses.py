import numpy as np
import pytest
import torch
from torch.nn import functional as F

from kit.losses import bce, bce_dice, cross_entropy, soft_dice

BINARY = [bce, soft_dice, bce_dice]


@pytest.fixture
def logits():
    return torch.from_numpy(np.random.default_rng(0).normal(0, 3, (3, 1, 17, 23)).astype(np.float32))


@pytest.fixture
def masks():
    """Truth of 0 and 1 with a fifth ignored; the second picture's truth is empty."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (3, 17, 23))
    truth[1] = 0
    truth[rng.random(truth.shape) < 0.2] = 255
    return torch.from_numpy(truth)


def numpy_bce(logits, masks):
    z, t = logits.numpy()[:, 0].astype(np.float64), masks.numpy()
    losses = np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * (t == 1)
    return losses[t != 255].mean()


def numpy_soft_dice(logits, masks, smooth=1.0):
    scores = []
    for z, t in zip(logits.numpy()[:, 0].astype(np.float64), masks.numpy(), strict=True):
        p, truth = 1 / (1 + np.exp(-z[t != 255])), t[t != 255]
        scores.append((2 * (p * truth).sum() + smooth) / (p.sum() + truth.sum() + smooth) if truth.size else 1.0)
    return 1 - np.mean(scores)


@pytest.mark.parametrize("ignored", [False, True])
def test_binary_losses_agree_with_numpy(logits, masks, ignored):
    masks = masks if ignored else torch.where(masks == 255, 1, masks)
    expected_bce, expected_dice = numpy_bce(logits, masks), numpy_soft_dice(logits, masks)
    assert bce(logits, masks).item() == pytest.approx(expected_bce, rel=1e-5)
    assert soft_dice(logits, masks).item() == pytest.approx(expected_dice, rel=1e-5)
    assert soft_dice(logits, masks, smooth=20.0).item() == pytest.approx(numpy_soft_dice(logits, masks, 20), rel=1e-5)
    assert bce_dice(logits, masks).item() == pytest.approx(expected_bce + expected_dice, rel=1e-5)


def test_bce_agrees_with_torch_on_the_pixels_that_count(logits, masks):
    valid = masks != 255
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][valid], masks[valid].float())
    torch.testing.assert_close(bce(logits, masks), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_agrees_with_torch_and_numpy(masks, weighted):
    logits = torch.from_numpy(np.random.default_rng(2).normal(0, 2, (3, 4, 17, 23)).astype(np.float32))
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0]) if weighted else None
    masks[masks == 1] = torch.arange(int((masks == 1).sum())) % 4
    found = cross_entropy(logits, masks, class_weights=weights)
    torch.testing.assert_close(found, F.cross_entropy(logits, masks, weight=weights, ignore_index=255))
    z, truth = logits.numpy().astype(np.float64), masks.numpy()
    losses = np.log(np.exp(z).sum(axis=1)) - np.take_along_axis(z, np.where(truth == 255, 0, truth)[:, None], 1)[:, 0]
    shares = np.ones(4) if weights is None else weights.numpy()
    share = np.where(truth == 255, 0, shares[np.where(truth == 255, 0, truth)])
    assert found.item() == pytest.approx((losses * share).sum() / share.sum(), rel=1e-5)


@pytest.mark.parametrize("loss", BINARY)
def test_what_is_ignored_has_no_influence_and_no_gradient(logits, masks, loss):
    ignored = (masks == 255)[:, None]
    changed = torch.where(ignored, 9.0, logits).requires_grad_()
    value = loss(changed, masks)
    assert value.item() == pytest.approx(loss(logits, masks).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, changed)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()


@pytest.mark.parametrize("loss", BINARY)
def test_gradients_agree_with_finite_differences(masks, loss):
    """Not torch's gradcheck: that wants float64 throughout, and these losses compute in float32 on purpose."""
    rng = np.random.default_rng(3)
    logits = torch.from_numpy(rng.normal(0, 1, (3, 1, 17, 23)).astype(np.float32)).requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, masks), logits)
    direction = gradient / gradient.norm()
    with torch.no_grad():
        change = (loss(logits + 0.5 * direction, masks) - loss(logits - 0.5 * direction, masks)).item()
    assert change == pytest.approx(gradient.norm().item(), rel=0.02)


def test_an_empty_truth_pulls_towards_the_empty_prediction():
    truth = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    for loss in BINARY:
        (gradient,) = torch.autograd.grad(loss(logits, truth), logits)
        assert (gradient > 0).all()
        assert loss(torch.full((1, 1, 8, 8), -30.0), truth).item() < 1e-6


@pytest.mark.parametrize("loss", BINARY)
def test_a_dice_per_image_splits_over_processes(logits, masks, loss):
    """The mean over images of a whole batch is the mean of its halves; with nothing ignored that holds for bce too."""
    masks = torch.where(masks == 255, 1, masks)
    images = [loss(logits[i : i + 1], masks[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(loss(logits, masks), torch.stack(images).mean())


def test_losses_are_float32_and_take_any_integers_as_masks(logits, masks):
    for loss in BINARY:
        for dtype in (torch.float16, torch.bfloat16, torch.float64):
            value = loss(logits.to(dtype), masks)
            assert value.dtype == torch.float32
            assert value.item() == pytest.approx(loss(logits.to(dtype).float(), masks).item())
        assert loss(logits, masks.to(torch.uint8)).item() == loss(logits, masks).item()
    two = torch.cat([-logits, logits], dim=1)
    assert cross_entropy(two.half(), masks.to(torch.uint8)).dtype == torch.float32


@pytest.mark.parametrize("loss", BINARY)
@pytest.mark.parametrize(
    ("logits_shape", "masks_shape"),
    [((2, 2, 5, 7), (2, 5, 7)), ((2, 1, 5, 7), (2, 1, 5, 7)), ((2, 1, 5, 7), (2, 7, 5)), ((2, 5, 7), (2, 5, 7))],
)
def test_shapes_that_would_broadcast_are_refused(loss, logits_shape, masks_shape):
    with pytest.raises(ValueError, match=r"expected logits \(N, 1, H, W\) and masks \(N, H, W\), got \(2, .*\(2, "):
        loss(torch.zeros(logits_shape), torch.zeros(masks_shape, dtype=torch.long))
