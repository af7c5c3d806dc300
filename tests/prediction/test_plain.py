"""Values as JSON and back: what a network is made of survives, what cannot is named when it is used."""

import functools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from any_data import Shapes
from torch import nn

from kit.data import Resizing
from kit.prediction.plain import Decoder, Encoder, Lacking, LackingValue
from kit.prediction.views import TTA, VIEWS


@dataclass(frozen=True)
class Sized:
    path: Path
    sizes: tuple[int, ...]
    more: object = None

    def __post_init__(self):
        assert self.path.exists()  # as a Config may ask for its data


def back(value):
    return Decoder()(json.loads(json.dumps(Encoder()(value), allow_nan=False)))


VALUES = [
    None,
    True,
    -3,
    1e-300,
    float("inf"),
    "ä\n",
    (1, (2.5, "x"), ()),
    [1, [2], (3,)],
    {"a": 1, "lacking": [2]},
    {1: "one", (2, 3): None},
    {3, 1},
    frozenset({"a"}),
    Path("runs/a b"),
    torch.float16,
    torch.device("cpu"),
    Resizing((3, 4), keep_ratio=True),
    TTA(VIEWS["d4"], (1.0, 0.5)),
    nn.ReLU,
    np.float32,
    nn,
    len,
    json.dumps,
]


@pytest.mark.parametrize("value", VALUES, ids=[f"{place} {type(value).__name__}" for place, value in enumerate(VALUES)])
def test_a_value_comes_back_as_it_was(value):
    found = back(value)
    assert found == value
    assert type(found) is type(value)


def test_arrays_come_back_with_dtype_and_shape():
    for array in (np.float32([[1.5, np.nan]]), np.arange(6, dtype=np.uint16).reshape(2, 3), np.array([True, False])):
        found = back(array)
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)
        assert torch.equal(
            torch.nan_to_num(back(torch.from_numpy(array)).float()), torch.from_numpy(np.nan_to_num(array)).float()
        )


def test_a_dataclass_comes_back_without_its_init(tmp_path):
    (tmp_path / "data").mkdir()
    value = Sized(tmp_path / "data", (1, 2), Resizing(None))
    text = json.dumps(Encoder()(value))
    (tmp_path / "data").rmdir()
    assert Decoder()(json.loads(text)) == value


def test_a_data_set_says_what_it_said_and_has_no_files():
    found = back(Shapes())
    assert (found.name, found.classes, found.channels, found.num_classes, found.task) == (
        "shapes",
        ("background", "square", "disc"),
        ("red", "green", "blue"),
        3,
        "multiclass",
    )
    with pytest.raises(NotImplementedError):
        found.read_image("shapes_00")


def test_partials_and_methods_are_called_alike():
    assert back(functools.partial(Resizing, (2, 3), keep_ratio=True))() == Resizing((2, 3), True)
    assert back(Resizing((2, 3)).content)((5, 5)) == (slice(0, 2), slice(0, 3))


def test_a_value_that_cannot_be_kept_is_named_when_it_is_used():
    found = back(Sized(Path(), (1,), nn.Conv2d(3, 3, 1)))
    assert found.sizes == (1,)
    assert isinstance(found.more, Lacking)
    for use in (lambda: found.more.weight, lambda: found.more(1), lambda: len(found.more), lambda: bool(found.more)):
        with pytest.raises(LackingValue, match="more, a Conv2d"):
            use()


def test_a_large_array_is_not_kept():
    with pytest.raises(LackingValue, match=r"array of float64 \(20000,\)"):
        len(back(np.zeros(20_000)))
