"""Mask R-CNN: a box, a class and a mask for every object by itself.

Paper: He, Gkioxari, Dollár, Girshick 2017. It is Faster R-CNN (Ren et al. 2015) on a feature pyramid (Lin et al. 2017)
with a third head. Four steps, a file each:
    1. fpn.py        the encoder's maps of strides 4 to 32 become maps of equal width, and one of stride 64 more
    2. rpn.py        at every place of every map: is there an object, and what is its box? The best are the proposals
    3. roi_heads.py  RoIAlign cuts 7×7 features out of a map for each proposal; the box head gives class and better box
    4. roi_heads.py  RoIAlign cuts 14×14 features for each box; the mask head gives a mask of 28×28 for each class
The loss, equation L = L_cls + L_box + L_mask and the two of the RPN, is in kit/losses/detection.py.

Deviations from the paper are those of the files above, and:
- The truth is one label image. The 28×28 target of a box is sampled where it is needed, so 400 objects cost no more
  memory than 10 (see `mask_targets` in roi_heads.py).
- Group normalisation in the pyramid: without it the first mask losses of small encoders are 65 and training breaks.
- Anchors begin at 8 pixels (paper: 32), because cells and nuclei are small.
- Up to 500 detections an image (paper: 100), and box suppression at an IoU of .7 (.5), because objects that touch have
  overlapping boxes; their masks decide later which pixel belongs to which.
- Training is end to end with both networks at once, as in the authors' code.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor, nn


class Detections(NamedTuple):
    """The D objects found in one image, the best score first.

    boxes: f32 (D, 4), x0, y0, x1, y1 in pixels of the image given to the network, half-open: a box of one pixel at row
    r and column c is c, r, c + 1, r + 1. scores: f32 (D,), 0..1. classes: i64 (D,), from 1. masks: f32 (D, 28, 28),
    the probability in each cell of the box, which is cut into 28 × 28 equal cells.
    """

    boxes: Tensor
    scores: Tensor
    classes: Tensor
    masks: Tensor


class MaskRCNN(nn.Module):
    """Mask R-CNN on an encoder as `kit.models.pretrained.encoder` gives it.

        network = MaskRCNN(encoder("mobilenet_v2", "imagenet"), num_classes=1)
        found = network.eval()(images)                              # a Detections for each image
        outputs = network.train()(images, labels)                   # for kit.losses.mask_rcnn_loss

    encoder: has `.out_channels` of its maps of stride 1, 2, 4 ... 2**n, and `.multiple` of the sizes it takes.
    num_classes: kinds of objects, without the background. in_channels: those of the encoder.
    channels, hidden: width of the pyramid and of all convolutions in the heads, and of the box head's two layers.
    group_norm: normalise in the pyramid. anchor_sizes: side of the square anchor on each map, in pixels, one for each
    of the strides 4, 8, 16, 32, 64. ratios: height / width of the anchors.
    proposals: how many boxes an image the RPN proposes in training and in evaluation. rois: how many of them the heads
    train on; at most a quarter holds objects. aligned: RoIAlign without the half-pixel shift (False: torchvision's).
    detections, min_score, nms: what is found in an image at most, from which score on, and the largest IoU of two boxes
    of a class.

    The defaults are the paper's widths, for a GPU. On a CPU take channels=64, hidden=256, rois=128, proposals=(500,
    500): a step is several times as fast. `.mean` and `.std` are the encoder's, where it has any.
    """

    def __init__(
        self,
        encoder: nn.Module,
        *,
        num_classes: int,
        in_channels: int = 3,
        channels: int = 256,
        hidden: int = 1024,
        group_norm: bool = True,
        anchor_sizes: Sequence[float] = (8, 16, 32, 64, 128),
        ratios: Sequence[float] = (0.5, 1.0, 2.0),
        proposals: tuple[int, int] = (2000, 1000),
        rois: int = 512,
        aligned: bool = True,
        detections: int = 500,
        min_score: float = 0.05,
        nms: float = 0.7,
    ) -> None:
        super().__init__()
        raise NotImplementedError

    def forward(
        self, images: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> list[Detections] | dict[str, Tensor]:
        """Images (N, C, H, W) of any size -> a Detections for each; with labels what the losses compare.

        labels: integers (N, H, W), a label an object, 0 = none; gaps between labels are allowed.
        classes: integers (N, H, W), the class 1..num_classes of each pixel, of which an object's is that of its
        pixels; objects of class 0 are left out. None: every object is of class 1.
        The dict is described at kit.losses.detection.mask_rcnn_losses. Raises ValueError in training without labels.
        """
        raise NotImplementedError

    def freeze_batchnorm(self) -> None:
        """From now on the encoder's batch normalisation uses its stored statistics; its weights still learn."""
        raise NotImplementedError
