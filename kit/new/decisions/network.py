"""Which encoder and weights a recipe begins with: what is at hand on this machine, so that it runs as it stands."""

from typing import NamedTuple

PACKAGED = "tu-tf_efficientnet_lite0"  # of which a package of the extra kit[weights] has ImageNet's weights
ENCODERS = {"cpu": "mobilenet_v2", "cuda": "resnet34"}


class Network(NamedTuple):
    """encoder, weights: as the recipe's flags. lr: the largest learning rate. reason: in words."""

    encoder: str
    weights: str
    lr: float
    reason: str


def network_of(kind: str) -> Network:
    """The network for a device of `kind` "cpu" or "cuda". Asks the hub for two seconds at most; downloads nothing."""
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
