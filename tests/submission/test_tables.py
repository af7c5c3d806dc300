"""CSVs as people and programs write them: read where that is certain, told by name where it is not."""

import unicodedata

import pytest

from kit.submission import Dialect, errors_of, lint, read_rows
from kit.submission.formats import read_columns

PLAIN = Dialect()
SHAPE = (5, 9)
ROWS = [("p1.png", "3 4"), ("é-2.png", ""), ("p3.png", "40 2")]
TEXT = "img,rle_mask\n" + "".join(f"{name},{mask}\n" for name, mask in ROWS)
BOM = b"\xef\xbb\xbf"


def told(tmp_path, content: bytes, sample: bytes | None = None, dialect=PLAIN):
    (tmp_path / "s.csv").write_bytes(content)
    (tmp_path / "sample.csv").write_bytes(TEXT.encode() if sample is None else sample)
    problems = lint(tmp_path / "s.csv", dialect, tmp_path / "sample.csv", SHAPE)
    return [
        problem for problem in problems if "looked for" not in problem.what and "sample file's own" not in problem.what
    ]


@pytest.mark.parametrize(
    ("content", "severity", "said"),
    [
        (BOM + TEXT.encode(), "warning", "byte-order mark"),
        (TEXT.encode("utf-16"), "error", "UTF-16"),
        (TEXT.encode("utf-16-le"), "error", "UTF-16"),
        (TEXT.encode("utf-16-be"), "error", "UTF-16"),
        (TEXT.replace(",", ";").encode(), "error", "separated by ';'"),
        (TEXT.replace(",", "\t").encode(), "error", r"separated by '\t'"),
        (TEXT.replace("\n", "\n\n").encode(), "warning", "a blank line"),
        (TEXT.replace("p1", " p1").encode(), "error", "blanks around img, ' p1.png': write 'p1.png'"),
        (TEXT.replace(",rle", ", rle").encode(), "error", "blanks around the columns' names"),
    ],
)
def test_other_spellings_are_read_and_told(tmp_path, content, severity, said):
    problems = told(tmp_path, content)
    assert problems
    for problem in problems:
        assert problem.severity == severity
        assert said in problem.what
    assert list(read_rows(tmp_path / "s.csv", PLAIN)) == ROWS
    assert told(tmp_path, TEXT.encode(), sample=content) == []


@pytest.mark.parametrize(
    "content", [TEXT.replace("\n", "\r\n"), TEXT.replace("p3.png", '"p3.png"'), TEXT.removesuffix("\n")]
)
def test_spellings_that_every_reader_knows_are_right(tmp_path, content):
    assert told(tmp_path, content.encode()) == []


def test_latin_1_is_named_with_the_text_that_it_means(tmp_path):
    (problem,) = [each for each in told(tmp_path, TEXT.encode("latin-1")) if "UTF-8" in each.what]
    assert problem.severity == "error"
    assert problem.where == "line 3"
    assert "Latin-1 (Windows-1252) they read 'é-2.png'" in problem.what
    with pytest.raises(ValueError, match="line 3: bytes that are not UTF-8"):
        list(read_rows(tmp_path / "s.csv", PLAIN))


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\x1f\x8b\x08"])
def test_other_kinds_of_files(tmp_path, start):
    (problem,) = told(tmp_path, start + bytes(100))
    assert "no CSV but" in problem.what
    assert any("sample file sample.csv: line 1: no CSV" in str(each) for each in told(tmp_path, TEXT.encode(), start))


def test_columns_in_another_order_and_more_of_them(tmp_path):
    turned = "rle_mask,img\n" + "".join(f"{mask},{name}\n" for name, mask in ROWS)
    (problem,) = told(tmp_path, turned.encode())
    assert problem.severity == "warning"
    assert "read by name" in problem.what
    more = "img,score,rle_mask\n" + "".join(f"{name},0.5,{mask}\n" for name, mask in ROWS)
    (problem,) = told(tmp_path, more.encode())
    assert problem.severity == "error"
    assert "more columns than img,rle_mask: score. Leave them out" in problem.what
    assert list(read_rows(tmp_path / "s.csv", PLAIN)) == ROWS


def test_a_header_of_another_dialect_names_the_flag_and_a_missing_one_is_seen(tmp_path):
    (problem,) = told(tmp_path, TEXT.replace("img,rle_mask", "id,mask").encode())
    assert "it is 'id,mask'" in problem.what
    assert "--columns id mask" in problem.what
    (problem,) = told(tmp_path, TEXT.partition("\n")[2].encode())
    assert "The first line looks like a row" in problem.what


@pytest.mark.parametrize("wrong", ["P1.png", "p1", "p1.jpg"])
def test_an_unknown_id_names_the_one_that_it_resembles(tmp_path, wrong):
    first = told(tmp_path, TEXT.replace("p1.png", wrong).encode())[0]
    assert first.where == f"line 2 ({wrong!r})"
    assert first.what == "unknown, the sample file has no such id. It has 'p1.png': write it so"


def test_a_name_in_other_bytes_is_one_name(tmp_path):
    other = unicodedata.normalize("NFD", TEXT)
    (problem,) = told(tmp_path, other.encode())
    assert problem.severity == "error"
    assert problem.where.startswith("line 3")
    assert "in other bytes (NFD, expected NFC)" in problem.what
    assert 'unicodedata.normalize("NFC", id)' in problem.what
    (problem,) = told(tmp_path, TEXT.encode(), sample=other.encode())
    assert "(NFC, expected NFD)" in problem.what
    both = TEXT + unicodedata.normalize("NFD", "é-2.png,1 1\n")
    assert any("duplicate" in each.what and each.where.startswith("line 5") for each in told(tmp_path, both.encode()))


def test_read_columns_of_any_table(tmp_path):
    (tmp_path / "t.csv").write_bytes(BOM + b"id; class ;segmentation\n a;stomach;1 2\n\nb;;\n")
    assert list(read_columns(tmp_path / "t.csv")) == [
        {"id": "a", "class": "stomach", "segmentation": "1 2"},
        {"id": "b", "class": "", "segmentation": ""},
    ]
    (tmp_path / "t.csv").write_text("a,b\n1\n")
    with pytest.raises(ValueError, match="line 2: 1 cells instead of 2"):
        list(read_columns(tmp_path / "t.csv"))


def test_errors_come_first(tmp_path):
    problems = told(tmp_path, BOM + TEXT.replace("3 4", "3 4 5").replace("p3", "p4").encode())
    severities = [problem.severity for problem in problems]
    assert severities == sorted(severities)
    assert len(errors_of(problems)) == 3  # malformed, unknown, missing
