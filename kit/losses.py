"""Losses: functions (logits, masks) -> scalar, always in float32.

Shapes everywhere: logits (N, K, H, W) of any float type, masks (N, H, W) of integers, 255 ignored.
K = 1 is one foreground class against the background (sigmoid); masks then hold 0 and 1.

The Dice term is taken per image and then averaged, because competitions score the mean over images
and because a mean over images splits exactly over the processes of a group; a Dice over the whole
batch does neither. Cross-entropies split exactly where no pixel is ignored: they are means over pixels.
float32 because a sum over a 1024 x 1024 picture overflows float16.
An image, or a batch, in which every pixel is ignored has a loss of zero and a zero gradient.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = 255


def bce(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy, the mean over the pixels that are not ignored. logits (N, 1, H, W)."""
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    losses = F.binary_cross_entropy_with_logits(values, truth, reduction="none")
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def soft_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice of the foreground per image, averaged over images. logits (N, 1, H, W).

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): equation 2 of Milletari et al. 2016
    (V-Net), without the squares in the denominator, as the competitions' metric has none. `smooth`,
    in pixels, gives an empty truth a gradient towards the empty prediction.
    """
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    probs = values.sigmoid() * valid
    overlap = (probs * truth).sum(dim=(1, 2))
    total = probs.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))
    return (1 - (2 * overlap + smooth) / (total + smooth)).mean()  # 0 for an image without a valid pixel


def bce_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy plus soft Dice, in equal parts: the usual choice for one foreground class."""
    return bce(logits, masks, ignore_index) + soft_dice(logits, masks, ignore_index)


def cross_entropy(
    logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, class_weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy, the (weighted) mean over the pixels that are not ignored. class_weights (K,)."""
    if logits.shape[1] < 2:
        raise ValueError(f"cross-entropy needs K > 1 channels, got logits {tuple(logits.shape)}; for K = 1 use bce")
    masks, valid = masks.long(), masks != ignore_index
    total = F.cross_entropy(logits.float(), masks, class_weights, ignore_index=ignore_index, reduction="sum")
    weights = valid if class_weights is None else class_weights[torch.where(valid, masks, 0)] * valid
    return total / weights.sum().clamp(min=1e-6)  # torch's own mean over nothing is NaN


def _binary_terms(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, truth (0.0 or 1.0) and validity (bool), each (N, H, W); truth is 0 where ignored."""
    if logits.ndim != 4 or logits.shape[1] != 1 or masks.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"expected logits (N, 1, H, W) and masks (N, H, W), got {tuple(logits.shape)} and {tuple(masks.shape)}"
        )
    valid = masks != ignore_index
    return logits.float().squeeze(1), torch.where(valid, masks, 0).float(), valid
