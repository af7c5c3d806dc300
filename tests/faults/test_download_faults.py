"""Faults 49 and 50, as what comes from the network meets them."""

import hashlib
import os
import random
import signal
import stat
import subprocess
import sys
import tarfile
import time
import zipfile

import pytest
from serving import Server, tar, zipped

from kit.datasets import download as module
from kit.datasets import unpack as unpacking
from kit.datasets.download import SOURCES, Archive, Source, download
from kit.datasets.unpack import unpack

NOISE = random.Random(0).randbytes(300_000)
GOOD = ("good.jpg", b"good")


def special(kind, name="x"):
    """A member of a zip that is no regular file; what its content is does not matter."""
    info = zipfile.ZipInfo(name)
    info.external_attr = (kind | 0o777) << 16
    return zipped(GOOD, (info, b"/etc/passwd"))


UNSAFE = {
    "slip": (tar(GOOD, ("../x", b"1")), r"'\.\./x': leads out"),
    "slip inside": (zipped(GOOD, ("a/../../x", b"1")), r"'a/\.\./\.\./x': leads out"),
    "absolute": (tar(GOOD, ("/tmp/x", b"1")), "'/tmp/x': leads out"),
    "absolute in a zip": (zipped(GOOD, ("/tmp/x", b"1")), "'/tmp/x': leads out"),
    "backslashes": (tar(GOOD, ("..\\x", b"1")), "leads out"),
    "drive": (zipped(GOOD, ("C:x", b"1")), "'C:x': a colon"),
    "line break": (tar(GOOD, ("a\nb", b"1")), r"'a\\nb': leads out of the folder, or .* odd part"),
    "overlong": (tar(GOOD, ("a" * 300, b"1")), "overlong"),
    "symbolic link": (tar(GOOD, ("x", tarfile.SYMTYPE, "/etc")), "'x' is a link"),
    "symbolic link inside": (tar(GOOD, ("x", tarfile.SYMTYPE, "good.jpg")), "'x' is a link"),
    "through a link": (tar(GOOD, ("x", tarfile.SYMTYPE, "/tmp"), ("x/y", b"1")), "'x' is a link"),
    "hard link": (tar(GOOD, ("x", tarfile.LNKTYPE, "good.jpg")), "'x' is a link"),
    "hard link outside": (tar(GOOD, ("x", tarfile.LNKTYPE, "/etc/passwd")), "'x' is a link"),
    "device": (tar(GOOD, ("x", tarfile.CHRTYPE, "")), "'x' is a special file"),
    "block device": (tar(GOOD, ("x", tarfile.BLKTYPE, "")), "'x' is a special file"),
    "pipe": (tar(GOOD, ("x", tarfile.FIFOTYPE, "")), "'x' is a special file"),
    "link in a zip": (special(stat.S_IFLNK), "'x' is a link"),
    "device in a zip": (special(stat.S_IFCHR), "'x' is a special file"),
    "twice": (tar(GOOD, ("x", b"1"), ("x", b"2")), "'x' is there twice"),
    "twice by another spelling": (tar(GOOD, ("x", b"1"), ("./x", b"2")), "'./x' is there twice"),
    "case": (tar(GOOD, ("x", b"1"), ("X", b"2")), "'X' is there also as 'x'"),
    "accents": (zipped(GOOD, ("\u00e9", b"1"), ("e\u0301", b"2")), "is there also as"),
    "file and folder": (tar(GOOD, ("x/y", b"1"), ("x", b"2")), "'x' is a file and a folder"),
    "folder and file": (zipped(GOOD, ("x", b"1"), ("X/y", b"2")), "'X/y' is a file and a folder"),
    "too many files": (tar(GOOD, *((f"{i}", b"") for i in range(50))), "more than 20 files"),
    "too many files in a zip": (zipped(GOOD, *((f"{i}", b"") for i in range(50))), "more than 20 files"),
    "bomb": (zipped(GOOD, ("x", bytes(10**8))), r"more than .*1\.0 MB"),
    "bomb of many": (tar(GOOD, *((f"{i}", bytes(200_000)) for i in range(9))), r"more than .*1\.0 MB"),
}


@pytest.mark.parametrize("name", UNSAFE)
def test_fault_49_an_unsafe_archive_leaves_nothing(tmp_path, monkeypatch, name):
    monkeypatch.setattr(unpacking, "MAX_FILES", 20)
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1_000_000)
    content, message = UNSAFE[name]
    (tmp_path / "archive").write_bytes(content)
    with pytest.raises(
        ValueError, match=f"(?s)(1 member|2 members) of .*archive cannot be unpacked safely:.*{message}"
    ):
        unpack([(tmp_path / "archive", "(.+)")], tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


def test_fault_49_a_bomb_in_a_tar_is_not_read_to_its_end(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_BYTES", 1_000_000)
    header = tarfile.TarInfo("x")
    header.size = 10**15  # and not one byte of it follows
    (tmp_path / "archive").write_bytes(tar(GOOD, mode="w")[:1024] + header.tobuf(tarfile.GNU_FORMAT))
    with pytest.raises(ValueError, match=r"more than .*1\.0 MB"):
        unpack([(tmp_path / "archive", "(.+)")], tmp_path / "folder")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME])
@pytest.mark.parametrize("first", [True, False])
def test_fault_49_a_name_that_is_a_bomb_is_not_read(tmp_path, kind, first):
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 5_000_000
    good = b"" if first else tar(GOOD, mode="w")[:1024]
    (tmp_path / "archive").write_bytes(good + header.tobuf(tarfile.GNU_FORMAT) + bytes(6_000_000))
    with pytest.raises(ValueError, match="a header of 5000000 bytes"):
        unpack([(tmp_path / "archive", "(.+)")], tmp_path / "folder")


def test_fault_49_what_lies_about_its_size_is_cut_there(tmp_path):
    content = zipped(("x", bytes(10**7)))
    lie = content.replace((10**7).to_bytes(4, "little"), (9).to_bytes(4, "little"))
    assert lie != content
    (tmp_path / "archive").write_bytes(lie)
    with pytest.raises(ValueError, match=r"x cannot be unpacked \(Bad CRC-32"):
        unpack([(tmp_path / "archive", "(.+)")], tmp_path / "folder")
    assert [path.name for path in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("pack", [zipped, tar, lambda *members: tar(*members, mode="w")])
@pytest.mark.parametrize("cut", [3, 300, 200_000])
def test_fault_49_a_damaged_archive(tmp_path, pack, cut):
    whole = pack(("a", NOISE), GOOD)
    for content in (whole[:cut], b"", whole[: cut + 1000] + bytes(50) + whole[cut + 1050 :]):
        (tmp_path / "archive").write_bytes(content)
        try:
            unpack([(tmp_path / "archive", "(.+)")], tmp_path / "folder")
        except ValueError as error:
            assert "archive" in str(error)  # noqa: PT017
            assert not (tmp_path / "folder").exists()
        else:  # a plain tar has no checksum of its contents
            assert content[:2] != b"PK"
            assert len(content) == len(whole)
            assert (tmp_path / "folder/a").stat().st_size == len(NOISE)


def test_fault_49_members_that_are_not_asked_for_are_never_written(tmp_path):
    (tmp_path / "archive").write_bytes(tar(("in/a", b"1"), ("../x", b"1"), ("y", tarfile.SYMTYPE, "/etc")))
    unpack([(tmp_path / "archive", "in/(.+)")], tmp_path / "folder")
    assert [path.name for path in (tmp_path / "folder").iterdir()] == ["a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "folder"]


def test_fault_49_two_archives_that_hold_the_same_name(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(tar(GOOD, ("a/b", b"1")))
    with pytest.raises(ValueError, match=r"(?s)2 members of .*'good\.jpg' is there twice\n  'a/b' is there twice"):
        unpack([(tmp_path / "one", "(.+)"), (tmp_path / "two", "(.+)")], tmp_path / "folder")


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(module, "WAITS", (0, 0))
    with Server({}) as running:
        yield running


def serve(server, monkeypatch, content, pinned=None):
    """Have `server` send `content` as the archive of the data set "toy", whose checksum is that of `pinned`."""
    server.files["/toy.tgz"] = content
    checksum = f"sha256:{hashlib.sha256(content if pinned is None else pinned).hexdigest()}"
    monkeypatch.setitem(SOURCES, "toy", Source((Archive(f"{server.url}/toy.tgz", checksum, None),), "none"))


def test_fault_49_every_unsafe_member_is_told_and_the_target_stays_absent(server, tmp_path, monkeypatch):
    members = (GOOD, ("../x", b"1"), ("/y", b"2"), ("z", tarfile.SYMTYPE, "/etc"), ("good.jpg", b"3"))
    serve(server, monkeypatch, tar(*members))
    with pytest.raises(ValueError, match="4 members of") as refusal:
        download("toy", tmp_path / "data")
    assert all(f"{name!r}" in str(refusal.value) for name in ("../x", "/y", "z", "good.jpg"))
    assert [path.name for path in tmp_path.iterdir()] == [".data.download"]
    assert not (tmp_path / ".data.download/unpacked").exists()


PAGE = b"\n<!DOCTYPE html><html><title>503 Service Unavailable</title>" + b" " * 1000


@pytest.mark.parametrize(
    "sent",
    [PAGE, b"<html>log in</html>", tar(("a", b"other")), tar(GOOD, ("a", NOISE))[:100_000]],
    ids=["page", "short page", "another", "cut"],  # an archive's bytes hold the time
)
@pytest.mark.parametrize("length", [True, False])
def test_fault_50_what_is_not_the_archive_is_a_checksum_error(server, tmp_path, monkeypatch, sent, length):
    right = tar(GOOD, ("a", NOISE))
    serve(server, monkeypatch, sent, pinned=right)
    server.length = length  # without it, nothing but the checksum shows that a body is cut short
    with pytest.raises(ValueError, match=r"SHA256 hash of downloaded file .* does not match") as refusal:
        download("toy", tmp_path / "data")
    assert ("a web page came instead of an archive" in str(refusal.value)) == (b"<html>" in sent)
    assert not (tmp_path / "data").exists()
    server.files["/toy.tgz"] = right
    download("toy", tmp_path / "data")
    assert [asked for _, asked in server.seen] == [None, None]  # nothing of the wrong one was built upon
    assert (tmp_path / "data/a").read_bytes() == NOISE


def test_fault_50_a_page_where_no_checksum_is_known(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, PAGE)
    source = Source((Archive(f"{server.url}/toy.tgz", None, None),), "none", contents="0" * 64)
    monkeypatch.setitem(SOURCES, "toy", source)
    with pytest.raises(ValueError, match="is no zip or tar, or damaged: a web page"):
        download("toy", tmp_path / "data")
    assert not list(tmp_path.rglob("*toy.tgz"))


KILLED = """
import sys
from kit.datasets import download
url, checksum, folder = sys.argv[1:]
download.SOURCES["toy"] = download.Source((download.Archive(url, checksum, None),), "none")
download.download("toy", folder)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_fault_50_killed_in_the_middle(server, tmp_path, monkeypatch):
    serve(server, monkeypatch, tar(GOOD, ("a", NOISE)))
    server.pause = 0.05  # 1.5 s for all of it
    archive = SOURCES["toy"].archives[0]
    command = [sys.executable, "-c", KILLED, archive.url, archive.checksum, str(tmp_path / "data")]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        while not any(part.stat().st_size for part in tmp_path.glob(".data.download/*.part")):
            assert process.poll() is None
            time.sleep(0.002)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (tmp_path / "data").exists()
    (part,) = tmp_path.glob(".data.download/*.part")
    have, server.pause = part.stat().st_size, 0
    assert 0 < have < len(NOISE)
    (tmp_path / ".data.download/unpacked").mkdir()  # as one that was killed later leaves it
    (tmp_path / ".data.download/unpacked/rest").touch()
    download("toy", tmp_path / "data")
    assert [asked for _, asked in server.seen] == [None, f"bytes={have}-"]
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["a", "good.jpg"]
    assert (tmp_path / "data/a").read_bytes() == NOISE
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
