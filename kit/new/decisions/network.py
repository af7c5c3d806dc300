"""Which encoder and weights a recipe begins with: what is at hand on this machine, so that it runs as it stands."""

from typing import NamedTuple

PACKAGED = "tu-tf_efficientnet_lite0"  # of which a package of the extra kit[weights] has ImageNet's weights
ENCODERS = {"cpu": "mobilenet_v2", "cuda": "resnet34"}
HALF = (128, 64, 32, 16, 16)  # channels of the decoder: half of segmentation-models-pytorch's, from the deepest stage


class Network(NamedTuple):
    """encoder, weights: as the recipe's flags. lr: the largest learning rate. reason: in words.

    decoder: of `kit.models.pretrained.unet`, its channels; None: the usual ones. EncoderUNet has its own.
    """

    encoder: str
    weights: str
    lr: float
    reason: str
    decoder: tuple[int, ...] | None = None


def network_in_words(network: Network, has_borders: bool) -> str:
    """The reason for the encoder, and what is said of the decoder that the recipe gets."""
    if has_borders:
        return f"{network.reason}; a decoder with a skip at the images' own size, for outlines of small objects"
    return network.reason if network.decoder is None else f"{network.reason}; a narrow decoder"


def network_of(kind: str) -> Network:
    """The network for a device of `kind` "cpu" or "cuda". Asks the hub for two seconds at most; downloads nothing.

    On a CPU the decoder has half of the usual channels: a step then takes two thirds of the time.
    """
    found = _encoder_of(kind)
    if kind != "cpu":
        return found
    return found._replace(decoder=HALF)


def _encoder_of(kind: str) -> Network:
    from kit.models.hub import check_hub
    from kit.models.packages import packaged_weights

    if found := packaged_weights(PACKAGED):
        return Network(PACKAGED, "imagenet", 1e-3, f"{PACKAGED} with ImageNet's weights of {found.package}")
    encoder = ENCODERS[kind]
    try:
        check_hub(encoder, "imagenet")
    except OSError:
        why = f"{encoder} from scratch: the hub is out of reach, and no package of the extra kit[weights] is installed"
        return Network(encoder, "none", 2e-3, why)
    return Network(encoder, "imagenet", 1e-3, f"{encoder} with ImageNet's weights of the hub")
