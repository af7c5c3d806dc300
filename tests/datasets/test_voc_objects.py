import pickle
from pathlib import Path

import numpy as np
import pytest
from miniatures import draw_voc

from kit.data.cache import sample_reader
from kit.data.resize import Resizing
from kit.data.samples import SegmentationDataset
from kit.datasets.voc import VOC
from kit.datasets.voc_objects import Crop, ObjectCrops, object_crops

REAL = Path(__file__).resolve().parents[3] / "shared/data/voc"


def test_windows_counted_by_hand():
    mask = np.zeros((100, 140), np.uint8)
    mask[40:60, 50:80] = 7  # 20×30 around (50, 65): 1.2 times 30 is 36, half of it 18
    mask[0:10, 130:140] = 3  # in the corner, around (5, 135): half of 12 is 6, cut off above and on the right
    assert object_crops(mask) == [Crop(3, 0, 11, 129, 140), Crop(7, 32, 68, 47, 83)]


def test_parts_touch_at_corners_and_small_ones_are_left_out():
    mask = np.zeros((60, 60), np.uint8)
    mask[10:20, 10:20] = mask[20:30, 20:30] = 5  # one object: 8-connected
    mask[40:49, 40:51], mask[50:60, 0:10], mask[0:10, 50:60] = 5, 6, 255  # 99 pixels; 100; void is no object
    assert [crop.label for crop in object_crops(mask)] == [5, 6]
    assert object_crops(mask)[0] == Crop(5, 8, 32, 8, 32)
    assert [crop.label for crop in object_crops(mask, min_area=99)] == [5, 5, 6]


def test_instances_part_what_touches_and_join_what_is_apart():
    mask, instances = np.zeros((2, 80, 80), np.uint8)
    mask[10:30, 10:50] = 15
    instances[10:30, 10:30], instances[10:30, 30:50] = 1, 2
    mask[60:70, 0:15], mask[60:70, 40:55] = 8, 8
    instances[60:70, 0:15], instances[60:70, 40:55], instances[75:80] = 3, 3, 4  # 4 has no pixel of a class
    assert object_crops(mask, instances) == [
        Crop(8, 32, 80, 0, 61),  # columns 0 to 55: half of 66 is 33, around (65, 27.5)
        Crop(15, 8, 32, 8, 32),
        Crop(15, 8, 32, 28, 52),
    ]
    assert len(object_crops(mask)) == 3  # without the map: one person, two cats


@pytest.fixture
def voc(tmp_path):
    return VOC(draw_voc(tmp_path, sbd=True), train="train_aug", sbd_dir=tmp_path)


def test_a_view_of_every_object_with_its_own_class_alone(voc):
    ids = [id for id, fold in zip(voc.ids, voc.split(), strict=True) if fold == -1]
    crops = ObjectCrops(voc, ids, min_area=60)
    assert set(crops.groups) == set(ids)
    assert crops.ids[0] == "2007_000001_0"
    assert [id.rpartition("_")[0] for id in crops.ids] == crops.groups
    cleared = 0
    for id, picture in zip(crops.ids, crops.groups, strict=True):
        image, mask = crops.read_image(id), crops.read_mask(id)
        assert image.shape == (*mask.shape, 3)
        assert crops.shape(id) == mask.shape
        labels = set(np.unique(mask).tolist()) - {0, 255}
        assert len(labels) == 1
        _, crop = crops._crops[id]
        window = voc.read_mask(picture)[crop.top : crop.bottom, crop.left : crop.right]
        assert np.array_equal(mask, np.where((window == crop.label) | (window == 255), window, 0))
        assert (mask == crop.label).sum() >= 60
        cleared += len(set(np.unique(window)) - {0, 255, crop.label})
    assert cleared > 0  # some windows show another class too
    objects = sum(len(np.setdiff1d(voc.read_instances(id), [0, 255])) for id in ids)
    assert objects * 0.8 < len(crops.ids) <= objects


def test_trains_through_kits_own_reader_and_its_cache(voc, tmp_path):
    crops = pickle.loads(pickle.dumps(ObjectCrops(voc, voc.ids[:8])))
    for cache in (None, tmp_path / "cache"):
        if cache:
            cache.mkdir()
        sample = SegmentationDataset(sample_reader(crops, Resizing((32, 32)), cache), crops.ids)[1]
        assert sample.image.shape == (3, 32, 32)
        assert len(set(sample.mask.unique().tolist()) - {0, 255}) == 1
    assert crops.fingerprint() != ObjectCrops(voc, voc.ids[:8], min_area=300).fingerprint()
    assert crops.fingerprint() != voc.fingerprint()


def test_without_maps_of_objects_parts_are_taken_and_it_is_said(voc, tmp_path):
    for path in (tmp_path / "VOCdevkit/VOC2012/SegmentationObject").iterdir():
        path.unlink()
    crops = ObjectCrops(voc, voc.ids[:13])
    assert crops.notes[1] == "In 8 images without a map of objects, connected parts count as objects."
    assert {id[:4] for id in crops.groups} == {"2007", "2009"}


def test_bad_masks_are_all_listed_and_nothing_to_crop_is_an_error(voc, tmp_path):
    with pytest.raises(ValueError, match="no object of 99999 pixels or more"):
        ObjectCrops(voc, voc.ids, min_area=99999)
    with pytest.raises(KeyError, match="no object '2007_000001_9'"):
        ObjectCrops(voc, voc.ids).read_mask("2007_000001_9")
    for id in voc.ids[1:3]:
        (tmp_path / f"VOCdevkit/VOC2012/SegmentationClass/{id}.png").write_bytes(b"<html>")
    with pytest.raises(ValueError, match=r"2 masks cannot be read(?s:.*)000002\.png(?s:.*)000003\.png"):
        ObjectCrops(voc, voc.ids)


@pytest.mark.skipif(not REAL.is_dir(), reason="needs the real VOC in shared/data/voc")
def test_the_real_data():
    voc = VOC(REAL)
    crops = ObjectCrops(voc, voc.ids[:40])
    assert len(crops.ids) >= 40
    for id in crops.ids[::9]:
        mask = crops.read_mask(id)
        assert len(set(np.unique(mask).tolist()) - {0, 255}) == 1
        assert crops.read_image(id).shape[:2] == mask.shape
