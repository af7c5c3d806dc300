"""Panoptic quality against panopticapi's numbers, hotcoco, and loops over masks."""

import json
import timeit
from pathlib import Path

import cv2
import numpy as np
import pytest

from kit.scoring import (
    InstancePrecisionPerClass,
    PanopticQuality,
    Segments,
    instance_precision,
    instance_precision_per_class,
    interval_of_metric,
    panoptic_counts,
    panoptic_means,
    panoptic_quality,
    panoptic_scores,
)

K, THINGS = 5, (1, 2, 3)


def drawn(number):
    """Truth and prediction of one image: a grid of segments with void lines and crowds, and the same moved or cut.

    Made without chance, so that the frozen numbers stay those of these images.
    """
    rows, columns = np.mgrid[:48, :66]
    truth = (rows // 12 * 100 + columns // (11 + number) + 1).astype(np.int32)
    classes = {int(label): int(label * 7 + number) % 4 + 1 for label in np.unique(truth)}
    truth[:, 30 - number : 33] = 0
    truth[40 - number :, :9] = 0
    truth[(truth > 100) & (truth < 104)] = 2**20
    classes[2**20], crowd = 1 + number % 2, [2**20]
    moved = np.roll(truth, (number, 1), (0, 1))
    prediction = (np.where(moved > 1000, (rows // 7 * 13 + columns // 6), moved) + 3) * 5
    prediction[(columns > 28 - number) & (columns < 33)] = 7
    prediction[rows + columns < 9 + 5 * number] = 0
    guessed = {int(label): 1 + int(label) % 4 for label in np.unique(prediction)}
    guessed |= {(label + 3) * 5: index for label, index in classes.items() if label % 3}
    return Segments(truth, classes, crowd), Segments(prediction, guessed)


# cocodataset/panopticapi at 1ad5afa, evaluation.py, on these images: of the classes 1 to 4 Σ IoU, TP, FP and FN
FROZEN = [
    [[2.5, 3, 2, 1], [0.75, 1, 6, 2], [4.166666666666667, 5, 6, 2], [3.75, 5, 4, 2]],
    [[4.176808545072018, 6, 6, 1], [2.1736526946107784, 3, 2, 1], [0, 0, 9, 3], [3.420994987147676, 5, 6, 2]],
    [[1.8744877049180326, 3, 4, 4], [1.875, 3, 5, 4], [1.875, 3, 6, 1], [0, 0, 6, 3]],
]


def test_the_counts_are_those_of_panopticapi():
    for number, frozen in enumerate(FROZEN):
        truth, prediction = drawn(number)
        counts = panoptic_counts(truth, prediction, K)
        np.testing.assert_allclose(counts[1:], frozen, atol=1e-12)
        assert not counts[0].any()
        assert (panoptic_counts(truth._replace(crowd=()), prediction, K) != counts).any()
        filled = Segments(truth.labels + (truth.labels == 0) * 9999, {**truth.classes, 9999: 0}, truth.crowd)
        assert (panoptic_counts(filled, prediction, K) != counts).any()  # void counts too
    pq, sq, rq = panoptic_scores(np.sum(FROZEN, axis=0))
    np.testing.assert_allclose(pq, sq * rq, atol=1e-12)
    ious, hits, added, missed = np.sum(FROZEN, axis=0).T
    np.testing.assert_allclose(pq, ious / (hits + added / 2 + missed / 2), atol=1e-12)


def by_hand(truth, prediction):
    """The same by masks, one by one."""
    counts = np.zeros((K, 4))
    true, predicted = (
        {label: of.labels == label for label in np.unique(of.labels).tolist() if label} for of in (truth, prediction)
    )
    void, hits, added = truth.labels == 0, set(), dict(predicted)
    for label, mask in true.items():
        index = truth.classes[label]
        if label in truth.crowd:
            continue
        for other, guess in predicted.items():
            iou = (mask & guess).sum() / ((mask | guess) & ~(void & guess)).sum()
            if iou > 0.5 and prediction.classes[other] == index:
                counts[index] += (iou, 1, 0, 0)
                hits.add(label)
                del added[other]
        counts[index, 3] += label not in hits
    for other, guess in added.items():
        index = prediction.classes[other]
        ignored = void.copy()
        for label in truth.crowd:
            if truth.classes[label] == index:
                ignored |= truth.labels == label
        counts[index, 2] += (guess & ignored).sum() <= 0.5 * guess.sum()
    return counts


def test_the_counts_are_those_of_a_loop_over_masks():
    random = np.random.default_rng(0)
    crowded = 0
    for _ in range(150):
        cells = random.integers(0, 9, (2, 4, 5))
        truth = np.kron(cells[0], np.ones((5, 4), int))
        cells[1] = np.where(random.random((4, 5)) < 0.6, cells[0], cells[1])
        prediction = np.roll(np.kron(cells[1], np.ones((5, 4), int)), random.integers(0, 2, 2), (0, 1)) * 1000
        classes = dict(enumerate(random.integers(0, K, 9).tolist()))
        guessed = {1000 * label: index if random.random() < 0.8 else 2 for label, index in classes.items()}
        pair = Segments(truth, classes, random.choice(9, random.integers(0, 4)).tolist()), Segments(prediction, guessed)
        np.testing.assert_allclose(panoptic_counts(*pair, K), by_hand(*pair), atol=1e-12)
        crowded += (by_hand(*pair) != by_hand(pair[0]._replace(crowd=()), pair[1])).any()
    assert crowded > 50


def write_panoptic(folder, name, images, num_classes=K):
    """Write images as COCO's panoptic format: PNGs and a JSON."""
    (folder / name).mkdir()
    annotations = []
    for number, image in enumerate(images):
        labels = image.labels.astype(np.int64)
        png = np.stack([labels >> 16 & 255, labels >> 8 & 255, labels & 255], axis=-1).astype(np.uint8)
        cv2.imwrite(str(folder / name / f"{number}.png"), png)
        info = [
            {
                "id": label,
                "category_id": image.classes[label],
                "iscrowd": int(label in image.crowd),
                "area": int((labels == label).sum()),
                "bbox": [0, 0, 1, 1],
            }
            for label in np.unique(labels).tolist()
            if label
        ]
        annotations.append({"image_id": number, "file_name": f"{number}.png", "segments_info": info})
    categories = [{"id": k, "name": str(k), "isthing": int(k in THINGS)} for k in range(num_classes)]
    sizes = [dict(zip(("height", "width"), image.labels.shape, strict=True)) for image in images]
    whole = {"images": [{"id": number, **size} for number, size in enumerate(sizes)]}
    (folder / f"{name}.json").write_text(json.dumps(whole | {"annotations": annotations, "categories": categories}))
    return str(folder / f"{name}.json")


def test_the_scores_are_those_of_hotcoco(tmp_path):
    hotcoco = pytest.importorskip("hotcoco.panoptic", reason="a peer of the benchmarks: pip install -e '.[bench]'")
    images = [drawn(number) for number in range(3)]
    paths = [write_panoptic(tmp_path, *one) for one in zip(("gt", "dt"), zip(*images, strict=True), strict=True)]
    theirs = hotcoco.pq_compute(*paths)
    sums = sum(panoptic_counts(*pair, K) for pair in images)
    for index, found in theirs["per_class"].items():
        own = panoptic_scores(sums)
        expected = [found[key] if found[key] >= 0 else np.nan for key in ("pq", "sq", "rq")]  # -1: the class is absent
        np.testing.assert_allclose([one[int(index)] for one in own], expected, atol=1e-9)
    for name, own in panoptic_means(sums, THINGS).items():
        np.testing.assert_allclose(own, [theirs[name.capitalize()][key] for key in ("pq", "sq", "rq")], atol=1e-9)


def test_void_crowds_and_classes_that_are_absent():
    truth = np.zeros((4, 20), int)
    truth[:, :8], truth[:, 8:12] = 1, 2  # a thing, a crowd; the rest is void
    of_truth = Segments(truth, {1: 1, 2: 1}, [2])
    prediction = np.zeros((4, 20), int)
    prediction[:, :4], prediction[:, 15:] = 5, 5  # half of the thing; void is in no union
    counts = panoptic_counts(of_truth, Segments(prediction, {5: 1}), 3)
    assert counts[1].tolist() == [0, 0, 0, 1]  # an IoU of 1 / 2 is no match; more than half of it is void: no FP
    prediction[:, 4] = 5
    assert panoptic_counts(of_truth, Segments(prediction, {5: 1}), 3)[1].tolist() == [5 / 8, 1, 0, 0]
    assert panoptic_counts(of_truth, Segments(prediction, {5: 2}), 3)[2].tolist() == [0, 0, 1, 0]  # void: half of it
    in_crowd = np.where(truth == 2, 9, 0)
    assert panoptic_counts(of_truth, Segments(in_crowd, {9: 1}), 3)[1].tolist() == [0, 0, 0, 1]
    assert panoptic_counts(of_truth, Segments(in_crowd, {9: 2}), 3)[2].tolist() == [0, 0, 1, 0]
    assert np.isnan(panoptic_scores(counts).pq).tolist() == [True, False, True]
    assert panoptic_quality(of_truth, of_truth, 3) == 1
    assert np.isnan(panoptic_quality(in_crowd * 0, in_crowd * 0, 3))
    assert panoptic_quality(in_crowd, in_crowd, 2) == 1  # label images alone are of class 1
    for wrong, message in (({5: 3}, r"class 3, expected 0 to 2 \(num_classes=3\)"), ({}, "labels without a class: 5")):
        with pytest.raises(ValueError, match=message):
            panoptic_counts(of_truth, Segments(prediction, wrong), 3)
    with pytest.raises(ValueError, match="class 7, expected 0 to 2"):
        panoptic_counts(Segments(truth, {1: 1, 2: 7}, [2]), Segments(prediction, {5: 1}), 3)


def test_the_metric_has_an_interval_and_parts():
    images = [drawn(number % 3) for number in range(6)]
    for metric, things in ((PanopticQuality(K), range(K)), (PanopticQuality(K, THINGS, "things"), THINGS)):
        counts = np.stack([metric.counts(*pair) for pair in images])
        pq = panoptic_scores(counts.sum(0).reshape(K, 4)).pq
        assert metric.score(counts.sum(0)) == pytest.approx(np.nanmean(pq[list(things)]))
        found = interval_of_metric(metric, counts, list("aabbcc"))
        assert found.value == pytest.approx(np.nanmean(pq[list(things)]))
        assert found.low < found.value < found.high
        assert metric.score(np.stack([counts.sum(0)] * 2)).shape == (2,)
    assert metric.name == "panoptic quality of things"


def test_precision_of_each_class_is_that_of_its_objects_alone():
    metric, images = InstancePrecisionPerClass(K), [drawn(number) for number in range(3)]
    expected = np.full((3, K), np.nan)
    for row, pair in zip(expected, images, strict=True):
        for k in range(K):
            alone = [
                np.where(np.isin(of.labels, [i for i, c in of.classes.items() if c == k]), of.labels, 0) for of in pair
            ]
            if alone[0].any() or alone[1].any():
                row[k] = instance_precision(*alone)
        np.testing.assert_array_equal(instance_precision_per_class(*pair, K), row)
    counts = np.stack([metric.counts(*pair) for pair in images])
    each = np.nanmean(expected[:, 1:], axis=0)
    assert metric.score(counts.sum(0)) == pytest.approx(each.mean())
    assert 0 < each.min() < each.max() < 1
    found = interval_of_metric(metric, counts, list("abc"))
    assert found.low < found.value < found.high
    plain = np.eye(4, dtype=np.int32)
    assert InstancePrecisionPerClass(2).counts(plain, plain * 3).tolist() == [0, 1, 0, 1]


COCO = Path(__file__).resolve().parents[3] / "shared/data/coco_panoptic"


def two_uniques(truth, prediction):
    """The usual way to the counts of the pairs, for its time: panopticapi's."""
    areas = np.unique(prediction, return_counts=True)
    keys = truth.astype(np.uint64) * 256**3 + prediction.astype(np.uint64)
    return areas, np.unique(keys, return_counts=True)


def coco_images():
    """The truth of each image of COCO's panoptic training set that is here, by super-category."""
    told = json.loads((COCO / "annotations/panoptic_train2017.json").read_text())
    parents = {each["id"]: each["supercategory"] for each in told["categories"]}
    names = sorted(set(parents.values()))
    for image in told["annotations"]:
        [path] = (COCO / "annotations").rglob(image["file_name"])
        blue, green, red = np.moveaxis(cv2.imread(str(path)).astype(np.int32), 2, 0)
        classes = {each["id"]: names.index(parents[each["category_id"]]) for each in image["segments_info"]}
        crowd = [each["id"] for each in image["segments_info"] if each["iscrowd"]]
        yield Segments(red + 256 * green + 65536 * blue, classes, crowd)


def corrupted(truth, way, random):
    """The truth as it is, moved, with segments left out, with other classes, or cut in tiles."""
    labels, classes = truth.labels, dict(truth.classes)
    if way == 1:
        labels = np.roll(labels, (7, 11), (0, 1))
    elif way == 2:
        labels = np.where(np.isin(labels, random.permutation(list(classes))[: len(classes) // 3]), 0, labels)
    elif way == 3:
        classes = {label: int(random.integers(27)) if random.random() < 0.3 else k for label, k in classes.items()}
    elif way == 4:
        rows, columns = np.indices(labels.shape) // 150
        labels = np.where(labels > 0, labels % 4093 * 100 + rows * 10 + columns + 1, 0)
        classes = dict(_classes_of(labels, truth))
    return Segments(labels, classes)


def _classes_of(labels, truth):
    found, first = np.unique(labels, return_index=True)
    return [(int(a), truth.classes.get(int(truth.labels.flat[b]), 0)) for a, b in zip(found, first, strict=True) if a]


@pytest.mark.slow
@pytest.mark.skipif(not COCO.is_dir(), reason="needs the real photographs in shared/data/coco_panoptic")
def test_real_images_and_their_corruptions(tmp_path):
    hotcoco = pytest.importorskip("hotcoco.panoptic", reason="a peer of the benchmarks: pip install -e '.[bench]'")
    random, images, ratios = np.random.default_rng(0), list(coco_images()), []
    for way in range(5):
        predictions = [corrupted(truth, way, random) for truth in images]
        folder = tmp_path / str(way)
        folder.mkdir()
        paths = [write_panoptic(folder, *one, 27) for one in (("gt", images), ("dt", predictions))]
        theirs = hotcoco.pq_compute(*paths)["per_class"]
        sums = sum(panoptic_counts(*pair, 27) for pair in zip(images, predictions, strict=True))
        for k, own in enumerate(zip(*panoptic_scores(sums), strict=True)):
            expected = [theirs[k][key] for key in ("pq", "sq", "rq")]
            np.testing.assert_allclose(np.nan_to_num(own), expected, atol=1e-9)
    for truth, prediction in zip(images, predictions, strict=True):
        pair = truth.labels, prediction.labels
        times = [
            min(timeit.repeat(job, number=1, repeat=5))
            for job in (lambda pair=pair: two_uniques(*pair), lambda own=(truth, prediction): panoptic_counts(*own, 27))
        ]
        ratios.append(times[0] / times[1])
    assert np.median(ratios) > 4
