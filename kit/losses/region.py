"""Losses over regions: soft_dice, soft_jaccard, tversky, and their sums with binary cross-entropy.

soft_dice      Milletari, Navab and Ahmadi 2016, "V-Net", equation 2.
soft_jaccard   Rahman and Wang 2016, "Optimizing Intersection-Over-Union in Deep Neural Networks".
tversky        Salehi, Erdogmus and Gholipour 2017; with gamma, Abraham and Khan 2018 (focal Tversky).
bce_jaccard    Iglovikov and Shvets 2018, "TernausNet".
bce_log_dice   an option (`is_log_dice`) in the code of Carvana's first place, 2017.

Each is taken per image and then averaged over images. Competitions score the mean over images, and a mean over images
splits exactly over the processes of a group; a Dice over the whole batch does neither. For K > 1 an image's score is
the mean over the classes present in its truth. Predicting a class that is absent still costs something: softmax takes
the probability from a class that is present. All arithmetic is in float32, because a sum over an image of 1024 x 1024
overflows float16.

Why segmentation_models_pytorch 0.6 is not called: its DiceLoss, JaccardLoss and TverskyLoss take one score over the
whole batch; a truth without foreground has no gradient there (its loss is multiplied by 0); float16 at 1024 x 1024
gives NaN.
"""

import torch
from torch import Tensor

from kit.losses.pixel import bce
from kit.losses.terms import IGNORE_INDEX, mean_over_images, probs_and_truth


def soft_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice per image, averaged over images; of the foreground, or for K > 1 of the classes present.

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth). Deviation from V-Net's equation 2: no squares in the
    denominator, because the competitions' metric has none. `smooth`, in pixels, gives an empty truth a gradient
    towards the empty prediction.
    """
    scores, true = _dice(logits, masks, ignore_index, smooth)
    return mean_over_images(1 - scores, true)


def soft_jaccard(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, smooth: float = 1.0) -> Tensor:
    """1 - soft Jaccard (IoU) per image, averaged over images; of the foreground, or for K > 1 of the classes present.

    Jaccard = (sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth): the IoU loss of Rahman and Wang 2016,
    with `smooth` as in soft_dice.
    """
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    return mean_over_images(1 - (hit + smooth) / (predicted + true - hit + smooth), true)


def tversky(
    logits: Tensor,
    masks: Tensor,
    ignore_index: int = IGNORE_INDEX,
    alpha: float = 0.3,
    beta: float = 0.7,
    gamma: float = 1.0,
) -> Tensor:
    """(1 - T)^(1 / gamma) per image, averaged; T = (hits + 1) / (hits + alpha false alarms + beta misses + 1).

    The Tversky index of Salehi et al. 2017, with their best weights: a missed pixel costs more than a false alarm.
    alpha = beta = 1/2 is soft_dice(smooth=2), alpha = beta = 1 is soft_jaccard. gamma is that of Abraham and Khan
    2018, who take 4/3; their alpha is the weight of the misses. Deviations: per image and over the classes present,
    where focal Tversky sums over all; one pixel of `smooth`, as in soft_dice.
    """
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    losses = 1 - (hit + 1) / (hit + alpha * (predicted - hit) + beta * (true - hit) + 1)
    if gamma != 1:  # below 1e-6, where the slope of the root grows without end, 1 - T itself
        losses = torch.where(losses > 1e-6, losses.clamp(min=1e-6) ** (1 / gamma), losses)
    return mean_over_images(losses, true)


def bce_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy plus soft Dice, in equal parts: the usual choice for one foreground class."""
    return bce(logits, masks, ignore_index) + soft_dice(logits, masks, ignore_index)


def bce_jaccard(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy plus soft Jaccard, in equal parts.

    Deviation: TernausNet's form is BCE - log J. See bce_log_dice, whose logarithm does the same for Dice.
    """
    return bce(logits, masks, ignore_index) + soft_jaccard(logits, masks, ignore_index)


def bce_log_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """BCE - log Dice, known from Carvana's kernels and from the code of its first place.

    The logarithm makes an image that is still bad pull harder: its gradient is that of soft_dice divided by Dice.
    Deviation: the mean of each image's logarithm, not the logarithm of the batch's mean.
    """
    scores, _ = _dice(logits, masks, ignore_index, smooth=1.0)
    return bce(logits, masks, ignore_index) - scores.log().mean()


def _overlaps(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """sum(p t), sum(p) and sum(t) over the pixels of each image, (N, K)."""
    probs, truth = probs_and_truth(logits, masks, ignore_index)
    return (probs * truth).sum(dim=(2, 3)), probs.sum(dim=(2, 3)), truth.sum(dim=(2, 3))


def _dice(logits: Tensor, masks: Tensor, ignore_index: int, smooth: float) -> tuple[Tensor, Tensor]:
    """The soft Dice of each image and class, and the pixels of its truth, (N, K)."""
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    return (2 * hit + smooth) / (predicted + true + smooth), true
