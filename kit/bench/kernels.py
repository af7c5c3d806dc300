"""Kernels against their peers: run lengths, enlarging, counting, the CSV, the views of a prediction, and drawing."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pycocotools.mask
import sklearn.metrics
import torch
import ttach
from faster_coco_eval.core import mask as faster_mask
from torch import nn
from torch.nn import functional as F
from torchmetrics.classification import BinaryJaccardIndex, MulticlassConfusionMatrix

from kit.bench import drawing
from kit.bench.cars import SIZE, car_logits
from kit.bench.idioms import notebook_decoder, where_idiom
from kit.bench.measure import Contest, Row, contested
from kit.models.pretrained import unet
from kit.prediction import TTA, VIEWS, probabilities
from kit.prediction.enlarge import edges_above, mask_above
from kit.scoring.confusion import binary_scores, confusion_matrix
from kit.submission import CARVANA, rle, write
from kit.training.loop import best_dtype


def masks() -> dict[str, np.ndarray]:
    """Masks u8 (H, W): a car, speckle, noise."""
    rng = np.random.default_rng(0)
    car = mask_above(car_logits(), SIZE, 0.0)
    speckle = car ^ (rng.random(SIZE) < 0.01).astype(np.uint8)
    return {"a car": car, "speckle of 1 %": speckle, "noise of 50 %": rng.integers(0, 2, SIZE, dtype=np.uint8)}


def rows(scratch: Path, results: Path, rounds: int = 15) -> Iterator[Row]:
    """All of them."""
    yield from contested(contests(scratch), rounds)


def contests(scratch: Path) -> Iterator[Contest]:
    """Each kernel against its peers, on one thread."""
    yield from _encoding()
    yield _decoding()
    yield _from_logits()
    yield _confusion()
    yield _binary()
    yield _csv(scratch)
    yield _views()
    yield drawing.contest()


def _encoding() -> Iterator[Contest]:
    coco, faster = pycocotools.mask.encode, faster_mask.encode
    for name, mask in masks().items():
        plain = name == "a car"
        wanted = {"pycocotools": 5, "np.where(diff)": 15, "np.count_nonzero": 1 / 1.5} if plain else {}
        yield Contest(
            f"RLE along rows, {name}",
            lambda mask=mask: rle.encode(mask),
            {
                "pycocotools": lambda mask=mask: coco(mask.T),
                "faster-coco-eval": lambda mask=mask: faster(mask.T),
                "np.where(diff)": lambda mask=mask: where_idiom(mask),
                "np.count_nonzero": lambda mask=mask: np.count_nonzero(mask),
            },
            wanted or {"pycocotools": 1, "faster-coco-eval": 1, "np.where(diff)": 1},
        )
        yield Contest(
            f"RLE down columns, {name}",
            lambda mask=mask: rle.encode(mask, "F"),
            {
                "pycocotools": lambda mask=mask: coco(np.asfortranarray(mask)),
                "faster-coco-eval": lambda mask=mask: faster(np.asfortranarray(mask)),
            },
            {"pycocotools": 6} if plain else {},
        )


def _decoding() -> Contest:
    text = rle.encode(masks()["a car"])
    return Contest(
        "decode a car's RLE",
        lambda: rle.decode(text, SIZE),
        {"a notebook's loop": lambda: notebook_decoder(text, SIZE)},
        {"a notebook's loop": 8},
        np.array_equal,
    )


def _from_logits() -> Contest:
    logits = car_logits()

    def interpolated() -> str:
        full = F.interpolate(torch.from_numpy(logits)[None, None], SIZE, mode="bilinear", align_corners=False)
        return where_idiom((full[0, 0] >= 0).numpy().view(np.uint8))

    def resized() -> str:
        return rle.encode((cv2.resize(logits, SIZE[::-1], interpolation=cv2.INTER_LINEAR) >= 0).view(np.uint8))

    others = {"F.interpolate, threshold, np.where(diff)": interpolated, "cv2.resize, threshold, kit's RLE": resized}
    wanted = {"F.interpolate, threshold, np.where(diff)": 30}

    def kit_way() -> str:
        return rle.encode_edges(edges_above(logits, SIZE, 0.0), SIZE[0] * SIZE[1])

    return Contest("512×512 logits to a full-size RLE", kit_way, others, wanted)


def _confusion() -> Contest:
    truth, prediction = street(16)
    kept = truth.reshape(-1) != 255
    flat_truth, flat_prediction = truth.reshape(-1), prediction.reshape(-1)

    def bincount() -> np.ndarray:
        pairs = 21 * flat_truth[kept].astype(np.int64) + flat_prediction[kept]
        return np.bincount(pairs, minlength=441).reshape(21, 21)

    tensors = torch.from_numpy(prediction).long(), torch.from_numpy(truth).long()
    metric = MulticlassConfusionMatrix(21, ignore_index=255)
    others = {
        "np.bincount": bincount,
        "scikit-learn": lambda: sklearn.metrics.confusion_matrix(
            flat_truth[kept], flat_prediction[kept], labels=np.arange(21)
        ),
        "torchmetrics": lambda: metric(*tensors).numpy(),
    }
    return Contest(
        "confusion matrix, 21 classes with void, 16×366×500",
        lambda: confusion_matrix(truth, prediction, 21),
        others,
        {"np.bincount": 8, "scikit-learn": 60, "torchmetrics": 80},
        np.array_equal,
    )


def street(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Truth and prediction u8 (n, 366, 500): 21 classes in patches, void (255) between them; a shifted copy."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 21, (count, 9, 11), dtype=np.uint8)
    truth = np.stack([cv2.resize(one, (500, 366), interpolation=cv2.INTER_NEAREST) for one in coarse])
    prediction = np.roll(truth, (3, 4), axis=(1, 2))
    outline = np.stack([cv2.morphologyEx(one, cv2.MORPH_GRADIENT, np.ones((5, 5), np.uint8)) > 0 for one in truth])
    return np.where(outline, np.uint8(255), truth), prediction


def _binary() -> Contest:
    truth = masks()["a car"]
    prediction = np.roll(truth, (5, 7), axis=(0, 1))
    metric, tensors = BinaryJaccardIndex(), (torch.from_numpy(prediction), torch.from_numpy(truth))
    return Contest(
        "IoU of two full-size masks",
        lambda: binary_scores(truth, prediction)[0],
        {
            "two np.count_nonzero": lambda: np.count_nonzero(truth & prediction) / np.count_nonzero(truth | prediction),
            "torchmetrics": lambda: float(metric(*tensors)),
        },
        {"two np.count_nonzero": 1, "torchmetrics": 50},
        lambda own, other: abs(own - other) < 1e-6,
    )


def _csv(folder: Path) -> Contest:
    count, text = 1000, rle.encode(masks()["a car"])
    names = [f"{number:012x}_{number % 16:02}.jpg" for number in range(count)]

    def written() -> Path:
        write(((name, text) for name in names), folder / "kit.csv", CARVANA)
        return folder / "kit.csv"

    def by_pandas() -> Path:
        path = folder / "pandas.csv"
        pd.DataFrame(columns=CARVANA.columns).to_csv(path, index=False)
        for name in names:
            pd.DataFrame([[name, text]]).to_csv(path, mode="a", header=False, index=False)
        return path

    return Contest(
        f"a CSV of {count} car masks",
        written,
        {"pandas, row by row": by_pandas},
        {"pandas, row by row": 20},
        lambda own, other: own.read_bytes() == other.read_bytes(),
    )


def _views() -> Contest:
    torch.manual_seed(0)
    network = unet("mobilenet_v2", "none", num_classes=1).to(memory_format=torch.channels_last).eval()
    images = torch.randn(1, 3, 256, 256).contiguous(memory_format=torch.channels_last)
    wrapper = ttach.SegmentationTTAWrapper(nn.Sequential(network, nn.Sigmoid()), ttach.aliases.d4_transform())
    dtype = best_dtype(images.device)
    cast = torch.autocast(images.device.type, dtype, enabled=dtype != torch.float32)
    return Contest(
        f"eight views of an image of 256×256, U-Net on MobileNetV2 in {str(dtype).removeprefix('torch.')}",
        cast(lambda: probabilities(network, images, TTA(VIEWS["d4"]))),
        {"ttach": torch.inference_mode()(cast(lambda: wrapper(images)))},
        agree=lambda own, other: torch.allclose(own, other.float(), atol=1e-5 if dtype == torch.float32 else 1e-2),
    )
