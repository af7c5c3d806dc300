"""COCO's panoptic format: a drawn folder, with and without zips, what is refused, and the real files."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from coco_drawn import rewrite, write_coco

from kit.data import Resizing, SegmentationDataset, check_dataset
from kit.datasets import CocoPanoptic
from kit.datasets.coco_panoptic import MOST_SEGMENTS, PanopticReader

SHARED = Path(__file__).resolve().parents[3] / "shared/data/coco_panoptic"
SIZE = (40, 50)
# id of a segment, category, crowd, rows, columns
SEGMENTS = {
    "000000000007": [
        (3 + 256 * 7, 3, 0, (0, 10), (0, 20)),
        (5, 4, 0, (0, 10), (20, 40)),
        (200_000, 3, 1, (10, 20), (0, 50)),
        (70_001, 101, 0, (20, 30), (0, 50)),
        (16_777_215, 102, 0, (30, 35), (0, 50)),
    ],
    "000000000123": [(9, 1, 0, (0, 40), (5, 25)), (8, 110, 0, (0, 40), (25, 50))],
}


def painted(segments):
    """The ids of segments int (H, W), and category and crowd of each."""
    ids = np.zeros(SIZE, np.int64)
    for id, _, _, rows, columns in segments:
        ids[slice(*rows), slice(*columns)] = id
    return ids, {id: (category, crowd) for id, category, crowd, *_ in segments}


def drawn(root, segments=SEGMENTS):
    return write_coco(root, {name: painted(own) for name, own in segments.items()})


def test_segments_get_the_classes_that_were_asked_for(tmp_path):
    drawn(tmp_path)
    data = CocoPanoptic(tmp_path)
    assert (data.name, data.ids, data.task) == ("coco_panoptic", sorted(SEGMENTS), "multiclass")
    assert data.classes == ("human", "vehicle", "sports", "plant", "air")  # things first
    assert data.num_things == 3
    assert data.shape("000000000007") == SIZE
    truth = data.read_panoptic("000000000007")
    assert truth.classes == {1: 1, 2: 1, 3: 1, 4: 3}  # tree and grass are one segment of plant
    assert truth.crowd == {3}
    wanted = np.zeros(SIZE, int)
    wanted[:10, :20], wanted[:10, 20:40], wanted[10:20], wanted[20:35] = 1, 2, 3, 4
    np.testing.assert_array_equal(truth.labels, wanted)
    np.testing.assert_array_equal(data.read_mask("000000000007"), np.array([255, 1, 1, 1, 3])[wanted])
    layers = data.read_layers("000000000007")
    np.testing.assert_array_equal(layers[..., 1], np.array([0, 1, 2, 0, 0])[wanted])  # a crowd is no thing to learn
    np.testing.assert_array_equal(layers[..., 0], data.read_mask("000000000007"))
    each = CocoPanoptic(tmp_path, supercategories=False)
    assert each.classes == ("person", "car", "bus", "kite", "tree", "grass", "sky")
    assert [*each.read_panoptic("000000000007").classes.values()] == [1, 2, 1, 4, 5]
    assert each.fingerprint() != data.fingerprint() == CocoPanoptic(tmp_path).fingerprint()
    check_dataset(data)


def test_zips_as_coco_packs_them_hold_the_same(tmp_path):
    drawn(tmp_path / "a")
    (tmp_path / "b/annotations").mkdir(parents=True)
    for name, folder in (("train2017", ""), ("panoptic_train2017", "annotations/")):
        with zipfile.ZipFile(tmp_path / f"b/{folder}{name}.zip", "w") as archive:
            for path in (tmp_path / "a" / folder / name).iterdir():
                archive.write(path, f"{name}/{path.name}")
    text = (tmp_path / "a/annotations/panoptic_train2017.json").read_text()
    (tmp_path / "b/annotations/panoptic_train2017.json").write_text(text)
    one, other = (CocoPanoptic(tmp_path / name) for name in "ab")
    assert one.fingerprint() == other.fingerprint()
    for id in one.ids:
        np.testing.assert_array_equal(one.read_layers(id), other.read_layers(id))
        np.testing.assert_array_equal(one.read_image(id), other.read_image(id))


def test_training_sees_classes_and_things_at_the_network_size(tmp_path):
    drawn(tmp_path)
    samples = SegmentationDataset(
        PanopticReader(CocoPanoptic(tmp_path), Resizing((32, 32), keep_ratio=True)), ["000000000123"]
    )
    layers = samples[0].mask.numpy()  # one thing and one class of stuff: no layer may be shrunk as a mask of 0 and 1
    assert layers.shape == (2, 32, 32)
    assert set(np.unique(layers[0])) == {0, 4, 255}
    np.testing.assert_array_equal(layers[1], layers[0] == 0)  # void around has no thing either


def test_more_things_than_training_can_number_leave_the_smallest_void(tmp_path):
    cells = [(n + 1, 1, 0, (n // 25 * 2, n // 25 * 2 + 1 + (n % 2)), (n % 25 * 2, n % 25 * 2 + 2)) for n in range(300)]
    drawn(tmp_path, {"000000000001": cells})
    data = CocoPanoptic(tmp_path)
    layers = data.read_layers("000000000001")
    assert np.unique(layers[..., 1]).tolist() == list(range(MOST_SEGMENTS + 1))
    lost = (layers[..., 0] == 255) & (data.read_mask("000000000001") == 0)
    assert np.count_nonzero(lost) == (300 - MOST_SEGMENTS) * 2  # of 2 pixels, not of 4


def test_what_does_not_agree_is_named(tmp_path):
    facts = drawn(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"panoptic_val2017\.json"):
        CocoPanoptic(tmp_path, split="val2017")
    facts["annotations"][0]["segments_info"][0]["id"] = 4
    rewrite(tmp_path, facts)
    with pytest.raises(ValueError, match=r"000000000007\.png: its segments are not those .* alone: 4, 1795$"):
        CocoPanoptic(tmp_path).read_mask("000000000007")
    facts["annotations"][0]["segments_info"][0]["category_id"] = 55
    facts["categories"][0]["supercategory"] = "plant"
    facts["images"].append({**facts["images"][0], "id": 8, "file_name": "8.jpg"})
    (tmp_path / "train2017/000000000123.jpg").unlink()
    rewrite(tmp_path, facts)
    with pytest.raises(ValueError, match=r"^4 problems with annotations/panoptic_train2017\.json") as error:
        CocoPanoptic(tmp_path)
    for said in ("of category 55", "plant has categories of things and of stuff", "8.jpg has no", "123.jpg is missing"):
        assert said in str(error.value)
    del facts["annotations"][0]["segments_info"]
    rewrite(tmp_path, facts)
    with pytest.raises(ValueError, match=r"is no JSON of COCO's panoptic format \(it lacks 'segments_info'\)"):
        CocoPanoptic(tmp_path)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared COCO images are not there")
def test_real_images_hold_what_the_json_says():
    """Areas are those that COCO counted."""
    data = CocoPanoptic(SHARED)
    assert (len(data.ids), len(data.classes), data.num_things) == (60, 27, 12)
    facts = json.loads((SHARED / "annotations/panoptic_train2017.json").read_text())
    areas = {one["image_id"]: [part["area"] for part in one["segments_info"]] for one in facts["annotations"]}
    each = CocoPanoptic(SHARED, supercategories=False)
    assert (len(each.classes), each.num_things) == (133, 80)
    for id in each.ids[:6]:
        truth = each.read_panoptic(id)
        assert np.bincount(truth.labels.ravel(), minlength=len(truth.classes) + 1)[1:].tolist() == areas[int(id)]
        assert data.read_image(id).shape[:2] == data.shape(id) == truth.labels.shape
