"""The same as torchvision's Mask R-CNN in every number, with its weights loaded by name."""

import copy
from collections import OrderedDict

import pytest
import torch
from mask_rcnns import CLASSES, LABELS, confident, drawn, small
from networks import noise
from torch import nn
from torchvision import models
from torchvision.models import detection
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from kit.losses import mask_rcnn_losses
from kit.models.boxes import objects_of
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
    truths = objects_of(labels, classes)
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
