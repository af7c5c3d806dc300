"""The drawings of one image: its truth, its prediction and its errors, each as a JPEG inside the page.

One pair of colours carries one meaning in the whole page. Blue is the truth, and the pixels of it that were missed.
Orange is the prediction, and the pixels that it added. They are Okabe and Ito's, which differ in any colour vision.
"""

import base64
import colorsys
from collections.abc import Sequence

import cv2
import numpy as np
import simplejpeg

from kit.report.display import as_rgb
from kit.report.object_cards import draw_objects
from kit.report.results import Results
from kit.report.windows import error_window, resize

BLUE, ORANGE = (64, 170, 255), (255, 150, 20)
PALE, DARK = (225, 225, 225), (70, 70, 70)  # ignored pixels; a background
WIDTH, HEIGHT = 480, 400  # the box, in pixels, that every drawing fits into
IGNORED = 255


def card(results: Results, name: str) -> dict[str, str]:
    """Return the drawings of one image as data URIs, by what they show.

    Two classes: outlines, errors and, at full resolution, the largest error. More, and classes that overlap: truth,
    prediction, errors. Objects: see kit.report.object_cards.
    Raises ValueError naming the image where image, truth and prediction differ in size.
    """
    image, truth, prediction = results.read_image(name), results.read_truth(name), results.read_prediction(name)
    if not (truth.shape == prediction.shape and truth.shape[:2] == image.shape[:2]):
        shapes = f"image {image.shape[:2]}, truth {truth.shape}, prediction {prediction.shape}"
        raise ValueError(f"{name}: {shapes}: expected one height and width")
    image = as_rgb(image, results.channels)
    scale = min(WIDTH / image.shape[1], HEIGHT / image.shape[0])
    size = max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale))  # OpenCV's (width, height)
    draw = _DRAW.get(results.task, _draw_classes if results.averaged else _draw_two_classes)
    drawings = draw(image, truth, prediction, size, palette(results.classes))
    return {what: _data_uri(drawing) for what, drawing in drawings.items()}


def _draw_classes(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int], colours: list[tuple]
) -> dict[str, np.ndarray]:
    wrong = (truth != prediction) & (truth != IGNORED)
    paint = np.array(colours + [(0, 0, 0)] * (IGNORED - len(colours)) + [PALE])
    return {
        "the truth": _painted(image, truth, paint, size),
        "the prediction": _painted(image, prediction, paint, size),
        "its errors": _error_map(image, truth == IGNORED, wrong, np.zeros_like(wrong), size),
    }


def _draw_two_classes(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int], colours: list[tuple]
) -> dict[str, np.ndarray]:
    wrong = (truth != prediction) & (truth != IGNORED)
    missed = wrong & (truth == 1)
    window = error_window(wrong if wrong.any() else truth > 0, (size[1], size[0]))
    tinted = image[window].copy()
    for mask, colour in ((missed, BLUE), (wrong & ~missed, ORANGE)):
        tinted[mask[window]] = tinted[mask[window]] * 0.6 + np.array(colour) * 0.4
    return {
        "the outlines of truth and prediction": _outlined(image, truth, prediction, size),
        "its errors": _error_map(image, truth == IGNORED, wrong, missed, size),
        "its largest error, enlarged": _outlined(tinted, truth[window], prediction[window], size),
    }


def _draw_overlapping(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int], colours: list[tuple]
) -> dict[str, np.ndarray]:
    """truth, prediction: bool (H, W, K). Each class is tinted and has an outline, so both of two classes show."""
    missed, added = (truth & ~prediction).any(axis=2), (prediction & ~truth).any(axis=2)
    return {
        "the truth": _layered(image, truth, colours, size),
        "the prediction": _layered(image, prediction, colours, size),
        "its errors": _error_map(image, np.zeros_like(missed), missed | added, missed, size),
    }


def _draw_objects(
    image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int], colours: list[tuple]
) -> dict[str, np.ndarray]:
    """truth, prediction: int32 (H, W), a label an object."""
    return draw_objects(image, truth, prediction, size)


_DRAW = {"multilabel": _draw_overlapping, "instances": _draw_objects}


def palette(classes: Sequence[str]) -> list[tuple[int, int, int]]:
    """Return a colour for each class, neighbours far apart in hue; DARK for a background, which is only darkened."""
    colours = []
    for k in range(len(classes)):
        hue = (0.2 + k * (5**0.5 - 1) / 2) % 1  # steps of the golden ratio: no hue comes close to an earlier one
        red, green, blue = colorsys.hsv_to_rgb(hue, *((0.85, 1.0), (0.5, 1.0), (0.9, 0.6))[k % 3])
        colours.append((round(255 * red), round(255 * green), round(255 * blue)))
    return [DARK, *colours[1:]] if classes[0] == "background" else colours


def _painted(image: np.ndarray, labels: np.ndarray, colours: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at `size` under the colours of its classes, u8 (h, w, 3); a background only darkens it."""
    drawing, paint = resize(image, size), colours[cv2.resize(labels, size, interpolation=cv2.INTER_NEAREST)]
    share = np.where((paint == DARK).all(axis=-1), 0.25, 0.6)[..., None]
    return (drawing * (1 - share) + paint * share).astype(np.uint8)


def _layered(image: np.ndarray, masks: np.ndarray, colours: list[tuple], size: tuple[int, int]) -> np.ndarray:
    """The image at `size` with each layer of masks, bool (H, W, K), tinted and outlined in its colour, u8 (h, w, 3)."""
    drawing, layers = resize(image, size).astype(np.float32), np.moveaxis(masks.view(np.uint8), 2, 0)
    for layer, colour in zip(layers, colours, strict=True):
        inside = cv2.resize(np.ascontiguousarray(layer), size, interpolation=cv2.INTER_NEAREST) > 0
        drawing[inside] = drawing[inside] * 0.65 + np.array(colour, np.float32) * 0.35
    for layer, colour in zip(layers, colours, strict=True):
        drawing[_edges(np.ascontiguousarray(layer), size, 2)] = colour
    return drawing.astype(np.uint8)


def _edges(mask: np.ndarray, size: tuple[int, int], thickness: int) -> np.ndarray:
    """Where neighbours differ in the mask brought to `size`: bool (H, W)."""
    small = cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST)
    edges = np.zeros(small.shape, np.uint8)
    edges[:, 1:] |= small[:, 1:] != small[:, :-1]
    edges[1:] |= small[1:] != small[:-1]
    return cv2.dilate(edges, np.ones((thickness, thickness), np.uint8)) > 0


def _outlined(image: np.ndarray, truth: np.ndarray, prediction: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The image at `size`, with a thin line of the prediction over a thick one of the truth: both show."""
    drawing = resize(image, size)
    drawing[_edges(truth, size, 4)] = BLUE
    drawing[_edges(prediction, size, 2)] = ORANGE
    return drawing


def _error_map(
    image: np.ndarray, ignored: np.ndarray, wrong: np.ndarray, missed: np.ndarray, size: tuple[int, int]
) -> np.ndarray:
    """A dark grey image. A pixel is coloured where any of the pixels behind it is wrong, so that thin errors show."""
    grey = cv2.cvtColor(resize(image, size), cv2.COLOR_RGB2GRAY)
    drawing = np.repeat((grey // 3 + 12)[..., None], 3, axis=2)
    for mask, colour in ((ignored, PALE), (wrong & ~missed, ORANGE), (missed, BLUE)):
        drawing[resize(mask.astype(np.float32), size, enlarge=cv2.INTER_NEAREST) > 1e-6] = colour
    return drawing


def _data_uri(image: np.ndarray) -> str:
    # 4:4:4, because half the chroma blurs coloured lines two pixels wide
    jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(image), 80, "RGB", "444")
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
