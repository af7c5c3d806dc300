"""UW-Madison GI Tract Image Segmentation (uw-madison-gi-tract-image-segmentation): slices, organs, a hidden test set.

Verified in the competition's description and in public code: 16-bit grey PNGs
train/case123/case123_day20/scans/slice_0001_266_266_1.50_1.50.png, whose numbers are width, height and the spacing of
pixels; sizes 266 × 266, 360 × 310 ("_360_310_"), 234 × 234, 276 × 276 (width × height); train.csv
`id,class,segmentation` with ids as case123_day20_slice_0001 and three rows a slice, large_bowel, small_bowel, stomach,
blank where there is none; a sample `id,class,predicted` that is empty until the notebook runs again with the hidden
test set, then test/ lies as train/ does. The page says that pixels are numbered from top to bottom; but four readers
of train.csv that train on it decode along rows (`reshape((height, width))`), and two texts that repeat the page do not.
Not verified: that organs overlap. Drawn smaller: half the width and height.
"""

from dataclasses import replace

import numpy as np

from kit.submission.known import UW_MADISON
from replicas.drawing import blob, scene, write_png
from replicas.replica import Replica, run_lengths, write_csv

LABELS = ("large_bowel", "small_bowel", "stomach")
SIZES = {"case101": (133, 133), "case36": (155, 180), "case7": (117, 117), "case77": (155, 180), "case9": (138, 138)}
COLOURS = ((150,), (200,), (240,))


def draw(folder, images=12, seed=0, rerun=True):
    """Draw it. images: of training, a multiple of four. rerun: as when Kaggle runs a notebook again, with test/ and a
    sample with rows; False: as downloaded, with no test image and a sample of a header alone.
    """
    rng = np.random.default_rng(seed)
    truth, hidden = {}, {}
    for case, part, count in _scans(images):
        size = SIZES[case.partition("_")[0]]
        organs = [blob(rng, size, centre, (0.2, 0.09)) for centre in ((0.35, 0.3), (0.55, 0.6), (0.4, 0.75))]
        for number in range(1, count + 1):
            there = (number > 1) * np.array([True, number > 2, number == count])  # the first slice shows no organ
            mask = np.stack([organ & shown for organ, shown in zip(organs, there, strict=True)], axis=-1)
            id, name = f"{case}_slice_{number:04}", f"slice_{number:04}_{size[1]}_{size[0]}_1.50_1.50.png"
            (truth if part == "train" else hidden)[id] = mask
            if part == "train" or rerun:
                grey = scene(rng, size, [mask[..., k] for k in range(3)], COLOURS, (10, 60), channels=1)[..., 0]
                write_png(folder / part / case.partition("_")[0] / case / "scans" / name, grey * np.uint16(40))
    rows = [(id, k + 1, mask[..., k]) for id, mask in truth.items() for k in range(3)]
    lines = [f"{id},{LABELS[k - 1]},{run_lengths(mask, 'C')}" for id, k, mask in rows]
    write_csv(folder / "train.csv", "id,class,segmentation", lines)
    lines = [f"{id},{label}," for id in hidden for label in LABELS] if rerun else []
    write_csv(folder / "sample_submission.csv", "id,class,predicted", lines)
    return Replica(
        folder=folder,
        name="uw_madison",
        dialect=UW_MADISON,
        task="multilabel",
        classes=LABELS,
        truth=truth,
        hidden=hidden if rerun else {},
        images="train/*/*/scans/slice_*_*.png",
        tests="test/*/*/scans/slice_*_*.png" if rerun else None,
        masks=None,
        channels=1,
        dtype="uint16",
        train_dialect=replace(UW_MADISON, columns=("id", "class", "segmentation")),
        rows=rows,
        groups={id: id.partition("_")[0] for id in truth},
        ids="{2}_slice_{3}",
    )


def _scans(images):
    """(case and day, folder, slices): cases of one or two days in training, a new case and a later day in test."""
    each = images // 4
    train = [(scan, "train", each) for scan in ("case101_day20", "case36_day0", "case36_day14", "case77_day18")]
    return [*train, ("case9_day22", "test", 3), ("case77_day20", "test", 3)]
