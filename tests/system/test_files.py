import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import pytest

from kit.system.files import (
    cache_folder,
    check_id,
    check_name,
    file_name,
    id_of,
    link_atomic,
    list_some,
    raise_all,
    run_lock,
    spread,
    write_atomic,
)


def test_write_atomic_takes_bytes_text_and_functions(tmp_path):
    path = tmp_path / "new" / "folder" / "file"
    for content, expected in [
        (b"\x00\xff", b"\x00\xff"),
        ("é\n", b"\xc3\xa9\n"),
        (lambda file: file.write(b"streamed"), b"streamed"),
        ("", b""),
    ]:
        write_atomic(path, content)
        assert path.read_bytes() == expected
        assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_write_atomic_keeps_the_permissions_that_the_user_asked_for(tmp_path):
    plain, atomic = tmp_path / "plain", tmp_path / "atomic"
    plain.write_text("")
    write_atomic(atomic, "")
    assert atomic.stat().st_mode == plain.stat().st_mode


def test_a_reader_never_sees_half_a_file(tmp_path):
    path = tmp_path / "file"
    whole = [bytes([value]) * 300_000 for value in range(4)]
    write_atomic(path, whole[0])
    done = threading.Event()

    def write():
        for turn in range(40):
            write_atomic(path, whole[turn % 4])
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(path.read_bytes())
    writer.join()
    assert seen <= set(whole)


def test_an_error_of_the_content_is_its_own(tmp_path):
    path = tmp_path / "file"
    path.write_text("old")

    def refuse(file):
        file.write(b"half")
        raise ValueError("row 7 is malformed")

    def miss(file):
        (tmp_path / "absent").read_bytes()

    def interrupt(file):
        raise KeyboardInterrupt

    def say(file):
        raise OSError("image file is truncated")

    for content, error, told in [
        (refuse, ValueError, "^row 7 is malformed"),
        (miss, FileNotFoundError, "absent"),
        (interrupt, KeyboardInterrupt, None),
        (say, OSError, "could not write .*file .*: image file is truncated"),
    ]:
        with pytest.raises(error, match=told):
            write_atomic(path, content)
        assert path.read_text() == "old"
        assert [file.name for file in tmp_path.iterdir()] == ["file"]


def test_a_path_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "folder/inside").mkdir(parents=True)
    with pytest.raises(OSError, match=r"could not write .*folder \(the old file, if any, is intact\)"):
        write_atomic(tmp_path / "folder", "text")
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        write_atomic(tmp_path / "file" / "below", "text")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    "name", ["a", "a/b", "case1/case1_day0/slice_0001", "0cdf5b5d0ce1_01", "é 漢", "..a", "a..", "NA", "-x", "x" * 200]
)
def test_names_that_are_safe(name):
    assert check_id(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "a//b", "a/", "a/./b", "\ud800", "/a", "a\\b", "../../x", "a\nb", "a\0", "x" * 201, "é" * 101],
)
def test_names_that_are_not(name):
    with pytest.raises(ValueError, match=r"is no file name: expected 1 to 200 bytes"):
        check_id(name)


@pytest.mark.parametrize("name", ["a/b", "/a", "a/", "..", "", "a\\b", "a\0", 7, None])
def test_names_of_one_file_hold_no_slash(name):
    assert check_name("a b.é") == "a b.é"
    with pytest.raises(ValueError, match="is no file name"):
        check_name(name)


def test_a_file_name_gives_its_id_back_and_is_no_other_ids(tmp_path):
    ids = [
        "a/b",
        "a%2Fb",
        "a_b",
        "a%b",
        "%",
        "%25",
        "a:b",
        'q"?*<>|',
        "é/漢",
        "case1/case1_day0/slice_0001",
        "plain-1.x",
    ]
    names = [file_name(id) for id in ids]
    assert len(set(names)) == len(ids)
    assert [id_of(name) for name in names] == ids
    assert file_name("plain-1.x") == "plain-1.x"
    for id, name in zip(ids, names, strict=True):
        assert check_id(id) == id
        assert check_name(name) == name
        (tmp_path / name).write_text(id)
    assert len(list(tmp_path.iterdir())) == len(ids)
    with pytest.raises(ValueError, match="is no file name"):
        check_id("/".join(["x"] * 80))  # 80 parts take 317 bytes as a file name


def test_the_cache_is_looked_for_in_the_order_that_is_documented(tmp_path, monkeypatch):
    monkeypatch.setenv("KIT_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("KIT_CACHE")
    assert cache_folder() == tmp_path / "xdg/kit"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / "home/.cache/kit"
    monkeypatch.setenv("XDG_CACHE_HOME", "")  # empty is unset, by the XDG specification
    assert cache_folder() == tmp_path / "home/.cache/kit"
    monkeypatch.setenv("HOME", os.devnull)  # as accounts of services have it
    assert cache_folder() == Path(tempfile.gettempdir()) / "kit"


def test_a_lock_is_released_and_may_be_waited_for(tmp_path):
    folder = tmp_path / "runs" / "fold0"
    for _ in range(2):
        with run_lock(folder):
            assert folder.is_dir()
    with pytest.raises(KeyError), run_lock(folder):
        raise KeyError
    entered = threading.Event()

    def hold():
        with run_lock(folder):
            entered.set()
            time.sleep(0.3)

    holder = threading.Thread(target=hold)
    holder.start()
    entered.wait()
    start = time.perf_counter()
    with pytest.raises(BlockingIOError), run_lock(folder):
        pass
    with run_lock(folder, wait=30):
        assert 0.1 < time.perf_counter() - start < 10
    holder.join()


def test_locks_of_two_folders_are_two(tmp_path):
    with run_lock(tmp_path / "fold0"), run_lock(tmp_path / "fold1"):
        pass


def test_problems_are_told_together_and_bounded():
    raise_all([], "nothing")
    with pytest.raises(ValueError, match=r"^25 images are bad:\n  image 0\n(  .*\n){19}  … and 5 more$"):
        raise_all([f"image {i}" for i in range(25)], "images are bad")
    assert list_some(["a", "b"]) == "\n  a\n  b"


def test_importing_files_starts_nothing_heavy():
    heavy = "{'torch', 'numba', 'cv2', 'pandas'} & set(sys.modules)"
    code = f"import sys, kit.system.files; print({heavy} or 'light')"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert found.strip() == "light"


@pytest.mark.parametrize("links", [True, False])
def test_a_link_keeps_what_the_source_was(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", lambda *paths: (_ for _ in ()).throw(OSError("no links here")))
    last, best = tmp_path / "last", tmp_path / "best"
    write_atomic(best, b"older")
    write_atomic(last, b"first")
    link_atomic(last, best)
    write_atomic(last, b"second")
    assert (best.read_bytes(), last.read_bytes()) == (b"first", b"second")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "last"]


def test_what_many_problems_end_with_is_said_once():
    told = [f"{name}.png: 8 bits, expected 16. Convert it; or leave it out" for name in "abc"]
    other = ["d.png: no mask. Draw one", "e.png: damaged; fetch it"]
    assert list_some([told[0], *other, *told[1:]]).splitlines() == [
        "",
        "  a.png: 8 bits, expected 16",
        "  b.png: 8 bits, expected 16",
        "  c.png: 8 bits, expected 16",
        "  all of these: Convert it; or leave it out",
        "  d.png: no mask. Draw one",
        "  e.png: damaged; fetch it",
    ]
    assert list_some(told[:2]) == f"\n  {told[0]}\n  {told[1]}"
    many = [f"{number}: odd. Mend it" for number in range(30)]
    assert list_some(many).endswith("\n  19: odd\n  … and 10 more\n  all of these: Mend it")
    assert list_some([*many[:18], *other, *many]).endswith("fetch it\n  … and 30 more")


def test_ids_with_full_stops_stay_whole():
    ids = [f"scan {number}. b; c" for number in range(3)]
    assert list_some([*ids[:2], "x"]) == "\n  scan 0. b; c\n  scan 1. b; c\n  x"


@pytest.mark.parametrize("count", [1, 2, 8, 24])
def test_a_spread_is_even_and_has_both_ends(count):
    for length in (0, 1, 7, 8, 9, 100, 1001):
        values = list(range(length))
        found = spread(values, count)
        assert len(found) == min(count, length)
        assert found == sorted(set(found))
        if length > 1 < count:
            assert (found[0], found[-1]) == (0, length - 1)
            steps = [after - before for before, after in itertools.pairwise(found)]
            assert max(steps) - min(steps) <= 1
