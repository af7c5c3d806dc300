"""Weight files as torchvision, timm, smp, Lightning, DDP and kit write them, by these packages themselves."""

import argparse
import copy
import pathlib
import warnings

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from networks import SKIPS, noise
from timm.utils import ModelEmaV3
from torch import nn
from torchvision import models

from kit.models.fcn import FCN8s
from kit.models.pretrained import dpt, encoder, unet
from kit.models.vgg import load_vgg16, read_vgg16, vgg16_stages
from kit.models.weight_files import adapt, read_weights
from kit.training.checkpoint import save_weights

SMALL = {"num_classes": 1, **SKIPS}


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def whole():
    """smp's own network on mobilenet_v2, the smallest, of two classes."""
    torch.manual_seed(1)
    return smp.Unet("mobilenet_v2", encoder_weights=None, classes=2, decoder_channels=SKIPS["decoder_channels"])


def loads(name, path, expected, **options):
    """The encoder `name` takes from the file what `expected`, a state dict under its own names, holds."""
    net = unet(name, str(path), **SMALL, **options).net.encoder.state_dict()
    assert set(net) == set(expected)
    for key, value in net.items():
        assert torch.equal(value, expected[key]), key


TORCHVISION = {
    "resnet18": models.resnet18,
    "resnext50_32x4d": models.resnext50_32x4d,
    "vgg11_bn": models.vgg11_bn,
    "mobilenet_v2": models.mobilenet_v2,
    "densenet121": models.densenet121,
}


# VGG is large, and ResNeXt's names are those of ResNet
@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=pytest.mark.slow) if "vgg" in n or "resnext" in n else n for n in TORCHVISION]
)
def test_torchvisions_files(name, tmp_path, capsys):
    theirs = TORCHVISION[name](**({"init_weights": False} if "vgg" in name else {})).state_dict()
    torch.save(theirs, tmp_path / "theirs.pth")
    expected = {key: value for key, value in theirs.items() if not key.startswith(("fc.", "classifier."))}
    loads(name, tmp_path / "theirs.pth", expected)
    told = capsys.readouterr().out
    assert f"{len(expected)} tensors loaded into the encoder {name}" in told
    assert "of other parts ignored (" in told


def test_torchvisions_old_files(tmp_path):
    """Of densenet, with norm.1 for norm1, and of a time without counts of batches."""
    theirs = models.densenet121(weights=None).state_dict()
    old = {}
    for key, value in theirs.items():
        if not key.endswith("num_batches_tracked"):
            for part in ("norm1", "norm2", "conv1", "conv2"):
                key = key.replace(f".{part}.", f".{part[:-1]}.{part[-1]}.") if "denselayer" in key else key
            old[key] = value
    assert any("norm.1.weight" in key for key in old)
    torch.save(old, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    loads("densenet121", tmp_path / "old.pth", {k: v for k, v in theirs.items() if not k.startswith("classifier")})


TIMM = {  # features alone, some flattened ("stages.0" -> "stages_0"), and a wrapped transformer
    "mobilenetv3_small_050": {},
    "resnet18": {},
    "convnext_atto": {},
    "regnetx_002": {},
    "gernet_s": {},
    "efficientnet_lite0": {"encoder_depth": 3, "decoder_channels": (16, 8, 8)},
    "test_vit": None,
}


HEADS = ("classifier", "head", "fc", "norm", "conv_head", "bn2", "final", "blocks")  # and, at depth 3, last blocks


ALIKE = [  # wrapped as resnet18 and mobilenetv3 are
    pytest.param(name, ".pth", marks=pytest.mark.slow) for name in ("regnetx_002", "gernet_s")
]
OTHERS = [(name, ".pth") for name in TIMM if name not in {"regnetx_002", "gernet_s"}]


@pytest.mark.parametrize(("name", "suffix"), [*OTHERS, *ALIKE, ("resnet18", ".safetensors")])
def test_timms_own_files(name, suffix, tmp_path):
    theirs, path = timm.create_model(name), tmp_path / f"model{suffix}"
    if suffix == ".pth":
        torch.save(theirs.state_dict(), path)
    else:
        safetensors.torch.save_file(theirs.state_dict(), path)
    if name == "test_vit":
        net = dpt("tu-test_vit", str(path), num_classes=1, decoder_intermediate_channels=(8,) * 4).net.encoder
    else:
        net = unet(f"tu-{name}", str(path), **SMALL | TIMM[name]).net.encoder
    found = {key.replace(".", "_"): value for key, value in net.state_dict().items()}
    for key, value in theirs.state_dict().items():
        flat = [k for k in ("model_" + key.replace(".", "_"), "model_model_" + key.replace(".", "_")) if k in found]
        assert len(flat) == 1 or key.startswith(HEADS), key
        assert not flat or torch.equal(found[flat[0]], value)
    first = next(iter(theirs.state_dict().values()))
    assert any(torch.equal(value, first) for value in found.values() if value.shape == first.shape)


@pytest.fixture(scope="module")
def checkpoints(whole):
    return contents(whole)


def contents(net):
    """Name of the kind -> content: the same network as training frameworks wrap it, and where it is found."""
    state, net = net.state_dict(), copy.deepcopy(net)
    averaged, emas = torch.optim.swa_utils.AveragedModel(net), ModelEmaV3(net).state_dict()
    other = {key: torch.zeros_like(value) for key, value in state.items()}
    optimizer = torch.optim.AdamW(net.parameters())
    net(noise(64, 64, batch=2)).sum().backward()
    optimizer.step()
    numbers = {"epoch": 3, "best": np.float64(0.9), "optimizer": optimizer.state_dict()}
    settings = argparse.Namespace(lr=0.1, output=pathlib.Path("out"))
    return {
        "plain": state,
        "DDP": {f"module.{key}": value for key, value in state.items()},
        "compiled": {f"_orig_mod.{key}": value for key, value in state.items()},
        "Lightning": {
            "pytorch-lightning_version": "2.5.0",
            "state_dict": {f"model.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(2)},
            "hyper_parameters": {"lr": 0.1, "root": pathlib.Path("data")},
            "optimizer_states": [optimizer.state_dict()],
            **numbers,
        },
        "timm's script": {"arch": "x", "args": settings, "state_dict": other, "state_dict_ema": state, **numbers},
        "model_ema": {"model": other, "model_ema": {f"module.{key}": value for key, value in state.items()}, **numbers},
        "ema": {"net": other, "ema": {"decay": 0.99, "shadow": state}, **numbers},
        "torch's average": {"model": averaged.state_dict(), **numbers},
        "timm's average": {"ema_state_dict": emas, "state_dict": other},
        "a name of its own": {"segmentor": state, **numbers},
    }


KINDS = ["plain", "compiled", "Lightning", "timm's script", "model_ema", "a name of its own"]
KINDS += [pytest.param(kind, marks=pytest.mark.slow) for kind in ("DDP", "ema", "torch's average", "timm's average")]


@pytest.mark.parametrize("kind", KINDS)
def test_checkpoints_of_whole_networks(kind, whole, checkpoints, tmp_path, capsys):
    torch.save(checkpoints[kind], tmp_path / "last.ckpt")
    expected = {
        key.removeprefix("encoder."): value for key, value in whole.state_dict().items() if key.startswith("encoder.")
    }
    loads("mobilenet_v2", tmp_path / "last.ckpt", expected)
    told = capsys.readouterr().out
    assert "decoder." in told
    assert ("a Lightning checkpoint (version 2.5.0), read at 'state_dict'" in told) == (kind == "Lightning")


def test_kits_own_files(tmp_path):
    theirs = unet("mobilenet_v2", "none", **SMALL)
    expected = {k.removeprefix("net.encoder."): v for k, v in theirs.state_dict().items() if ".encoder." in k}
    save_weights(tmp_path / "last.safetensors", theirs, {"fold": 0})
    loads("mobilenet_v2", tmp_path / "last.safetensors", expected)
    older = {key: value + 1 if value.is_floating_point() else value for key, value in theirs.state_dict().items()}
    state = {"model": older, "ema": theirs.state_dict(), "optimizer": {}, "scaler": {}, "epoch": 1}
    torch.save(state, tmp_path / "last.pt")
    loads("mobilenet_v2", tmp_path / "last.pt", expected)


def test_a_file_of_safetensors_under_another_name(tmp_path):
    theirs = models.resnet18(weights=None).state_dict()
    safetensors.torch.save_file(theirs, tmp_path / "model.bin")
    loads("resnet18", tmp_path / "model.bin", {k: v for k, v in theirs.items() if not k.startswith("fc.")})


@pytest.mark.parametrize(
    ("name", "first"), [("mobilenet_v2", "features.0.0.weight"), ("tu-test_resnet", "model.conv1.0.weight")]
)
@pytest.mark.parametrize("channels", [1, 2, 4, pytest.param(12, marks=pytest.mark.slow)])  # 12 repeats as 4 does
def test_a_file_for_rgb_fits_other_channels_as_smp_and_timm_adapt_it(name, first, channels, tmp_path):
    rgb = encoder(name, None)
    torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
    net = encoder(name, str(tmp_path / "rgb.pth"), channels)
    theirs = timm.models.adapt_input_conv(channels, rgb.state_dict()[first])
    torch.testing.assert_close(net.state_dict()[first], theirs)
    if name == "mobilenet_v2":
        other = smp.encoders.get_encoder(name, weights=None)
        other.load_state_dict(rgb.state_dict())
        other.set_in_channels(channels, pretrained=True)
        torch.testing.assert_close(net.state_dict()[first], other.state_dict()[first])
    again = encoder(name, str(tmp_path / "rgb.pth"))
    assert torch.equal(again.state_dict()[first], rgb.state_dict()[first])


@pytest.mark.parametrize(
    "name", ["resnet18", "tu-test_convnext", pytest.param("tu-test_vit", marks=pytest.mark.slow), "mobilenet_v2"]
)
@torch.inference_mode()
def test_one_channel_gives_the_same_as_its_repetition_as_rgb(name, tmp_path):
    build = dpt if "vit" in name else unet
    options = {"num_classes": 1} if "vit" in name else SMALL
    with torch.inference_mode(False):
        rgb = build(name, "none", **options)
        torch.save(rgb.state_dict(), tmp_path / "rgb.pth")
        grey = build(name, str(tmp_path / "rgb.pth"), in_channels=1, **options)
    shared = {k: v for k, v in rgb.state_dict().items() if ".decoder." in k or ".segmentation_head." in k}
    assert not grey.load_state_dict(shared, strict=False).unexpected_keys
    images = noise(64, 96, channels=1)
    torch.testing.assert_close(grey.eval()(images), rgb.eval()(images.expand(1, 3, 64, 96)), rtol=1e-4, atol=1e-4)


def test_only_a_first_convolution_is_adapted():
    for tensor, wanted in [((8, 4, 3, 3), (8, 3, 3, 3)), ((8, 3), (8, 4)), ((8, 3, 3, 3), (8, 3, 5, 5))]:
        assert adapt(torch.zeros(tensor), torch.zeros(wanted)).shape == tensor


class Boom:
    """Makes a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return pathlib.Path.touch, (self.path,)


def refused(path, told, name="resnet18"):
    with pytest.raises(ValueError, match=rf"(?s)^{path} is {told}"):
        unet(name, str(path), **SMALL)


@pytest.mark.slow
def test_the_message_says_first_what_the_file_is(whole, checkpoints, tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(models.resnet34(weights=None).state_dict(), path)
    refused(
        path,
        r"a state dict of 218 tensors; the first are conv1\.weight \(64, 3, 7, 7\), bn1.* 'resnet18', of 120 "
        r"tensors: 80 more belong to a deeper network \(layer1\.2\.",
    )
    torch.save(models.resnet18(weights=None).state_dict(), path)
    refused(path, r"a state dict of 122 .* the encoder 'resnet34', of 216 tensors: 80 tensors are missing", "resnet34")
    torch.save({"state_dict": checkpoints["Lightning"]["state_dict"], "pytorch-lightning_version": "2.1"}, path)
    refused(
        path,
        r"a Lightning checkpoint \(version 2.1\), read at 'state_dict', of \d+ tensors; the first are model\.enc"
        r".* It does not fit the encoder 'resnet18', of 120 tensors: 120 tensors are missing",
    )
    torch.save({"epoch": 1, "lr": 0.1}, path)
    refused(path, "a dictionary with the entries 'epoch', 'lr' and holds no named tensors; expected a state dict")
    torch.save([1, 2], path)
    refused(path, "a file of torch with a list in it and holds no named tensors")
    torch.save(whole, path)
    refused(
        path, r"a file of torch that holds Python objects \(segmentation_models_pytorch\S+Unet\), which kit does not"
    )
    with warnings.catch_warnings(action="ignore", category=FutureWarning):  # torch gives TorchScript up
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), path)
    refused(path, "a TorchScript archive. Save the tensors alone")
    safetensors.torch.save_file({"weight": torch.ones(2)}, path)
    refused(path, r"a safetensors file of 1 tensors; the first are weight \(2,\). It does not fit the encoder")
    path.write_bytes(b"<html>Sign in</html>")
    refused(path, "neither a safetensors file nor one of torch: it begins with '<html>Sig'")
    path.write_bytes(b"")
    refused(path, "neither .* begins with 'nothing'")
    for zipped in (True, False):
        torch.save(checkpoints["plain"], path, _use_new_zipfile_serialization=zipped)
        path.write_bytes(path.read_bytes()[:50_000])
        refused(path, r"damaged or cut short \(.")
    safetensors.torch.save_file(checkpoints["plain"], path)
    path.write_bytes(path.read_bytes()[:50_000])
    refused(path, "a safetensors file, but damaged or cut short")


def test_nothing_in_a_file_runs(tmp_path):
    torch.save(
        {"state_dict": models.resnet18(weights=None).state_dict(), "note": Boom(tmp_path / "ran")},
        tmp_path / "bomb.pth",
    )
    refused(tmp_path / "bomb.pth", "a file of torch that holds Python objects")
    assert not (tmp_path / "ran").exists()


def test_two_networks_that_fit_are_refused(tmp_path):
    state = models.resnet18(weights=None).state_dict()
    both = {f"{part}.{key}": value for part in ("student", "teacher") for key, value in state.items()}
    torch.save(both, tmp_path / "both.pth")
    refused(tmp_path / "both.pth", "a state dict .* holds 2 networks that fit .student.conv1.weight and teacher.conv1")


def vgg16(batch_norm):
    """torchvision's, without its classifier."""
    with torch.device("meta"):
        net = models.get_model("vgg16_bn" if batch_norm else "vgg16")
    net.classifier = nn.Identity()
    return net.to_empty(device="cpu").apply(
        lambda part: part.reset_parameters() if hasattr(part, "reset_parameters") else None
    )


def test_files_of_vgg16(tmp_path):
    """Of smp's encoder, of smp's network on it, of a wrapped torchvision's, and of timm's with its fully connected."""
    path, features = tmp_path / "vgg.pth", vgg16(batch_norm=True).state_dict()
    for content in (
        features,
        {"state_dict": {"model.decoder.x": torch.ones(2), **{f"model.encoder.{k}": v for k, v in features.items()}}},
        {f"module.{key}": value for key, value in features.items()},
    ):
        torch.save(content, path)
        found = read_vgg16(str(path), batch_norm=True)
        assert found.keys() == features.keys()
        assert all(torch.equal(found[key], features[key]) for key in features)
    with torch.device("meta"):
        theirs = timm.create_model("vgg16")
    content = {key: torch.tensor(float(len(key))).expand(value.shape) for key, value in theirs.state_dict().items()}
    torch.save(content, path)
    found = read_vgg16(str(path), batch_norm=False)
    with torch.device("meta"):
        net = FCN8s(num_classes=2)
    net.trunk.load_vgg16({key: value.to("meta") for key, value in found.items()})
    assert found["classifier.0.weight"].shape == (4096, 512, 7, 7)


@pytest.mark.parametrize("channels", [1, 4])
def test_vgg16_of_rgb_fits_other_channels(channels):
    state = {f"features.{key}": value for key, value in vgg16(batch_norm=False).features.state_dict().items()}
    stages = vgg16_stages(in_channels=channels)
    load_vgg16(stages, state)
    theirs = timm.models.adapt_input_conv(channels, state["features.0.weight"])
    torch.testing.assert_close(stages[0][0].weight, theirs)


def test_a_file_of_half_precision_is_read(tmp_path):
    torch.save(encoder("resnet18", None).half().state_dict(), tmp_path / "half.pth")
    net = encoder("resnet18", str(tmp_path / "half.pth"), 4)
    assert net.conv1.weight.dtype == torch.float32
    assert read_weights(tmp_path / "half.pth").tensors["conv1.weight"].dtype == torch.float16
