"""The losses of Mask R-CNN and of Panoptic FPN, of what the network gives in training.

    def loss_of(model, batch): return mask_rcnn_loss(model(batch.image, batch.mask))

Papers: Ren et al. 2015, equation 1 (objectness and boxes of the RPN); Girshick 2015, equations 1 to 3 (classes, boxes);
He et al. 2017, section 3 (masks, L = L_cls + L_box + L_mask); Kirillov et al. 2019, section 3.2 (the semantic loss).
The network samples which anchors and boxes are compared and gives both sides (kit/models/mask_rcnn.py); here is what
is minimised, in float32.

Deviations. The smooth L1 bends at 1/9 (papers: 1), and boxes are divided by the number of all that were sampled, as in
the authors' code and torchvision's. A batch without objects has box and mask losses of zero with a zero gradient.
"""

from torch import Tensor
from torch.nn import functional as F

from kit.losses.pixel import cross_entropy

PAIRS = ("proposals", "classes", "boxes", "masks")
COMPARED = {"objectness", "is_object", *PAIRS, *(f"true_{name}" for name in PAIRS)}
BEND = 1 / 9  # of the smooth L1: a parabola below, a straight line above


def mask_rcnn_loss(outputs: dict[str, Tensor]) -> Tensor:
    """The sum of the five losses of `mask_rcnn_losses`: scalar."""
    return sum(mask_rcnn_losses(outputs).values())


def mask_rcnn_losses(outputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """The five losses by name: objectness, proposals (RPN); classes, boxes, masks (heads). Each a scalar.

    outputs: what MaskRCNN gives in training. S anchors were sampled, P of them on objects; R boxes, F on objects:
        objectness (S,) logits            is_object (S,) of 0 and 1
        proposals (P, 4) shifts           true_proposals (P, 4)
        classes (R, K + 1) logits         true_classes (R,), 0 = background
        boxes (F, 4) shifts               true_boxes (F, 4)
        masks (F, 28, 28) logits          true_masks (F, 28, 28) of 0..1
    A shift is a change of a box, as in `kit.models.boxes.encode`. Raises ValueError for other outputs.
    """
    missing = COMPARED - set(outputs)
    if missing or not isinstance(outputs, dict):
        raise ValueError(
            "expected the dict that MaskRCNN gives for images and label images, model(batch.image, labels); "
            f"this {type(outputs).__name__} lacks {', '.join(sorted(missing))}"
        )
    o = {name: value.float() if value.is_floating_point() else value for name, value in outputs.items()}
    return {
        "objectness": _mean(F.binary_cross_entropy_with_logits(o["objectness"], o["is_object"], reduction="none")),
        "proposals": _boxes(o["proposals"], o["true_proposals"], len(o["objectness"])),
        "classes": _mean(F.cross_entropy(o["classes"], o["true_classes"], reduction="none")),
        "boxes": _boxes(o["boxes"], o["true_boxes"], len(o["classes"])),
        "masks": _mean(F.binary_cross_entropy_with_logits(o["masks"], o["true_masks"], reduction="none")),
    }


def _boxes(shifts: Tensor, truth: Tensor, sampled: int) -> Tensor:
    return F.smooth_l1_loss(shifts, truth, beta=BEND, reduction="sum") / max(1, sampled)


def _mean(losses: Tensor) -> Tensor:
    """The mean; of none zero, and not NaN."""
    return losses.sum() / max(1, losses.numel())


def panoptic_fpn_loss(
    outputs: dict[str, Tensor],
    semantic: Tensor,
    ignore_index: int = 255,
    instance_weight: float = 1.0,
    semantic_weight: float = 0.5,
) -> Tensor:
    """instance_weight · the five losses + semantic_weight · the mean cross-entropy of the pixels: scalar.

    outputs: what PanopticFPN gives in training, with "semantic_logits" (N, K, H, W). semantic: classes i64 (N, H, W).
    The defaults are those of the authors' code for COCO. Raises ValueError for other outputs.
    """
    if "semantic_logits" not in outputs:
        raise ValueError("expected the dict of PanopticFPN, with semantic_logits; for MaskRCNN's take mask_rcnn_loss")
    pixels = cross_entropy(outputs["semantic_logits"], semantic, ignore_index)
    return instance_weight * mask_rcnn_loss(outputs) + semantic_weight * pixels
