"""Pictures of any size for networks that need whole cells."""

from torch import Tensor
from torch.nn import functional as F


def pad_to_stride(images: Tensor, stride: int, smallest: int = 0) -> Tensor:
    """images (N, C, H, W) with their last row and column repeated until both sides are multiples of `stride`.

    smallest: what each side is at the least. The caller crops the logits back to H and W.
    """
    below, right = (max(-side % stride, smallest - side) for side in images.shape[2:])
    return F.pad(images, (0, right, 0, below), mode="replicate") if below or right else images
