"""Changed copies of images, planted in a data set: what the audit must find."""

import cv2
import numpy as np

from kit.data.dataset import Dataset


def compressed(image, quality=50):
    packed = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.ascontiguousarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)[..., ::-1])


def half(image):
    return cv2.resize(image, (image.shape[1] // 2, image.shape[0] // 2), interpolation=cv2.INTER_AREA)


def brighter(image):
    return np.round(np.minimum(image.astype(float) * 1.2, 255)).astype(np.uint8)


def cut(image, share=0.05):
    top, left = (round(share * side) for side in image.shape[:2])
    return image[top : len(image) - top, left : image.shape[1] - left]


def symmetry(number):
    """The eight symmetries, by NumPy alone."""
    return lambda image: np.ascontiguousarray(np.rot90(image.transpose(1, 0, 2) if number >= 4 else image, number % 4))


CHANGES = {
    "bytes": lambda image: image.copy(),
    "q50": compressed,
    "half": half,
    "brighter": brighter,
    **{f"symmetry{number}": symmetry(number) for number in range(1, 8)},
    "cut": cut,
}


class Planted(Dataset):
    """A data set, and changed copies of some of its images, named <id>+<change>, each a group of its own.

    ids: of the images of the data set that stay; None: all.
    """

    def __init__(self, dataset, sources, changes=tuple(CHANGES), ids=None):
        self.dataset, self.name, self.classes = dataset, dataset.name, dataset.classes
        self.planted = {f"{id}+{change}": (id, change) for id in sources for change in changes}
        groups = {id: str(group) for id, group in zip(dataset.ids, dataset.groups, strict=True) if not ids or id in ids}
        self.ids = [*groups, *self.planted]
        self.groups = [*groups.values(), *self.planted]
        self.test_ids = list(getattr(dataset, "test_ids", []))
        self.folds = np.array([0] * len(groups) + [1] * len(self.planted))

    def read_image(self, id):
        if id not in self.planted:
            return self.dataset.read_image(id)
        source, change = self.planted[id]
        return CHANGES[change](self.dataset.read_image(source))
