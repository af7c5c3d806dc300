"""Mask R-CNN: the same as torchvision's in every number, the contract of all networks, and images that break others."""

import copy
import functools
import subprocess
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from networks import noise
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from kit.losses import mask_rcnn_loss, mask_rcnn_losses
from kit.models.boxes import iou, objects_of
from kit.models.mask_rcnn import MaskRCNN
from kit.models.pretrained import encoder
from kit.models.torchvision_weights import load_torchvision

NO_TRANSFORM = {"min_size": 1, "max_size": 10_000, "image_mean": (0, 0, 0), "image_std": (1, 1, 1)}
AS_TORCHVISION = {"group_norm": False, "aligned": False, "nms": 0.5, "detections": 100}
LOSSES = {  # torchvision's names
    "objectness": "loss_objectness",
    "proposals": "loss_rpn_box_reg",
    "classes": "loss_classifier",
    "boxes": "loss_box_reg",
    "masks": "loss_mask",
}


def small(num_classes=2, in_channels=3, name="resnet18", **options):
    chosen = {"channels": 16, "hidden": 32, "rois": 32, "proposals": (100, 100)} | options
    torch.manual_seed(0)
    return MaskRCNN(encoder(name, "none", in_channels), num_classes=num_classes, in_channels=in_channels, **chosen)


def confident(net):
    """Weights that find many objects: without them, untrained, nothing scores above another."""
    with torch.no_grad():
        for name, value in net.named_parameters():
            if "class" in name or "cls" in name or "bbox" in name or "shifts" in name or "objectness" in name:
                value.mul_(8)
    return net


def drawn(*shapes, size=(64, 96)):
    """Label images of boxes (image, label, y0, x0, y1, x1), and the class of each pixel: even labels 2, odd ones 1."""
    labels = torch.zeros(1 + max(shape[0] for shape in shapes), *size, dtype=torch.int64)
    for image, label, y0, x0, y1, x1 in shapes:
        labels[image, y0:y1, x0:x1] = label
    return labels, torch.where(labels > 0, 2 - labels % 2, 0)


LABELS, CLASSES = drawn((0, 2, 3, 5, 30, 40), (0, 9, 30, 20, 60, 96), (1, 700, 40, 0, 64, 50), (1, 3, 10, 60, 11, 61))


# -- torchvision's ----------------------------------------------------------------------------------------------------


def small_torchvision(num_classes=3, channels=16):
    """torchvision's Mask R-CNN of ResNet-18 and of narrow heads, for NumPy-sized time."""
    torch.manual_seed(1)
    layers = OrderedDict({f"layer{i}": str(i - 1) for i in (1, 2, 3, 4)})
    body = models.resnet18(weights=None)
    backbone = BackboneWithFPN(body, layers, [64, 128, 256, 512], channels, LastLevelMaxPool())
    return detection.MaskRCNN(
        backbone,
        rpn_anchor_generator=AnchorGenerator(((8,), (16,), (32,), (64,), (128,)), ((0.5, 1.0, 2.0),) * 5),
        box_head=TwoMLPHead(channels * 49, 32),
        box_predictor=FastRCNNPredictor(32, num_classes + 1),
        mask_head=MaskRCNNHeads(channels, (channels,) * 4, 1),
        mask_predictor=MaskRCNNPredictor(channels, channels, num_classes + 1),
        **NO_TRANSFORM,
    )


def compare(theirs, ours, images, labels, classes, at_least):
    """Boxes, scores, classes and masks of each image, and the five losses with the same random numbers."""
    theirs.transform.postprocess = lambda found, *sizes: found  # masks of boxes, not yet pasted into the image
    theirs.transform.torch_choice = lambda sizes: sizes[0]  # without a random number
    theirs.eval(), ours.eval()
    for image in images:
        theirs.transform.min_size = (min(image.shape[1:]),)
        with torch.inference_mode():
            expected, found = theirs([image])[0], ours(image[None])[0]
        assert len(expected["boxes"]) >= at_least
        torch.testing.assert_close(found.boxes, expected["boxes"], rtol=0, atol=1e-3)
        torch.testing.assert_close(found.scores, expected["scores"], rtol=0, atol=1e-4)
        torch.testing.assert_close(found.masks, expected["masks"][:, 0], rtol=0, atol=1e-4)
        assert torch.equal(found.classes, expected["labels"])
    truths = [objects_of(*each) for each in zip(labels, classes, strict=True)]
    targets = [
        {"boxes": truth.boxes, "labels": truth.classes, "masks": (image == truth.labels[:, None, None]).byte()}
        for image, truth in zip(labels, truths, strict=True)
    ]
    theirs.train(), ours.train()
    batch = noise(*labels.shape[1:], batch=len(labels), seed=9)
    theirs.transform.min_size = (min(labels.shape[1:]),)
    torch.manual_seed(5)
    expected = theirs(list(batch), targets)
    torch.manual_seed(5)
    found = mask_rcnn_losses(ours(batch, labels, classes))
    for name, value in found.items():
        assert value.item() == pytest.approx(expected[LOSSES[name]].item(), abs=1e-4), name
    return found


def test_the_same_as_torchvision_in_evaluation_and_in_training():
    """Three images, one that both pad. The five losses draw the same anchors and boxes from the same seed."""
    theirs = confident(small_torchvision())
    ours = small(num_classes=3, proposals=(2000, 1000), rois=512, **AS_TORCHVISION)
    load_torchvision(ours, theirs.state_dict())
    images = [noise(*size, seed=seed)[0] for seed, size in enumerate([(128, 192), (64, 64), (100, 180)])]
    losses = compare(theirs, ours, images, LABELS, CLASSES, at_least=5)
    assert min(losses.values()) > 0.01


@pytest.mark.slow
def test_the_same_as_torchvisions_resnet50_of_91_classes():
    torch.manual_seed(0)
    theirs = confident(detection.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, **NO_TRANSFORM))
    ours = MaskRCNN(encoder("resnet50", "none"), num_classes=90, anchor_sizes=(32, 64, 128, 256, 512), **AS_TORCHVISION)
    load_torchvision(ours, theirs.state_dict())
    # torchvision's table of models, less the shifts and the mask of its background, and with those of normalisation
    assert sum(value.numel() for value in ours.parameters()) == 44_401_393 - 4 * 1025 - 257 + 53_120
    images = [noise(*size, seed=seed)[0] for seed, size in enumerate([(128, 192), (128, 128), (192, 180)])]
    labels, classes = drawn((0, 2, 3, 5, 90, 80), (0, 9, 90, 20, 128, 96), (1, 1, 40, 0, 64, 50), size=(128, 192))
    compare(theirs, ours, images, labels, 40 * classes, at_least=1)


def as_published(state):
    """The names of the first version, as the published file has them, without the counts of batches."""
    old = {}
    for name, value in state.items():
        name = name.replace("rpn.head.conv.0.0.", "rpn.head.conv.")
        for block in ("inner_blocks", "layer_blocks"):
            if block in name:
                name = name.replace(".0.weight", ".weight").replace(".0.bias", ".bias")
        for i in range(4):
            name = name.replace(f"mask_head.{i}.0.", f"mask_head.mask_fcn{i + 1}.")
        if not name.endswith("num_batches_tracked"):
            old[name] = value
    return old


def test_the_published_file_has_older_names_and_frozen_normalisation():
    state = small_torchvision().state_dict()
    new, old = (small(num_classes=3, **AS_TORCHVISION) for _ in range(2))
    load_torchvision(new, state)
    load_torchvision(old, as_published(state))
    assert all(torch.equal(value, old.state_dict()[name]) for name, value in new.state_dict().items())
    norms = [module for module in old.train().pyramid.encoder.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {(norm.training, norm.eps) for norm in norms} == {(False, 0.0)}


def test_other_classes_start_new_and_other_networks_are_refused(capsys):
    state = small_torchvision(num_classes=3).state_dict()
    ours = small(num_classes=1, **AS_TORCHVISION)
    before = copy.deepcopy(ours.state_dict())
    load_torchvision(ours, state)
    assert "the layers of classes start new, num_classes is 1: box_head.classes.weight" in capsys.readouterr().out
    kept = {name for name, value in ours.state_dict().items() if torch.equal(value, before[name]) and value.ndim > 1}
    assert kept == {"box_head.classes.weight", "box_head.shifts.weight", "mask_head.logits.weight"}
    assert not torch.equal(ours.rpn.conv.weight, before["rpn.conv.weight"])
    with pytest.raises(ValueError, match=r"16 tensors are missing .*; 8 tensors are not of this network"):
        load_torchvision(small(num_classes=3), state)  # of group normalisation, without biases
    with pytest.raises(ValueError, match=r"have another shape .*Build the network on encoder"):
        load_torchvision(small(num_classes=3, **AS_TORCHVISION, channels=24), state)
    with pytest.raises(ValueError, match=r"resnet50_fpn: .* tensors are missing .*; 1 tensors are not of this network"):
        load_torchvision(ours, {"some.weight": torch.zeros(1)})


# -- the contract of all networks --------------------------------------------------------------------------------------


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


# -- many objects ------------------------------------------------------------------------------------------------------


def grid(count, size):
    """A label image of `count` discs in a square lattice."""
    cells = int(np.ceil(np.sqrt(count)))
    rows, columns = np.mgrid[: size[0], : size[1]]
    high, wide = size[0] / cells, size[1] / cells
    inside = ((rows % high) - high / 2) ** 2 + ((columns % wide) - wide / 2) ** 2 <= (min(high, wide, 24) / 2.5) ** 2
    number = (rows // high).astype(int) * cells + (columns // wide).astype(int) + 1
    return torch.from_numpy(np.where(inside & (number <= count), number, 0))[None]


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


STEP = """
import resource, sys
import torch
from test_mask_rcnn import grid, noise, small
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
    truth = objects_of(labels[0])
    assert iou(truth.boxes, found.boxes).amax(dim=1).min() > 0.7
