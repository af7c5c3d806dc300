"""The terms that every loss is made of: checked logits, truth, and which pixels count.

Shapes are checked on every device, because a shape costs nothing to read. Label values are checked on the CPU
alone: on a GPU the check would wait for the device at each step. There the check of the network against the classes,
before training, does the work; torch stops with a device assertion for a label >= K.
"""

import torch
from torch import Tensor
from torch.nn import functional as F

IGNORE_INDEX = 255


def one_by_one(logits: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Overlapping classes as images of one foreground: logits and masks (N, K, H, W) -> (N K, 1, H, W), (N K, H, W).

    Masks (N, H, W) of classes that do not overlap, and all that does not fit together, stay as they are.
    """
    if masks.ndim != 4 or masks.shape != logits.shape:
        return logits, masks
    return logits.flatten(0, 1).unsqueeze(1), masks.flatten(0, 1)


def check_shapes(logits: Tensor, masks: Tensor, channels: str) -> None:
    """Raise ValueError unless logits are (N, K, H, W) floats and masks (N, H, W) integers of the same N, H and W.

    channels: "1", "K > 1", or "K" for any number.
    """
    if masks.ndim == 4 and masks.shape == logits.shape:
        raise ValueError(
            f"masks (N, K, H, W), {tuple(masks.shape)}, are of classes that overlap: each needs a sigmoid of its own, "
            "and this loss is a softmax over all; take bce_dice, focal or another for one foreground class"
        )
    fits = logits.ndim == 4 and masks.shape == (logits.shape[0], *logits.shape[2:])
    if not fits:
        raise ValueError(
            f"expected logits (N, {channels}, H, W) and masks (N, H, W), "
            f"got {tuple(logits.shape)} and {tuple(masks.shape)}"
        )
    if channels != "K" and (logits.shape[1] == 1) != (channels == "1"):
        advice = (
            "this loss is for one foreground class; for several use cross_entropy, soft_dice or another for K > 1"
            if channels == "1"
            else "this loss is for K > 1 channels; for K = 1 use bce, lovasz_hinge or another for one foreground class"
        )
        raise ValueError(f"expected logits (N, {channels}, H, W), got {tuple(logits.shape)}: {advice}")
    if not logits.is_floating_point() or masks.is_floating_point():
        raise ValueError(
            f"expected float logits and integer masks, got {logits.dtype} and {masks.dtype}; masks hold class indices"
        )


def check_labels(masks: Tensor, valid: Tensor, channels: int) -> None:
    """Raise ValueError if a valid label is none of the K classes (0 and 1 for K = 1); on the CPU alone, see the head.

    masks: integers of any shape; valid: bool of the same shape, False where ignored.
    """
    if masks.device.type != "cpu" or masks.numel() == 0 or torch.compiler.is_compiling():
        return
    num_labels = max(channels, 2)
    least, most = (int(value) for value in torch.where(valid, masks, 0).to(torch.int64).aminmax())
    if least < 0 or most >= num_labels:
        raise ValueError(
            f"the masks hold the label {least if least < 0 else most}, but logits of {channels} "
            f"channel{'s' * (channels > 1)} stand for the labels 0 to {num_labels - 1}. Build the network with as many "
            "channels as the data set has classes and take a loss for K > 1, or correct the masks"
        )


def binary_terms(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor, Tensor]:
    """Logits f32, truth f32 (0 or 1) and validity (bool), each (N, H, W); truth is 0 where ignored."""
    logits, masks = one_by_one(logits, masks)
    check_shapes(logits, masks, "1")
    valid = masks != ignore_index
    check_labels(masks, valid, 1)
    return logits.float().squeeze(1), torch.where(valid, masks, 0).float(), valid


def pixel_losses(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """-log of the truth's probability (f32), and validity (bool), both (N, H, W)."""
    logits, masks = one_by_one(logits, masks)
    check_shapes(logits, masks, "K")
    if logits.shape[1] > 1:
        valid = masks != ignore_index
        check_labels(masks, valid, logits.shape[1])
        losses = F.cross_entropy(logits.float(), masks.long(), ignore_index=ignore_index, reduction="none")
        return losses, valid
    values, truth, valid = binary_terms(logits, masks, ignore_index)
    return F.binary_cross_entropy_with_logits(values, truth, reduction="none"), valid


def probs_and_truth(logits: Tensor, masks: Tensor, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Probabilities, and truth as 0 or 1 for each class, both f32 (N, K, H, W), and both 0 where ignored."""
    logits, masks = one_by_one(logits, masks)
    check_shapes(logits, masks, "K")
    valid = masks != ignore_index
    check_labels(masks, valid, logits.shape[1])
    valid = valid.unsqueeze(1)
    labels = torch.where(valid, masks.unsqueeze(1), 0)
    logits = logits.float()
    if logits.shape[1] == 1:
        return logits.sigmoid() * valid, labels.float()
    return logits.softmax(dim=1) * valid, torch.zeros_like(logits).scatter_(1, labels.long(), valid.float())


def mean_over_images(losses: Tensor, true: Tensor) -> Tensor:
    """The mean over images of (N, K) losses; for K > 1 each image's is the mean over the classes with true > 0."""
    if losses.shape[1] == 1:
        return losses.mean()
    present = true > 0
    return ((losses * present).sum(dim=1) / present.sum(dim=1).clamp(min=1)).mean()
