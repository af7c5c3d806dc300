"""segmentation-models-pytorch's networks, for pictures of any size, with weights from the hub, a file, or none.

smp takes any option it does not know in silence, so every option that kit offers is an argument here and
is passed by name; nothing else gets through.
"""

from pathlib import Path

import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PadToStride(nn.Module):
    """Runs `net` on pictures of any size: edges repeated up to a multiple of `stride`, logits cropped back exactly."""

    def __init__(self, net: nn.Module, stride: int = 32) -> None:
        super().__init__()
        self.net, self.stride = net, stride

    def forward(self, images: Tensor) -> Tensor:
        """images (N, C, H, W) -> logits (N, K, H, W)."""
        height, width = images.shape[2:]
        below, right = -height % self.stride, -width % self.stride
        if below or right:
            images = F.pad(images, (0, right, 0, below), mode="replicate")
        return self.net(images)[:, :, :height, :width]


def unet(
    encoder: str,
    weights: str | None,
    *,
    num_classes: int,
    in_channels: int = 3,
    decoder_channels: tuple[int, ...] = (256, 128, 64, 32, 16),
    decoder_attention: str | None = None,
) -> PadToStride:
    """smp's U-Net (Ronneberger, Fischer, Brox 2015, with an ImageNet encoder and a batch-normalised decoder).

    encoder: smp's name ("resnet34", "tu-convnext_tiny"); weights: "imagenet", "none" (or None), or the path of a
    state dict of the encoder (.pth or .safetensors); num_classes: channels of the logits, 1 for sigmoid;
    decoder_channels: from the deepest block to the last; decoder_attention: None or "scse".
    Raises OSError when the hub cannot be reached, ValueError when the encoder or the file does not fit.
    """
    from_hub = weights == "imagenet"
    try:
        net = smp.Unet(
            encoder_name=encoder,
            encoder_weights=(True if encoder.startswith("tu-") else "imagenet") if from_hub else None,
            decoder_channels=decoder_channels,
            decoder_attention_type=decoder_attention,
            in_channels=in_channels,
            classes=num_classes,
        )
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"encoder {encoder!r}, weights {weights!r}: {error.args[0]}") from error
    except OSError as error:
        raise OSError(_OFFLINE.format(encoder=encoder)) from error
    if weights not in {"imagenet", "none", None}:
        load_encoder(net.encoder, Path(weights))
    return PadToStride(net)


_OFFLINE = (
    "the ImageNet weights of {encoder!r} are not on this machine and the hub cannot be reached. Either connect once, "
    "or give a file with --encoder-weights FILE (a state dict of the encoder), or train from scratch with "
    "--encoder-weights none"
)


def load_encoder(encoder: nn.Module, path: Path) -> None:
    """Load an encoder's state dict from a .safetensors or .pth file; nothing in it is run.

    Raises FileNotFoundError, or ValueError naming the file when it is no state dict or not this encoder's.
    """
    if not path.is_file():
        raise FileNotFoundError(f"--encoder-weights {path}: no such file; expected 'imagenet', 'none' or a file")
    try:
        if path.suffix == ".safetensors":
            tensors = safetensors.torch.load_file(path)
        else:
            tensors = torch.load(path, map_location="cpu", weights_only=True)
        encoder.load_state_dict(tensors)
    except Exception as error:  # of a damaged file torch raises whatever it stumbles on, a dozen types
        told = str(error)[:500] or "cut short"
        raise ValueError(f"{path} does not hold the weights of this encoder: {told}") from error


def freeze_encoder(model: PadToStride) -> None:
    """Stop training the encoder: no gradients, and its batch normalisation keeps its statistics."""
    model.net.freeze_encoder()
