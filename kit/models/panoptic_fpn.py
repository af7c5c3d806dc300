"""Panoptic FPN: a semantic head beside the heads of Mask R-CNN, on the same encoder and feature pyramid.

Paper: Kirillov, Girshick, He, Dollár 2019, "Panoptic Feature Pyramid Networks", figure 3. Each map of the pyramid is
enlarged to stride 4 by steps of 3×3 convolution, group normalisation, ReLU and doubling; the sum of all goes through a
1×1 convolution and is enlarged four times. The loss, equation L = λi (Lc + Lb + Lm) + λs Ls, is `panoptic_fpn_loss` of
kit/losses/detection.py; how both outputs become one panoptic image is said in kit/prediction.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from kit.models.fpn import group_norm
from kit.models.inputs import check_numbers
from kit.models.mask_rcnn import Detections, MaskRCNN
from kit.models.on_encoder import take_statistics


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
        check_numbers(num_semantic, instances.in_channels)
        self.instances, self.num_semantic = instances, num_semantic
        self.num_classes, self.in_channels = instances.num_classes, instances.in_channels
        take_statistics(self, instances)
        self.semantic_head = SemanticHead(instances.channels, semantic_channels, num_semantic)

    def forward(
        self, images: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> Panoptic | dict[str, Tensor]:
        """Images (N, C, H, W) of any size -> Panoptic; with labels what the losses compare.

        labels and classes are those of MaskRCNN; the dict is its dict and "semantic_logits" (N, num_semantic, H, W).
        """
        maps = self.instances.pyramid(images)
        found = self.instances.heads(maps, tuple(images.shape[2:]), labels, classes)
        logits = self.semantic_head(maps[:-1])[:, :, : images.shape[2], : images.shape[3]]
        return Panoptic(found, logits) if labels is None else found | {"semantic_logits": logits}

    def freeze_batchnorm(self) -> None:
        """As MaskRCNN.freeze_batchnorm."""
        self.instances.freeze_batchnorm()


class SemanticHead(nn.Module):
    """Maps of the strides 4, 8, 16, 32 -> logits of stride 1.

    channels: of the maps. width: between them and the logits.
    """

    def __init__(self, channels: int, width: int, num_classes: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(_branch(channels, width, doublings) for doublings in range(4))
        self.logits = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps (N, C, h / 2**i, w / 2**i) -> logits (N, K, 4 h, 4 w)."""
        sums = sum(branch(each) for branch, each in zip(self.branches, maps, strict=True))
        return F.interpolate(self.logits(sums), scale_factor=4, mode="bilinear")


def _branch(channels: int, width: int, doublings: int) -> nn.Sequential:
    """From stride 4 · 2**doublings to stride 4. The finest map has one convolution, and is not enlarged."""
    layers = []
    for step in range(max(1, doublings)):
        conv = nn.Conv2d(channels if step == 0 else width, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, group_norm(width), nn.ReLU()]
        if doublings:
            layers.append(nn.Upsample(scale_factor=2, mode="bilinear"))
    return nn.Sequential(*layers)
