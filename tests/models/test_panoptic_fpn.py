"""Panoptic FPN: the semantic head beside the heads of Mask R-CNN."""

import pytest
import torch
from networks import noise
from torch import nn
from torch.nn import functional as F

from kit.losses import cross_entropy, mask_rcnn_loss, panoptic_fpn_loss
from kit.models.mask_rcnn import MaskRCNN
from kit.models.panoptic_fpn import PanopticFPN, SemanticHead
from kit.models.pretrained import encoder


def small(num_semantic=4):
    torch.manual_seed(0)
    options = {"channels": 16, "hidden": 32, "rois": 32, "proposals": (50, 50), "min_score": 0.2}
    instances = MaskRCNN(encoder("mobilenet_v2", "none"), num_classes=2, **options)
    return PanopticFPN(instances, num_semantic=num_semantic, semantic_channels=32)


@torch.inference_mode()
def test_the_semantic_head_is_that_of_figure_3():
    """Written out: P5 is doubled three times, P4 twice, P3 once; the sum is enlarged four times."""
    torch.manual_seed(0)
    head = SemanticHead(6, 32, 5)
    maps = [noise(16 // 2**i, 24 // 2**i, channels=6, batch=2) for i in range(4)]
    sums = 0
    for doublings, x in enumerate(maps):
        for layer in head.branches[doublings]:
            if isinstance(layer, nn.Conv2d):
                x = F.conv2d(x, layer.weight, padding=1)
                x = F.relu(F.group_norm(x, 32))
                x = F.interpolate(x, scale_factor=2, mode="bilinear") if doublings else x
        sums = sums + x
    logits = F.conv2d(sums, head.logits.weight, head.logits.bias)
    torch.testing.assert_close(head(maps), F.interpolate(logits, scale_factor=4, mode="bilinear"))
    assert [sum(isinstance(layer, nn.Conv2d) for layer in branch) for branch in head.branches] == [1, 1, 2, 3]
    assert head(maps).shape == (2, 5, 64, 96)


def test_both_outputs_in_evaluation_and_training():
    net, images = small(), noise(65, 83, batch=2)
    labels = torch.zeros(2, 65, 83, dtype=torch.int64)
    labels[0, 5:30, 10:50], labels[1, 40:, 60:] = 3, 8
    semantic = torch.where(labels > 0, 3, 1)
    semantic[:, :4] = 255
    with torch.inference_mode():
        detections, logits = net.eval()(images)
        assert logits.shape == (2, 4, 65, 83)
        for found, alone in zip(detections, net.instances(images), strict=True):
            assert all(torch.equal(*parts) for parts in zip(found, alone, strict=True))
    outputs = net.train()(images, labels)
    assert outputs["semantic_logits"].shape == (2, 4, 65, 83)
    loss = panoptic_fpn_loss(outputs, semantic, instance_weight=2.0, semantic_weight=0.25)
    expected = 2 * mask_rcnn_loss(outputs) + 0.25 * cross_entropy(outputs["semantic_logits"], semantic)
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert [name for name, value in net.named_parameters() if value.requires_grad and value.grad is None] == []
    assert all(value.grad.any() for value in net.semantic_head.parameters())


def test_what_it_says_of_itself():
    net = small()
    assert (net.num_classes, net.num_semantic, net.in_channels) == (2, 4, 3)
    assert not hasattr(net, "mean")  # the encoder has no weights that expect one
    net.freeze_batchnorm()
    norms = [module for module in net.train().modules() if isinstance(module, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    with pytest.raises(ValueError, match="num_classes must be 1 or more, got 0"):
        PanopticFPN(net.instances, num_semantic=0)
