"""ONNX computes what PyTorch computes, for sizes and batches that the export has not seen."""

import functools
import json
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from networks import HAND_WRITTEN, NETWORKS, fill
from timm.layers import Conv2dSame
from tiny import tiny_network
from tiny_run import finish_two_folds, new_run

import kit
from kit.bundle.export import (
    Whole,
    differences,
    export,
    meaning_of,
    smallest_of,
    stride_of,
    to_onnx,
    with_constant_padding,
)
from kit.cli.export import Export
from kit.data.normalise import IMAGENET
from kit.models.pretrained import unet
from kit.prediction import TTA, Rule
from kit.prediction.views import probabilities
from kit.runs import load_network
from kit.runs.saving import save_predictor, saved_run
from kit.training.checkpoint import save_weights

FIXED = {"pspnet", "upernet", "dpt", "valid UNet"}  # compute with the size of images


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    run = new_run(finish_two_folds(tmp_path_factory.mktemp("export") / "run"))
    save_predictor(run, saved_run(run, tiny_network))
    return run


def test_logits_of_raw_pixels_are_those_of_the_run(run, tmp_path, capsys):
    assert Export(run.folder, tmp_path / "net.onnx", fold=1).run() == 0
    out = capsys.readouterr().out
    assert out.count("logits differ by at most") == 3
    assert all(f"images of {shape}: " in out for shape in ("1 x 3 x 64 x 96", "2 x 3 x 128 x 64", "3 x 3 x 96 x 160"))
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    image = run.dataset.read_image("car0_01")[:32]
    pixels = image.astype(np.float32).transpose(2, 0, 1)[None]
    (logits,) = session.run(None, {"images": pixels})
    normal = (image / 255 - IMAGENET.mean) / IMAGENET.std
    network = load_network(run.folder, 1)
    with torch.no_grad():
        expected = network(torch.from_numpy(normal.transpose(2, 0, 1)[None].astype(np.float32))).numpy()
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_the_file_says_what_it_takes(run, tmp_path):
    export(run.folder, 0, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    onnx.checker.check_model(model)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["classes"]) == ["blue", "disc"]
    assert json.loads(facts["channels"]) == ["red", "green", "blue"]
    assert (facts["task"], facts["fold"], facts["multiple"], facts["kit"]) == ("binary", "0", "32", kit.__version__)
    assert facts["pixels"].startswith("float32, as in files of uint8")
    assert (facts["activation"], json.loads(facts["outputs"])) == ("sigmoid of each channel", ["disc"])
    shapes = [[dim.dim_param or dim.dim_value for dim in one.type.tensor_type.shape.dim] for one in model.graph.input]
    assert [one.name for one in (*model.graph.input, *model.graph.output)] == ["images", "logits"]
    assert shapes[0][1] == 3
    assert all(isinstance(shapes[0][axis], str) for axis in (0, 2, 3))


def test_activations_are_those_of_the_predictor(run):
    """What the file says of its logits gives the probabilities that kit makes of them."""
    saved = saved_run(run, tiny_network)
    several = ("sky", "car", "road")
    for rule, classes, count, named in (
        (Rule(), ("blue", "disc"), 1, ("disc",)), (Rule(), ("blue", "disc"), 2, ("blue", "disc")),
        (Rule(), several, 3, several), (Rule((0.5, 0.5, 0.5)), several, 3, several),
        (Rule((0.5,)), ("car",), 1, ("car",)), (Rule(objects=True), ("background", "cell"), 1, ("cell",)),
        (Rule(objects=True, border=True), ("background", "cell"), 2, ("cell", "border between objects")),
    ):  # fmt: skip
        activation, outputs = meaning_of(replace(saved, classes=classes, rule=rule), count)
        assert outputs == named
        logits = torch.randn(2, count, 4, 5, generator=torch.Generator().manual_seed(0))
        of = {"sigmoid of each channel": torch.sigmoid, "softmax over channels": lambda given: given.softmax(1)}[
            activation
        ]
        expected = probabilities(lambda images, own=logits: own, torch.zeros(2, 3, 4, 5), TTA(), rule.sigmoids)
        assert torch.equal(of(logits)[:, -expected.shape[1] :], expected)


class Baked(torch.nn.Module):
    """Its graph knows one size alone: the mean over a number of rows that Python has counted."""

    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Conv2d(3, 1, 1)

    def forward(self, images):
        return self.layer(images) * float(str(int(images.shape[2])))


@pytest.mark.slow
def test_a_network_that_knows_one_size_is_refused_and_works_with_that_size(tmp_path, capsys):
    run = new_run(finish_two_folds(tmp_path / "run"))
    save_weights(run.fold_folder(0) / "last.safetensors", Baked(), {})
    save_predictor(run, saved_run(run, Baked))
    assert Export(run.folder, tmp_path / "net.onnx").run() == 1
    out = capsys.readouterr().out
    assert out.startswith("error: ")
    assert out.endswith("give it (--image-size H W)\n")
    assert not (tmp_path / "net.onnx").exists()
    assert Export(run.folder, tmp_path / "net.onnx", image_size=(33, 64)).run() == 1
    assert "a size of 33 x 64: expected multiples of 32" in capsys.readouterr().out
    assert Export(run.folder, tmp_path / "net.onnx", image_size=(32, 64)).run() == 0
    assert "images of 3 x 3 x 32 x 64" in capsys.readouterr().out


@pytest.mark.slow
def test_a_graph_that_computes_something_else_is_seen():
    right, wrong = tiny_network(seed=0), tiny_network(seed=1)
    whole, batch = Whole(right, IMAGENET, torch.uint8), torch.randint(0, 256, (1, 3, 32, 64), dtype=torch.uint8)
    content = to_onnx(whole, 3, 32, None).SerializeToString()
    images = [[batch], [batch.new_zeros(2, 3, 64, 32), batch]]
    assert [one.relative < 1e-5 for one in differences(content, of(right), images)] == [True, True]
    assert [one.relative > 0.1 for one in differences(content, of(wrong), images)] == [True, True]
    whole.mean += 3  # the graph's normalisation is not the run's
    content = to_onnx(whole, 3, 32, None).SerializeToString()
    assert all(one.relative > 1e-3 for one in differences(content, of(right), images))


def random_images(shape, seed):
    random = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=random)


def of(network):
    return lambda batch: network(IMAGENET(batch))


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_without_a_package_it_says_which(run, tmp_path, monkeypatch, capsys, package):
    monkeypatch.setitem(sys.modules, package, None)
    assert Export(run.folder, tmp_path / "net.onnx").run() == 1
    said = capsys.readouterr().out
    assert package in said
    assert "pip install -e '.[export]'" in said
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_every_network(name):
    torch.manual_seed(0)
    network = NETWORKS[name](num_classes=3)
    network = (fill(network) if name in HAND_WRITTEN else network).eval()
    multiple, least = stride_of(network), smallest_of(network)
    sizes = [(64, 96)] * 3 if name in FIXED else [(least, least + 32), (least + 64, least), (least + 32, least + 96)]
    fixed = sizes[0] if name in FIXED else None
    whole = Whole(network, IMAGENET, torch.uint8)
    content = to_onnx(whole, 3, multiple, fixed).SerializeToString()
    shapes = [(count, 3, *size) for count, size in enumerate(sizes, 1)]
    draws = [map(functools.partial(random_images, shape), range(10)) for shape in shapes]
    for found, shape in zip(differences(content, of(network), draws), shapes, strict=True):
        assert found.shape == shape
        assert found.relative < 1e-4


@pytest.mark.parametrize(("kernel", "stride", "dilation"), [(3, 2, 1), (5, 2, 1), (7, 4, 1), (3, 1, 2), (1, 2, 1)])
def test_constant_padding_is_tensorflows_on_multiples_of_the_stride(kernel, stride, dilation):
    conv = Conv2dSame(2, 3, kernel, stride, dilation=dilation, bias=True)
    network = torch.nn.Sequential(torch.nn.Identity(), torch.nn.Sequential(conv))
    images = torch.randn(2, 2, 8 * stride, 6 * stride)
    changed = with_constant_padding(network)
    assert not any(isinstance(module, Conv2dSame) for module in changed.modules())
    assert isinstance(network[1][0], Conv2dSame)
    with torch.no_grad():
        assert torch.equal(changed(images), network(images))


@pytest.mark.slow
def test_a_network_with_tensorflows_padding_is_exported():
    network = unet("tu-tf_efficientnet_lite0", "none", num_classes=1).eval()
    content = to_onnx(with_constant_padding(network), 3, 32, None).SerializeToString()
    with torch.no_grad():
        [one] = differences(content, network, [[torch.randn(3, 3, 96, 160)]])
    assert one.relative < 1e-4
