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

import torch
from torch import Tensor, nn

from kit.models.boxes import Objects, at_least, clip, decode, encode, objects_of, suppress
from kit.models.fpn import STRIDES, Pyramid
from kit.models.inputs import check_numbers
from kit.models.on_encoder import take_statistics
from kit.models.roi_heads import SHIFT_WEIGHTS, BoxHead, MaskHead, RoIAlign, draw_rois, mask_targets
from kit.models.rpn import RPN

SMALLEST = 1e-2  # side of a detection in pixels


class Detections(NamedTuple):
    """The D objects found in one image, the best score first.

    boxes: f32 (D, 4), x0, y0, x1, y1 in pixels of the image given to the network, half-open: a box of one pixel at row
    r and column c is c, r, c + 1, r + 1. scores: f32 (D,), 0..1. classes: i64 (D,), from 1. masks: f32 (D, 28, 28),
    the probability in each cell of the box, which is cut into 28 × 28 equal cells.
    An image for which the network computed a NaN has one detection of NaN: it must not pass for an image without
    objects.
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

    The defaults are the paper's widths, for a GPU. On a CPU take channels=64, hidden=256, rois=128 and
    proposals=(500, 1000): a step of 4 images of 256×256 on MobileNetV2 then takes 1.6 s in place of 18 s (one core of
    an AMD EPYC, 0060e18). In evaluation there should be two proposals or more for each object of an image.
    `.mean` and `.std` are the encoder's, where it has any.
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
        check_numbers(num_classes, in_channels)
        if len(anchor_sizes) != len(STRIDES):
            raise ValueError(f"expected a size of anchors for each of the strides {STRIDES}, got {tuple(anchor_sizes)}")
        self.num_classes, self.in_channels, self.channels, self.aligned = num_classes, in_channels, channels, aligned
        take_statistics(self, encoder)
        self.rois, self.detections, self.min_score, self.nms = rois, detections, min_score, nms
        self.pyramid = Pyramid(encoder, in_channels, channels, group_norm=group_norm)
        self.rpn = RPN(channels, anchor_sizes, ratios, STRIDES, proposals)
        self.cut_7, self.cut_14 = (RoIAlign(size, STRIDES[:-1], aligned) for size in (7, 14))
        self.box_head = BoxHead(channels, hidden, num_classes)
        self.mask_head = MaskHead(channels, num_classes)

    def forward(
        self, images: Tensor, labels: Tensor | None = None, classes: Tensor | None = None
    ) -> list[Detections] | dict[str, Tensor]:
        """Images (N, C, H, W) of any size -> a Detections for each; with labels what the losses compare.

        labels: integers (N, H, W), a label an object, 0 = none; gaps between labels are allowed.
        classes: integers (N, H, W), the class 1..num_classes of each pixel, of which an object's is that of its
        pixels; objects of class 0 are left out. None: every object is of class 1.
        The dict is described at kit.losses.detection.mask_rcnn_losses. Raises ValueError in training without labels.
        """
        return self.heads(self.pyramid(images), tuple(images.shape[2:]), labels, classes)

    def heads(
        self, maps: list[Tensor], size: tuple[int, int], labels: Tensor | None, classes: Tensor | None
    ) -> list[Detections] | dict[str, Tensor]:
        """As `forward`, from the pyramid's maps of images of `size` (H, W)."""
        if labels is not None:
            truths = truths_of(labels, classes, (len(maps[0]), *size), self.num_classes)
            return self._compare(maps, size, labels, truths)
        if self.training:
            raise ValueError("in training the network also takes label images: network(images, labels)")
        return self._detect(maps, size)

    def _compare(
        self, maps: list[Tensor], size: tuple[int, int], labels: Tensor, truths: list[Objects]
    ) -> dict[str, Tensor]:
        found = self.rpn(maps)
        outputs = self.rpn.compare(*found, truths)
        proposals = self.rpn.propose(*found, size, self.rpn.proposals[0])
        drawn = draw_rois(proposals, truths, self.rois)
        logits, shifts = self.box_head(self.cut_7(maps[:-1], [rois.boxes for rois in drawn]))
        kinds = torch.cat([rois.classes for rois in drawn])
        on_object = kinds.nonzero()[:, 0]
        places = self.cut_14(maps[:-1], [rois.on_objects for rois in drawn])
        images = torch.cat([torch.full_like(rois.labels, number) for number, rois in enumerate(drawn)])
        parts = zip(*((rois.on_objects, rois.labels, rois.true_boxes) for rois in drawn), strict=True)
        boxes, numbers, true_boxes = map(torch.cat, parts)
        return outputs | {
            "classes": logits,
            "true_classes": kinds,
            "boxes": shifts[on_object, kinds[on_object] - 1],
            "true_boxes": encode(true_boxes, boxes, SHIFT_WEIGHTS),
            "masks": self.mask_head(places, kinds[on_object]),
            "true_masks": mask_targets(labels, images, numbers, boxes, aligned=self.aligned),
        }

    def _detect(self, maps: list[Tensor], size: tuple[int, int]) -> list[Detections]:
        objectness, moves, anchors = self.rpn(maps)
        proposals = self.rpn.propose(objectness, moves, anchors, size, self.rpn.proposals[1])
        logits, shifts = self.box_head(self.cut_7(maps[:-1], proposals))
        boxes = clip(decode(shifts, torch.cat(proposals), SHIFT_WEIGHTS), size)
        counts = [len(each) for each in proposals]
        each = list(zip(boxes.split(counts), logits.float().softmax(dim=1).split(counts), strict=True))
        has_nan = _have_nan([*zip(*objectness, *moves, strict=True)], each)
        kept = [self._best(*image) for image in each]
        places = self.cut_14(maps[:-1], [boxes for boxes, _, _ in kept])
        masks = self.mask_head(places, torch.cat([classes for _, _, classes in kept])).float().sigmoid()
        parts = masks.split([len(boxes) for boxes, _, _ in kept])
        found = [Detections(*image, part) for image, part in zip(kept, parts, strict=True)]
        return [_nan(one) if bad else one for one, bad in zip(found, has_nan, strict=True)]

    def _best(self, boxes: Tensor, probs: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (B, K, 4) and probabilities (B, K + 1) -> boxes (D, 4), scores (D,) and classes (D,) to keep."""
        row, kind = (probs[:, 1:] > self.min_score).nonzero(as_tuple=True)
        boxes, scores, classes = boxes[row, kind], probs[row, kind + 1], kind + 1
        large = at_least(boxes, SMALLEST)
        boxes, scores, classes = boxes[large], scores[large], classes[large]
        best = suppress(boxes, scores, classes, self.nms)[: self.detections]
        return boxes[best], scores[best], classes[best]

    def freeze_batchnorm(self) -> None:
        """From now on the encoder's batch normalisation uses its stored statistics; its weights still learn."""
        self.pyramid.freeze_batchnorm()


def _have_nan(*parts: Sequence[Sequence[Tensor]]) -> list[bool]:
    """Whether an image has a NaN. Each part: of every image several tensors."""
    images = [[values for part in image for values in part] for image in zip(*parts, strict=True)]
    return torch.stack([torch.stack([each.isnan().any() for each in image]).any() for image in images]).tolist()


def _nan(like: Detections) -> Detections:
    """One detection of NaN. It is made last: thresholds drop NaN, and RoIAlign must not read at such a box."""
    boxes, scores, classes, masks = like
    nan = float("nan")
    return Detections(
        boxes.new_full((1, 4), nan), scores.new_full((1,), nan), classes.new_ones(1), masks.new_full((1, 28, 28), nan)
    )


def truths_of(labels: Tensor, classes: Tensor | None, shape: tuple[int, int, int], num_classes: int) -> list[Objects]:
    """The objects of each label image. Raises ValueError where labels or classes do not fit images of `shape`."""
    for name, given in (("labels", labels), ("classes", classes)):
        if given is not None and (tuple(given.shape) != shape or given.is_floating_point()):
            raise ValueError(
                f"expected {name} as integers (N, H, W), {shape}, got {given.dtype} {tuple(given.shape)}: each label "
                "image is of the size of its image"
            )
    truths = objects_of(labels, classes)
    kinds = torch.cat([truth.classes for truth in truths])
    most = int(kinds.max()) if len(kinds) else 0
    if most > num_classes:
        raise ValueError(
            f"an object has the class {most}, the network was built with num_classes={num_classes}: objects have the "
            f"classes 1 to {num_classes}, and 0 leaves an object out"
        )
    return truths
