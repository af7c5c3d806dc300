"""name_contents: CRC-32 and size of files; only files that changed are read again, and no change is missed."""

import json
import multiprocessing
import os
import sys
import threading
import time
import zlib
from pathlib import Path

import numpy as np
import pytest

from kit.system import contents
from kit.system.contents import name_contents

DAY = 86_400_000_000_000  # nanoseconds
NAMES = ("a.bin", "deep/b.bin", "deep/Bär c.bin", "empty")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def root(tmp_path, cache):
    rng = np.random.default_rng(5)
    for name in NAMES:
        path = tmp_path / "root" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.bytes(0 if name == "empty" else 3000))
    return tmp_path / "root"


@pytest.fixture
def old(monkeypatch):
    """Every file counts as older than the grain of its times."""
    monkeypatch.setattr(contents, "GRAIN", -1)


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read, in the order of reading."""
    names, crc = [], contents._crc

    def recorded(path, progress):
        names.append(Path(path).name)
        return crc(path, progress)

    monkeypatch.setattr(contents, "_crc", recorded)
    return names


def forget():
    """Do as a new process does."""
    contents._table.cache_clear()


def expected(root):
    return {name: (zlib.crc32(data := (root / name).read_bytes()), len(data)) for name in NAMES}


def test_names_are_crc_and_size_and_only_the_first_call_reads(root, old, read):
    assert name_contents(root, NAMES) == expected(root)
    assert sorted(read) == sorted(Path(name).name for name in NAMES)
    for start in (lambda: None, forget):
        start()
        assert name_contents(root, NAMES) == expected(root)
    assert name_contents(str(root), iter(NAMES[:1] * 2)) == {NAMES[0]: expected(root)[NAMES[0]]}
    assert len(read) == len(NAMES)
    assert name_contents(root, []) == {}


def test_a_file_in_pieces_and_many_batches(root, old, monkeypatch):
    monkeypatch.setattr(contents, "PIECE", 7)
    monkeypatch.setattr(contents, "BATCH", 2)
    assert name_contents(root, NAMES) == expected(root)


def test_one_table_serves_all_folders_below_a_root_and_links_to_it(root, old, read, cache, tmp_path):
    name_contents(root, NAMES[:1])
    (tmp_path / "link").symlink_to(root)
    forget()
    name_contents(tmp_path / "link", NAMES)
    assert sorted(read) == sorted(Path(name).name for name in NAMES)
    assert len(list((cache / "contents").iterdir())) == 1


def test_an_edit_of_the_same_size_is_read_again_and_alone(root, old, read):
    before = name_contents(root, NAMES)
    read.clear()
    path = root / "deep/b.bin"
    path.write_bytes(bytes(reversed(path.read_bytes())))
    after = name_contents(root, NAMES)
    assert read == ["b.bin"]
    assert {name for name in NAMES if before[name] != after[name]} == {"deep/b.bin"}
    assert after == expected(root)


@pytest.mark.skipif(os.name != "posix", reason="ctime as on POSIX")
def test_an_edit_with_its_mtime_set_back_is_seen(root, old):
    before = name_contents(root, NAMES)
    path, facts = root / "a.bin", (root / "a.bin").stat()
    time.sleep(0.02)  # longer than the grain of the kernel's clock
    path.write_bytes(bytes(reversed(path.read_bytes())))
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    assert path.stat().st_mtime_ns == facts.st_mtime_ns
    assert name_contents(root, NAMES) == expected(root) != before


def test_touched_files_are_read_again_and_keep_their_names(root, old, read):
    before = name_contents(root, NAMES)
    os.utime(root / "a.bin")
    assert name_contents(root, NAMES) == before
    assert len(read) == len(NAMES) + 1


@pytest.mark.parametrize(("age", "seen"), [(50, True), (61, False)])
def test_an_edit_within_the_grain_of_the_times_is_seen(root, monkeypatch, age, seen):
    """The times are frozen: the edit leaves no trace in them. 61 s before, the grain cannot hide an edit."""
    frozen = time.time_ns() - age * 1_000_000_000
    monkeypatch.setattr(contents, "_stamp", lambda path: (3000, frozen, frozen))
    before = name_contents(root, ["a.bin"])
    (root / "a.bin").write_bytes(bytes(reversed((root / "a.bin").read_bytes())))
    assert (name_contents(root, ["a.bin"]) != before) == seen


@pytest.mark.parametrize(
    ("mtime", "ctime", "steady"),
    [(-DAY, -DAY, True), (DAY, -DAY, True), (-DAY, DAY, False), (-DAY, -1, False), (-1, -DAY, False)],
)
def test_what_is_kept(mtime, ctime, steady):
    """An mtime of tomorrow is a copy's; a ctime of tomorrow is another clock's."""
    now = time.time_ns()
    assert contents._is_steady((1, now + mtime, now + ctime), now) == steady


def test_new_files_are_not_kept(root, read, cache):
    for _ in range(2):
        assert name_contents(root, NAMES) == expected(root)
    assert len(read) == 2 * len(NAMES)
    assert not list(cache.glob("contents/*"))


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "folder"])
def test_a_damaged_table_is_ignored_and_written_anew(root, old, read, cache, damage):
    name_contents(root, NAMES)
    [table] = (cache / "contents").iterdir()
    whole = table.read_bytes()
    if damage == "folder":
        table.unlink()
        table.mkdir()
    else:
        flipped = whole.replace(b"3000 ", b"3001 ", 1)
        table.write_bytes({"cut": whole[:-9], "flipped": flipped, "empty": b"", "text": b"[]\n{}"}[damage])
    for count in (2, 2 if damage != "folder" else 3):
        forget()
        assert name_contents(root, NAMES) == expected(root)
        assert len(read) == count * len(NAMES)
    assert damage == "folder" or json.loads(table.read_bytes().partition(b"\n")[2]).keys() == set(NAMES)


def test_a_cache_folder_that_cannot_be_written_costs_time_alone(root, old, read, cache):
    cache.write_text("a file where the folder should be")
    for _ in range(2):
        assert name_contents(root, NAMES) == expected(root)
    assert len(read) == len(NAMES)  # in memory
    forget()
    assert name_contents(root, NAMES) == expected(root)
    assert len(read) == 2 * len(NAMES)


def test_what_is_missing_or_no_file_is_named(root):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        name_contents(root, ["a.bin", "nowhere"])
    with pytest.raises(FileNotFoundError, match="deep is no regular file"):
        name_contents(root, ["deep"])


@pytest.mark.skipif(os.name != "posix", reason="pipes as on POSIX")
def test_a_pipe_is_not_waited_for(root):
    os.mkfifo(root / "pipe")
    with pytest.raises(FileNotFoundError, match="pipe is no regular file"):
        name_contents(root, ["pipe"])


def test_a_file_that_cannot_be_read_has_a_name_that_is_not_kept(root, old, monkeypatch):
    """check_dataset lists it with all others; a fingerprint must not stop at the first."""
    real = open

    def refusing(path, *arguments, **options):
        if str(path).endswith("a.bin"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", refusing)
        assert name_contents(root, NAMES) == expected(root) | {"a.bin": (None, 3000)}
    assert name_contents(root, NAMES) == expected(root)


def test_what_was_read_before_a_stop_is_kept(root, old, read, monkeypatch):
    crc = contents._crc

    def stopped(path, progress):
        if path.endswith("empty"):
            raise KeyboardInterrupt
        return crc(path, progress)

    monkeypatch.setattr(contents, "BATCH", 1)
    with monkeypatch.context() as patch:
        patch.setattr(contents, "_crc", stopped)
        with pytest.raises(KeyboardInterrupt):
            name_contents(root, NAMES)
    read.clear()
    forget()
    assert name_contents(root, NAMES) == expected(root)
    assert read == ["empty"]


def _call_often(root, names):
    contents.GRAIN = -1
    for turn in range(20):
        forget()
        os.utime(Path(root, names[turn % len(names)]))
        name_contents(root, names)


def test_processes_that_write_at_once_leave_a_whole_table(root, old, cache):
    jobs = [
        multiprocessing.get_context("spawn").Process(target=_call_often, args=(str(root), part))
        for part in (NAMES[:2], NAMES[2:], NAMES)
    ]
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    assert [job.exitcode for job in jobs] == [0] * 3
    forget()
    assert name_contents(root, NAMES) == expected(root)
    [table] = (cache / "contents").iterdir()
    crc, _, content = table.read_bytes().partition(b"\n")
    assert int(crc, 16) == zlib.crc32(content)


def test_threads_of_one_process_agree(root, old):
    found = []
    threads = [threading.Thread(target=lambda: found.append(name_contents(root, NAMES))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected(root)] * 8


def test_one_line_says_that_reading_takes_long(root, old, monkeypatch, capsys):
    crc = contents._crc

    def slow(path, progress):
        found = crc(path, progress)
        time.sleep(0.2)
        return found

    monkeypatch.setattr(contents, "_crc", slow)
    monkeypatch.setattr(contents, "LONG", 0.3)
    monkeypatch.setattr(contents, "THREADS", 1)
    name_contents(root, NAMES)
    assert capsys.readouterr().out == "reading 4 files once, to name their content: about 0 s more\n"
    name_contents(root, NAMES)
    assert capsys.readouterr().out == ""


@pytest.mark.skipif(sys.platform != "linux", reason="file names of any bytes")
def test_names_that_are_no_text(root, old, read):
    name = os.fsdecode(b"\xff.bin")
    (root / name).write_bytes(b"x")
    for _ in range(2):
        forget()
        assert name_contents(root, [name]) == {name: (zlib.crc32(b"x"), 1)}
    assert len(read) == 1
