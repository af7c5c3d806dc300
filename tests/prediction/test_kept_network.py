"""A network made again from its script: whatever way it was given, without running what the script does."""

import dataclasses
import importlib
import json
import runpy
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from kit.prediction.plain import LackingValue
from kit.prediction.rebuild import KeptCall, keep, rebuild

SCRIPT = """
from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from kit.data import Dataset

with Path("{folder}/runs.txt").open("a") as file:  # the top level does more than define things
    file.write(__name__)

try:
    import faster_layers
except ImportError:
    faster_layers = None

LAYERS = {{"relu": nn.ReLU, "mish": nn.Mish}}
WIDTH = 4
TABLE = [Path("{folder}/table.txt").read_text()]


@dataclass(frozen=True)
class Config:
    width: int = 8
    act: str = "relu"


class Net(nn.Module):
    def __init__(self, width, outputs, act="relu"):
        super().__init__()
        self.first, self.act = nn.Conv2d(3, width * WIDTH, 3), LAYERS[act]()
        self.last = nn.Conv2d(width * WIDTH, outputs, 1)

    def forward(self, images):
        return self.last(self.act(self.first(images)))


class Own(Dataset):
    name, classes = "own", ("background", "a", "b")

    def __init__(self, path):
        self.text = Path(path).read_text()


def network(config: Config, weights: str) -> nn.Module:
    assert faster_layers is None and weights == "none"
    return Net(config.width, int(TABLE[0]), config.act)


def plain():
    return Net(2, 3)


@functools.cache
def cached():
    return plain()


config = Config(width=int("5"))
data = Own("{folder}/table.txt")


def main():
    own, data_here = Config(7, "mish"), data

    def act():
        return nn.GELU()

    def nested(width: NoSuchName = 3, *, more: int = 2) -> NoSuchName:
        \"\"\"A docstring.

            With a line that is indented.
        \"\"\"
        layers = [act() for _ in range(more)]
        return nn.Sequential(Net(width, len(data_here.channels)), *layers)

    def deep(times):
        return nn.Conv2d(3, 3, 1) if times == 0 else nn.Sequential(deep(times - 1))

    each = {{
        "lambda": lambda: network(own, "none"),
        "global": lambda: network(config, "none"),
        "default": lambda own=own: network(own, "none"),
        "data": lambda: nn.Conv2d(3, data.num_classes, 1),
        "nested": nested,
        "named": plain,
        "cached": cached,
        "partial": functools.partial(network, own, "none"),
        "class": functools.partial(Net, 2, outputs=3),
        "again": lambda: deep(2),
        "two": [lambda: nn.Conv2d(1, 1, 1), lambda: nn.Conv2d(1, 2, 1)][1],
    }}
    return {{name: (keep(one), one) for name, one in each.items()}}


from kit.prediction.rebuild import keep

made = main()
"""
WAYS = ("lambda", "global", "default", "data", "nested", "named", "cached", "partial", "class", "again", "two")


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """What the script kept, as JSON and back, and how it made the network; its files are gone."""
    folder = tmp_path_factory.mktemp("script")
    (folder / "table.txt").write_text("6")
    (folder / "script.py").write_text(SCRIPT.format(folder=folder))
    made = runpy.run_path(str(folder / "script.py"), run_name="__main__")["made"]
    expected = {name: network() for name, (_, network) in made.items()}
    (folder / "table.txt").unlink()
    yield {name: (again(call), expected[name]) for name, (call, _) in made.items()}
    assert (folder / "runs.txt").read_text() == "__main__"  # once


def again(call):
    facts = {name: getattr(call, name) for name in ("call", "values", "script", "package", "modules")}
    return KeptCall(**json.loads(json.dumps(facts)), texts=call.texts)


@pytest.mark.parametrize("way", WAYS)
def test_the_same_network_is_made_without_running_the_script(kept, way):
    call, expected = kept[way]
    found = rebuild(call)()
    assert str(found) == str(expected)
    found.load_state_dict(expected.state_dict())


def test_made_again_it_computes_the_same(kept, tmp_path):
    call, expected = kept["nested"]
    found, images = rebuild(call)(), torch.rand(1, 3, 8, 8)
    found.load_state_dict(expected.state_dict())
    assert torch.equal(found(images), expected(images))


def test_a_lambda_that_was_edited_since_is_not_kept(tmp_path):
    path = tmp_path / "edited.py"
    path.write_text("from torch import nn\nmake = lambda: nn.Conv2d(3, 1, 1)\n")
    namespace = runpy.run_path(str(path))
    module = type(sys)("edited_script")
    module.__file__, namespace["make"].__module__ = str(path), "edited_script"
    sys.modules["edited_script"] = module
    try:
        assert keep(namespace["make"]).call["function"] == "lambda: nn.Conv2d(3, 1, 1)"
        path.write_text("from torch import nn\nmake = lambda: nn.Conv2d(3, 2, 1)\n")
        with pytest.raises(LackingValue, match="lambda"):
            keep(namespace["make"])
    finally:
        del sys.modules["edited_script"]


def test_a_network_itself_cannot_be_kept():
    with pytest.raises(LackingValue, match="Conv2d"):
        keep(nn.Conv2d(3, 1, 1))


def test_modules_of_another_text_are_taken_from_the_folder(tmp_path, monkeypatch):
    """Two runs with two versions of one module: each gets its own, and what was loaded stays."""
    runs = {}
    for width in (3, 5):
        folder = tmp_path / f"v{width}"
        (folder / "shapes_lib").mkdir(parents=True)
        (folder / "shapes_lib/__init__.py").write_text("")
        (folder / "shapes_lib/nets.py").write_text(
            "from torch import nn\nfrom shapes_lib import sizes\ndef net():\n    return nn.Conv2d(3, sizes.W, 1)\n"
        )
        (folder / "shapes_lib/sizes.py").write_text(f"W = {width}\n")
        monkeypatch.syspath_prepend(str(folder))
        for name in [name for name in sys.modules if name.startswith("shapes_lib")]:
            monkeypatch.delitem(sys.modules, name)
        from shapes_lib.nets import net

        call = keep(net)
        for name, text in call.texts.items():
            (tmp_path / f"code{width}" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / f"code{width}" / name).write_text(text)
        runs[width] = again(call)
        monkeypatch.undo()
    loaded = sys.modules["shapes_lib.sizes"]
    assert [rebuild(runs[width], tmp_path / f"code{width}")().out_channels for width in (3, 5, 3)] == [3, 5, 3]
    assert sys.modules["shapes_lib.sizes"] is loaded
    assert not list(tmp_path.rglob("code*/**/*.pyc"))
    for name in [name for name in sys.modules if name.startswith("shapes_lib")]:
        del sys.modules[name]


def written(folder, call):
    """The files of a kept call below a folder, as a run folder keeps them."""
    for name, text in call.texts.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def imported(monkeypatch, folder, name, content):
    """A module of the user's that is written and imported."""
    (folder / f"{name}.py").write_bytes(content)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module(name)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "latin-1"])
def test_modules_in_other_encodings_are_kept(tmp_path, monkeypatch, encoding):
    text = "from torch import nn\n\n\ndef net():\n    return nn.Conv2d(len('grün'), ord('ü'), 1)\n"
    cookie = "" if encoding == "utf-8-sig" else f"# -*- coding: {encoding} -*-\n"
    lib = imported(monkeypatch, tmp_path, "coded_lib", (cookie + text).encode(encoding))
    call = again(keep(lib.net))
    folder = written(tmp_path / "code", call)
    monkeypatch.delitem(sys.modules, "coded_lib")
    (tmp_path / "coded_lib.py").unlink()
    network = rebuild(call, folder)()
    assert (network.in_channels, network.out_channels) == (4, 252)
    del sys.modules["coded_lib"]


def test_a_module_that_was_edited_after_it_was_imported_is_taken_from_the_folder(tmp_path, monkeypatch):
    """As in a notebook that imported it before the script with the edited one was run."""
    text = "from torch import nn\n\n\ndef net():\n    return nn.Conv2d(3, {}, 1)\n"
    lib = imported(monkeypatch, tmp_path, "stale_lib", text.format(4).encode())
    call = again(keep(lib.net))
    (tmp_path / "stale_lib.py").write_text(text.format(7))
    call = dataclasses.replace(call, texts=call.texts | {call.modules["stale_lib"]: text.format(7)})
    folder = written(tmp_path / "code", call)
    assert rebuild(call, folder)().out_channels == 7
    assert sys.modules["stale_lib"] is lib
    assert lib.net().out_channels == 4


def test_a_module_that_only_the_forward_pass_imports_is_found(tmp_path, monkeypatch):
    imported(monkeypatch, tmp_path, "late_lib", b"def twice(images):\n    return 2 * images\n")
    text = (
        "from torch import nn\n\n\nclass Net(nn.Module):\n    def forward(self, images):\n"
        "        from late_lib import twice\n\n        return twice(images)\n"
    )
    call = again(keep(imported(monkeypatch, tmp_path, "late_net", text.encode()).Net))
    folder = written(tmp_path / "code", call)
    for name in ("late_lib", "late_net"):
        monkeypatch.delitem(sys.modules, name)
        (tmp_path / f"{name}.py").unlink()
    before = list(sys.meta_path)
    for _ in range(2):
        network = rebuild(call, folder)()
    assert network(torch.ones(2)).tolist() == [2, 2]
    assert len(sys.meta_path) <= len(before) + 1
    sys.meta_path[:] = before
    for name in ("late_lib", "late_net"):
        del sys.modules[name]


def test_threads_that_load_several_runs_at_once_get_each_its_own(tmp_path, monkeypatch):
    text = "import time\nfrom torch import nn\ntime.sleep(0.01)\n\n\ndef net():\n    return nn.Conv2d(3, {}, 1)\n"
    runs = {}
    for width in (2, 3, 4):
        call = again(keep(imported(monkeypatch, tmp_path, f"thread_lib{width}", text.format(width).encode()).net))
        renamed = json.loads(json.dumps(dataclasses.asdict(call)).replace(f"thread_lib{width}", "thread_lib"))
        runs[width] = KeptCall(**renamed)
        written(tmp_path / f"code{width}", runs[width])
        monkeypatch.delitem(sys.modules, f"thread_lib{width}")
    widths = [2, 3, 4] * 8
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda width: rebuild(runs[width], tmp_path / f"code{width}")().out_channels, widths))
    assert found == widths
    del sys.modules["thread_lib"]
