"""Cache identity: what changes data_key, and that no cache of other data or code is used. FAULT 53."""

import importlib
import sys
import textwrap
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from drawn import Drawn

from kit.data import Dataset, Resizing, check_dataset, data_key, identity, sample_reader
from kit.data.cache import ImageCache
from kit.data.check import sample_ids

RESIZING = Resizing((16, 20))

MINE = '''
import functools
import numpy as np
import mine_help
from mine_help import to_mask
from kit.data import Dataset

LIMIT = 100

class Mine(Dataset):
    """Stripes."""
    name = "mine"
    classes = ("background", "stripe")
    channels = ("grey",)
    side = 12

    def __init__(self, count=30):
        self.ids = [f"{i:02}" for i in range(count)]
        self.offset = 0

    def read_image(self, id):
        "An image."
        return np.full((self.side, 12, 1), 7 * int(id) + READERS["x"](0), np.uint8)  # flat

    def read_mask(self, id):
        return to_mask(stripes(int(id)), LIMIT)

def plus(number):
    return 40 + number

READERS = {"x": plus}

@functools.lru_cache
def stripes(number):
    return np.tile(np.arange(12) * 20 + number, (12, 1)) + mine_help.shift(0)
'''
HELP = '''
import numpy as np

def to_mask(values, limit):
    """Above the limit."""
    return (values > limit).astype(np.uint8)

def shift(by):
    return deeper(by)

def deeper(by):
    return by

def unused():
    return 1
'''


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the two modules with replacements, import them anew, and return the class."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(*changes):
        text = {"mine": MINE, "mine_help": HELP}
        for old, new in changes:
            assert old in text["mine"] + text["mine_help"]
            text = {name: one.replace(old, new) for name, one in text.items()}
        for name, one in text.items():
            (tmp_path / f"{name}.py").write_text(textwrap.dedent(one))
            sys.modules.pop(name, None)
        importlib.invalidate_caches()
        return importlib.import_module("mine").Mine

    yield write
    for name in ("mine", "mine_help"):
        sys.modules.pop(name, None)


CHANGES = {
    "the method": ("7 * int(id)", "8 * int(id)"),
    "a constant": ("LIMIT = 100", "LIMIT = 101"),
    "an attribute": ("side = 12", "side = 13"),
    "a function behind a decorator": ("* 20 + number", "* 21 + number"),
    "an imported function": ("values > limit", "values >= limit"),
    "a function of an imported module": ("return deeper(by)", "return deeper(by) + 1"),
    "a function that another one calls": ("    return by\n", "    return by + 1\n"),
    "a function in a table": ("return 40 + number", "return 41 + number"),
    "a value of the object": ("self.offset = 0", "self.offset = 1"),
    "the classes": ('"stripe")', '"line")'),
    "the channels": ('("grey",)', '("gray",)'),
    "the ids": ("count=30", "count=29"),
}
NO_CHANGES = {
    "a comment": ("  # flat", "  # one value"),
    "a docstring": ('"An image."', '"Another."'),
    "the docstring of a helper": ("Above the limit.", "Over it."),
    "layout": ("def unused", "\n\ndef unused"),
    "a function that nobody calls": ("    return 1\n", "    return 2\n"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_changes_the_key(write, change):
    before = data_key(write()())
    assert data_key(write()()) == before
    assert data_key(write(CHANGES[change])()) != before


@pytest.mark.parametrize("change", NO_CHANGES)
def test_what_does_not_change_the_key(write, change):
    assert data_key(write(NO_CHANGES[change])()) == data_key(write()())


def test_code_that_autoreload_puts_into_the_same_objects_is_another(write):
    mine = write()
    held, before = sys.modules["mine_help"].to_mask, data_key(mine())
    write(CHANGES["an imported function"])
    held.__code__ = sys.modules["mine_help"].to_mask.__code__
    assert (changed := data_key(mine())) != before
    mine.read_image = sys.modules["mine"].Mine.read_mask
    assert data_key(mine()) not in {before, changed}


TWICE = """
from kit.data import Dataset

class Base(Dataset):
    name, classes, ids = "twice", ("background", "thing"), ["a", "b"]

if FLAG:
    class Mine(Base):
        def read_mask(self, id):
            return 1
elif OTHER:
    class Mine(Base):
        "Another docstring."
        def read_mask(self, id):
            return 2
else:
    class Mine(Base):
        pass
"""


def test_a_class_that_a_file_defines_several_times_is_the_one_that_is_used(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # else that of a file of the same size and second is taken
    keys = set()
    for flag, other in ((True, False), (False, True), (False, False)):
        (tmp_path / "twice.py").write_text(TWICE.replace("FLAG", str(flag)).replace("OTHER", str(other)))
        sys.modules.pop("twice", None)
        importlib.invalidate_caches()
        keys.add(data_key(importlib.import_module("twice").Mine()))
    sys.modules.pop("twice", None)
    assert len(keys) == 3


def test_groups_change_the_key_and_their_normalising_does_not(write):
    dataset = write()()
    dataset.groups = [int(id) // 3 for id in dataset.ids]
    key = data_key(dataset)
    check_dataset(dataset)
    assert dataset.groups[-1] == "9"
    assert data_key(dataset) == key
    dataset.groups[3] = "x"
    assert data_key(dataset) != key


class Table(Drawn):
    """Masks from a table, as with Kaggle's train.csv."""

    def __init__(self, table):
        super().__init__()
        self._table = table


@pytest.mark.parametrize(
    "make",
    [
        lambda value: pd.DataFrame({"id": ["a", "b"], "rle": ["1 3", value]}),
        lambda value: {"a": "1 3", "b": value},
        lambda value: np.array([value]),
        lambda value: [("a", {"b": value})],
    ],
)
def test_tables_that_the_object_holds_count(make):
    keys = [data_key(Table(make(value))) for value in ("4 5", "4 5", "4 6")]
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize("hold", [lambda path: {"x": path}, str, lambda path: [("a", [str(path)])], lambda path: path])
def test_files_count_by_name_and_content_and_not_by_folder(tmp_path, hold):
    keys = []
    for folder, content in (
        ("a", b"id,rle\nx,1 2\n"),
        ("b", b"id,rle\nx,1 2\n"),
        ("c", b"id,rle\nx,1 3\n"),
        ("d", b"id"),
    ):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "train.csv"
        path.write_bytes(content)
        keys.append(data_key(Table(hold(path))))
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    (tmp_path / "a/train.csv").rename(tmp_path / "a/other.csv")
    assert data_key(Table(hold(tmp_path / "a/other.csv"))) not in keys


@pytest.mark.parametrize("hold", [str, Path])
def test_a_file_below_the_current_folder_counts_by_content(tmp_path, monkeypatch, hold):
    keys = []
    for folder, content in (("a", "1 2"), ("b", "1 2"), ("c", "1 3")):
        (tmp_path / folder / "data").mkdir(parents=True)
        (tmp_path / folder / "data/train.csv").write_text(content)
        (tmp_path / folder / "word").write_text(content)
        monkeypatch.chdir(tmp_path / folder)
        keys.append(data_key(Table([hold("data/train.csv"), "word"])))
    assert keys[0] == keys[1] != keys[2]
    assert data_key(Table("word")) == data_key(Table("word"))
    monkeypatch.chdir(tmp_path)
    assert data_key(Table(["data/train.csv", "word"])) not in keys  # text, where there is no such file


def test_many_held_files_are_read_together_and_once(tmp_path, monkeypatch):
    calls, name_contents = [], identity.name_contents
    monkeypatch.setattr(identity, "name_contents", lambda *call: calls.append(call) or name_contents(*call))
    for number in range(30):
        (tmp_path / f"case{number % 3}").mkdir(exist_ok=True)
        (tmp_path / f"case{number % 3}/{number}.png").write_bytes(bytes([number]))
    paths = sorted(tmp_path.rglob("*.png"))
    both = Table([*paths, *map(str, paths), tmp_path, str(tmp_path / "nowhere.png")])
    before = identity.held_values(both)
    assert [Path(root) for root, _ in calls] == [tmp_path]
    paths[7].write_bytes(b"x")
    assert identity.held_values(both) != before


def test_a_class_without_source_is_known_by_its_compiled_code():
    code = "class Made(Drawn):\n    def read_mask(self, id):\n        return self._disc(id) * {}\n"
    keys = []
    for factor in ("1", "1", "255"):
        names = {"Drawn": Drawn, "__name__": "made"}
        exec(code.format(factor), names)
        keys.append(data_key(names["Made"]()))
    assert keys[0] == keys[1] != keys[2]


def test_an_object_that_only_looks_like_a_dataset_has_a_key_too():
    class Duck:
        name, classes, ids, groups = "duck", ("a", "b"), ["x"], ["x"]

        def fingerprint(self):
            return "0"

    assert data_key(Duck()) == data_key(Duck())


def test_a_cache_made_before_some_ids_were_dropped_is_not_used(tmp_path):
    """A row number belongs to an id of its own cache."""
    sample_reader(Drawn(count=20), RESIZING, tmp_path)
    fewer = Drawn(count=20)
    fewer.ids = fewer.ids[5:]
    cached, direct = (sample_reader(fewer, RESIZING, root) for root in (tmp_path, None))
    for id in fewer.ids:
        np.testing.assert_array_equal(cached(id)[0], direct(id)[0])
    with pytest.raises(KeyError):
        cached("disc_00")


class Toggled(Drawn):
    """Its source and values are the same before and after: the mask depends on a file."""

    folder = None

    def read_mask(self, id):
        return super().read_mask(id) * np.uint8(Path(self.folder, "factor").read_text())

    def fingerprint(self):
        return "by the names of the files"


def test_files_that_change_under_a_fingerprint_that_ignores_them(tmp_path, capsys):
    Toggled.folder = str(tmp_path)
    (tmp_path / "factor").write_text("0")
    cache = sample_reader(Toggled(), RESIZING, tmp_path / "cache")
    assert not cache("disc_04")[1].any()
    (tmp_path / "factor").write_text("1")
    capsys.readouterr()
    mended = sample_reader(Toggled(), RESIZING, tmp_path / "cache")
    assert mended("disc_04")[1].any()
    assert "is built again: disc_00 now reads differently, so a file or the reading code has" in capsys.readouterr().out
    sample_reader(Toggled(), RESIZING, tmp_path / "cache")
    assert capsys.readouterr().out == ""
    assert not cache("disc_04")[1].any()  # who had it open still reads what it held


def test_a_cache_whose_images_became_unreadable_lists_them(tmp_path):
    Toggled.folder = str(tmp_path)
    (tmp_path / "factor").write_text("1")
    sample_reader(Toggled(), RESIZING, tmp_path / "cache")
    (tmp_path / "factor").unlink()
    with pytest.raises(ValueError, match="12 samples cannot be read"):
        sample_reader(Toggled(), RESIZING, tmp_path / "cache")


def test_a_reader_that_is_random_is_named(tmp_path):
    class Random(Drawn):
        def read_image(self, id):
            return np.random.default_rng().integers(0, 256, (31, 43, 1), dtype=np.uint8)

    sample_reader(Random(), RESIZING, tmp_path)
    with pytest.raises(ValueError, match=r"disc_00 reads differently each time; move what is random .* to augment"):
        sample_reader(Random(), RESIZING, tmp_path)


@pytest.mark.parametrize("name", ["ids.json", "masks.npy"])
def test_a_damaged_cache_is_built_again(tmp_path, name):
    folder = sample_reader(Drawn(), RESIZING, tmp_path).folder
    (folder / name).write_bytes(b"half")
    cached, direct = (sample_reader(Drawn(), RESIZING, root) for root in (tmp_path, None))
    np.testing.assert_array_equal(cached("disc_03")[1], direct("disc_03")[1])


def test_a_killed_build_of_other_code_is_not_continued(tmp_path, monkeypatch):
    Toggled.folder = str(tmp_path)
    (tmp_path / "factor").write_text("0")
    monkeypatch.setattr("kit.data.cache.CHUNK", 4)
    reads = []

    class Stopped(Toggled):
        def read_image(self, id):
            reads.append(id)
            if len(reads) > 9 and (tmp_path / "factor").read_text() == "0":
                raise KeyboardInterrupt
            return super().read_image(id)

        def shape(self, id):
            return super().read_image(id).shape[:2]

    with pytest.raises(KeyboardInterrupt):
        sample_reader(Stopped(), RESIZING, tmp_path / "cache")
    [partial] = (tmp_path / "cache").glob(".*.partial")
    assert np.load(partial / "done.npy").sum() in {4, 8}
    (tmp_path / "factor").write_text("1")
    cache = sample_reader(Stopped(), RESIZING, tmp_path / "cache")
    assert all(cache(id)[1].any() for id in cache.rows)


def test_stretched_and_padded_images_have_caches_of_their_own(tmp_path):
    folders = {sample_reader(Drawn(), Resizing((16, 20), keep), tmp_path).folder for keep in (False, True)}
    assert len(folders) == 2


def test_images_of_several_types_or_channels_are_refused_by_name(tmp_path):
    class Mixed(Drawn):
        def read_image(self, id):
            image = super().read_image(id)
            return image.astype(np.float32) if id == "disc_05" else image[..., :1] if id == "disc_07" else image

    with pytest.raises(ValueError, match="2 samples cannot be read") as refusal:
        ImageCache.open(Mixed(["a", "b"]), RESIZING, tmp_path)
    assert "disc_05: the image is float32, expected uint8" in str(refusal.value)
    assert "disc_07: the image is (31, 43, 1), expected 2 channels" in str(refusal.value)


def test_samples_are_spread_and_hold_both_ends():
    assert sample_ids(list("abc")) == list("abc")
    ids = [str(number) for number in range(1000)]
    assert sample_ids(ids)[0] == "0"
    assert sample_ids(ids)[-1] == "999"
    assert len(sample_ids(ids)) == 8


def test_the_default_fingerprints():
    class Tests(Drawn):
        def __init__(self, test_ids):
            super().__init__()
            self.test_ids = test_ids

    one, same, other = Tests(["a"]), Tests(["a"]), Tests(["b"])
    assert one.fingerprint() == same.fingerprint() == other.fingerprint()
    assert one.test_fingerprint() == same.test_fingerprint() != other.test_fingerprint()
    assert issubclass(Tests, Dataset)
