"""Losses answer one question: what does training minimise? Each is a function (logits, masks) -> scalar, in float32.

logits (N, K, H, W) of any float type; masks (N, H, W) of integers, 255 ignored. K = 1 is one foreground class against
the background (sigmoid), and masks then hold 0 and 1. K > 1 is softmax. An image, or a batch, in which every pixel is
ignored has a loss of zero and a zero gradient.

Masks (N, K, H, W) of 0 and 1, 255 ignored, are of classes that overlap (task multilabel): each has a sigmoid. Every
loss for K = 1 takes them, and counts each class of each image as an image of one foreground.

Those of detection.py take what a network of objects gives in training: mask_rcnn_loss(model(images, labels)).

    pixel.py             K = 1: bce. K > 1: cross_entropy, with class weights. Any K: focal; weighted_cross_entropy,
                         with pixel weights
    region.py            any K: soft_dice, soft_jaccard, tversky. K = 1: bce_dice, bce_jaccard, bce_log_dice
    lovasz.py            K = 1: lovasz_hinge. K > 1: lovasz_softmax
    border.py            K = 1: border_bce_dice
    objects.py           objects and the borders between them: objects_and_borders
    outputs.py           several outputs: deep_supervision, around any of these
    detection.py         what MaskRCNN and PanopticFPN give in training: mask_rcnn_loss, panoptic_fpn_loss
    weights.py           class weights by median frequency; U-Net's pixel weights
    nearest_cells.py     the distances to two cells behind these weights
    terms.py             the checks and terms that they share

A function of three lines sums two of them; for K > 1 for instance
    def criterion(logits, masks): return cross_entropy(logits, masks) + soft_dice(logits, masks)
"""

from kit.losses.border import border_bce_dice
from kit.losses.detection import mask_rcnn_loss, mask_rcnn_losses, panoptic_fpn_loss
from kit.losses.lovasz import lovasz_hinge, lovasz_softmax
from kit.losses.objects import objects_and_borders
from kit.losses.outputs import deep_supervision
from kit.losses.pixel import bce, cross_entropy, focal, weighted_cross_entropy
from kit.losses.region import bce_dice, bce_jaccard, bce_log_dice, soft_dice, soft_jaccard, tversky
from kit.losses.weights import median_frequency_weights, unet_border_weights

__all__ = [
    "bce",
    "bce_dice",
    "bce_jaccard",
    "bce_log_dice",
    "border_bce_dice",
    "cross_entropy",
    "deep_supervision",
    "focal",
    "lovasz_hinge",
    "lovasz_softmax",
    "mask_rcnn_loss",
    "mask_rcnn_losses",
    "median_frequency_weights",
    "objects_and_borders",
    "panoptic_fpn_loss",
    "soft_dice",
    "soft_jaccard",
    "tversky",
    "unet_border_weights",
    "weighted_cross_entropy",
]
