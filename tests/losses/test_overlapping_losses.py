"""Losses of classes that overlap: every class of every image counts as an image of one foreground."""

import pytest
import torch

from kit.losses import (
    bce,
    bce_dice,
    bce_jaccard,
    bce_log_dice,
    border_bce_dice,
    cross_entropy,
    deep_supervision,
    focal,
    lovasz_hinge,
    lovasz_softmax,
    soft_dice,
    soft_jaccard,
    tversky,
    weighted_cross_entropy,
)

EVERY = [bce, bce_dice, bce_jaccard, bce_log_dice, border_bce_dice, focal, lovasz_hinge, soft_dice, soft_jaccard]


def batch(count, images=3, size=(17, 23)):
    random = torch.Generator().manual_seed(count)
    logits = torch.randn(images, count, *size, generator=random)
    masks = (torch.rand(images, count, *size, generator=random) < 0.3).long()
    masks[0] = 0  # nothing in the first image
    return logits, masks


@pytest.mark.parametrize("loss", [*EVERY, tversky], ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_loss_is_the_mean_over_the_classes_one_by_one(loss, count):
    logits, masks = batch(count)
    logits.requires_grad_()
    found = loss(logits, masks)
    [gradient] = torch.autograd.grad(found, logits)
    alone = [loss(logits[:, k : k + 1], masks[:, k]) for k in range(count)]
    torch.testing.assert_close(found, torch.stack(alone).mean())
    torch.testing.assert_close(gradient, torch.autograd.grad(torch.stack(alone).mean(), logits)[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8])
def test_masks_of_bool_and_u8_are_the_same(dtype):
    logits, masks = batch(2)
    assert bce_dice(logits, masks.to(dtype)) == bce_dice(logits, masks)


def test_ignored_pixels_have_no_gradient():
    logits, masks = batch(2)
    logits.requires_grad_()
    masks[:, 1, :5] = 255
    [gradient] = torch.autograd.grad(bce_dice(logits, masks), logits)
    assert not gradient[:, 1, :5].any()
    assert gradient[:, 0, :5].all()


def test_weights_of_pixels_have_the_shape_of_the_masks():
    logits, masks = batch(2)
    weights = torch.rand(masks.shape)
    expected = [weighted_cross_entropy(logits[:, k : k + 1], masks[:, k], weights[:, k]) for k in range(2)]
    torch.testing.assert_close(weighted_cross_entropy(logits, masks, weights), torch.stack(expected).mean())
    with pytest.raises(ValueError, match=r"expected weights \(N, H, W\) as the masks, \(3, 2, 17, 23\)"):
        weighted_cross_entropy(logits, masks, weights[:, 0])


def test_several_outputs_see_masks_of_their_size():
    logits, masks = batch(2, size=(16, 24))
    criterion = deep_supervision(bce, (1.0, 0.5))
    small = torch.randn(3, 2, 8, 12)
    expected = bce(logits, masks) + 0.5 * bce(small, masks[:, :, 1::2, 1::2])
    torch.testing.assert_close(criterion([logits, small], masks), expected)


@pytest.mark.parametrize("loss", [cross_entropy, lovasz_softmax])
def test_a_softmax_over_classes_that_overlap_is_refused(loss):
    with pytest.raises(ValueError, match=r"masks \(N, K, H, W\), \(3, 2, 17, 23\), are of classes that overlap"):
        loss(*batch(2))


def test_labels_other_than_0_and_1_are_refused():
    logits, masks = batch(2)
    masks[1, 1, 3, 3] = 2
    with pytest.raises(ValueError, match="the masks hold the label 2"):
        bce(logits, masks)
