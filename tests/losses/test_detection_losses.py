"""The losses of Mask R-CNN against their equations in NumPy."""

import numpy as np
import pytest
import torch

from kit.losses import mask_rcnn_loss, mask_rcnn_losses, panoptic_fpn_loss


def outputs(sampled=20, on_object=6, rois=9, on_roi=4):
    rng = np.random.default_rng(0)
    shapes = {
        "objectness": (sampled,),
        "proposals": (on_object, 4),
        "true_proposals": (on_object, 4),
        "classes": (rois, 4),
        "boxes": (on_roi, 4),
        "true_boxes": (on_roi, 4),
        "masks": (on_roi, 28, 28),
    }
    made = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    made["is_object"] = (np.arange(sampled) < on_object).astype(np.float32)
    made["true_classes"] = np.where(np.arange(rois) < on_roi, rng.integers(1, 4, rois), 0)
    made["true_masks"] = rng.uniform(size=(on_roi, 28, 28)).astype(np.float32)
    return {name: torch.from_numpy(value) for name, value in made.items()}


def binary(logits, truth):
    probs = 1 / (1 + np.exp(-logits.astype(np.float64)))
    return -(truth * np.log(probs) + (1 - truth) * np.log(1 - probs)).mean()


def smooth_l1(shifts, truth, bend=1 / 9):
    far = np.abs(shifts - truth).astype(np.float64)
    return np.where(far < bend, far**2 / (2 * bend), far - bend / 2).sum()


def test_the_five_losses_by_their_equations():
    made = outputs()
    arrays = {name: value.numpy() for name, value in made.items()}
    probs = np.exp(arrays["classes"].astype(np.float64))
    probs /= probs.sum(axis=1, keepdims=True)
    expected = {
        "objectness": binary(arrays["objectness"], arrays["is_object"]),
        "proposals": smooth_l1(arrays["proposals"], arrays["true_proposals"]) / 20,
        "classes": -np.log(probs[np.arange(9), arrays["true_classes"]]).mean(),
        "boxes": smooth_l1(arrays["boxes"], arrays["true_boxes"]) / 9,
        "masks": binary(arrays["masks"], arrays["true_masks"]),
    }
    found = mask_rcnn_losses(made)
    assert {name: value.item() for name, value in found.items()} == pytest.approx(expected, rel=1e-5)
    assert mask_rcnn_loss(made).item() == pytest.approx(sum(expected.values()), rel=1e-5)


def test_nothing_to_compare_costs_nothing_and_has_a_gradient_of_zero():
    made = outputs(on_object=0, rois=0, on_roi=0, sampled=0)
    for name in ("objectness", "proposals", "classes", "boxes", "masks"):
        made[name].requires_grad_()
    loss = mask_rcnn_loss(made)
    loss.backward()
    assert loss.item() == 0
    assert all(value.grad is not None for name, value in made.items() if value.requires_grad)


def test_half_precision_is_summed_in_float32():
    made = outputs()
    made["masks"] = torch.full((4, 28, 28), -60_000.0)
    made["true_masks"] = torch.ones(4, 28, 28)
    half = {name: value.half() if value.is_floating_point() else value for name, value in made.items()}
    found = mask_rcnn_losses(half)
    assert {value.dtype for value in found.values()} == {torch.float32}
    assert found["masks"].item() == pytest.approx(60_000, rel=1e-3)


def test_other_outputs_are_refused():
    made = outputs()
    del made["masks"]
    with pytest.raises(ValueError, match=r"that MaskRCNN gives for images and label images.* this dict lacks masks"):
        mask_rcnn_loss(made)
    with pytest.raises(ValueError, match="this list lacks boxes, classes"):
        mask_rcnn_loss([])
    with pytest.raises(ValueError, match="expected the dict of PanopticFPN, with semantic_logits"):
        panoptic_fpn_loss(outputs(), torch.zeros(1, 8, 8, dtype=torch.int64))
