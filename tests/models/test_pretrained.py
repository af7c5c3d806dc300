import functools
import inspect

import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import torch
from networks import OPTIONS, SKIPS, noise, pretrained_network, small_encoder

from kit.models import pretrained
from kit.models.encoders import _for_any_size
from kit.models.pretrained import deeplabv3, dpt, encoder, fpn, freeze_encoder, pan, pspnet, unet, upernet

SIZE = (97, 131)  # odd, and no multiple of any stride
ALL = pytest.mark.parametrize("name", OPTIONS)
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


@functools.cache
@torch.inference_mode(False)  # whichever test asks first
def network(name):
    torch.manual_seed(0)
    return pretrained_network(name, num_classes=3)


def test_every_architecture_of_smp_is_offered():
    assert set(smp.MODEL_ARCHITECTURES_MAPPING) == set(OPTIONS)


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


def test_what_is_not_run_is_not_trained():
    """DistributedDataParallel would wait for the gradients of EfficientNet's last convolution for ever."""
    still = [key for key, value in encoder("efficientnet-b0", None).named_parameters() if not value.requires_grad]
    assert still == ["_conv_head.weight", "_bn1.weight", "_bn1.bias"]


@pytest.mark.slow
@ALL
def test_one_graph_for_compile_and_export(name):
    net = network(name).eval()
    torch.compiler.reset()
    compiled = torch.compile(net, backend="eager", fullgraph=True)
    with torch.inference_mode():
        torch.testing.assert_close(compiled(noise(*SIZE)), net(noise(*SIZE)))
    with torch.no_grad():
        exported = torch.export.export(net, (noise(*SIZE),)).module()
        torch.testing.assert_close(exported(noise(*SIZE)), net(noise(*SIZE)))


@ALL
def test_weights_of_any_encoder_from_a_file(name, tmp_path):
    of = name if small_encoder(name) != small_encoder("unet") else "unet"  # one network of each encoder is built
    weights = {key: value + 1 for key, value in network(of).net.encoder.state_dict().items()}
    torch.save(weights, tmp_path / "encoder.pth")
    loaded = pretrained_network(name, 3, weights=str(tmp_path / "encoder.pth")).net.encoder.state_dict()
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
        assert net(noise(*SIZE)).shape == (1, 1, *SIZE)


@pytest.mark.slow
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
    net = unet("tu-swin_tiny_patch4_window7_224", None, num_classes=1, **SKIPS).eval()
    assert net(noise(*SIZE)).shape == (1, 1, *SIZE)


class OfOneSize(torch.nn.Module):
    """An encoder that drops all options, as some of timm's do in some versions, but the one of the name `known`."""

    output_stride, out_channels = 32, (3,)

    def __init__(self, known, **options):
        super().__init__()
        self.any = known in options

    def forward(self, images):
        assert self.any or images.shape[2:] == (96, 96)
        return images


@pytest.mark.parametrize("known", ["dynamic_img_size", "strict_img_size"])
def test_an_option_that_an_encoder_drops_is_not_believed(known):
    assert _for_any_size(functools.partial(OfOneSize, known), fixed=96).any
    assert _for_any_size(functools.partial(OfOneSize, None), fixed=96) is None
    assert _for_any_size(lambda dynamic_size: None, fixed=96) is None


SMALL = {"num_classes": 1, "decoder_channels": (16, 8, 8, 8, 8)}


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return unet("mobilenet_v2", "none", **SMALL)


@pytest.mark.parametrize("size", [(97, 131), (64, 96)])
def test_logits_have_the_images_size(net, size):
    with torch.inference_mode():
        assert net(noise(*size)).shape == (1, 1, *size)
        three = unet(
            "resnet18", None, num_classes=3, in_channels=4, decoder_attention="scse", decoder_channels=(16,) * 5
        )
        assert three(noise(*size)[:, [0, 1, 2, 0]]).shape == (1, 3, *size)


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


def test_a_frozen_encoder_keeps_its_weights_and_statistics():
    net = unet("mobilenet_v2", "none", **SMALL)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    freeze_encoder(net)
    net.train()
    trainable = [parameter for parameter in net.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trainable, lr=0.1)
    net(noise(32, 32)).square().mean().backward()
    optimizer.step()
    for name, tensor in net.state_dict().items():
        if ".encoder." in name:
            assert torch.equal(tensor, before[name]), name
    assert any(not torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    assert not any(".encoder." in name for name, parameter in net.named_parameters() if parameter.requires_grad)


def test_an_option_that_is_misspelt_is_refused():
    for name in OPTIONS:
        with pytest.raises(TypeError, match="decoder_chanels"):
            getattr(pretrained, name)("resnet18", "none", num_classes=1, decoder_chanels=(8,) * 5)
