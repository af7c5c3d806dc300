"""The files of the drawn competitions: what is in them, and Folder on those whose masks are files."""

import csv
import fnmatch
import io
import json

import numpy as np
import pytest
import tifffile
from PIL import Image
from replicas import DRAW
from replicas.shared import NAMES, drawn, open_folder

from kit.data.images import decode_image, image_size
from kit.datasets.files import DataFolder

ONE_FILE = [name for name in DRAW if name != "contrails"]


def files_of(replica, pattern):
    """Paths below the folder, in zips too, that match a pattern with {id} or wildcards."""
    paths, _ = DataFolder(replica.folder).files()
    return fnmatch.filter(paths, pattern.replace("{id}", "*"))


def table(replica, name):
    return list(csv.DictReader((replica.folder / name).read_text().splitlines()))


@pytest.mark.parametrize("name", ONE_FILE)
def test_images_have_the_sizes_channels_and_types_that_are_promised(name):
    replica, images = drawn(name), files_of(drawn(name), drawn(name).images)
    tests = [] if replica.tests is None else files_of(replica, replica.tests)
    assert (len(images), len(tests)) == (len(replica.truth), len(replica.hidden))
    for path in images + tests:
        data = DataFolder(replica.folder).read(path)
        if name == "hubmap" and len(tifffile.TiffFile(io.BytesIO(data)).pages) > 1:
            assert tifffile.imread(io.BytesIO(data)).shape[:3] == (1, 1, 3)  # a page a channel, as some originals
            continue
        pixels = decode_image(data, path, channels=replica.channels)
        [id] = [id for id in {**replica.truth, **replica.hidden} if _is_of(id, path, name)]
        assert pixels.shape == (*replica.shape(id), replica.channels)
        assert (pixels.dtype, image_size(data, path)) == (replica.dtype, replica.shape(id))
        assert pixels.std() > 3


def _is_of(id, path, name):
    if name == "uw_madison":
        case, _, number = id.partition("_slice_")
        return f"/{case}/" in path and f"/slice_{number}_" in path
    return id in path.split("/")[-1].rpartition(".")[:1]


def test_objects_show_in_the_images():
    for name in ("carvana", "salt", "airbus", "siim", "uw_madison", "hubmap"):
        replica, differences = drawn(name), []
        for path in files_of(replica, replica.images):
            [id] = [id for id in replica.truth if _is_of(id, path, name)]
            truth = np.asarray(replica.truth[id] > 0).reshape(*replica.shape(id), -1).any(axis=2)
            data = DataFolder(replica.folder).read(path)
            if truth.any() and (name != "hubmap" or len(tifffile.TiffFile(io.BytesIO(data)).pages) == 1):
                grey = decode_image(data, path).astype(float).mean(axis=2)
                differences.append(abs(grey[truth].mean() - grey[~truth].mean()) / grey.std())
        assert np.min(differences) > 0.3


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hubmap"])
def test_folder_reads_every_image_and_mask(name):
    _check_folder(drawn(name))


@pytest.mark.parametrize("name", ["carvana", "salt", "dsb2018"])
def test_folder_reads_unpacked_zips_too(name, tmp_path):
    _check_folder(DRAW[name](tmp_path / name, zipped=False))


def test_folder_reads_slides_of_one_page(tmp_path):
    _check_folder(DRAW["hubmap"](tmp_path / "hubmap", paged=False))


def _check_folder(replica):
    data = open_folder(replica)
    assert (data.task, data.ids, data.test_ids) == (replica.task, sorted(replica.truth), sorted(replica.hidden))
    assert replica.groups is None or dict(zip(data.ids, data.groups, strict=True)) == replica.groups
    for id in data.ids + data.test_ids:
        image = data.read_image(id)
        assert (image.shape, image.dtype) == ((*replica.shape(id), replica.channels), replica.dtype)
        assert data.shape(id) == replica.shape(id)
    for id, truth in replica.truth.items():
        mask = data.read_mask(id)
        assert mask.dtype == truth.dtype
        if replica.task == "instances":  # objects may be numbered in another order
            mask = _numbered_as(mask, truth)
        assert (mask == truth).all()


def _numbered_as(labels, truth):
    """Labels with the numbers of `truth`, where each object is one of it, pixel by pixel."""
    pairs = np.unique(np.stack([labels.ravel(), truth.ravel()], axis=1), axis=0)
    assert len(pairs) == len(np.unique(labels)) == len(np.unique(truth))
    return dict(pairs.tolist())[0] + np.vectorize(dict(pairs.tolist()).get)(labels)


def test_salts_masks_are_16_bits_where_there_is_salt():
    salt, empty = drawn("salt"), 0
    for id, truth in salt.truth.items():
        mask = Image.open(io.BytesIO(DataFolder(salt.folder).read(f"train/masks/{id}.png")))
        assert mask.mode == ("I;16" if truth.any() else "L")
        assert (np.asarray(mask) == truth.astype(int) * 65535).all()
        empty += not truth.any()
    assert 0.25 < empty / len(salt.truth) < 0.55
    assert {row["id"] for row in table(salt, "depths.csv")} == {*salt.truth, *salt.hidden}


def test_a_nucleus_has_a_file():
    bowl = drawn("dsb2018")
    for id, labels in bowl.truth.items():
        paths = files_of(bowl, f"stage1_train/{id}/masks/*.png")
        masks = [np.asarray(Image.open(io.BytesIO(DataFolder(bowl.folder).read(path)))) for path in paths]
        assert {value for mask in masks for value in np.unique(mask)} == {0, 255}
        assert len(masks) == labels.max() >= 2
        assert (np.sum(masks, axis=0, dtype=int) == 255 * (labels > 0)).all()


def test_hubmaps_table_has_the_patients_and_sizes():
    hubmap = drawn("hubmap")
    rows = {row["image_file"].removesuffix(".tiff"): row for row in table(hubmap, "HuBMAP-20-dataset_information.csv")}
    assert {id: row["patient_number"] for id, row in rows.items() if id in hubmap.truth} == hubmap.groups
    assert all((int(row["height_pixels"]), int(row["width_pixels"])) == hubmap.shape(id) for id, row in rows.items())
    id = next(iter(hubmap.truth))
    polygons = json.loads((hubmap.folder / f"train/{id}.json").read_text())
    assert polygons[0]["geometry"]["type"] == "Polygon"
    assert not (hubmap.folder / f"test/{next(iter(hubmap.hidden))}.json").exists()


def test_contrails_have_nine_bands_of_eight_times():
    contrails = drawn("contrails")
    for id, truth in contrails.truth.items():
        folder = contrails.folder / "train" / id
        bands = [np.load(path) for path in sorted(folder.glob("band_*.npy"))]
        assert [path.name for path in sorted(folder.glob("band_*.npy"))] == [f"band_{n:02}.npy" for n in range(8, 17)]
        assert {(band.shape, band.dtype.name) for band in bands} == {((64, 64, 8), "float32")}
        assert (np.load(folder / "human_pixel_masks.npy")[..., 0] == truth).all()
        assert np.load(folder / "human_individual_masks.npy").shape[2] == 1
        if truth.any():  # the labelled frame shows it, better than the others
            colder = [band[truth > 0].mean(0) - band[truth == 0].mean(0) for band in bands]
            assert np.argmin(np.mean(colder, axis=0)) == contrails.planes[0]
    known = json.loads((contrails.folder / "train_metadata.json").read_text())
    assert {record["record_id"] for record in known} == {*contrails.truth}
    assert any(int(float(id)) != int(id) for id in contrails.truth)  # a float would lose digits


def test_some_classes_of_clouds_overlap_and_each_image_has_one():
    masks = list(drawn("clouds").truth.values())
    assert all(mask.any() for mask in masks)
    assert any((mask.sum(2) > 1).any() for mask in masks)


def test_severstal_has_rows_of_defects_alone():
    steel = drawn("severstal")
    named = {row["ImageId"] for row in table(steel, "train.csv")}
    assert named == {f"{id}.jpg" for id, mask in steel.truth.items() if mask.any()}
    assert 0 < len(named) < len(steel.truth)


def test_some_images_of_siim_have_several_rows_and_dots_in_their_names():
    siim = drawn("siim")
    ids = [id for id, _, _ in siim.rows]
    assert len(ids) > len(set(ids)) == len(siim.truth)
    text = siim.train_csv.read_text()
    assert text.startswith("ImageId, EncodedPixels\n")
    assert ", -1\n" in text
    assert all(id.count(".") > 9 for id in ids)
