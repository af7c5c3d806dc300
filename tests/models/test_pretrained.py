import functools
import inspect
import subprocess
import sys

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch

from kit.models import pretrained
from kit.models.pretrained import deeplabv3, dpt, encoder, fpn, freeze_encoder, pan, pspnet, unet, upernet

SIZE = (97, 131)  # odd, and no multiple of any stride
NARROW = {"decoder_channels": (16, 8, 8, 8, 8)}
ARCHITECTURES = {
    "unet": NARROW,
    "unetplusplus": NARROW,
    "manet": NARROW,
    "linknet": {},
    "fpn": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 32},
    "pspnet": {"psp_out_channels": 32},
    "pan": {},
    "deeplabv3": {"decoder_channels": 16},
    "deeplabv3plus": {"decoder_channels": 16},
    "upernet": {"decoder_channels": 16},
    "segformer": {"decoder_segmentation_channels": 16},
    "dpt": {"decoder_intermediate_channels": (8, 8, 8, 8), "decoder_fusion_channels": 8},
}
ALL = pytest.mark.parametrize("name", ARCHITECTURES)
KITS_NAMES = {
    "encoder_name": "encoder",
    "encoder_weights": "weights",
    "classes": "num_classes",
    "decoder_attention_type": "decoder_attention",
}
FIXED = {
    "activation": "None: losses and metrics want logits",
    "aux_params": "None: no data of kit's has labels of whole images",
    "kwargs": "smp's tunnel to timm, and its deprecated names",
}


def build(name, weights="none"):
    small = "tu-test_vit" if name == "dpt" else "resnet18"
    torch.manual_seed(0)
    with torch.inference_mode(False):  # cached below, whichever test asks first
        return getattr(pretrained, name)(small, weights, num_classes=3, **ARCHITECTURES[name])


network = functools.cache(build)


def test_every_architecture_of_smp_is_offered():
    assert set(smp.MODEL_ARCHITECTURES_MAPPING) == set(ARCHITECTURES)


@ALL
def test_every_option_of_smp_is_offered_with_its_default_or_fixed(name):
    theirs = inspect.signature(smp.MODEL_ARCHITECTURES_MAPPING[name].__init__).parameters
    ours = inspect.signature(getattr(pretrained, name)).parameters
    offered = {KITS_NAMES.get(key, key): value for key, value in theirs.items() if key not in {"self", *FIXED}}
    assert set(ours) == set(offered)
    assert set(FIXED) < set(theirs)
    assert all(theirs[key].default is None for key in ("activation", "aux_params"))
    for key in set(ours) - {"encoder", "weights", "num_classes"}:
        assert ours[key].default == offered[key].default, key
        assert ours[key].kind is inspect.Parameter.KEYWORD_ONLY, key


@ALL
@torch.inference_mode()
def test_logits_of_the_images_size_in_float32_and_bfloat16(name):
    net = network(name).eval()
    for size in (SIZE, (32, 48)):
        exact = net(image(*size))
        assert exact.shape == (2, 3, *size)
        assert exact.isfinite().all()
    with torch.autocast("cpu", torch.bfloat16):
        rough = net(image(*size))
    assert (rough.float() - exact).abs().mean() < 0.1 * exact.abs().mean()


@ALL
def test_gradients_reach_every_parameter_that_trains(name):
    """PSPNet stops at stride 8, DPT reads blocks, not timm's norm and head; a bias before a normalisation cancels."""
    net = network(name).train()
    net(image(*SIZE)).square().mean().backward()
    dead = [key for key, value in net.named_parameters() if value.requires_grad and not (value.grad != 0).any()]
    none = [key for key, value in net.named_parameters() if value.grad is None]
    still = [key for key, value in net.named_parameters() if not value.requires_grad]
    net.zero_grad(set_to_none=True)
    assert [key for key in dead if not key.startswith("net.decoder.fpa.down")] == []
    assert none == still
    unused = {"pspnet": ("net.encoder.layer3", "net.encoder.layer4"), "dpt": ("net.encoder.model.",)}
    assert all(key.startswith(unused.get(name, ())) for key in still)
    assert bool(still) == (name in unused)


def test_what_is_not_run_is_not_trained():
    """DistributedDataParallel would wait for the gradients of EfficientNet's last convolution for ever."""
    still = [key for key, value in encoder("efficientnet-b0", None).named_parameters() if not value.requires_grad]
    assert still == ["_conv_head.weight", "_bn1.weight", "_bn1.bias"]


@ALL
def test_a_batch_of_one_trains_or_says_why_not(name):
    net = build(name).train()
    if name in {"pan", "deeplabv3", "deeplabv3plus", "upernet"}:
        with pytest.raises(ValueError, match="1 image of 97 x 131 leaves batch normalisation one value a channel"):
            net(image(*SIZE)[:1])
    else:
        assert net(image(*SIZE)[:1]).shape == (1, 3, *SIZE)


@pytest.mark.slow
@ALL
def test_one_graph_for_compile_and_export(name):
    net = network(name).eval()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(image(*SIZE)), net(image(*SIZE)))
    with torch.no_grad():
        exported = torch.export.export(net, (image(*SIZE),)).module()
        torch.testing.assert_close(exported(image(*SIZE)), net(image(*SIZE)))


@ALL
def test_weights_of_any_encoder_from_a_file(name, tmp_path):
    weights = {key: value + 1 for key, value in network(name).net.encoder.state_dict().items()}
    torch.save(weights, tmp_path / "encoder.pth")
    loaded = build(name, str(tmp_path / "encoder.pth")).net.encoder.state_dict()
    assert loaded.keys() == weights.keys()
    assert all(torch.equal(loaded[key], weights[key]) for key in weights)


def test_an_encoder_alone():
    for name, channels in {
        "resnet18": [4, 64, 64, 128, 256, 512],
        "tu-convnext_atto": [4, 0, 40, 80, 160, 320],
    }.items():
        net = encoder(name, "none", in_channels=4)
        maps = net(torch.zeros(1, 4, 64, 96))
        assert net.out_channels == channels
        assert [tuple(m.shape) for m in maps] == [(1, c, 64 >> i, 96 >> i) for i, c in enumerate(channels)]
    assert encoder("resnet18", None, depth=3).out_channels == [3, 64, 64, 128]


def test_a_depth_that_needs_another_upsampling_is_told():
    with pytest.raises(
        ValueError, match=r"fpn: logits of 256 x 256 for .* 64 x 64; encoder_depth=3 needs upsampling=1$"
    ):
        fpn("resnet18", None, num_classes=1, encoder_depth=3)
    with pytest.raises(ValueError, match="encoder_depth=4 needs upsampling=16"):
        pspnet("resnet18", None, num_classes=1, encoder_depth=4)
    with torch.inference_mode():
        net = fpn("resnet18", None, num_classes=1, encoder_depth=3, upsampling=1).eval()
        assert net(image(*SIZE)).shape == (2, 1, *SIZE)


def test_an_encoder_that_does_not_fit_the_architecture_is_refused_by_both_names():
    for build_it, name in [
        (pan, "vgg11"),
        (deeplabv3, "densenet121"),
        (deeplabv3, "tu-hrnet_w18_small"),
        (unet, "tu-test_vit"),
        (dpt, "resnet18"),
        (dpt, "tu-cait_xxs24_224"),
        (pretrained.linknet, "mit_b0"),
        (pretrained.unetplusplus, "mit_b0"),
    ]:
        with pytest.raises(ValueError, match=rf"^{build_it.__name__} does not work with the encoder '{name}' .*: ."):
            build_it(name, "none", num_classes=1)
    with pytest.raises(ValueError, match=r"unet does not work .*: Model depth is 3, but you provide"):
        unet("resnet18", "none", num_classes=1, encoder_depth=3)
    with pytest.raises(ValueError, match=r"upernet does not work .*: Unrecognized .*batchnrm"):
        upernet("resnet18", "none", num_classes=1, decoder_use_norm="batchnrm")


@torch.inference_mode()
def test_a_transformer_of_a_fixed_size_takes_any():
    net = unet("tu-swin_tiny_patch4_window7_224", None, num_classes=1, **NARROW).eval()
    assert net(image(*SIZE)).shape == (2, 1, *SIZE)


SMALL = {"num_classes": 1, "decoder_channels": (16, 8, 8, 8, 8)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return unet("mobilenet_v2", "none", **SMALL)


def image(*size):
    return torch.from_numpy(np.random.default_rng(0).normal(size=(2, 3, *size)).astype(np.float32))


@pytest.mark.parametrize("size", [(97, 131), (64, 96)])
def test_logits_have_the_images_size(net, size):
    with torch.inference_mode():
        assert net(image(*size)).shape == (2, 1, *size)
        three = unet(
            "resnet18", None, num_classes=3, in_channels=4, decoder_attention="scse", decoder_channels=(16,) * 5
        )
        assert three(image(*size)[:, [0, 1, 2, 0]]).shape == (2, 3, *size)


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
    for wrong, right in {
        "mobilnet_v2": "mobilenet_v2",
        "tu-resnet18x": "tu-resnet18",
        "timm-res2": "res",
        "resnet18.a": "resnet18",
    }.items():
        with pytest.raises(ValueError, match=rf"^encoder '{wrong}': .* Nearest: .*{right}.{{0,90}}$"):
            unet(wrong, "none", **SMALL)
    with pytest.raises(ValueError, match=r"'dpn92' and these options: Wrong pretrained weights .*imagenet\+5k"):
        unet("dpn92", "imagenet", **SMALL)
    for name in ARCHITECTURES:
        with pytest.raises(TypeError, match="decoder_chanels"):
            getattr(pretrained, name)("resnet18", "none", num_classes=1, decoder_chanels=(8,) * 5)


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
    assert smp.startswith("the weights 'imagenet' of 'mobilenet_v2' are not on this machine")
    assert timm.startswith("the weights 'imagenet' of 'tu-mobilenetv3_small_100' are not on this machine")
    assert all("--encoder-weights FILE" in told and "--encoder-weights none" in told for told in (smp, timm))


CACHED = """
from kit.models.pretrained import encoder
print(*encoder("mobilenet_v2", "imagenet").features[0][0].weight[0, 0, 0].tolist())
"""


def test_weights_downloaded_before_need_no_network(net, tmp_path):
    where = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    folder = tmp_path / f"hub/models--{where['repo_id'].replace('/', '--')}/snapshots/{where['revision']}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    safetensors.torch.save_file(net.net.encoder.state_dict(), folder / "model.safetensors")
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", CACHED], env=env, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.split() == [str(value) for value in net.net.encoder.features[0][0].weight[0, 0, 0].tolist()]


def test_a_frozen_encoder_keeps_its_weights_and_statistics():
    net = unet("mobilenet_v2", "none", **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    freeze_encoder(net)
    net.train()
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    net(image(32, 32)).square().mean().backward()
    optimizer.step()
    for name, tensor in net.state_dict().items():
        if ".encoder." in name:
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(".encoder." in name for name, parameter in net.named_parameters() if parameter.requires_grad)
