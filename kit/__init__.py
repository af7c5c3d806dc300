"""kit: folds, out-of-fold predictions, an honest report and a linted submission for image segmentation.

The map, a line a module:

    competitions/     one file a data set: where its files lie, ids, groups, how to read image and mask
    images.py         strict decoding of images and masks: what is damaged is refused, by name
    shrink.py         a picture at the network's size
    data.py           Sample, SegmentationDataset, pictures to predict, normalisation
    cache.py          the training pictures at their size, read from the files or from a uint8 cache
    augment.py        paired image/mask transforms, seeded for every sample
    folds.py          seeded K-fold: plain, stratified, grouped, both; the leak check
    split.py          the folds of a run folder, kept
    models/           one paper a file; pretrained.py holds segmentation-models-pytorch's
    losses.py         functions (logits, masks) -> scalar
    class_weights.py  weights for them: median frequency, U-Net's map of borders
    metrics.py        the confusion matrix, and IoU, Dice and accuracy from it
    boundary.py       F1 of the outlines
    rle.py            run-length encoding, both orders
    jit.py            compiled kernels
    enlarge.py        a prediction at the picture's own size, or straight to its run-length encoding
    train.py          TrainState, train_one_epoch, evaluate, fit
    checkpoint.py     atomic save, safe load
    distributed.py    the process group and who does what in it
    pipeline.py       work done ahead in threads, its results in order
    predict.py        tiles, test-time augmentation, logits -> mask at the original size
    oof.py            the store of out-of-fold predictions, and their scores
    report.py         the numbers, report.json, report.html; report_plots.py: its charts and picture cards
    run.py            a recipe's run folder: configuration, folds, what is finished, what is made of it
    submit.py         the test pictures predicted by the mean of a run's networks
    submission.py     write (streaming), lint, score; submission_parts.py: rows kept while predicting
    provenance.py     configuration, versions and commit in plain values
    download.py       fetch a data set, checked and resumable; unpack.py: archives that cannot reach outside
    files.py          atomic writes, safe names, the lock of a run folder
    bench/            kit's cost beside others': python -m kit bench


Shapes in docstrings: N images, C channels, K classes, H height, W width. Sizes are (height, width).
Masks hold class numbers in uint8; 255 is ignored.
"""

import os
import tempfile
from pathlib import Path

__version__ = "0.1.0"


def _place_numba_cache() -> None:
    """Give numba a folder that it can write to, where neither the package's nor the user's own is.

    numba keeps compiled kernels beside the source, or else below the home folder, and raises at
    import when it can write to neither (a read-only install in a container).
    """
    home = os.path.expanduser(os.environ.get("XDG_CACHE_HOME") or "~/.cache")  # noqa: PTH111 (never raises)
    places = [Path(__file__).parent / "__pycache__", Path(home, "numba")]
    if "NUMBA_CACHE_DIR" not in os.environ and not any(_writable(place) for place in places):
        os.environ["NUMBA_CACHE_DIR"] = tempfile.mkdtemp(prefix="kit-numba-")


def _writable(folder: Path) -> bool:
    """Whether `folder` can be written to, or made where it is absent."""
    while not folder.exists():
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK)


_place_numba_cache()
