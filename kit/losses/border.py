"""Losses that weight the border of a mask: border_bce_dice, Carvana's first place, 2017.

Source: `CombinedLoss` in asanakoy/kaggle_carvana_segmentation. A pixel is near the border when the mean of the truth
over a square around it is between 0.01 and 0.99. Its weight is 3, that of the others is 1, scaled to a mean of 1; Dice
takes the square of the weights.

Deviations: weights are scaled per image, not per batch. The mean over the square leaves out what is ignored or outside
the image, or their edges would be borders. Dice is (2 hits + 1) / (... + 1), where 2 (hits + 1) / (... + 1) let it
exceed 1.

U-Net's border map is in weights.py.
"""

from torch import Tensor
from torch.nn import functional as F

from kit.losses.terms import IGNORE_INDEX, binary_terms


def border_bce_dice(
    logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, kernel_size: int | None = None
) -> Tensor:
    """BCE + soft Dice with three times the weight near the mask's border. logits (N, 1, H, W).

    kernel_size: the odd side of the square, in pixels; None chooses by the height of the logits, as published:
    11 up to 128, 21 up to 512, 41 up to 1024, else 51.
    """
    values, truth, valid = binary_terms(logits, masks, ignore_index)
    weights = _border_weights(truth, valid, kernel_size or _border_kernel(logits.shape[2]))
    losses = F.binary_cross_entropy_with_logits(values, truth, reduction="none")
    probs, truth = values.sigmoid() * weights**2, truth * weights**2
    overlap = (values.sigmoid() * truth).sum(dim=(1, 2))
    dice = (2 * overlap + 1) / (probs.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1)
    return (losses * weights).sum() / valid.sum().clamp(min=1) + (1 - dice).mean()


def _border_kernel(height: int) -> int:
    return next((side for limit, side in ((128, 11), (512, 21), (1024, 41)) if height <= limit), 51)


def _border_weights(truth: Tensor, valid: Tensor, kernel_size: int) -> Tensor:
    """border_bce_dice's weights (N, H, W): 0 where ignored, else with a mean of 1 in each image."""
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is the side of a square around a pixel, so it must be odd; got {kernel_size}")
    valid = valid.float()
    share = _mean_around(truth, kernel_size) / _mean_around(valid, kernel_size).clamp(min=1e-6)
    weights = (1 + 2 * ((share >= 0.01) & (share <= 0.99))) * valid
    return weights * (valid.sum(dim=(1, 2), keepdim=True) / weights.sum(dim=(1, 2), keepdim=True).clamp(min=1))


def _mean_around(terms: Tensor, side: int) -> Tensor:
    """The mean of (N, H, W) over a square around each pixel, zeros outside the image: columns first, then rows."""
    columns = F.avg_pool2d(terms, (side, 1), stride=1, padding=(side // 2, 0))
    return F.avg_pool2d(columns, (1, side), stride=1, padding=(0, side // 2))
