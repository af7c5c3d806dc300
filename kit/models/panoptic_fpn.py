"""Panoptic FPN: a semantic head beside the heads of Mask R-CNN, on the same encoder and feature pyramid.

Paper: Kirillov, Girshick, He, Dollár 2019, "Panoptic Feature Pyramid Networks", figure 3. Each map of the pyramid is
enlarged to stride 4 by steps of 3×3 convolution, group normalisation, ReLU and doubling; the sum of all goes through a
1×1 convolution and is enlarged four times. The loss, equation L = λi (Lc + Lb + Lm) + λs Ls, is `panoptic_fpn_loss` of
kit/losses/detection.py; how both outputs become one panoptic image is said in kit/prediction.
"""

from typing import NamedTuple

from torch import Tensor, nn

from kit.models.mask_rcnn import Detections, MaskRCNN


class Panoptic(NamedTuple):
    """What PanopticFPN finds: a Detections for each of N images, and semantic logits (N, num_semantic, H, W)."""

    detections: list[Detections]
    semantic: Tensor


class PanopticFPN(nn.Module):
    """A semantic head on the pyramid of a MaskRCNN.

        network = PanopticFPN(MaskRCNN(encoder("resnet50", "imagenet"), num_classes=80), num_semantic=54)
        detections, logits = network.eval()(images)
        outputs = network.train()(images, labels, classes)          # for kit.losses.panoptic_fpn_loss

    num_semantic: classes of the semantic head, chosen by the truth it is trained on: the paper's are all stuff and one
    class "thing"; all classes work too. semantic_channels: width of the semantic head.
    `.instances` is the MaskRCNN; `.num_classes`, `.in_channels`, `.mean` and `.std` are its own.
    """

    def __init__(self, instances: MaskRCNN, *, num_semantic: int, semantic_channels: int = 128) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(
        self, images: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> Panoptic | dict[str, Tensor]:
        """Images (N, C, H, W) of any size -> Panoptic; with labels what the losses compare.

        labels and classes are those of MaskRCNN; the dict is its dict and "semantic_logits" (N, num_semantic, H, W).
        """
        raise NotImplementedError

    def freeze_batchnorm(self) -> None:
        """As MaskRCNN.freeze_batchnorm."""
        raise NotImplementedError
