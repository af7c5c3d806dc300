import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import torch

from kit.models.pretrained import freeze_encoder, unet

SMALL = {"num_classes": 1, "decoder_channels": (16, 8, 8, 8, 8)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return unet("mobilenet_v2", "none", **SMALL)


def picture(*size):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32))


@pytest.mark.parametrize("size", [(97, 131), (64, 96)])
def test_logits_have_the_pictures_size(net, size):
    with torch.inference_mode():
        assert net(picture(*size)).shape == (2, 1, *size)
        three = unet(
            "resnet18", None, num_classes=3, in_channels=4, decoder_attention="scse", decoder_channels=(16,) * 5
        )
        assert three(picture(*size)[:, [0, 1, 2, 0]]).shape == (2, 3, *size)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_from_a_file(net, tmp_path, suffix):
    weights, path = net.net.encoder.state_dict(), tmp_path / f"encoder{suffix}"
    torch.save(weights, path) if suffix == ".pth" else safetensors.torch.save_file(weights, path)
    torch.manual_seed(1)
    loaded, fresh = unet("mobilenet_v2", str(path), **SMALL), unet("mobilenet_v2", "none", **SMALL)
    for name, tensor in loaded.net.encoder.state_dict().items():
        assert torch.equal(tensor, weights[name])
    first = "features.0.0.weight"
    assert not torch.equal(fresh.net.encoder.state_dict()[first], weights[first])


@pytest.mark.parametrize("name", ["other", "list", "text", "empty", "cut", "legacy"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_without_these_weights_is_refused_by_name(net, tmp_path, name, suffix):
    path, weights = tmp_path / f"{name}{suffix}", net.net.encoder.state_dict()
    torch.save(weights, tmp_path / "whole", _use_new_zipfile_serialization=name != "legacy")
    whole = (tmp_path / "whole").read_bytes()
    if name == "other" and suffix == ".pth":
        torch.save({"state_dict": weights}, path)
    elif name == "other":
        safetensors.torch.save_file({"weight": torch.ones(2)}, path)
    elif name == "list":
        torch.save([1, 2], path)
    else:
        path.write_bytes({"text": b"<html>Sign in</html>", "empty": b""}.get(name, whole[:50_000]))
    with pytest.raises(ValueError, match=rf"{name}\{suffix} does not hold the weights of this encoder: ."):
        unet("mobilenet_v2", str(path), **SMALL)


def test_what_does_not_exist_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"imagnet: no such file; expected 'imagenet', 'none' or a file"):
        unet("mobilenet_v2", "imagnet", **SMALL)
    for encoder in ("mobilnet_v2", "tu-mobilnet_v2"):
        with pytest.raises(ValueError, match=f"encoder '{encoder}', weights 'none': .*mobilnet_v2"):
            unet(encoder, "none", **SMALL)
    with pytest.raises(TypeError, match="decoder_chanels"):
        unet("mobilenet_v2", "none", num_classes=1, decoder_chanels=(8,) * 5)


OFFLINE = """
from kit.models.pretrained import unet
for encoder in ("mobilenet_v2", "tu-mobilenetv3_small_100"):
    try:
        unet(encoder, "imagenet", num_classes=1)
    except OSError as error:
        print(error)
"""


def test_without_a_network_the_ways_out_are_named(tmp_path):
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", OFFLINE], env=env, capture_output=True, text=True, timeout=60)
    smp, timm = done.stdout.splitlines()
    assert smp.startswith("the ImageNet weights of 'mobilenet_v2' are not on this machine")
    assert timm.startswith("the ImageNet weights of 'tu-mobilenetv3_small_100' are not on this machine")
    assert all("--encoder-weights FILE" in told and "--encoder-weights none" in told for told in (smp, timm))


def test_a_frozen_encoder_keeps_its_weights_and_statistics():
    net = unet("mobilenet_v2", "none", **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    freeze_encoder(net)
    net.train()
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    net(picture(32, 32)).square().mean().backward()
    optimizer.step()
    for name, tensor in net.state_dict().items():
        if ".encoder." in name:
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(".encoder." in name for name, parameter in net.named_parameters() if parameter.requires_grad)
