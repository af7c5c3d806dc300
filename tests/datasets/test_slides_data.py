"""Slides found by patterns, with masks in files or in a CSV. Truth: the arrays that were written."""

import pickle

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image
from slides_drawn import draw_slides, kidneys
from torch.utils.data import DataLoader

from kit.data import check_dataset, photo_augment
from kit.data.crops import SlideCrops, SlideTiles
from kit.data.scaled import scaled_size
from kit.datasets import Slides
from kit.submission import rle


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    root = tmp_path_factory.mktemp("kidneys")
    return root, draw_slides(root)


@pytest.mark.parametrize("form", ["csv", "tiff", "png", "npy"])
def test_slides_and_masks_are_those_that_were_written(drawn, form):
    root, arrays = drawn
    data = kidneys(root, form=form, scale=1)
    assert data.ids == ["a", "b", "c", "d"]
    assert data.test_ids == ["t1", "t2"]
    for id in data.ids:
        image, mask = arrays[id]
        assert data.shape(id) == mask.shape
        np.testing.assert_array_equal(data.read_image(id), image)
        np.testing.assert_array_equal(data.read_mask(id), mask)
        np.testing.assert_array_equal(data.regions(id).read(10, 20, 50, 60), image[10:60, 20:80])
    same = pickle.loads(pickle.dumps(data))
    np.testing.assert_array_equal(same.regions("a").read(0, 0, 9, 9), arrays["a"][0][:9, :9])


def test_of_many_slides_few_stay_open(tmp_path):
    (tmp_path / "images").mkdir()
    for number in range(40):
        tifffile.imwrite(tmp_path / f"images/{number:02}.tif", np.full((9, 9), number, np.uint8))
    (tmp_path / "train.csv").write_text("id,rle\n")
    data = Slides(tmp_path, images="images/*.tif", masks=("train.csv", "id", "rle"))
    assert [int(data.regions(id).read(0, 0, 1, 1)[0, 0, 0]) for id in data.ids] == list(range(40))
    assert len(data._opened) <= 16
    assert data.regions("39") is data.regions("39")


def test_the_check_measures_what_numpy_measures(drawn):
    root, arrays = drawn
    facts = check_dataset(kidneys(root, scale=1))
    pixels = np.concatenate([arrays[id][0].reshape(-1, 3) for id in "abcd"]).astype(float) / 255
    masks = np.concatenate([arrays[id][1].ravel() for id in "abcd"])
    np.testing.assert_allclose(facts.mean, pixels.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(facts.std, pixels.std(axis=0), rtol=1e-6)
    assert facts.pixels == tuple(np.bincount(masks))
    assert (facts.dtype, facts.channels, facts.images) == ("uint8", 3, 4)
    assert {shape[:2] for shape in facts.shapes} == {arrays[id][1].shape for id in "abcd"}
    assert check_dataset(kidneys(root, scale=1)) == facts  # kept
    assert check_dataset(kidneys(root, scale=2)).content != facts.content


def test_an_edited_slide_or_csv_changes_the_fingerprint(tmp_path):
    draw_slides(tmp_path)
    before = kidneys(tmp_path).fingerprint()
    table = (tmp_path / "train.csv").read_text()
    (tmp_path / "train.csv").write_text(table.replace("\na,", "\na,1 1 ", 1))
    assert kidneys(tmp_path).fingerprint() != before
    (tmp_path / "train.csv").write_text(table)
    assert kidneys(tmp_path).fingerprint() == before
    with (tmp_path / "train/b.tif").open("r+b") as file:
        file.seek(-5, 2)
        file.write(b"x")
    assert kidneys(tmp_path).fingerprint() != before


@pytest.mark.parametrize("scale", [1, 2])
def test_crops_are_cut_from_where_they_say(drawn, scale):
    root, arrays = drawn
    data = kidneys(root, scale=scale)
    crops = SlideCrops(data, data.ids, (48, 40), count=60, seed=3)
    whole = {id: shrunk(*arrays[id], scale) for id in data.ids}
    for index in range(60):
        sample, (y, x) = crops[2, index], crops.corner(2, index)
        image, mask = (array[y : y + 48, x : x + 40] for array in whole[sample.id])
        np.testing.assert_allclose(sample.image.permute(1, 2, 0), image, atol=0.51)
        np.testing.assert_array_equal(sample.mask, mask)


def shrunk(image, mask, scale):
    size = scaled_size(mask.shape, scale)
    around = [(0, own * scale - side) for own, side in zip(size, mask.shape, strict=True)]
    image, mask = np.pad(image, [*around, (0, 0)], "edge"), np.pad(mask, around, "edge")
    cells = size[0], scale, size[1], scale
    return image.reshape(*cells, 3).mean(axis=(1, 3)), (mask.reshape(cells).mean(axis=(1, 3)) >= 0.5).astype(np.uint8)


def test_crops_depend_on_seed_epoch_and_index_alone(drawn):
    data = kidneys(drawn[0])
    first, again = (SlideCrops(data, data.ids, (32, 32), count=8, seed=0) for _ in range(2))
    other = SlideCrops(data, data.ids, (32, 32), count=8, seed=1)
    corners = [[crops.corner(epoch, index) for index in range(8)] for crops in (first, other) for epoch in (0, 1)]
    assert len(set(map(tuple, corners))) == 4
    for index in (5, 0, 7):
        assert (first[1, index].image == again[1, index].image).all()
    assert repr(first) == repr(again) != repr(other)


def test_the_share_of_crops_on_foreground(drawn):
    root, arrays = drawn
    data = kidneys(root, scale=1)

    def share(foreground):
        crops = SlideCrops(data, ["d"], (9, 9), count=400, foreground=foreground)  # little foreground
        return np.mean([bool(crops[0, index].mask[4, 4]) for index in range(400)])

    rare = (arrays["d"][1] > 0).mean()
    assert rare < 0.1
    assert share(1.0) > 0.95  # but where a crop at the border was moved inside
    assert abs(share(0.0) - rare) < 0.05
    assert abs(share(0.5) - 0.5) < 0.1


def test_a_slide_smaller_than_a_crop_is_padded_and_ignored_there(drawn):
    root, arrays = drawn
    data = kidneys(root, scale=1)
    height, width = arrays["c"][1].shape
    image, mask, _ = SlideCrops(data, ["c"], (height + 10, width + 7), count=1)[0]
    np.testing.assert_array_equal(mask[:height, :width], arrays["c"][1])
    assert (mask[height:] == 255).all()
    assert (mask[:, width:] == 255).all()
    expected = np.pad(arrays["c"][0], ((0, 10), (0, 7), (0, 0)), "reflect")
    np.testing.assert_array_equal(image.permute(1, 2, 0), expected)


def test_tiles_of_validation_cover_a_slide(drawn):
    root, arrays = drawn
    data = kidneys(root, scale=1)
    seen = np.zeros(arrays["a"][1].shape, bool)
    tiles = SlideTiles(data, ["a"], (64, 48), count=1000)
    for (_, (y, x)), number in zip(tiles.tiles, range(len(tiles)), strict=True):
        np.testing.assert_array_equal(tiles[number].mask, arrays["a"][1][y : y + 64, x : x + 48])
        seen[y : y + 64, x : x + 48] = True
    assert seen.all()
    assert len(SlideTiles(data, ["a", "b"], (64, 48), count=3)) == 6


def test_several_classes_in_files_and_in_a_csv(tmp_path):
    mask = np.kron(np.random.default_rng(0).integers(0, 4, (9, 8)), np.ones((16, 16))).astype(np.uint8)
    for folder in ("train", "masks"):
        (tmp_path / folder).mkdir()
    tifffile.imwrite(tmp_path / "train/a.tif", np.repeat(mask[..., None] * 60, 3, axis=2), photometric="rgb")
    stored = np.array([0, 70, 140, 255], np.uint8)[mask]
    cv2.imwrite(str(tmp_path / "masks/a.png"), stored)
    lines = [f"a.tif,{name},{rle.encode(mask == k, 'F')}" for k, name in ((1, "1"), (2, "rare"))]
    (tmp_path / "train.csv").write_text("id,class,rle\n" + "\n".join(lines) + "\n")
    classes = ("background", "common", "rare")
    files = {"images": "train/*.tif", "classes": classes}
    data = Slides(tmp_path, **files, masks="masks/{id}.png", values={0: 0, 70: 1, 140: 2}, ignore=255)
    np.testing.assert_array_equal(data.read_mask("a"), np.where(mask == 3, 255, mask))
    data = Slides(tmp_path, **files, masks=("train.csv", "id", "rle", "class"))
    np.testing.assert_array_equal(data.read_mask("a"), np.where(mask == 3, 0, mask))
    crops = SlideCrops(data, ["a"], (5, 5), count=300, foreground=1.0)
    centres = np.bincount([int(crops[0, index].mask[2, 2]) for index in range(300)], minlength=3)
    assert abs(centres[1] - centres[2]) < 90  # each class as often, whatever its size


def overlapping(root, sizes=((70, 90), (40, 33)), names=("vessel", "tumour", "stain")):
    """Slides, and masks bool (H, W, K) of classes that overlap, in files and in a CSV; returns the masks."""
    masks, lines = {}, ["id,class,rle"]
    for number, size in enumerate(sizes):
        random, id = np.random.default_rng(number), "ab"[number]
        blocks = random.random((-(-size[0] // 8), -(-size[1] // 8), len(names))) < 0.4
        masks[id] = np.repeat(np.repeat(blocks, 8, 0), 8, 1)[: size[0], : size[1]]
        (root / "train").mkdir(exist_ok=True)
        tifffile.imwrite(root / f"train/{id}.tif", random.integers(0, 255, (*size, 3)).astype(np.uint8))
        for k, name in enumerate(names):
            (root / name).mkdir(exist_ok=True)
            tifffile.imwrite(root / f"{name}/{id}.tif", masks[id][..., k].astype(np.uint8) * 255, tile=(16, 16))
            lines.append(f"{id},{name},{rle.encode(masks[id][..., k], 'F')}")
    (root / "train.csv").write_text("\n".join(lines) + "\n")
    return masks, names


@pytest.mark.parametrize("form", ["files", "csv"])
def test_classes_that_overlap_are_read_checked_and_cut(tmp_path, form):
    masks, names = overlapping(tmp_path)
    where = {name: f"{name}/{{id}}.tif" for name in names} if form == "files" else ("train.csv", "id", "rle", "class")
    data = Slides(tmp_path, images="train/*.tif", masks=where, task="multilabel", classes=names, scale=2)
    assert (data.task, data.classes, data.foreground) == ("multilabel", names, names)
    facts = check_dataset(data)
    assert facts.pixels == tuple(sum(mask[..., k].sum() for mask in masks.values()) for k in range(3))
    for id, share in zip("ab", facts.shares, strict=True):
        np.testing.assert_array_equal(data.read_mask(id), masks[id])
        assert share == pytest.approx(masks[id].any(axis=2).mean())
    crops = SlideCrops(data, ["a"], (16, 16), count=9)
    for index in range(9):
        y, x = crops.corner(0, index)
        expected = masks["a"][2 * y : 2 * y + 32, 2 * x : 2 * x + 32].reshape(16, 2, 16, 2, 3).mean(axis=(1, 3)) >= 0.5
        np.testing.assert_array_equal(crops[0, index].mask, expected.transpose(2, 0, 1))
    padded = SlideCrops(data, ["b"], (24, 24), count=1)[0].mask
    assert padded.shape == (3, 24, 24)
    assert (padded[:, 20:] == 255).all()
    image, mask, _ = SlideCrops(data, ["a"], (16, 16), count=1, augment=photo_augment())[0]
    assert (image.shape, mask.shape) == ((3, 16, 16), (3, 16, 16))


def test_what_is_wrong_with_classes_that_overlap_is_named(tmp_path):
    _, names = overlapping(tmp_path)
    where = {name: f"{name}/{{id}}.tif" for name in names}
    assert Slides(tmp_path, images="train/*.tif", masks=where).classes == names
    tifffile.imwrite(tmp_path / "stain/a.tif", np.ones((70, 91), np.uint8))
    with pytest.raises(ValueError, match=r"vessel/a\.tif: the masks of the classes have the sizes .*70, 91.*"):
        Slides(tmp_path, images="train/*.tif", masks=where).mask("a")
    (tmp_path / "stain/b.tif").unlink()
    with pytest.raises(ValueError, match=r"train/b\.tif has no mask stain/b\.tif"):
        Slides(tmp_path, images="train/*.tif", masks=where)
    with pytest.raises(ValueError, match=r"task='instances', expected 'binary'"):
        Slides(tmp_path, images="train/*.tif", masks=where, task="instances")


def test_classes_that_overlap_in_a_csv_are_not_read_as_one_class_a_pixel(tmp_path):
    _, names = overlapping(tmp_path)
    data = Slides(
        tmp_path, images="train/*.tif", masks=("train.csv", "id", "rle", "class"), classes=("background", *names)
    )
    with pytest.raises(ValueError, match=r"train\.csv, b: classes overlap.*task='multilabel'"):
        data.mask("b")
    with pytest.raises(ValueError, match=r"train\.csv, a: classes overlap"):
        check_dataset(data)


def test_rows_of_objects_are_united(tmp_path):
    masks, names = overlapping(tmp_path)
    where = {"images": "train/*.tif", "masks": ("train.csv", "id", "rle")}
    data = Slides(tmp_path, **where, rows="instance")
    for id in "ab":
        np.testing.assert_array_equal(data.read_mask(id), masks[id].any(axis=2))
    assert data.fingerprint() != Slides(tmp_path, images="train/*.tif", masks="stain/{id}.tif").fingerprint()
    with (tmp_path / "train.csv").open("a") as file:
        file.write(f"a,stain,9999999 1\nb,{names[0]},\n")
    same = Slides(tmp_path, **where, rows="instance")
    np.testing.assert_array_equal(same.read_mask("b"), masks["b"].any(axis=2))
    with pytest.raises(ValueError, match=r"train\.csv, a: runs of class 1 .* leave"):
        same.mask("a")
    with pytest.raises(ValueError, match=r"rows='image'"):
        Slides(tmp_path, **where, rows="image")


def test_what_is_wrong_is_named(tmp_path):
    draw_slides(tmp_path)
    (tmp_path / "train.csv").write_text("id,rle\na,1 5\nzz,1 5\n")
    with pytest.raises(ValueError, match="a mask of zz, which is no slide"):
        kidneys(tmp_path)
    (tmp_path / "train.csv").write_text("id,rle\na,1 5\na,9 5\n")
    with pytest.raises(ValueError, match=r'two masks of a .*rows="instance"'):
        kidneys(tmp_path)
    (tmp_path / "train.csv").write_text("id,rle\na,999999 5\n")
    with pytest.raises(ValueError, match=r"train\.csv, a: runs of class 1 .* leave"):
        check_dataset(kidneys(tmp_path))
    with pytest.raises(ValueError, match=r"no column nothing; it has id, rle"):
        Slides(tmp_path, images="train/*.tif", masks=("train.csv", "id", "nothing"))
    np.save(tmp_path / "masks_npy/a.npy", np.full((200, 201), 7, np.uint8))
    with pytest.raises(ValueError, match=r"mask values 7|values 0, 7"):
        check_dataset(kidneys(tmp_path, form="npy"))
    np.save(tmp_path / "masks_npy/a.npy", np.zeros((200, 201), np.uint8))
    with pytest.raises(ValueError, match=r"the mask is \(200, 201\), its slide"):
        check_dataset(kidneys(tmp_path, form="npy"))


@pytest.mark.parametrize("bits", [1, 8])
def test_a_large_png_mask_is_read_by_rows(tmp_path, monkeypatch, bits):
    arrays = draw_slides(tmp_path)
    monkeypatch.setattr("kit.datasets.slide_masks.MAX_PIXELS", 1000)
    Image.fromarray(arrays["a"][1] * 255).convert("1" if bits == 1 else "L").save(tmp_path / "masks_png/a.png")
    for values in ("binary", 127, {0: 0, 255 if bits == 8 else 1: 1}):
        mask = kidneys(tmp_path, form="png", values=values).mask("a")
        np.testing.assert_array_equal(mask.read(0, 0, *mask.shape), arrays["a"][1])


def test_a_mask_with_a_palette_means_what_it_means_in_a_folder(tmp_path):
    arrays = draw_slides(tmp_path)
    palette = Image.fromarray(1 - arrays["a"][1]).convert("P")
    palette.putpalette([255, 255, 255, 0, 0, 0])  # white first
    palette.save(tmp_path / "masks_png/a.png")
    np.testing.assert_array_equal(kidneys(tmp_path, form="png").read_mask("a"), arrays["a"][1])


def test_crops_are_the_same_in_a_worker(drawn):
    data = kidneys(drawn[0])
    crops = SlideCrops(data, data.ids, (32, 32), count=8, augment=photo_augment())
    loader = DataLoader(crops, sampler=[(1, index) for index in range(8)], batch_size=None, num_workers=2)
    for index, (image, mask, id) in enumerate(loader):
        own = crops[1, index]
        assert (image == own.image).all()
        assert (mask == own.mask).all()
        assert id == own.id


def test_a_damaged_slide_is_named_by_the_check(tmp_path):
    draw_slides(tmp_path)
    path = tmp_path / "train/b.tif"
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(ValueError, match=r"b\.tif"):
        check_dataset(kidneys(tmp_path))


def test_a_large_slide_is_not_read_whole(drawn, monkeypatch):
    monkeypatch.setattr("kit.datasets.slides.MAX_PIXELS", 1000)
    for read in ("read_image", "read_mask"):
        with pytest.raises(ValueError, match=r"not read whole; take parts of it by regions\(id\)"):
            getattr(kidneys(drawn[0]), read)("a")
