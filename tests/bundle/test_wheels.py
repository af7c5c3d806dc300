"""kit's own wheel is the code that runs; other wheels are fetched for another machine, by pip."""

import base64
import csv
import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import kit
from kit.bundle.wheels import LACKS, download, lacking, requirements, write_kit_wheel

ROOT = Path(kit.__file__).parent


def test_the_wheel_holds_the_package_and_its_record_holds(tmp_path):
    path = write_kit_wheel(tmp_path)
    with zipfile.ZipFile(path) as wheel:
        files = {name: wheel.read(name) for name in wheel.namelist()}
    info = f"kit-{kit.__version__}.dist-info"
    sources = {f"kit/{file.relative_to(ROOT).as_posix()}": file.read_bytes() for file in ROOT.rglob("*.py")}
    assert sources.items() <= files.items()
    assert "kit/report/page.html" in files or any(name.endswith(".html") for name in files)
    assert not any("__pycache__" in name or name.startswith("tests") for name in files)
    record = list(csv.reader(io.StringIO(files[f"{info}/RECORD"].decode())))
    assert {name for name, *_ in record} == set(files)
    for name, digest, size in record[:-1]:
        assert int(size) == len(files[name])
        kind, _, text = digest.partition("=")
        assert kind == "sha256"
        assert base64.urlsafe_b64decode(text + "=") == hashlib.sha256(files[name]).digest()
    assert "Requires-Dist: numpy >= 2.0\n" in files[f"{info}/METADATA"].decode()


@pytest.mark.slow
def test_pip_installs_it_and_an_installed_kit_writes_the_same_wheel(tmp_path):
    path = write_kit_wheel(tmp_path)
    target = tmp_path / "target"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(target)]
    subprocess.run([*pip, str(path)], check=True, env={"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PATH": ""})
    (tmp_path / "again").mkdir()
    code = (
        "import sys; from pathlib import Path; import kit; from kit.bundle.wheels import write_kit_wheel\n"
        f"assert kit.__file__.startswith({str(target)!r}), kit.__file__\n"
        f"write_kit_wheel(Path({str(tmp_path / 'again')!r}))"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, env={"PYTHONPATH": str(target)})
    assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


def test_requirements_are_those_of_the_project():
    found = requirements()
    assert "segmentation-models-pytorch >= 0.6, < 0.7" in found
    assert not any(one.startswith("#") for one in found)
    assert len(found) > 15


@pytest.fixture
def index(tmp_path, monkeypatch):
    """Two packages with wheels for two platforms, where pip looks alone."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name, version, tag in [
        ("tyro", "1.0.3", "py3-none-any"),
        ("tyro", "0.9.0", "py3-none-any"),
        ("simplejpeg", "1.9.0", "cp312-cp312-manylinux_2_28_x86_64"),
        ("simplejpeg", "1.9.0", "cp311-cp311-manylinux_2_28_x86_64"),
    ]:
        info = f"{name}-{version}.dist-info"
        with zipfile.ZipFile(folder / f"{name}-{version}-{tag}.whl", "w") as wheel:
            wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
            wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
            wheel.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_wheels_are_those_of_the_other_machine_in_the_versions_that_kit_needs(index, tmp_path):
    (tmp_path / "wheels").mkdir()
    found = download(tmp_path / "wheels", ("tyro", "simplejpeg"), "3.12", ("manylinux_2_28_x86_64",))
    assert [path.name for path in found] == [
        "simplejpeg-1.9.0-cp312-cp312-manylinux_2_28_x86_64.whl",
        "tyro-1.0.3-py3-none-any.whl",
    ]
    (old,) = download(tmp_path / "wheels", ("tyro==0.9.0",), "3.12", ("manylinux_2_28_x86_64",))
    assert old.name == "tyro-0.9.0-py3-none-any.whl"


def test_packages_of_your_own_come_beside_those_that_kaggle_lacks():
    assert lacking() == LACKS
    assert lacking(("monai==1.4",)) == (*LACKS, "monai==1.4")
    named = lacking(("Docstring_Parser<1", "typeguard"))
    assert set(named) == {*LACKS, "Docstring_Parser<1"} - {"docstring-parser"}
    assert len(named) == len(LACKS)


def test_a_wheel_that_there_is_not_is_named(index, tmp_path):
    with pytest.raises(ValueError, match=r"pip could not fetch simplejpeg >= 1.8 for Python 3.13 on manylinux_2_28"):
        download(tmp_path, ("simplejpeg",), "3.13", ("manylinux_2_28_x86_64",))


def test_what_kaggle_lacks_are_packages_that_kit_needs_or_that_these_need():
    names = {one.split()[0] for one in requirements()}
    assert {"segmentation-models-pytorch", "simplejpeg", "tyro"} == names & set(LACKS)
