from functools import partial

import numpy as np
import pytest
import torch
from numpy_losses import ALPHAS, BY_CLASS, EVERY, MANY, ONE, drawn, named, numpy_bce, numpy_soft_dice
from segmentation_models_pytorch.losses import LovaszLoss
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from kit.losses import (
    bce,
    bce_dice,
    bce_jaccard,
    bce_log_dice,
    border_bce_dice,
    cross_entropy,
    deep_supervision,
    focal,
    lovasz_hinge,
    lovasz_softmax,
    soft_dice,
    soft_jaccard,
    tversky,
    weighted_cross_entropy,
)

BINARY = [bce, soft_dice, bce_dice]


@pytest.fixture
def logits():
    return torch.from_numpy(np.random.default_rng(0).normal(0, 3, (3, 1, 17, 23)).astype(np.float32))


@pytest.fixture
def masks():
    """Truth of 0 and 1 with a fifth ignored; the second image's truth is empty."""
    rng = np.random.default_rng(1)
    truth = rng.integers(0, 2, (3, 17, 23))
    truth[1] = 0
    truth[rng.random(truth.shape) < 0.2] = 255
    return torch.from_numpy(truth)


@pytest.mark.parametrize("ignored", ["a fifth", "none", "a image"])
@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_every_loss_agrees_with_plain_numpy(channels, name, ignored):
    logits, masks = drawn(channels)
    if ignored == "none":
        masks = torch.where(masks == 255, 1, masks)
    elif ignored == "a image":
        masks[0] = 255
    loss, reference = named(channels, name)
    assert loss(logits, masks).item() == pytest.approx(reference(logits, masks), rel=2e-5)


@pytest.mark.parametrize("ignored", [False, True])
def test_binary_losses_agree_with_numpy(logits, masks, ignored):
    masks = masks if ignored else torch.where(masks == 255, 1, masks)
    expected_bce, expected_dice = numpy_bce(logits, masks), numpy_soft_dice(logits, masks)
    assert bce(logits, masks).item() == pytest.approx(expected_bce, rel=1e-5)
    assert soft_dice(logits, masks).item() == pytest.approx(expected_dice, rel=1e-5)
    assert soft_dice(logits, masks, smooth=20.0).item() == pytest.approx(numpy_soft_dice(logits, masks, 20), rel=1e-5)
    assert bce_dice(logits, masks).item() == pytest.approx(expected_bce + expected_dice, rel=1e-5)


def test_bce_agrees_with_torch_on_the_pixels_that_count(logits, masks):
    valid = masks != 255
    expected = F.binary_cross_entropy_with_logits(logits[:, 0][valid], masks[valid].float())
    torch.testing.assert_close(bce(logits, masks), expected)


@pytest.mark.parametrize("weighted", [False, True])
def test_cross_entropy_agrees_with_torch_and_numpy(masks, weighted):
    logits = torch.from_numpy(np.random.default_rng(2).normal(0, 2, (3, 4, 17, 23)).astype(np.float32))
    weights = torch.tensor([0.5, 2.0, 1.0, 3.0]) if weighted else None
    masks[masks == 1] = torch.arange(int((masks == 1).sum())) % 4
    found = cross_entropy(logits, masks, class_weights=weights)
    torch.testing.assert_close(found, F.cross_entropy(logits, masks, weight=weights, ignore_index=255))
    z, truth = logits.numpy().astype(np.float64), masks.numpy()
    losses = np.log(np.exp(z).sum(axis=1)) - np.take_along_axis(z, np.where(truth == 255, 0, truth)[:, None], 1)[:, 0]
    shares = np.ones(4) if weights is None else weights.numpy()
    share = np.where(truth == 255, 0, shares[np.where(truth == 255, 0, truth)])
    assert found.item() == pytest.approx((losses * share).sum() / share.sum(), rel=1e-5)


@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_what_is_ignored_has_no_influence_and_no_gradient(channels, name):
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    ignored = (masks == 255)[:, None].expand_as(logits)
    changed = torch.where(ignored, torch.linspace(-9, 9, 23), logits).requires_grad_()
    value = loss(changed, masks)
    assert value.item() == pytest.approx(loss(logits, masks).item(), rel=1e-6)
    (gradient,) = torch.autograd.grad(value, changed)
    assert (gradient[ignored] == 0).all()
    assert (gradient[~ignored] != 0).any()


@pytest.mark.parametrize("part", ["a image", "all"])
@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_a_image_that_is_wholly_ignored_has_no_loss_and_no_gradient(channels, name, part):
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    masks[0 if part == "a image" else slice(None)] = 255
    logits.requires_grad_()
    value = loss(logits, masks)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.shape == ()
    assert gradient.isfinite().all()
    assert (gradient[0] == 0).all()
    if part == "all":
        assert value.item() == 0
        assert (gradient == 0).all()


@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_an_empty_truth_has_a_gradient_towards_the_background(channels, name):
    """Also where float32 rounds probabilities to 0 and 1, loss and gradient are finite, and right is worth 0."""
    loss, truth = named(channels, name)[0], torch.zeros(2, 9, 23, dtype=torch.long)
    signs = torch.ones(2, channels, 9, 23)
    if channels > 1:
        signs[:, 0] = -1  # the background's logits go down, the others' up: wrong
    for size in (0.1, 30.0, 200.0):
        wrong, right = (signs * size).requires_grad_(), (-signs * size).requires_grad_()
        slope = torch.autograd.grad(loss(wrong, truth), wrong)[0] * signs
        assert slope.isfinite().all()
        assert (slope >= 0).all()
        assert (slope > 0).any() or size > 0.1
        assert torch.autograd.grad(loss(right, truth), right)[0].isfinite().all()
        assert loss(wrong, truth) > loss(right, truth)
    assert loss(right, truth).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_gradients_agree_with_finite_differences(channels, name):
    """Not torch's gradcheck: that wants float64 throughout, and these losses compute in float32 on purpose."""
    loss, (logits, masks) = named(channels, name)[0], drawn(channels, seed=3, scale=1.0)
    logits.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(logits, masks), logits)
    direction = gradient / gradient.norm()
    step = 0.01 if name == "lovasz_hinge" else 0.5  # of the empty truth it sees the worst pixel, until another is worse
    with torch.no_grad():
        change = (loss(logits + step * direction, masks) - loss(logits - step * direction, masks)).item()
    assert change / (2 * step) == pytest.approx(gradient.norm().item(), rel=0.02)


def test_an_empty_truth_pulls_towards_the_empty_prediction():
    truth = torch.zeros(1, 8, 8, dtype=torch.long)
    logits = torch.zeros(1, 1, 8, 8, requires_grad=True)
    for loss in BINARY:
        (gradient,) = torch.autograd.grad(loss(logits, truth), logits)
        assert (gradient > 0).all()
        assert loss(torch.full((1, 1, 8, 8), -30.0), truth).item() < 1e-6


@pytest.mark.parametrize(("channels", "name"), [each for each in EVERY if each != (4, "cross_entropy by class")])
def test_losses_split_over_processes(channels, name):
    """The mean over images of a whole batch is that of its parts; with nothing ignored that holds for pixels too.

    Not where classes have weights: the mean is then over these, and an image of dear classes counts more.
    """
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    masks = torch.where(masks == 255, 1, masks)
    images = [loss(logits[i : i + 1], masks[i : i + 1]) for i in range(3)]
    torch.testing.assert_close(loss(logits, masks), torch.stack(images).mean())


@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_losses_are_float32_and_take_any_integers_as_masks(channels, name):
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        value = loss(logits.to(dtype), masks)
        assert value.dtype == torch.float32
        assert value.item() == pytest.approx(loss(logits.to(dtype).float(), masks).item())
    assert loss(logits, masks.to(torch.uint8)).item() == loss(logits, masks).item()
    with torch.autocast("cpu", torch.bfloat16):
        assert loss(logits, masks).item() == loss(logits, masks).item()


@pytest.mark.parametrize(
    ("channels", "name"), [(1, name) for name in ONE] + [(2, name) for name in MANY if name not in BY_CLASS]
)
def test_fault_40_half_precision_at_1024(channels, name):
    """From -60,000 to 60,000: a sum over the image would overflow float16, whose largest number is 65,504."""
    loss = named(channels, name)[0]
    masks = torch.zeros(1, 1024, 1024, dtype=torch.uint8)
    masks[:, :512] = 1
    rows = torch.linspace(-60_000, 60_000, 1024).repeat(channels, 1)
    rows[1:] *= -1
    logits = rows[None, :, None].expand(1, channels, 1024, 1024).half().requires_grad_()
    value = loss(logits, masks)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert value > 0.1
    assert gradient.isfinite().all()


@pytest.mark.parametrize(("channels", "name"), EVERY)
@pytest.mark.parametrize("wrong", ["masks with channels", "masks turned", "no batch"])
def test_shapes_that_would_broadcast_are_refused(channels, name, wrong):
    logits, masks = torch.zeros(2, channels, 5, 7), torch.zeros(2, 5, 7, dtype=torch.long)
    if wrong == "masks with channels":
        masks = masks[:, None].repeat(1, 2, 1, 1)
    elif wrong == "masks turned":
        masks = masks.transpose(1, 2)
    else:
        logits = logits.squeeze(1) if channels == 1 else logits[:, :, 0]
    expected = r"expected logits \(N, (1|K|K > 1), H, W\) and masks \(N, H, W\), got \(2, .*\(2, "
    with pytest.raises(ValueError, match=expected):
        named(channels, name)[0](logits, masks)


@pytest.mark.parametrize("loss", [bce, lovasz_hinge, bce_dice, bce_jaccard, bce_log_dice, border_bce_dice])
def test_losses_of_one_class_refuse_several_channels(loss):
    with pytest.raises(ValueError, match=r"expected logits \(N, 1, H, W\).*got \(2, 3, 5, 7\)"):
        loss(torch.zeros(2, 3, 5, 7), torch.zeros(2, 5, 7, dtype=torch.long))


@pytest.mark.parametrize(("loss", "other"), [(cross_entropy, "bce"), (lovasz_softmax, "lovasz_hinge")])
def test_losses_of_several_classes_refuse_one_channel(loss, other):
    with pytest.raises(ValueError, match=rf"\(N, K > 1, H, W\), got \(2, 1, 5, 7\): .* for K = 1 use .*{other}"):
        loss(torch.zeros(2, 1, 5, 7), torch.zeros(2, 5, 7, dtype=torch.long))


@pytest.mark.parametrize(("channels", "name"), EVERY)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64])
def test_a_label_that_no_channel_stands_for_is_refused(channels, name, dtype):
    """A loss of one channel on masks of three classes, or a label K; ignored pixels are no labels."""
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    masks = masks.to(dtype)
    loss(logits, masks)
    masks[2, 3, 4] = wrong = max(channels, 2)
    with pytest.raises(
        ValueError, match=rf"label {wrong}, but logits of {channels} channels? stand for .* 0 to {wrong - 1}"
    ):
        loss(logits, masks)


def test_a_negative_label_is_refused(logits, masks):
    masks[0, 0, 0] = -1
    with pytest.raises(ValueError, match="hold the label -1"):
        bce_dice(logits, masks)


@pytest.mark.parametrize(("channels", "name"), EVERY)
def test_float_masks_and_integer_logits_are_refused(channels, name):
    """A mask of 0.0 ... 1.0 would be cut off to 0, or taken for a probability, by the loss."""
    loss, (logits, masks) = named(channels, name)[0], drawn(channels)
    with pytest.raises(ValueError, match=r"float logits and integer masks, got torch.float32 and torch.float32"):
        loss(logits, masks.float())
    with pytest.raises(ValueError, match=r"got torch.int64 and torch.int64"):
        loss(logits.long(), masks)


def test_values_are_not_read_where_that_would_wait_for_the_device():
    """On the meta device, where no value can be read, the checks of shapes pass and those of labels are left out."""
    logits, masks = torch.zeros(2, 3, 5, 7, device="meta"), torch.zeros(2, 5, 7, dtype=torch.uint8, device="meta")
    assert cross_entropy(logits, masks).shape == soft_dice(logits, masks).shape == ()
    assert bce_dice(logits[:, :1], masks).shape == border_bce_dice(logits[:, :1], masks).shape == ()


def test_class_weights_of_another_number_are_refused(masks):
    with pytest.raises(ValueError, match=r"expected class_weights \(4,\), got \(3,\)"):
        cross_entropy(torch.zeros(3, 4, 17, 23), masks, class_weights=torch.ones(3))


def test_the_room_offers_every_loss_by_name():
    import kit.losses

    assert all(callable(getattr(kit.losses, name)) for name in kit.losses.__all__)
    assert {"bce_dice", "cross_entropy", "median_frequency_weights"} <= set(kit.losses.__all__)


def test_lovasz_agrees_with_smp_in_value_and_gradient():
    """smp's is Berman's own code; at this size its differences of neighbours still hold five digits."""
    for channels, loss, mode in ((1, lovasz_hinge, "binary"), (4, lovasz_softmax, "multiclass")):
        logits, masks = drawn(channels)
        logits.requires_grad_()
        found, expected = loss(logits, masks), LovaszLoss(mode, per_image=True, ignore_index=255)(logits, masks)
        torch.testing.assert_close(found, expected)
        (found,), (expected,) = (torch.autograd.grad(value, logits) for value in (found, expected))
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-7)


def test_lovasz_keeps_its_digits_on_a_large_image():
    """The median pixel's weight at 1024 x 1024 is within 1e-5 of float64's; as a float32 difference it is 2.6 % off."""
    rng = np.random.default_rng(0)
    truth, order = rng.random(1024 * 1024) < 0.3, rng.permutation(1024 * 1024)
    errors = np.empty(len(order), np.float32)
    errors[order] = np.linspace(2, 1, len(order), dtype=np.float32)  # all errors count, and are all different
    logits = ((1 - errors) * np.where(truth, 1, -1)).reshape(1, 1, 1024, 1024).astype(np.float32)
    logits = torch.from_numpy(logits).requires_grad_()
    (gradient,) = torch.autograd.grad(lovasz_hinge(logits, torch.from_numpy(truth).reshape(1, 1024, 1024)), logits)
    order = np.argsort(-(1 - logits.detach().numpy().ravel() * np.where(truth, 1, -1)), kind="stable")
    wrong = np.arange(1, len(order) + 1)
    jaccard = wrong / (truth.sum() + np.cumsum(~truth[order]))  # of Berman et al.: |wrong| / |truth or wrong|
    steps = np.diff(jaccard, prepend=0)
    found = np.abs(gradient.numpy().ravel()[order])
    weighty = steps > 1e-9
    assert weighty.mean() > 0.9
    np.testing.assert_allclose(np.median(np.abs(found[weighty] / steps[weighty] - 1)), 0, atol=1e-5)


def test_focal_agrees_with_torchvision(logits, masks):
    valid = masks != 255
    expected = sigmoid_focal_loss(logits[:, 0][valid], masks[valid].float(), alpha=0.25, gamma=2, reduction="mean")
    torch.testing.assert_close(focal(logits, masks, alpha=0.25), expected)


@pytest.mark.parametrize("alpha", [ALPHAS, torch.tensor(0.25)])
def test_focal_refuses_an_alpha_of_another_shape(logits, masks, alpha):
    with pytest.raises(ValueError, match=r"alpha as a number for K = 1 and a tensor \(K,\) for K > 1, got \("):
        focal(logits, masks, alpha=alpha)


def test_tversky_meets_dice_and_jaccard(logits, masks):
    torch.testing.assert_close(tversky(logits, masks, alpha=0.5, beta=0.5), soft_dice(logits, masks, smooth=2.0))
    torch.testing.assert_close(tversky(logits, masks, alpha=1.0, beta=1.0), soft_jaccard(logits, masks))


def test_weights_of_the_wrong_shape_are_refused(logits, masks):
    with pytest.raises(ValueError, match=r"expected weights \(N, H, W\) as the masks, \(3, 17, 23\), got \(17, 23\)"):
        weighted_cross_entropy(logits, masks, torch.ones(17, 23))


def test_border_weights_favour_the_border_and_no_other_edge():
    """Three times as dear by the mask's border, and alike at the image's edge and beside what is ignored."""
    masks = torch.zeros(1, 30, 40, dtype=torch.long)
    masks[:, :, 20:] = 1
    masks[:, :10, :8] = 255
    logits = torch.zeros(1, 1, 30, 40, requires_grad=True)
    plain = torch.autograd.grad(bce(logits, masks), logits)[0]
    whole = border_bce_dice(logits, masks, kernel_size=7)
    hits, w = torch.autograd.grad(whole, logits)[0][0, 0], plain[0, 0].abs()
    assert (w[masks[0] != 255] > 0).all()
    near = torch.zeros(30, 40, dtype=torch.bool)
    near[:, 17:23] = True  # the seven columns around these hold some of both
    for row in (0, 15, 29):
        assert len({round(v, 9) for v in hits[row, 8:17].tolist()}) == 1
        assert len({round(v, 9) for v in hits[row, 23:].tolist()}) == 1
    assert (hits[near].abs().min() > 2.9 * hits[~near].abs().max()).item()
    with pytest.raises(ValueError, match="odd; got 6"):
        border_bce_dice(logits, masks, kernel_size=6)


@pytest.mark.parametrize(
    ("height", "side"), [(128, 11), (129, 21), (512, 21), (513, 41), (1024, 41), (1025, 51), (1280, 51)]
)
def test_the_square_around_a_pixel_is_the_published_one_of_that_height(height, side):
    masks = torch.zeros(1, height, 12, dtype=torch.long)
    masks[:, height // 2 :] = 1
    logits = torch.linspace(-2, 2, height)[None, None, :, None].expand(1, 1, height, 12)
    assert border_bce_dice(logits, masks) == border_bce_dice(logits, masks, kernel_size=side)
    assert border_bce_dice(logits, masks) != border_bce_dice(logits, masks, kernel_size=side + 2)


def test_deep_supervision_is_the_weighted_sum_at_each_size():
    _, masks = drawn(1)
    masks = F.pad(masks, (0, 1, 0, 3), value=255)  # (3, 20, 24)
    outputs = [
        torch.randn(3, 1, *size, generator=torch.Generator().manual_seed(0)) for size in ((20, 24), (10, 12), (5, 6))
    ]
    centres = [masks, masks[:, 1::2, 1::2], masks[:, 2::4, 2::4]]  # the pixel under, or just after, each centre
    criterion = deep_supervision(bce_dice, [1.0, 0.5, 0.25])
    reference = named(1, "bce_dice")[1]
    expected = sum(w * reference(z, m) for w, z, m in zip([1.0, 0.5, 0.25], outputs, centres, strict=True))
    assert criterion(outputs, masks).item() == pytest.approx(expected, rel=2e-5)
    assert criterion(tuple(outputs), masks).item() == pytest.approx(expected, rel=2e-5)
    assert criterion(outputs, torch.full_like(masks, 255)) == 0
    assert criterion(outputs[0], masks) == bce_dice(outputs[0], masks)  # one output, when the model evaluates
    with pytest.raises(ValueError, match="as many logits as weights, 3, got 2"):
        criterion(outputs[:2], masks)


def test_deep_supervision_at_sizes_that_do_not_divide():
    """17 x 23 to 4 x 5: each small pixel takes the label that its centre lies in, so every label is one of its own."""
    masks = torch.arange(17 * 23).reshape(1, 17, 23)
    seen = []
    deep_supervision(lambda z, m: seen.append(m) or z.sum(), [1.0])([torch.zeros(1, 1, 4, 5)], masks)
    rows, columns = [2, 6, 10, 14], [2, 6, 11, 16, 20]  # floor((i + 1/2) 17/4), floor((j + 1/2) 23/5)
    assert seen[0].tolist() == [[[23 * row + column for column in columns] for row in rows]]


def test_class_weights_and_alpha_reach_gradients():
    """A weight of 0 leaves its class out of loss and gradient."""
    logits, masks = drawn(4)
    logits.requires_grad_()
    weights = torch.tensor([1.0, 0.0, 1.0, 1.0])
    for loss in (partial(cross_entropy, class_weights=weights), partial(focal, alpha=weights)):
        (gradient,) = torch.autograd.grad(loss(logits, masks), logits)
        left_out = (masks == 1)[:, None].expand_as(gradient)
        assert left_out.any()
        assert (gradient[left_out] == 0).all()
