"""Every loss in plain NumPy, with loops, in float64; tables of ours beside them; and logits and masks to try."""

import math
from functools import partial

import numpy as np
import torch

from kit.losses import (
    bce,
    bce_dice,
    bce_jaccard,
    bce_log_dice,
    border_bce_dice,
    cross_entropy,
    focal,
    lovasz_hinge,
    lovasz_softmax,
    soft_dice,
    soft_jaccard,
    tversky,
    weighted_cross_entropy,
)

ALPHAS = torch.tensor([0.25, 1.0, 2.0, 0.5])


def slanted_cross_entropy(logits, masks):
    """weighted_cross_entropy, with weights that grow from 1 to 3 along each row."""
    weights = torch.linspace(1, 3, logits.shape[-1])
    return weighted_cross_entropy(logits, masks, weights.expand(logits.shape[0], *logits.shape[2:]))


# -- plain NumPy, in float64: p and t are one image's probabilities and truth, 0 or 1, of one class, where not ignored


def dice_of(p, t, smooth=1.0):
    return (2 * (p * t).sum() + smooth) / (p.sum() + t.sum() + smooth)


def jaccard_loss_of(p, t):
    return 1 - ((p * t).sum() + 1) / ((p + t - p * t).sum() + 1)


def tversky_loss_of(p, t, alpha=0.3, beta=0.7, gamma=1.0):
    hits, false_alarms, misses = (p * t).sum(), (p * (1 - t)).sum(), ((1 - p) * t).sum()
    return max(1 - (hits + 1) / (hits + alpha * false_alarms + beta * misses + 1), 0) ** (1 / gamma)


def lovasz_of(errors, t):
    """Berman et al. 2018: errors, worst first, times what each adds to the Jaccard loss of the set so far in error."""
    order, total, before = np.argsort(-errors, kind="stable"), 0.0, 0.0
    for count in range(1, len(order) + 1):
        wrong = np.zeros(len(order), bool)
        wrong[order[:count]] = True
        loss = count / (wrong | (t == 1)).sum()
        total += max(errors[order[count - 1]], 0) * (loss - before)
        before = loss
    return total


def numpy_regions(loss_of, logits, masks):
    """The mean over images of the loss of the foreground, or of the mean over the classes present."""
    images = []
    for z, truth in zip(logits.numpy().astype(np.float64), masks.numpy(), strict=True):
        z, truth = z[:, truth != 255], truth[truth != 255]
        if len(z) == 1:
            images.append(loss_of(1 / (1 + np.exp(-z[0])), truth == 1) if truth.size else 0.0)
        else:
            probs = np.exp(z) / np.exp(z).sum(axis=0)
            losses = [loss_of(probs[c], (truth == c).astype(float)) for c in np.unique(truth)]
            images.append(np.mean(losses) if losses else 0.0)
    return np.mean(images)


def numpy_lovasz_hinge(logits, masks):
    images = []
    for z, truth in zip(logits.numpy()[:, 0].astype(np.float64), masks.numpy(), strict=True):
        z, truth = z[truth != 255], truth[truth != 255]
        images.append(lovasz_of(1 - z * (2 * truth - 1), truth))
    return np.mean(images)


def numpy_pixels(loss_of, logits, masks):
    """The mean of loss_of(truth's probability, label, column) over all pixels that are not ignored."""
    losses = []
    for z, truth in zip(logits.numpy().astype(np.float64), masks.numpy(), strict=True):
        for (row, column), label in np.ndenumerate(truth):
            if label == 255:
                continue
            scores = z[:, row, column] if len(z) > 1 else np.array([0, z[0, row, column]])  # sigmoid is softmax of 0, z
            losses.append(loss_of(np.exp(scores[label]) / np.exp(scores).sum(), label, column))
    return np.mean(losses)


def focal_of(p, label, column, gamma=2.0, alphas=(1, 1, 1, 1)):
    return -alphas[label] * (1 - p) ** gamma * math.log(p)


def slanted_of(p, label, column):
    return -(1 + 2 * column / 22) * math.log(p)


def numpy_border_bce_dice(logits, masks, side):
    """Weights by a loop over the square around each pixel, then weighted BCE and, of the weights' squares, Dice."""
    total, count, dices = 0.0, 0, []
    for z, truth in zip(logits.numpy()[:, 0].astype(np.float64), masks.numpy(), strict=True):
        weights = np.zeros(truth.shape)
        for row, column in zip(*np.nonzero(truth != 255), strict=True):
            top, left = max(row - side // 2, 0), max(column - side // 2, 0)
            square = truth[top : row + side // 2 + 1, left : column + side // 2 + 1]
            weights[row, column] = 3 if 0.01 <= (square[square != 255] == 1).mean() <= 0.99 else 1
        valid = truth != 255
        if not valid.any():
            dices.append(1)
            continue
        w, p, t = weights[valid] / weights[valid].mean(), 1 / (1 + np.exp(-z[valid])), truth[valid]
        total -= (w * np.where(t == 1, np.log(p), np.log(1 - p))).sum()
        count += valid.sum()
        dices.append((2 * (w**2 * p * t).sum() + 1) / ((w**2 * p).sum() + (w**2 * t).sum() + 1))
    return total / count + 1 - np.mean(dices)


def one_minus_dice_of(p, t):
    return 1 - dice_of(p, t)


def minus_log_dice_of(p, t):
    return -math.log(dice_of(p, t))


REGIONS = {  # our loss and the loss of one image and class
    "soft_dice": (soft_dice, one_minus_dice_of),
    "soft_jaccard": (soft_jaccard, jaccard_loss_of),
    "tversky": (tversky, tversky_loss_of),
    "tversky 0.6 0.4": (partial(tversky, alpha=0.6, beta=0.4), partial(tversky_loss_of, alpha=0.6, beta=0.4)),
    "focal tversky": (partial(tversky, gamma=4 / 3), partial(tversky_loss_of, gamma=4 / 3)),
}
PIXELS = {
    "focal": (focal, focal_of),
    "focal 0": (partial(focal, gamma=0.0), partial(focal_of, gamma=0.0)),
    "focal 0.5": (partial(focal, gamma=0.5), partial(focal_of, gamma=0.5)),
    "weighted": (slanted_cross_entropy, slanted_of),
}


def numpy_bce(logits, masks):
    z, t = logits.numpy()[:, 0].astype(np.float64), masks.numpy()
    losses = np.log1p(np.exp(-np.abs(z))) + np.maximum(z, 0) - z * (t == 1)
    return losses[t != 255].mean()


def numpy_soft_dice(logits, masks, smooth=1.0):
    scores = []
    for z, t in zip(logits.numpy()[:, 0].astype(np.float64), masks.numpy(), strict=True):
        p, truth = 1 / (1 + np.exp(-z[t != 255])), t[t != 255]
        scores.append(dice_of(p, truth, smooth) if truth.size else 1.0)
    return 1 - np.mean(scores)


def numpy_cross_entropy(logits, masks, weights):
    """The weighted mean: each pixel counts as its class does."""
    z, t = logits.numpy().astype(np.float64), masks.numpy()
    log_p = z - z.max(axis=1, keepdims=True)
    log_p -= np.log(np.exp(log_p).sum(axis=1, keepdims=True))
    n, y, x = np.nonzero(t != 255)
    truth = t[n, y, x]
    return -(weights[truth] * log_p[n, truth, y, x]).sum() / weights[truth].sum()


ONE = {  # every loss that takes K = 1, and its NumPy form
    "bce": (bce, numpy_bce),
    **{name: (loss, partial(numpy_regions, of)) for name, (loss, of) in REGIONS.items()},
    **{name: (loss, partial(numpy_pixels, of)) for name, (loss, of) in PIXELS.items()},
    "focal alpha": (partial(focal, alpha=0.25), partial(numpy_pixels, partial(focal_of, alphas=(0.75, 0.25)))),
    "lovasz_hinge": (lovasz_hinge, numpy_lovasz_hinge),
    "bce_dice": (bce_dice, lambda z, m: numpy_bce(z, m) + numpy_regions(one_minus_dice_of, z, m)),
    "bce_jaccard": (bce_jaccard, lambda z, m: numpy_bce(z, m) + numpy_regions(jaccard_loss_of, z, m)),
    "bce_log_dice": (bce_log_dice, lambda z, m: numpy_bce(z, m) + numpy_regions(minus_log_dice_of, z, m)),
    "border": (partial(border_bce_dice, kernel_size=5), partial(numpy_border_bce_dice, side=5)),
    "border by height": (border_bce_dice, partial(numpy_border_bce_dice, side=11)),
}
MANY = {  # every loss that takes K > 1
    **{name: (loss, partial(numpy_regions, of)) for name, (loss, of) in REGIONS.items()},
    **{name: (loss, partial(numpy_pixels, of)) for name, (loss, of) in PIXELS.items()},
    "focal alpha": (partial(focal, alpha=ALPHAS), partial(numpy_pixels, partial(focal_of, alphas=ALPHAS.tolist()))),
    "cross_entropy": (cross_entropy, partial(numpy_pixels, partial(focal_of, gamma=0.0))),
    "cross_entropy by class": (
        partial(cross_entropy, class_weights=ALPHAS),
        partial(numpy_cross_entropy, weights=ALPHAS.numpy().astype(np.float64)),
    ),
    "lovasz_softmax": (
        lovasz_softmax,
        partial(numpy_regions, lambda p, t: lovasz_of(np.abs(p - t), t)),
    ),
}
BY_CLASS = {"focal alpha", "cross_entropy by class"}  # of MANY: they have four weights, so K = 4
EVERY = [(1, name) for name in ONE] + [(4, name) for name in MANY]


def named(channels, name):
    return (ONE if channels == 1 else MANY)[name]


def drawn(channels, seed=0, scale=2.0):
    """Logits (3, K, 17, 23) and blocky truth with a fifth ignored; of the second image all is background."""
    rng = np.random.default_rng(seed)
    logits = torch.from_numpy(rng.normal(0, scale, (3, channels, 17, 23)).astype(np.float32))
    blocks = rng.integers(0, max(channels, 2) - (channels > 2), (3, 3, 4))  # for K > 2 a class that never occurs
    truth = blocks.repeat(6, axis=1).repeat(6, axis=2)[:, :17, :23]
    truth[1] = 0
    truth[rng.random(truth.shape) < 0.2] = 255
    return logits, torch.from_numpy(truth)
