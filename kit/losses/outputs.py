"""A loss for networks that return several logits, of any sizes: the weighted sum of one loss over the outputs.

After Lee et al. 2015, "Deeply-Supervised Nets"; UNet++ (Zhou et al. 2018) trains this way. Deviation: the masks shrink
to the size of each output, where UNet++'s outputs all have the size of the image.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def deep_supervision(
    loss: Callable[[Tensor, Tensor], Tensor], weights: Sequence[float]
) -> Callable[[Tensor | Sequence[Tensor], Tensor], Tensor]:
    """A criterion (several logits, masks) -> scalar: the sum of weight times loss over the outputs.

    The masks shrink to the size of each output by the nearest pixel, so a label is never mixed and 255 stays 255. That
    is cheaper than enlarging the logits, but an output may miss what is thinner than its stride. Plain logits, of a
    model that returns one output when it evaluates, go to `loss` alone. Raises ValueError when the number of logits is
    not that of the weights.
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


def _shrink(masks: Tensor, size: Sequence[int]) -> Tensor:
    """masks (N, H, W) or (N, K, H, W) at another size (h, w): each pixel takes the label under its centre."""
    (height, width), (h, w) = masks.shape[-2:], size
    rows = ((torch.arange(h, device=masks.device) + 0.5) * (height / h)).long()
    columns = ((torch.arange(w, device=masks.device) + 0.5) * (width / w)).long()
    return masks[..., rows[:, None], columns]
