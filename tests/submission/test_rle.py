"""RLE against a plain oracle: every mask up to 4×4 in both orders, then the sizes where the kernels change gear."""

import csv
from itertools import groupby, product
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from kit.submission import rle

CARVANA = Path(__file__).resolve().parents[3] / "shared/data/carvana"


def plain_encode(values: list[int]) -> str:
    tokens, at = [], 1
    for value, group in groupby(values):
        length = len(list(group))
        if value:
            tokens += [str(at), str(length)]
        at += length
    return " ".join(tokens)


def plain_decode(text: str, pixels: int) -> list[int]:
    tokens = [token for token in text.split(" ") if token]
    if len(tokens) % 2 or any(set(token) - set("0123456789") for token in tokens):
        raise ValueError
    flat, end = [0] * pixels, 0
    for start, length in zip(map(int, tokens[::2]), map(int, tokens[1::2]), strict=True):
        if start <= end or length < 1 or start + length - 1 > pixels:
            raise ValueError
        end = start + length - 1
        flat[start - 1 : end] = [1] * length
    return flat


def numpy_encode(mask: np.ndarray, order: str) -> str:
    padded = np.pad(mask.astype(np.int8).ravel(order=order), 1)
    edges = np.flatnonzero(np.diff(padded)) + 1
    edges[1::2] -= edges[::2]
    return " ".join(map(str, edges.tolist()))


@pytest.mark.parametrize("shape", list(product(range(1, 5), range(1, 4))))
def test_every_small_mask(shape):
    height, width = shape
    pixels = height * width
    bits = (np.arange(2**pixels)[:, None] >> np.arange(pixels)) & 1
    for flat in bits.astype(np.uint8):
        expected = plain_encode(flat.tolist())
        by_rows, by_columns = flat.reshape(height, width), flat.reshape(width, height).T
        assert rle.encode(by_rows) == expected
        assert rle.encode(by_columns, "F") == expected
        assert rle.decode(expected, shape).tobytes() == by_rows.tobytes()
        assert rle.decode(expected, shape, "F").tobytes() == by_columns.tobytes()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(1, 127), (1, 128), (1, 129), (8, 16), (15, 17), (3, 1000), (1000, 3), (97, 101)])
@pytest.mark.parametrize("mean_run", [1, 5, 60, 400])
def test_masks_around_the_block_size(shape, order, mean_run):
    rng = np.random.default_rng(mean_run)
    changes = rng.random(shape[0] * shape[1]) < 1 / mean_run
    mask = (np.cumsum(changes) % 2).astype(np.uint8).reshape(shape)
    text = rle.encode(mask, order)
    assert text == numpy_encode(mask, order)
    np.testing.assert_array_equal(rle.decode(text, shape, order), mask)


@pytest.mark.parametrize("order", ["C", "F"])
def test_any_memory_layout(order):
    base = np.random.default_rng(0).integers(0, 2, (70, 90), dtype=np.uint8)
    read_only = base.copy()
    read_only.setflags(write=False)
    layouts = [base[1:], base[:, 3:80], base[::-1, ::2], base.T, np.asfortranarray(base), read_only, base == 1]
    for mask in layouts:
        assert rle.encode(mask, order) == numpy_encode(mask, order)


def test_decoded_mask_is_writable_and_contiguous():
    for order in "CF":
        mask = rle.decode("2 2", (2, 3), order)
        assert mask.dtype == np.uint8
        assert mask.flags.c_contiguous
        assert mask.flags.writeable


def test_empty_images_and_masks():
    for order in "CF":
        assert rle.encode(np.zeros((0, 5), bool), order) == ""
        assert rle.encode(np.zeros((300, 5), bool), order) == ""
        assert rle.decode("", (0, 5), order).shape == (0, 5)
        assert rle.decode("", (3, 5), order).sum() == 0


def test_touching_runs_are_valid():
    np.testing.assert_array_equal(rle.decode("1 2 3 2 6 1", (2, 3)), [[1, 1, 1], [1, 0, 1]])


@pytest.mark.parametrize(
    ("mask", "said"),
    [
        (np.array([[0, 255]], np.uint8), "0, 255"),
        (np.full((40, 40), 2, np.uint8), "holds 2:"),
        (np.arange(200, dtype=np.uint8).reshape(10, 20), "…"),
        (np.zeros((2, 2), np.int64), "int64"),
        (np.zeros((2, 2), np.float32), "float32"),
        (np.zeros(4, np.uint8), r"\(4,\)"),
        (np.zeros((1, 2, 2), bool), r"\(1, 2, 2\)"),
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_masks_that_are_refused(mask, said, order):
    with pytest.raises(ValueError, match=said):
        rle.encode(mask, order)


@pytest.mark.parametrize("shape", [(2,), (2, 3, 1), (-1, 3), (2.0, 3), "ab", None])
def test_shapes_that_are_refused(shape):
    with pytest.raises(ValueError, match="shape is"):
        rle.decode("1 1", shape)


def test_orders_that_are_refused():
    for call in (lambda: rle.encode(np.zeros((2, 2), bool), "A"), lambda: rle.decode("", (2, 2), "row")):
        with pytest.raises(ValueError, match="order is"):
            call()


ODD_TOKENS = ["", "nan", "1.0", "+1", "007", "٣", "9" * 30, "9" * 5000, "1\t1", "1\n", "1_0", "0x1", "²", "\ud800"]
TOKENS = st.one_of(st.integers(-2, 40).map(str), st.sampled_from(ODD_TOKENS), st.text(max_size=3))


@settings(max_examples=300, deadline=None)
@given(st.lists(TOKENS, max_size=8).map(" ".join), st.sampled_from([(0, 0), (1, 1), (4, 5), (30, 2)]))
def test_decode_of_anything_is_the_plain_decode_or_value_error(text, shape):
    try:
        expected = plain_decode(text, shape[0] * shape[1])
    except ValueError:
        with pytest.raises(ValueError, match="malformed"):
            rle.decode(text, shape)
        return
    assert rle.decode(text, shape).ravel().tolist() == expected


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.integers(1, 12)), max_size=8))
def test_decode_of_sorted_runs_is_exact(gaps):
    edges = np.cumsum([side for gap in gaps for side in gap])
    tokens = [number for start, end in zip(edges[::2], edges[1::2], strict=True) for number in (start, end - start)]
    text = " ".join(map(str, tokens))
    mask = rle.decode(text, (12, 17), "F")
    assert rle.encode(mask, "F") == text
    assert mask.T.ravel().tolist() == plain_decode(text, 12 * 17)


@pytest.mark.skipif(not CARVANA.is_dir(), reason=f"no real data at {CARVANA}")
def test_carvana_official_encodings():
    with (CARVANA / "train_masks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[::60]
    for row in rows:
        with Image.open(CARVANA / "train_masks" / row["img"].replace(".jpg", "_mask.gif")) as gif:
            mask = np.asarray(gif).astype(np.uint8)
        assert rle.encode(mask) == row["rle_mask"]


def test_masks_of_2_31_pixels_are_counted_in_int64(monkeypatch):
    small = np.random.default_rng(0).integers(0, 2, (97, 131), np.uint8)

    def encodings():
        return [rle.encode(small, order) for order in "CF"]

    expected, asked = encodings(), []
    assert rle.new_edges(small.size).dtype == np.int32
    monkeypatch.setattr(rle, "new_edges", lambda pixels: asked.append(pixels) or np.empty(pixels + 1, np.int64))
    assert encodings() == expected
    assert asked == [small.size, small.size]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 10**18 - 1), min_size=0, max_size=40, unique=True), st.integers(0, 18))
def test_edges_of_any_size_are_written_as_python_writes_them(numbers, digits):
    edges = sorted({number % 10**digits for number in numbers})
    edges = edges[: len(edges) // 2 * 2]
    words = [word for start, end in zip(edges[::2], edges[1::2], strict=True) for word in (start + 1, end - start)]
    assert rle.encode_edges(np.array(edges, np.int64), 10**digits) == " ".join(map(str, words))
