"""Mask R-CNN: the contract of all networks, and images that break others. See test_torchvision_weights.py too."""

import copy
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from mask_rcnns import CLASSES, LABELS, confident, drawn, grid, small
from networks import noise
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from kit.data import Resizing
from kit.data.normalise import Normalisation
from kit.losses import mask_rcnn_loss, mask_rcnn_losses
from kit.models.boxes import iou, objects_of
from kit.prediction import TTA, Frame, Predictor, Rule


@functools.cache
@torch.inference_mode(False)
def network():
    return confident(small(min_score=0.2)).eval()


def same(first, second, atol=1e-4):
    for each, other in zip(first, second, strict=True):
        for one, two in zip(each, other, strict=True):
            torch.testing.assert_close(one, two, rtol=0, atol=atol)


@torch.inference_mode()
def test_detections_lie_in_their_image_and_are_sorted():
    net, images = network(), noise(65, 83, batch=2)
    found = net(images)
    for boxes, scores, classes, masks in found:
        assert len(boxes) >= 5
        assert boxes.shape == (len(boxes), 4)
        assert (boxes >= 0).all()
        assert (boxes[:, 2] <= 83).all()
        assert (boxes[:, 3] <= 65).all()
        assert (boxes[:, 2:] > boxes[:, :2]).all()
        assert (scores.diff() <= 0).all()
        assert 0.2 < scores.min() <= scores.max() <= 1
        assert set(classes.tolist()) <= {1, 2}
        assert masks.shape == (len(boxes), 28, 28)
        assert 0 <= masks.min() <= masks.max() <= 1
        assert masks.std() > 0
        for kind in (1, 2):
            overlaps = iou(boxes[classes == kind], boxes[classes == kind]).fill_diagonal_(0)
            assert overlaps.numel() == 0 or overlaps.max() <= 0.7
    same(net(images), found, atol=0)
    same(net(images[1:]), found[1:], atol=1e-3)
    turned = copy.deepcopy(net).to(memory_format=torch.channels_last)
    same(turned(images.contiguous(memory_format=torch.channels_last)), found, atol=1e-2)


@pytest.mark.parametrize(
    "part", ["pyramid.encoder", "rpn.objectness", "rpn.shifts", "box_head.classes", "box_head.shifts"]
)
@torch.inference_mode()
def test_nan_is_not_an_image_without_objects(part):
    """Thresholds drop NaN: a network with damaged weights would find nothing, and nobody would notice."""
    net, images = copy.deepcopy(network()), noise(65, 83, batch=2)
    next(net.get_submodule(part).parameters()).view(-1)[0] = torch.nan
    for one in net(images):
        assert all(values.isnan().all() for values in (one.boxes, one.scores, one.masks))
        assert [len(values) for values in one] == [1, 1, 1, 1]
    predictor = Predictor(
        [net],
        Frame(Resizing((64, 96)), normalise=Normalisation((0, 0, 0), (1, 1, 1))),
        TTA(),
        Rule(objects=True, detected=True),
    )
    with pytest.raises(FloatingPointError, match="boxes, scores or masks that are not finite"):
        predictor.predict(np.zeros((64, 96, 3), np.uint8))


@torch.inference_mode()
def test_nan_in_one_image_leaves_the_others_alone():
    net, images = network(), noise(65, 83, batch=2)
    [want] = net(images[1:])
    images[0, 1, 30, 40] = torch.nan
    damaged, found = net(images)
    assert (len(damaged.scores), bool(damaged.scores.isnan())) == (1, True)
    same([found], [want], atol=1e-3)


@torch.inference_mode()
def test_no_more_detections_than_asked_for_and_none_below_the_score():
    net, images = copy.copy(network()), noise(65, 83)
    everything = net(images)[0]
    net.detections = 3
    same([net(images)[0]], [[part[:3] for part in everything]])
    net.min_score = 1.0
    assert [tuple(part.shape) for part in net(images)[0]] == [(0, 4), (0,), (0,), (0, 28, 28)]


def gradients(net, outputs):
    net.zero_grad()
    mask_rcnn_loss(outputs).backward()
    return {name: value.grad for name, value in net.named_parameters() if value.requires_grad}


def test_gradients_reach_every_parameter_and_the_same_seed_gives_the_same_loss():
    net, images = small().train(), noise(64, 96, batch=2)
    torch.manual_seed(0)
    outputs = net(images, LABELS, CLASSES)
    dead = [name for name, grad in gradients(net, outputs).items() if grad is None or not (grad != 0).any()]
    assert dead == []
    losses = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        losses.append(mask_rcnn_loss(net.eval()(images, LABELS, CLASSES)).item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("count", [0, 1])  # of images with objects
def test_images_without_objects_train_and_leave_no_parameter_out(count):
    """Processes that train together wait for the gradient of every parameter: there is one, of zero."""
    net, labels = small().train(), LABELS.clone()
    labels[count:] = 0
    outputs = net(noise(64, 96, batch=2), labels)
    losses = mask_rcnn_losses(outputs)
    assert all(loss.isfinite() for loss in losses.values())
    grads = gradients(net, outputs)
    assert all(grad is not None and grad.isfinite().all() for grad in grads.values())
    if count == 0:
        assert [losses[name].item() for name in ("proposals", "boxes", "masks")] == [0, 0, 0]
        assert not any(grad.any() for name, grad in grads.items() if name.startswith("mask_head"))


def test_slivers_and_single_pixels_train():
    """What crops make of objects: one pixel, one row, one column, a corner, the whole image."""
    labels, _ = drawn(
        (0, 1, 0, 0, 1, 1), (0, 2, 63, 0, 64, 96), (0, 3, 0, 95, 64, 96), (0, 4, 20, 20, 21, 21), (1, 1, 0, 0, 64, 96)
    )
    net = small(num_classes=1).train()
    outputs = net(noise(64, 96, batch=2), labels)
    grads = gradients(net, outputs)
    assert all(loss.isfinite() for loss in mask_rcnn_losses(outputs).values())
    assert all(grad.isfinite().all() for grad in grads.values())
    assert outputs["true_boxes"].isfinite().all()


def test_bfloat16_gives_a_loss_close_to_that_of_float32():
    net, images = small().train(), noise(64, 96, batch=2)
    losses = []
    for enabled in (False, True):
        torch.manual_seed(0)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            outputs = net(images, LABELS, CLASSES)
        losses.append(mask_rcnn_loss(outputs))
        assert losses[-1].dtype == torch.float32
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.05)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found = network()(noise(65, 83))[0]
    assert (found.boxes.dtype, found.scores.dtype, found.masks.dtype) == (torch.float32,) * 3


def test_a_batch_of_one_and_other_numbers_of_channels():
    for channels, name in ((1, "resnet18"), (5, "mobilenet_v2")):
        net = small(num_classes=1, in_channels=channels, name=name)
        assert (net.num_classes, net.in_channels) == (1, channels)
        outputs = net.train()(noise(65, 83, channels=channels), LABELS[:1, :65, :83].new_ones(1, 65, 83))
        assert mask_rcnn_loss(outputs).isfinite()


def test_what_does_not_fit_is_refused():
    net, images = small(), noise(64, 96, batch=2)
    with pytest.raises(ValueError, match="in training the network also takes label images"):
        net.train()(images)
    with pytest.raises(ValueError, match=r"labels as integers .*, \(2, 64, 96\), got torch.int64 \(2, 32, 48\)"):
        net(images, LABELS[:, ::2, ::2])
    with pytest.raises(ValueError, match=r"classes as integers .* got torch.float32 \(2, 64, 96\)"):
        net(images, LABELS, CLASSES.float())
    with pytest.raises(ValueError, match="an object has the class 6, the network was built with num_classes=2"):
        net(images, LABELS, CLASSES * 3)
    with pytest.raises(ValueError, match=r"takes images \(N, 3, H, W\), got \(1, 4, 64, 64\); build it with in_ch"):
        net(noise(64, 64, channels=4))
    with pytest.raises(ValueError, match=r"a size of anchors for each of the strides \(4, 8, 16, 32, 64\), got \(8,\)"):
        small(anchor_sizes=(8,))
    with pytest.raises(ValueError, match="num_classes must be 1 or more, got 0"):
        small(num_classes=0)


class Largest(TorchDispatchMode):
    """Keeps the bytes of the largest tensor that any operator makes."""

    def __init__(self):
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        if isinstance(made, torch.Tensor):
            self.bytes = max(self.bytes, made.numel() * made.element_size())
        return made


def test_no_tensor_grows_with_the_number_of_objects():
    net, images, largest = small(num_classes=1).train(), noise(128, 160), []
    for count in (16, 375):
        with Largest() as seen:
            net(images, grid(count, (128, 160)))
        largest.append(seen.bytes)
    assert largest[1] <= largest[0]


WAITS = {"nonzero", "_unique2", "unique_dim", "masked_select", "_local_scalar_dense", "is_nonzero", "equal"}


class Waits(TorchDispatchMode):
    """Counts what makes the host wait for a GPU; and all operations."""

    def __init__(self):
        super().__init__()
        self.waits = self.operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function._schema.name.removeprefix("aten::")
        by_mask = name.startswith("index") and any(at is not None and at.dtype == torch.bool for at in args[1])
        self.waits += name in WAITS or by_mask
        self.operations += 1
        return function(*args, **(kwargs or {}))


def test_a_step_waits_for_the_device_as_often_for_one_image_as_for_eight():
    net = small(num_classes=1, proposals=(50, 50)).train()  # so few that torchvision suppresses all maps' at once
    seen = []
    for count in (1, 8):
        with Waits() as counted:
            net(noise(64, 96, batch=count), grid(6, (64, 96)).expand(count, -1, -1))
        seen.append(counted)
    one, eight = seen
    assert eight.waits == one.waits > 5
    assert eight.operations < 2 * one.operations


STEP = """
import resource, sys
import torch
from mask_rcnns import grid, small
from networks import noise
from kit.losses import mask_rcnn_loss
net = small(num_classes=1, name="mobilenet_v2", channels=64, hidden=256, rois=128, proposals=(500, 500)).train()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mask_rcnn_loss(net(noise(520, 696), grid(int(sys.argv[1]), (520, 696)))).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


@pytest.mark.slow
def test_a_step_with_375_objects_needs_the_memory_of_one_with_10(request):
    """Beyond what Python and the network hold already; in processes of their own, for the peak."""
    peaks = []
    for count in (10, 375):
        found = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", STEP, str(count)],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONPATH": ":".join(sys.path), "OMP_NUM_THREADS": "1"},
        )
        peaks.append(int(found.stdout.split()[-1]))
    print(peaks)
    assert peaks[1] <= 1.3 * peaks[0]


@pytest.mark.slow
def test_it_learns_drawn_discs():
    """Sixty steps on four discs: all are found, with boxes and masks of an IoU above .7."""
    net = small(num_classes=1, channels=32, rois=64, min_score=0.5)
    net.freeze_batchnorm()
    labels = grid(4, (64, 96))
    images = (labels[:, None] > 0).float().repeat(1, 3, 1, 1) + 0.1 * noise(64, 96)
    optimizer = torch.optim.AdamW(net.train().parameters(), lr=2e-3)
    for step in range(60):
        torch.manual_seed(step)
        loss = mask_rcnn_loss(net(images, labels))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    with torch.inference_mode():
        found = net.eval()(images)[0]
    [truth] = objects_of(labels[:1])
    assert iou(truth.boxes, found.boxes).amax(dim=1).min() > 0.7
