"""Pictures as the bytes of a file, for tests that decode them."""

import io

import numpy as np
from PIL import Image


def save(image: Image.Image | np.ndarray, format: str, **options) -> bytes:
    file = io.BytesIO()
    (Image.fromarray(image) if isinstance(image, np.ndarray) else image).save(file, format, **options)
    return file.getvalue()
