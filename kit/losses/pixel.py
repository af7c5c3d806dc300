"""Losses that look at each pixel alone: bce, cross_entropy, weighted_cross_entropy, focal.

focal                    Lin et al. 2017, "Focal Loss for Dense Object Detection", equation 5.
weighted_cross_entropy   Ronneberger, Fischer and Brox 2015, "U-Net", equation 1.

All are means over the pixels that are not ignored. Deviations from the papers: see each function.
Such a mean splits exactly over processes where no pixel is ignored and no class is weighted.

Why segmentation_models_pytorch 0.6 is not called: its FocalLoss gives NaN where all is ignored, a NaN gradient for
gamma < 1 at a logit of 30, and for K > 1 it takes a sigmoid for each class, not a softmax. The mean of its
SoftBCEWithLogitsLoss counts ignored pixels.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

from kit.losses.terms import IGNORE_INDEX, binary_terms, check_labels, check_shapes, one_by_one, pixel_losses


def bce(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy, the mean over the pixels that are not ignored. logits (N, 1, H, W)."""
    values, truth, valid = binary_terms(logits, masks, ignore_index)
    losses = F.binary_cross_entropy_with_logits(values, truth, reduction="none")
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def cross_entropy(
    logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, class_weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy, the (weighted) mean over the pixels that are not ignored. logits (N, K, H, W), K > 1.

    class_weights (K,): the weight of each class; the mean is then divided by the sum of the pixels' weights.
    """
    check_shapes(logits, masks, "K > 1")
    masks, valid = masks.long(), masks != ignore_index
    check_labels(masks, valid, logits.shape[1])
    if class_weights is not None:
        if class_weights.shape != logits.shape[1:2]:
            raise ValueError(f"expected class_weights ({logits.shape[1]},), got {tuple(class_weights.shape)}")
        class_weights = class_weights.to(logits.device)
    total = F.cross_entropy(logits.float(), masks, class_weights, ignore_index=ignore_index, reduction="sum")
    weights = valid if class_weights is None else class_weights[torch.where(valid, masks, 0)] * valid
    return total / weights.sum().clamp(min=1e-6)  # torch's own mean over nothing is NaN


def weighted_cross_entropy(logits: Tensor, masks: Tensor, weights: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Cross-entropy with a weight for each pixel: U-Net's energy (equation 1) over the pixel count. Any K.

    weights: float, of the masks' shape, on the logits' device; kit.losses.unet_border_weights makes them. Deviation:
    the paper's sum is divided by the number of pixels that are not ignored, not by their weights. So borders count more
    than the rest of the data set, and weights of 1 give plain cross-entropy. K = 1 is a sigmoid, K > 1 a softmax.
    """
    losses, valid = pixel_losses(logits, masks, ignore_index)
    if weights.shape != masks.shape:
        raise ValueError(f"expected weights (N, H, W) as the masks, {tuple(masks.shape)}, got {tuple(weights.shape)}")
    return (losses * weights.reshape(losses.shape) * valid).sum() / valid.sum().clamp(min=1)


def focal(
    logits: Tensor,
    masks: Tensor,
    ignore_index: int = IGNORE_INDEX,
    gamma: float = 2.0,
    alpha: float | Tensor | None = None,
) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t: equation 5 of Lin et al. 2017, p_t the probability of the truth. Any K.

    alpha: for K = 1 the foreground's weight, and 1 - alpha is the background's (the paper's best: 0.25, with gamma 2);
    for K > 1 a tensor (K,); None weights all alike. Deviations: the mean over the pixels that are not ignored, where
    the paper's detector divides by the number of foreground boxes; softmax for K > 1. gamma = 0 is cross-entropy.
    """
    logits, masks = one_by_one(logits, masks)
    losses, valid = pixel_losses(logits, masks, ignore_index)
    missed = -torch.expm1(-losses)  # 1 - p_t
    losses = missed.clamp(min=1e-12) ** gamma * losses  # a root's slope at 0 is infinite, for gamma < 1
    if alpha is not None:
        losses = losses * _focal_weights(alpha, logits)[torch.where(valid, masks, 0).long()]
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def _focal_weights(alpha: float | Tensor, logits: Tensor) -> Tensor:
    """The weight of each label, (2,) for K = 1 and else (K,)."""
    channels = logits.shape[1]
    found = tuple(alpha.shape) if isinstance(alpha, Tensor) else "a number"
    if found != ((channels,) if channels > 1 else "a number"):
        raise ValueError(f"expected alpha as a number for K = 1 and a tensor (K,) for K > 1, got {found}, K {channels}")
    return alpha.to(logits.device) if channels > 1 else torch.tensor([1 - alpha, alpha], device=logits.device)
