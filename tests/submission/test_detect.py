"""The dialect found from a competition's files, and a CSV of true masks held against the masks themselves."""

from dataclasses import replace
from pathlib import Path

import cv2
import masks_drawn as drawn
import numpy as np
import pytest

from kit.submission import Competition, Dialect, compare_masks, detect, rle, write
from kit.submission.check_numbers import check_numbers
from kit.submission.detect import look

DATA = Path(__file__).resolve().parents[3] / "shared/data"
SHAPE = (90, 160)
EMPTY = np.zeros(SHAPE, np.uint8)


class Drawn:
    """A data set of drawn masks; some touch the borders, one is empty."""

    def __init__(self, shape=SHAPE, count=12, classes=1):
        rng = np.random.default_rng(5)
        self.ids = [f"scan{i:02}" for i in range(count)]
        self.masks = {}
        for id in self.ids:
            mask = np.zeros(shape, np.uint8)
            for index in range(1, classes + 1):
                mask[drawn.discs(rng, *shape) > 0] = index
            mask[0] = mask[1]
            self.masks[id] = mask
        self.masks[self.ids[3]][:] = 0

    def read_mask(self, id):
        return self.masks[id]


def files(tmp_path, data, dialect, placeholder=None):
    """train.csv and sample.csv in a dialect."""
    classes = range(1, max(1, len(dialect.labels)) + 1)
    rows = []
    for id in data.ids:
        masks = [(k, rle.encode(data.masks[id] == k, dialect.order)) for k in classes]
        if dialect.rows == "instance":
            _, labels = cv2.connectedComponents(data.masks[id])
            masks = [(1, rle.encode(labels == k, dialect.order)) for k in range(1, labels.max() + 1)]
        rows += dialect.cells(id, masks)
    write(rows, tmp_path / "train.csv", dialect)
    sample = [dialect.cells(f"test{i}", []) for i in range(4)]
    write([row for rows in sample for row in rows], tmp_path / "sample.csv", dialect)
    return tmp_path / "train.csv", tmp_path / "sample.csv"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(("img", "rle_mask"), key="{id}.jpg"),
        Dialect(("id", "rle_mask"), base=0),
        Dialect(("ImageId", "EncodedPixels"), "instance", base=0, relative=True, empty="-1"),
        Dialect(("ImageId", "EncodedPixels"), "instance"),
        Dialect(("Image_Label", "EncodedPixels"), "class", key="{id}.png_{class}", labels=("Fish", "Sugar")),
        Dialect(("id", "class", "segmentation"), "class", class_column="class", labels=("heart", "lung", "liver")),
        Dialect(("ImageId", "EncodedPixels", "ClassId"), "class", class_column="ClassId", labels=("1", "2"), empty="-"),
    ],
)
def test_each_dialect_is_found_from_its_files(tmp_path, dialect, order):
    data = Drawn(classes=max(1, len(dialect.labels)))
    wanted = Dialect(**{**vars(dialect), "order": order})
    assert detect(*files(tmp_path, data, wanted), SHAPE) == wanted
    assert detect(*files(tmp_path, data, wanted), dict.fromkeys(data.ids, SHAPE)) == wanted


def test_square_images_need_the_masks(tmp_path):
    data, wanted = Drawn((101, 101)), Dialect(("id", "rle_mask"), order="F")
    train, sample = files(tmp_path, data, wanted)
    with pytest.raises(ValueError, match=r'order="C" .* and order="F" .* cannot tell'):
        detect(train, sample, (101, 101))
    with pytest.raises(ValueError, match="give shapes="):
        detect(train, sample)
    assert detect(train, sample, read_mask=data.read_mask) == wanted
    data.masks = {id: mask.T for id, mask in data.masks.items()}
    assert detect(train, sample, read_mask=data.read_mask).order == "C"
    data.masks = {id: mask[::-1] for id, mask in data.masks.items()}
    with pytest.raises(ValueError, match="differ from the training CSV"):
        detect(train, sample, read_mask=data.read_mask)


def test_what_the_files_leave_open_is_not_guessed(tmp_path):
    train, sample = files(tmp_path, Drawn(), Dialect())
    with pytest.raises(ValueError, match='order="C"'):
        detect(None, sample, SHAPE)
    with pytest.raises(ValueError, match="holds no masks"):
        detect(sample, sample, SHAPE)
    sample.write_text("img,rle_mask\na,-1\nb,\n")
    with pytest.raises(ValueError, match="written in 2 ways, '', '-1'"):
        detect(train, sample, SHAPE)
    sample.write_text("img,rle_mask\na,1 1\n")
    with pytest.raises(ValueError, match="height, width"):
        detect(train, sample, (20, 20))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA}")
def test_real_competitions():
    carvana = DATA / "carvana"
    found = detect(carvana / "train_masks.csv", carvana / "sample_submission.csv", (1280, 1918))
    assert found == Dialect(("img", "rle_mask"), key="{id}.jpg")
    nuclei = DATA / "nuclei"
    rows = (nuclei / "stage1_train_labels.csv").read_text().splitlines()[1:]
    sizes = {row.partition(",")[0]: (520, 696) for row in rows}
    with pytest.raises(ValueError, match=r"shapes are|cannot tell"):
        detect(nuclei / "stage1_train_labels.csv", nuclei / "stage1_sample_submission.csv", sizes)  # of other sizes
    salt = DATA / "salt"

    def read(id):
        return (cv2.imread(str(salt / "train/masks" / f"{id}.png"), cv2.IMREAD_UNCHANGED) > 0).astype(np.uint8)

    found = detect(salt / "train.csv", salt / "sample_submission.csv", read_mask=read)
    assert found == Dialect(("id", "rle_mask"), order="F")


@pytest.mark.parametrize(
    "dialect",
    [
        Dialect(order="F"),
        Dialect(("a", "b"), "instance", "F", base=0),
        Dialect(("a", "k", "b"), "class", class_column="k", labels=("x", "y")),
    ],
)
def test_true_masks_agree_with_themselves(tmp_path, dialect):
    data = Drawn((64, 64), classes=max(1, len(dialect.labels)))
    train, _ = files(tmp_path, data, dialect)
    assert compare_masks(data, train, dialect) == []
    assert compare_masks(data, train, dialect, data.ids[:2]) == []


def test_differences_are_found_by_image_and_another_order_is_named(tmp_path):
    data, dialect = Drawn((64, 64)), Dialect(key="{id}.png")
    train, _ = files(tmp_path, data, dialect)
    data.masks["scan05"] = data.masks["scan05"].copy()
    data.masks["scan05"][7, 9:12] ^= 1
    (problem,) = compare_masks(data, train, dialect)
    assert str(problem) == "train.csv, scan05: differs from the data set's mask in 3 of 4,096 pixels"
    data.masks["scan05"][7, 9:12] = 255
    assert compare_masks(data, train, dialect) == []
    swapped = [str(each) for each in compare_masks(data, train, Dialect(order="F", key="{id}.png"), data.ids[:3])]
    assert swapped[-1].startswith('train.csv: read with order="C", all ')
    shifted = [str(each) for each in compare_masks(data, train, Dialect(base=0, key="{id}.png"), data.ids[:3])]
    assert 'read with order="C", base=1, all 3 masks' in shifted[-1]
    train.write_text(train.read_text().replace("scan02", "scan99") + "scan01.png,\n")
    told = {str(each) for each in compare_masks(data, train, dialect)}
    assert "train.csv, scan02: no row" in told
    assert "train.csv, line 4 ('scan99.png'): the data set has no such image" in told
    assert "train.csv, line 14 ('scan01.png'): the id came before" in told


def test_a_class_column_of_any_name_is_known_by_its_values(tmp_path):
    (tmp_path / "sample.csv").write_text(
        "scan,tissue,runs\n" + "".join(f"s{n},{tissue},\n" for n in range(5) for tissue in ("bone", "fat"))
    )
    found = look(tmp_path / "sample.csv")
    assert (found.key, found.class_column, found.mask) == ("scan", "tissue", "runs")
    assert list(found.labels) == ["bone", "fat"]
    assert not found.repeats
    (tmp_path / "objects.csv").write_text(
        "id,runs,width,score\n" + "".join(f"a{n // 2},{n + 1} 2,704,0.{n}\n" for n in range(9))
    )
    found = look(tmp_path / "objects.csv")
    assert (found.key, found.class_column, found.mask) == ("id", None, "runs")
    assert found.repeats  # objects: neither the width nor the score tells them apart as a class does


class Scans(Drawn):
    """Drawn masks as the data set of a competition, whose test images are numbered alike."""

    classes = ("background", "disc")

    def __init__(self, shape=SHAPE, moved=0):
        super().__init__(shape)
        self.size, self.moved = shape, moved

    def shape(self, id):
        if id not in self.masks:
            raise KeyError(id)
        return self.size

    def read_mask(self, id):
        return np.roll(self.masks[id], self.moved, axis=1)


FORGOT = Dialect(("id", "rle_mask"))


@pytest.mark.parametrize(
    ("data", "written", "right"),
    [
        (Scans(), {"order": "F"}, "order='F'"),
        (Scans((120, 120)), {"order": "F"}, "order='F'"),  # of square images the masks alone tell
        (Scans(moved=2), {"order": "F"}, "order='F'"),  # the files are other masks: then their raggedness
        (Scans(), {"base": 0}, "base=0"),
        (Scans(), {"order": "F", "base": 0, "relative": True}, "order='F', base=0, relative=True"),
    ],
)
def test_a_dialect_that_forgets_how_the_training_csv_numbers_pixels_is_refused(tmp_path, data, written, right):
    csv, _ = files(tmp_path, data, replace(FORGOT, **written))
    with pytest.raises(
        ValueError, match=rf"masks in train\.csv .* with {right}; the dialect says \w.* Give Dialect\(…"
    ):
        check_numbers(Competition(data, FORGOT, data.ids, train_csv=csv))
    assert check_numbers(Competition(data, replace(FORGOT, **written), data.ids, train_csv=csv)) == []


def test_a_training_csv_that_cannot_tell_is_a_warning(tmp_path):
    csv, _ = files(tmp_path, Scans((120, 120)), FORGOT)
    other = Scans((120, 120), moved=2)
    [line] = check_numbers(Competition(other, FORGOT, other.ids, train_csv=csv))
    assert line.startswith("train.csv could not tell")


def test_a_sample_with_real_masks_in_the_other_order_is_a_warning(tmp_path):
    data = Scans()
    csv, placeholders = files(tmp_path, data, replace(FORGOT, order="F"))
    [line] = check_numbers(Competition(data, FORGOT, data.ids, sample_csv=csv))
    assert 'ragged in order="C", which the dialect says, and smooth in order="F"' in line
    assert check_numbers(Competition(data, replace(FORGOT, order="F"), data.ids, sample_csv=csv)) == []
    ones = tmp_path / "ones.csv"
    ones.write_text("id,rle_mask\n" + "".join(f"{id},1 1\n" for id in data.ids))
    for sample in (placeholders, ones, None):
        assert check_numbers(Competition(data, FORGOT, data.ids, sample_csv=sample)) == []


def test_classes_and_objects_are_compared_with_their_union(tmp_path):
    data = Scans()
    rows = replace(FORGOT, rows="instance", order="F")
    csv, _ = files(tmp_path, data, rows)
    with pytest.raises(ValueError, match="with order='F'; the dialect says order='C'"):
        check_numbers(Competition(data, replace(rows, order="C"), data.ids, train_csv=csv))
    layers = Scans()
    layers.read_mask = lambda id: np.stack([data.masks[id] > 0, np.zeros(SHAPE, bool)], axis=2)
    assert check_numbers(Competition(layers, rows, data.ids, train_csv=csv)) == []
    labels = Scans()
    labels.read_mask = lambda id: data.masks[id].astype(np.int32) * 255
    assert check_numbers(Competition(labels, rows, data.ids, train_csv=csv)) == []
