"""Losses: functions (logits, masks) -> scalar, always in float32.

Shapes everywhere: logits (N, K, H, W) of any float type, masks (N, H, W) of integers, 255 ignored.
K = 1 is one foreground class against the background (sigmoid); masks then hold 0 and 1. K > 1 is softmax.

    pixel by pixel, K = 1     bce
                    K > 1     cross_entropy, with weights a class
                    any K     focal; weighted_cross_entropy, with weights a pixel (class_weights.py makes both)
    regions, any K            soft_dice, soft_jaccard, tversky
             K = 1            lovasz_hinge
             K > 1            lovasz_softmax
    both together, K = 1      bce_dice, bce_jaccard, bce_log_dice, border_bce_dice
    several outputs           deep_supervision, around any of these

Two of them are summed by a function of three lines; so for K > 1
    def criterion(logits, masks): return cross_entropy(logits, masks) + soft_dice(logits, masks)

The losses over regions are taken per image and then averaged, because competitions score the mean over images
and because a mean over images splits exactly over the processes of a group; a Dice over the whole
batch does neither. For K > 1 an image's score is the mean over the classes present in its truth. What is predicted
of a class that is absent still costs: softmax takes it from a class that is present.
Cross-entropies split exactly where no pixel is ignored and no class weighted: they are means over pixels.
float32 because a sum over a 1024 x 1024 picture overflows float16.
An image, or a batch, in which every pixel is ignored has a loss of zero and a zero gradient.

Why none of segmentation_models_pytorch 0.6's losses is called, as measured with float32 logits unless said:
DiceLoss, JaccardLoss, TverskyLoss: one score over the whole batch; a truth without foreground has no gradient (its
loss is multiplied by 0); NaN with float16 at 1024 x 1024. FocalLoss: NaN where all is ignored, a NaN gradient for
gamma < 1 at a logit of 30, and for K > 1 a sigmoid a class, not a softmax. SoftBCEWithLogitsLoss: its mean counts
ignored pixels. LovaszLoss: an image that is wholly ignored makes it an empty tensor or an error for K > 1; its
weights, differences of neighbours near 1, are 2.6 % off in the median pixel of a random picture of 1024 x 1024.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = 255


def bce(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy, the mean over the pixels that are not ignored. logits (N, 1, H, W)."""
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    losses = F.binary_cross_entropy_with_logits(values, truth, reduction="none")
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def cross_entropy(
    logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, class_weights: Tensor | None = None
) -> Tensor:
    """Softmax cross-entropy, the (weighted) mean over the pixels that are not ignored. class_weights (K,)."""
    if logits.shape[1] < 2:
        raise ValueError(f"cross-entropy needs K > 1 channels, got logits {tuple(logits.shape)}; for K = 1 use bce")
    _check_shapes(logits, masks, "K")
    masks, valid = masks.long(), masks != ignore_index
    if class_weights is not None:
        class_weights = class_weights.to(logits.device)
    total = F.cross_entropy(logits.float(), masks, class_weights, ignore_index=ignore_index, reduction="sum")
    weights = valid if class_weights is None else class_weights[torch.where(valid, masks, 0)] * valid
    return total / weights.sum().clamp(min=1e-6)  # torch's own mean over nothing is NaN


def weighted_cross_entropy(logits: Tensor, masks: Tensor, weights: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Cross-entropy with a weight a pixel: U-Net's energy (Ronneberger et al. 2015, equation 1) over the pixel count.

    weights (N, H, W) float, as kit.losses.weights.unet_border_weights makes them, on the logits' device. The paper's
    sum is divided by the number of pixels that are not ignored, not by their weights: borders stay dearer than the
    rest of the data set, and weights of 1 are plain cross-entropy. K = 1 (sigmoid) or K > 1 (softmax).
    """
    losses, valid = _pixel_losses(logits, masks, ignore_index)
    if weights.shape != losses.shape:
        raise ValueError(f"expected weights (N, H, W) as the masks, {tuple(masks.shape)}, got {tuple(weights.shape)}")
    return (losses * weights * valid).sum() / valid.sum().clamp(min=1)


def focal(
    logits: Tensor,
    masks: Tensor,
    ignore_index: int = IGNORE_INDEX,
    gamma: float = 2.0,
    alpha: float | Tensor | None = None,
) -> Tensor:
    """-alpha_t (1 - p_t)^gamma log p_t: equation 5 of Lin et al. 2017 (Focal Loss), p_t the truth's probability.

    alpha: for K = 1 the foreground's weight, the background's being 1 - alpha (the paper's best: 0.25, with gamma 2);
    for K > 1 a tensor (K,); None weighs all alike. Deviations: the mean over the pixels that are not ignored, where
    the paper's detector divides by the number of foreground boxes; softmax for K > 1. gamma = 0 is cross-entropy.
    """
    losses, valid = _pixel_losses(logits, masks, ignore_index)
    missed = -torch.expm1(-losses)  # 1 - p_t
    losses = missed.clamp(min=1e-12) ** gamma * losses  # a root's slope at 0 is infinite, for gamma < 1
    if alpha is not None:
        losses = losses * _focal_weights(alpha, logits)[torch.where(valid, masks, 0).long()]
    return (losses * valid).sum() / valid.sum().clamp(min=1)


def soft_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, smooth: float = 1.0) -> Tensor:
    """1 - soft Dice per image, averaged over images; of the foreground, or for K > 1 of the classes present.

    Dice = (2 sum(p t) + smooth) / (sum(p) + sum(t) + smooth): equation 2 of Milletari et al. 2016
    (V-Net), without the squares in the denominator, as the competitions' metric has none. `smooth`,
    in pixels, gives an empty truth a gradient towards the empty prediction.
    """
    scores, true = _dice(logits, masks, ignore_index, smooth)
    return _mean_over_images(1 - scores, true)


def soft_jaccard(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, smooth: float = 1.0) -> Tensor:
    """1 - soft Jaccard (IoU) per image, averaged over images; of the foreground, or for K > 1 of the classes present.

    Jaccard = (sum(p t) + smooth) / (sum(p) + sum(t) - sum(p t) + smooth): the IoU loss of Rahman and Wang 2016,
    with `smooth` as in soft_dice.
    """
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    return _mean_over_images(1 - (hit + smooth) / (predicted + true - hit + smooth), true)


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
    2018 (focal Tversky), who take 4/3; their alpha is the misses' weight. Deviations: per image and over the
    classes present, where focal Tversky sums over all; one pixel of `smooth`, as in soft_dice.
    """
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    losses = 1 - (hit + 1) / (hit + alpha * (predicted - hit) + beta * (true - hit) + 1)
    if gamma != 1:  # below 1e-6, where the slope of the root grows without end, 1 - T itself
        losses = torch.where(losses > 1e-6, losses.clamp(min=1e-6) ** (1 / gamma), losses)
    return _mean_over_images(losses, true)


def lovasz_hinge(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The Lovász extension of the foreground's Jaccard loss, of hinge errors; per image. logits (N, 1, H, W).

    Berman et al. 2018 (Lovász-Softmax), section 3, after the Lovász hinge of Yu and Blaschko 2015. In an empty truth
    only the single worst pixel has a gradient. Sorts each image's pixels.
    """
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    errors = torch.where(valid, 1 - values * (2 * truth - 1), 0).relu()
    return _lovasz_extension(errors.flatten(1), truth.flatten(1)).mean()


def lovasz_softmax(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """The Lovász extension of the mean Jaccard loss over the classes present, per image. logits (N, K, H, W), K > 1.

    Berman et al. 2018, section 3, over the classes of their code's classes="present". Sorts each image's pixels once
    for every class present: eight pictures of 512 x 512 with 7 to 11 of 21 classes took 5.6 s, forward and
    backward, on one busy core, and cross_entropy 0.8 s.
    """
    if logits.shape[1] < 2:
        raise ValueError(f"lovasz_softmax needs K > 1 channels, got {tuple(logits.shape)}; for K = 1 use lovasz_hinge")
    probs, truth = (terms.flatten(2) for terms in _probs_and_truth(logits, masks, ignore_index))
    present = truth.amax(dim=2) > 0
    losses = _lovasz_extension((truth - probs).abs()[present], truth[present])
    return _mean_over_images(torch.zeros_like(probs[:, :, 0]).masked_scatter(present, losses), present)


def bce_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy plus soft Dice, in equal parts: the usual choice for one foreground class."""
    return bce(logits, masks, ignore_index) + soft_dice(logits, masks, ignore_index)


def bce_jaccard(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """Binary cross-entropy plus soft Jaccard, in equal parts.

    The published form is BCE - log J (Iglovikov and Shvets 2018, TernausNet): see bce_log_dice, whose
    logarithm does the same for Dice.
    """
    return bce(logits, masks, ignore_index) + soft_jaccard(logits, masks, ignore_index)


def bce_log_dice(logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX) -> Tensor:
    """BCE - log Dice, known from Carvana's kernels, and an option (`is_log_dice`) in its first place's code.

    The logarithm makes a picture that is still bad pull harder: its gradient is soft_dice's over Dice. Deviation:
    the mean of each image's logarithm, not the logarithm of the batch's mean.
    """
    scores, _ = _dice(logits, masks, ignore_index, smooth=1.0)
    return bce(logits, masks, ignore_index) - scores.log().mean()


def border_bce_dice(
    logits: Tensor, masks: Tensor, ignore_index: int = IGNORE_INDEX, kernel_size: int | None = None
) -> Tensor:
    """BCE + soft Dice with three times the weight near the mask's border: Carvana's first place, 2017.

    Published as `CombinedLoss` in asanakoy/kaggle_carvana_segmentation: a pixel is near the border when the mean of
    the truth over a square around it is between 0.01 and 0.99. Its weight is 3, the others' 1, scaled to a mean of 1;
    Dice takes the square of the weights. kernel_size: the square's odd side; None chooses by height, as published:
    11 up to 128, 21 up to 512, 41 up to 1024, else 51. Deviations: weights are scaled per image, not per batch;
    the square's mean leaves out what is ignored or outside the picture, or their edges would be borders; Dice is
    (2 hits + 1) / (... + 1), where 2 (hits + 1) / (... + 1) let it exceed 1.
    """
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    weights = _border_weights(truth, valid, kernel_size or _border_kernel(logits.shape[2]))
    losses = F.binary_cross_entropy_with_logits(values, truth, reduction="none")
    probs, truth = values.sigmoid() * weights**2, truth * weights**2
    overlap = (values.sigmoid() * truth).sum(dim=(1, 2))
    dice = (2 * overlap + 1) / (probs.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1)
    return (losses * weights).sum() / valid.sum().clamp(min=1) + (1 - dice).mean()


def deep_supervision(
    loss: Callable[[Tensor, Tensor], Tensor], weights: Sequence[float]
) -> Callable[[Tensor | Sequence[Tensor], Tensor], Tensor]:
    """A criterion for a model that returns several logits, of any sizes: the sum of weight times loss.

    The masks shrink to each logits' size, by the nearest pixel, so a label is never mixed and 255 stays 255; that is
    cheaper than enlarging the logits, but what is thinner than a stride may be missed by its output. Plain logits,
    of a model that returns one output when it evaluates, go to `loss` alone. Raises ValueError when the number of
    logits is not that of the weights.
    """

    def criterion(logits: Tensor | Sequence[Tensor], masks: Tensor) -> Tensor:
        if isinstance(logits, Tensor):
            return loss(logits, masks)
        if len(logits) != len(weights):
            raise ValueError(f"expected as many logits as weights, {len(weights)}, got {len(logits)} from the model")
        terms = [
            weight * loss(output, _shrink(masks, output.shape[2:]))
            for weight, output in zip(weights, logits, strict=True)
        ]
        return torch.stack(terms).sum()

    return criterion


def _check_shapes(logits: Tensor, masks: Tensor, channels: str) -> None:
    fits = logits.ndim == 4 and (channels != "1" or logits.shape[1] == 1)
    if not fits or masks.shape != (logits.shape[0], *logits.shape[2:]):
        raise ValueError(
            f"expected logits (N, {channels}, H, W) and masks (N, H, W), "
            f"got {tuple(logits.shape)} and {tuple(masks.shape)}"
        )


def _binary_terms(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, truth (0.0 or 1.0) and validity (bool), each (N, H, W); truth is 0 where ignored."""
    _check_shapes(logits, masks, "1")
    valid = masks != ignore_index
    return logits.float().squeeze(1), torch.where(valid, masks, 0).float(), valid


def _pixel_losses(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """-log of the truth's probability, and validity, both (N, H, W)."""
    _check_shapes(logits, masks, "K")
    if logits.shape[1] > 1:
        losses = F.cross_entropy(logits.float(), masks.long(), ignore_index=ignore_index, reduction="none")
        return losses, masks != ignore_index
    values, truth, valid = _binary_terms(logits, masks, ignore_index)
    return F.binary_cross_entropy_with_logits(values, truth, reduction="none"), valid


def _focal_weights(alpha: float | Tensor, logits: Tensor) -> Tensor:
    """The weight of each label, (2,) for K = 1 and else (K,)."""
    channels = logits.shape[1]
    found = tuple(alpha.shape) if isinstance(alpha, Tensor) else "a number"
    if found != ((channels,) if channels > 1 else "a number"):
        raise ValueError(f"expected alpha as a number for K = 1 and a tensor (K,) for K > 1, got {found}, K {channels}")
    return alpha.to(logits.device) if channels > 1 else torch.tensor([1 - alpha, alpha], device=logits.device)


def _probs_and_truth(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Probabilities, and truth as 0.0 or 1.0 a class, both (N, K, H, W), and both 0 where ignored."""
    _check_shapes(logits, masks, "K")
    valid = (masks != ignore_index).unsqueeze(1)
    labels = torch.where(valid, masks.unsqueeze(1), 0)
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid() * valid, labels.float()
    return logits.softmax(dim=1) * valid, torch.zeros_like(logits).scatter_(1, labels.long(), valid.float())


def _overlaps(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """sum(p t), sum(p) and sum(t) over the pixels of each image, (N, K)."""
    probs, truth = _probs_and_truth(logits, masks, ignore_index)
    return (probs * truth).sum(dim=(2, 3)), probs.sum(dim=(2, 3)), truth.sum(dim=(2, 3))


def _dice(logits: Tensor, masks: Tensor, ignore_index: int, smooth: float) -> tuple[Tensor, Tensor]:
    """The soft Dice of each image and class, and the pixels of its truth, (N, K)."""
    hit, predicted, true = _overlaps(logits, masks, ignore_index)
    return (2 * hit + smooth) / (predicted + true + smooth), true


def _mean_over_images(losses: Tensor, true: Tensor) -> Tensor:
    """The mean over images of (N, K) losses; for K > 1 each image's is the mean over the classes with true > 0."""
    if losses.shape[1] == 1:
        return losses.mean()
    present = true > 0
    return ((losses * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()


def _lovasz_extension(errors: Tensor, truth: Tensor) -> Tensor:
    """The Lovász extension of the Jaccard loss at errors >= 0, against truth 0.0 or 1.0: (M, P) -> (M,).

    Algorithm 1 of Berman et al. 2018 takes differences of neighbouring Jaccard losses. Here they are worked out
    as fractions, since float32 loses a difference of two numbers near 1: a missed pixel adds 1 / union, a false
    alarm left / (union (union - 1)). A pixel with an error of 0, as an ignored one, adds nothing.
    """
    errors, order = errors.sort(dim=1, descending=True)
    truth = truth.gather(1, order)
    total = truth.sum(dim=1, keepdim=True)
    left = total - truth.cumsum(dim=1)  # the intersection, and the union, once all pixels up to here are wrong
    union = total + (1 - truth).cumsum(dim=1)
    steps = torch.where(truth > 0, 1 / union, left / (union * (union - 1).clamp(min=1)))
    steps[:, 0] = 1 / union[:, 0]  # also of an empty truth, where left / (union - 1) is 0 / 0
    return (errors * steps).sum(dim=1)


def _border_kernel(height: int) -> int:
    return next((side for limit, side in ((128, 11), (512, 21), (1024, 41)) if height <= limit), 51)


def _border_weights(truth: Tensor, valid: Tensor, kernel_size: int) -> Tensor:
    """border_bce_dice's weights (N, H, W): 0 where ignored, else with a mean of 1 an image."""
    if kernel_size % 2 == 0:
        raise ValueError(f"kernel_size is the side of a square around a pixel, so odd; got {kernel_size}")
    valid = valid.float()
    share = _mean_around(truth, kernel_size) / _mean_around(valid, kernel_size).clamp(min=1e-6)
    weights = (1 + 2 * ((share >= 0.01) & (share <= 0.99))) * valid
    return weights * (valid.sum(dim=(1, 2), keepdim=True) / weights.sum(dim=(1, 2), keepdim=True).clamp(min=1))


def _mean_around(terms: Tensor, side: int) -> Tensor:
    """The mean of (N, H, W) over a square around each pixel, zeros outside the picture: columns first, then rows."""
    columns = F.avg_pool2d(terms, (side, 1), stride=1, padding=(side // 2, 0))
    return F.avg_pool2d(columns, (1, side), stride=1, padding=(0, side // 2))


def _shrink(masks: Tensor, size: Sequence[int]) -> Tensor:
    """masks (N, H, W) at another size (h, w): each pixel takes the label under its centre."""
    (height, width), (h, w) = masks.shape[1:], size
    rows = ((torch.arange(h, device=masks.device) + 0.5) * (height / h)).long()
    columns = ((torch.arange(w, device=masks.device) + 0.5) * (width / w)).long()
    return masks[:, rows[:, None], columns]
