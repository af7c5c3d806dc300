"""The process that runs recipes for all tests here."""

import json
import os
import runpy
import select
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from python_path import python_path
from recipe_server import WIDTH

from kit.datasets.studio import draw_studio
from kit.models.fcn import FCN8s, FCN16s, FCN32s

ROOT = Path(__file__).parents[2]
SECONDS = 180


@pytest.fixture(scope="session")
def server(own_cache):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": python_path(ROOT)}
    command = [sys.executable, "-W", "error", str(Path(__file__).with_name("recipe_server.py"))]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


@pytest.fixture(scope="session")
def few_cars(tmp_path_factory):
    """Carvana's files of four drawn cars and one to predict, which recipes only read."""
    return draw_studio(tmp_path_factory.mktemp("cars") / "data", cars=4, test_cars=1, size=(64, 96))


@pytest.fixture
def run(server, tmp_path_factory):
    """run(line, folder): a command line, `python recipes/NAME.py FLAGS`, in a folder -> returncode, stdout, stderr."""

    def ask(line, folder):
        _, recipe, *flags = shlex.split(line)
        streams = tmp_path_factory.mktemp("streams")
        out, errors = streams / "out", streams / "errors"
        argv = [str(ROOT / recipe), *flags]
        request = {"argv": argv, "folder": str(folder), "out": str(out), "errors": str(errors)}
        server.stdin.write(json.dumps(request) + "\n")
        server.stdin.flush()
        answered, _, _ = select.select([server.stdout], [], [], SECONDS)
        if not answered:
            server.kill()
            raise TimeoutError(f"{line} ran for over {SECONDS} s: {out.read_text()[-500:]} {errors.read_text()[-500:]}")
        status = int(server.stdout.readline())
        return SimpleNamespace(returncode=status, stdout=out.read_text(), stderr=errors.read_text())

    return ask


@pytest.fixture
def run_here(monkeypatch, capsys):
    """As `run`, in this process, of a recipe that ends before it trains: the server takes longer to start."""
    for network in (FCN32s, FCN16s, FCN8s):
        monkeypatch.setitem(network.__init__.__kwdefaults__, "width", WIDTH)

    def ask(line, folder):
        _, recipe, *flags = shlex.split(line)
        monkeypatch.chdir(folder)
        monkeypatch.setattr("sys.argv", [str(ROOT / recipe), *flags])
        with pytest.raises(SystemExit) as end:
            runpy.run_path(str(ROOT / recipe), run_name="__main__")
        shown = capsys.readouterr()
        return SimpleNamespace(returncode=end.value.code, stdout=shown.out, stderr=shown.err)

    return ask
