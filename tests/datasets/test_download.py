import hashlib
import os
import random
import re
import shutil
import signal
import sys
import threading
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from serving import Server, tar, zipped

from kit.cli import main
from kit.datasets import download as module
from kit.datasets.download import SOURCES, Archive, Source, contents_digest, download
from kit.datasets.unpack import MAX_BYTES
from kit.system.files import run_lock

NOISE = random.Random(0).randbytes(300_000)  # so that a compressed archive is as long
TOY = tar(("toy/a.jpg", NOISE), ("toy/labels/a.png", b"mask"))
SHARED = Path(__file__).parents[3] / "shared/data"


def checksum(content, kind="sha256"):
    return f"{kind}:{hashlib.new(kind, content).hexdigest()}"


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "WAITS", (0, 0))
    with Server({"/toy.tgz": TOY}) as running:
        monkeypatch.setitem(
            SOURCES, "toy", Source((Archive(f"{running.url}/toy.tgz", checksum(TOY), len(TOY)),), "none")
        )
        yield running


def assert_fetched(folder):
    """The toy is in `folder` whole, and nothing unfinished beside it."""
    assert sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()) == [
        "toy/a.jpg",
        "toy/labels/a.png",
    ]
    assert (folder / "toy/a.jpg").read_bytes() == NOISE
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


@pytest.mark.parametrize("empty", [False, True])
def test_fetches_unpacks_and_a_second_time_does_nothing(server, tmp_path, monkeypatch, capsys, empty):
    monkeypatch.chdir(tmp_path)
    if empty:
        (tmp_path / "data/toy").mkdir(parents=True)
    download("toy")
    assert_fetched(tmp_path / "data/toy")
    assert capsys.readouterr().out.endswith(f"toy is in {tmp_path / 'data/toy'}, checked by sha256\n")
    download("toy")
    assert "is already there: nothing to do" in capsys.readouterr().out
    assert len(server.seen) == 1


@pytest.mark.parametrize("kind", ["md5", "sha256"])
@pytest.mark.parametrize("pack", [zipped, lambda *members: tar(*members, mode="w"), tar])
def test_zip_and_tar_and_the_members_to_keep(server, tmp_path, monkeypatch, pack, kind):
    content = pack(("./repo-1/CamVid/train/a.png", b"1"), ("repo-1/CamVid/b.txt", b"2"), ("repo-1/x.txt", b"3"))
    server.files["/x"] = content
    archive = Archive(f"{server.url}/x", checksum(content, kind), None, SOURCES["camvid"].archives[0].keep)
    monkeypatch.setitem(SOURCES, "toy", Source((archive,), "none"))
    download("toy", tmp_path / "x")
    found = {path.relative_to(tmp_path / "x").as_posix() for path in (tmp_path / "x").rglob("*") if path.is_file()}
    assert found == {"train/a.png", "b.txt"}


def test_the_patterns_of_the_sources():
    def kept(name, index=0):
        keep = SOURCES[name].archives[index].keep
        return lambda member: (re.fullmatch(keep, member) or [None, None])[1]

    assert kept("pets")("images/Abyssinian_1.jpg") == "images/Abyssinian_1.jpg"
    assert kept("pets", 1)("annotations/trimaps/Abyssinian_1.png") == "annotations/trimaps/Abyssinian_1.png"
    assert kept("pets", 1)("annotations/trimaps/._Abyssinian_1.png") is None
    assert kept("pets", 1)("annotations/list.txt") == "annotations/list.txt"
    assert (
        kept("sbd")("benchmark_RELEASE/dataset/cls/2008_000002.mat") == "benchmark_RELEASE/dataset/cls/2008_000002.mat"
    )
    assert kept("sbd")("benchmark_RELEASE/README") is None
    assert kept("coco_panoptic")("val2017/000000000139.jpg") == "val2017/000000000139.jpg"
    assert kept("coco_panoptic", 1)("annotations/panoptic_val2017.zip") == "annotations/panoptic_val2017.zip"
    assert kept("coco_panoptic", 1)("annotations/panoptic_train2017.zip") is None
    assert kept("voc")("VOCdevkit/VOC2012/JPEGImages/a.jpg") == "VOCdevkit/VOC2012/JPEGImages/a.jpg"
    assert kept("blood_cells")("a/b/Train_Data/train-1-mask.jpg") == "Train_Data/train-1-mask.jpg"
    assert kept("blood_cells")("__MACOSX/Train_Data/._train-1.jpg") is None


def test_each_source_is_pinned():
    for name, source in SOURCES.items():
        for archive in source.archives:
            pinned = re.fullmatch("sha256:[0-9a-f]{64}|md5:[0-9a-f]{32}", archive.checksum or "")
            assert pinned or re.fullmatch("[0-9a-f]{64}", source.contents), name
            assert source.kaggle or archive.size is None or archive.size < MAX_BYTES
    checksums = [archive.checksum for source in SOURCES.values() for archive in source.archives]
    assert len(set(checksums)) == len(checksums)


def test_a_cut_connection_is_taken_up_with_a_range_request(server, tmp_path):
    server.cuts = [100_000, 120_000]
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")
    assert server.seen == [("/toy.tgz", None), ("/toy.tgz", "bytes=100000-"), ("/toy.tgz", "bytes=220000-")]


def test_a_server_without_ranges_sends_it_all_again(server, tmp_path):
    server.cuts, server.ranges = [100_000], False
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")
    assert [asked for _, asked in server.seen] == [None, "bytes=100000-"]


def test_any_number_of_cuts_is_borne_while_there_is_progress(server, tmp_path):
    server.cuts = [30_000] * 10
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")
    assert len(server.seen) == 11


def test_without_progress_it_gives_up_and_the_next_command_goes_on(server, tmp_path):
    server.cuts = [100_000, 0, 0]
    with pytest.raises(OSError, match=r"toy\.tgz cannot be fetched .*0\.1 MB of it are kept: the same command goes on"):
        download("toy", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    assert len(server.seen) == 3
    download("toy", tmp_path / "x")
    assert server.seen[-1] == ("/toy.tgz", "bytes=100000-")
    assert_fetched(tmp_path / "x")


def test_a_server_that_starts_anew_and_breaks_off_each_time_is_given_up(server, tmp_path):
    server.cuts, server.ranges = [50_000, 100_000] * 9, False
    with pytest.raises(OSError, match="cannot be fetched"):
        download("toy", tmp_path / "x")
    assert len(server.seen) == 4  # two steps forward, then two that are none


@pytest.mark.parametrize("extra", [0, 5])
def test_a_part_that_is_complete_or_too_long(server, tmp_path, extra):
    server.cuts = [100_000, 0, 0]
    with pytest.raises(OSError, match="cannot be fetched"):
        download("toy", tmp_path / "x")
    (part,) = tmp_path.glob(".x.download/*.part")
    part.write_bytes(TOY + b"x" * extra)
    server.seen.clear()
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")
    assert [asked for _, asked in server.seen] == [f"bytes={len(TOY) + extra}-", None][: 1 + bool(extra)]


def test_a_busy_server_is_asked_again_and_a_missing_file_is_not(server, tmp_path):
    server.statuses = [503, 429]
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")
    server.files.clear()
    with pytest.raises(OSError, match=r"toy\.tgz answered 404 Not Found\..*--url"):
        download("toy", tmp_path / "y")
    assert len(server.seen) == 4
    server.statuses = [503] * 3
    with pytest.raises(OSError, match="HTTP 503 Service Unavailable"):
        download("toy", tmp_path / "y")


def test_nobody_listens(server, tmp_path):
    server.__exit__()
    with pytest.raises(OSError, match=r"cannot be fetched .*Connection refused"):
        download("toy", tmp_path / "x")
    server.__enter__()  # for the fixture to end


def test_a_server_that_falls_silent(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", (5, 0.1))
    server.pause = 0.5
    with pytest.raises(OSError, match=r"cannot be fetched .*timed out"):
        download("toy", tmp_path / "x")


def test_bytes_are_kept_as_stored(server, tmp_path):
    server.headers = {"Content-Encoding": "x-gzip"}  # as some servers say of every .tgz
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")


def test_a_full_disk_is_told_before_the_download_and_before_unpacking(server, tmp_path, monkeypatch):
    free = shutil.disk_usage(tmp_path)
    for left, kept in ((500_000, 0), (None, 1)):
        room = [free._replace(free=left or 10**9), free._replace(free=left or 1000)]
        monkeypatch.setattr(shutil, "disk_usage", lambda _, room=room: room.pop(0))
        with pytest.raises(OSError, match=r"needs 0\.[36] MB and .* has 0\.[05] MB left"):
            download("toy", tmp_path / "x")
        assert not (tmp_path / "x").exists()
        assert len(list(tmp_path.glob(".x.download/*-toy.tgz"))) == kept  # whole and checked: not to be fetched again
        assert not (tmp_path / ".x.download/unpacked").exists()


def test_a_body_without_end(server, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_BYTES", 200_000)
    with pytest.raises(ValueError, match=r"over 0\.2 MB, and there is still more"):
        download("toy", tmp_path / "x")
    assert not list(tmp_path.rglob("*.part"))


def test_contents_are_checked_where_no_archive_is_pinned(server, tmp_path, monkeypatch):
    digest = hashlib.sha256(
        f"a.jpg {hashlib.sha256(NOISE).hexdigest()}\nlabels/a.png {hashlib.sha256(b'mask').hexdigest()}\n".encode()
    ).hexdigest()
    source = Source((Archive(None, None, None, "toy/(.+)"),), "none", contents=digest)
    monkeypatch.setitem(SOURCES, "toy", source)
    with pytest.raises(ValueError, match=r"no public address .* --url"):
        download("toy", tmp_path / "x")
    assert not list(tmp_path.iterdir())
    server.files["/toy.tgz"] = tar(("toy/a.jpg", NOISE), ("toy/labels/a.png", b"Mask"))
    with pytest.raises(ValueError, match=rf"toy\.tgz holds other files: their digest is [0-9a-f]+, expected {digest}"):
        download("toy", tmp_path / "x", f"{server.url}/toy.tgz")
    assert not (tmp_path / "x").exists()
    server.files["/toy.tgz"] = TOY
    download("toy", tmp_path / "x", f"{server.url}/toy.tgz")  # the wrong archive is not used again
    assert (tmp_path / "x/a.jpg").read_bytes() == NOISE
    assert contents_digest(tmp_path / "x") == digest


def test_another_address_for_several_archives_is_refused(tmp_path):
    with pytest.raises(ValueError, match="--url gives one archive, and this data set comes as 2"):
        download("pets", tmp_path / "x", "http://127.0.0.1/x")


def test_several_archives_go_into_one_folder(server, tmp_path, monkeypatch):
    server.files["/two.zip"] = two = zipped(("annotations/a.txt", b"2"))
    archives = (*SOURCES["toy"].archives, Archive(f"{server.url}/two.zip", checksum(two), len(two)))
    monkeypatch.setitem(SOURCES, "toy", Source(archives, "none"))
    download("toy", tmp_path / "x")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == ["annotations", "toy"]


def test_two_at_once(server, tmp_path):
    with (
        run_lock(tmp_path / ".x.download"),
        pytest.raises(
            BlockingIOError, match=r"another download is at work in .*\.x\.download\. Wait for it, or end it"
        ),
    ):
        download("toy", tmp_path / "x")
    assert server.seen == []
    download("toy", tmp_path / "x")
    assert_fetched(tmp_path / "x")


def test_a_folder_with_files_in_it_is_never_touched(server, tmp_path, capsys):
    (tmp_path / "mine").write_text("mine")
    download("toy", tmp_path)
    assert "already there" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.skipif(not (SHARED / "blood_cells").is_dir(), reason="no blood cells in shared/data")
def test_the_blood_cells_are_recognised_in_any_archive(server, tmp_path):
    with zipfile.ZipFile(tmp_path / "cells.zip", "w") as archive:
        for path in (SHARED / "blood_cells").rglob("*.jpg"):
            archive.write(path, f"from a drive/{path.relative_to(SHARED / 'blood_cells')}")
        archive.writestr("from a drive/README.txt", "hello")
    server.files["/cells.zip"] = (tmp_path / "cells.zip").read_bytes()
    download("blood_cells", tmp_path / "x", f"{server.url}/cells.zip")
    assert len(list((tmp_path / "x/Train_Data").iterdir())) == 328
    assert len(list((tmp_path / "x/Test_Data").iterdir())) == 61


def run(monkeypatch, *arguments):
    monkeypatch.setattr(sys, "argv", ["kit", "download", *arguments])
    return main()


def test_the_command_line(server, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(SOURCES, "toy")
    assert run(monkeypatch) == 0
    listed = capsys.readouterr().out
    assert [line.split()[0] for line in listed.splitlines()] == [*SOURCES]
    assert re.search(r"pets +811\.1 MB +CC BY-SA 4\.0", listed)
    archive = Archive(f"{server.url}/toy.tgz", checksum(TOY), None)
    monkeypatch.setitem(SOURCES, "camvid", Source((archive,), "none"))
    assert run(monkeypatch, "camvid") == 0
    assert_fetched(tmp_path / "data/camvid")
    monkeypatch.setitem(SOURCES, "camvid", Source((replace(archive, checksum=checksum(b"")),), "none"))
    assert run(monkeypatch, "camvid", "--to", "elsewhere") == 1
    assert "does not match the known hash" in capsys.readouterr().out
    assert not (tmp_path / "elsewhere").exists()
    with pytest.raises(SystemExit, match="2"):
        run(monkeypatch, "camwid")


def test_ctrl_c_keeps_what_has_come(server, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(SOURCES, "camvid", SOURCES["toy"])
    server.pause = 0.02
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert run(monkeypatch, "camvid", "--to", str(tmp_path / "x")) == 130
    assert capsys.readouterr().out.endswith("interrupted; the same command goes on from here\n")
    assert not (tmp_path / "x").exists()
    server.pause = 0
    assert run(monkeypatch, "camvid", "--to", str(tmp_path / "x")) == 0
    assert_fetched(tmp_path / "x")
    assert re.fullmatch("bytes=[1-9][0-9]+-", server.seen[1][1])


KAGGLE = """#!{python}
import sys, pathlib
name, folder = sys.argv[sys.argv.index("-f") + 1], pathlib.Path(sys.argv[sys.argv.index("-p") + 1])
assert sys.argv[1:5] == ["competitions", "download", "-c", "carvana-image-masking-challenge"]
print("Downloading", name, "to", folder, file=sys.stderr)
with open({log!r}, "a") as log:
    log.write(name + " ")
{body}
"""


@pytest.fixture
def kaggle(tmp_path, monkeypatch):
    """Makes a client of Kaggle's that runs the given Python; its log holds the files asked for."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(body):
        program = tmp_path / "bin/kaggle"
        program.parent.mkdir(exist_ok=True)
        program.write_text(KAGGLE.format(python=sys.executable, log=str(tmp_path / "log"), body=body))
        program.chmod(0o755)
        return tmp_path / "log"

    return make


posix = pytest.mark.skipif(os.name != "posix", reason="the client is a script with a #! line")


@posix
@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("sys.exit(print('403 Client Error: Forbidden for url: https://x') or 1)", "/rules, logged in .*403 Client"),
        (
            "sys.exit(print('Authentication required to call the Kaggle API.') or 1)",
            "no valid token.*kaggle auth login",
        ),
        ("sys.exit(\"You must accept this competition's rules before you'll …\")", "/rules, logged in"),
        ("sys.exit(\"403 - Permission 'competitions.participate' was denied\")", "/rules, logged in"),
        ("sys.exit('train.zip: 401/403 MB: cut')", "train.zip: .*401/403 MB: cut"),
        ("sys.exit('401 - Unauthorized')", "no valid token"),
        ("sys.exit('OSError: Could not find kaggle.json')", "no valid token"),
        ("sys.exit('no route to host')", "train.zip: .*no route to host"),
        ("sys.exit(1)", "train.zip: Downloading"),
        ("", "fetched no train.zip"),
    ],
)
def test_what_kaggle_refuses_is_explained(tmp_path, kaggle, body, message):
    kaggle(body)
    with pytest.raises(OSError, match=f"(?s){message}"):
        download("carvana", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_without_kaggles_client(tmp_path, kaggle):
    with pytest.raises(FileNotFoundError, match=r"not on the PATH\. Install it \(pip install kaggle\)"):
        download("carvana", tmp_path / "x")


@posix
def test_kaggles_files_are_checked_and_kept_as_zips(tmp_path, kaggle, monkeypatch):
    write = "(folder / name).write_bytes(name.encode())"
    archives = tuple(
        Archive(name, checksum(name.encode()), 9) for name in (archive.url for archive in SOURCES["carvana"].archives)
    )
    monkeypatch.setitem(SOURCES, "carvana", Source(archives, "rules", kaggle=SOURCES["carvana"].kaggle))
    log = kaggle(f"{write}\nif name == 'test.zip': sys.exit('cut')")
    with pytest.raises(OSError, match="cut"):
        download("carvana", tmp_path / "x")
    kaggle("(folder / name).write_bytes(b'<html>')")
    (tmp_path / ".x.download/kaggle/test.zip").unlink()
    with pytest.raises(ValueError, match=r"\(test\.zip\) does not match the known hash"):
        download("carvana", tmp_path / "x")
    assert not (tmp_path / "x").exists()
    kaggle(write)
    download("carvana", tmp_path / "x")
    assert sorted(path.name for path in (tmp_path / "x").iterdir()) == sorted(archive.url for archive in archives)
    assert log.read_text().split()[5:] == ["test.zip", "test.zip"]  # the other four were there
