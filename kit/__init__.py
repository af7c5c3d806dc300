"""kit: folds, out-of-fold predictions, an honest report and a linted submission for image segmentation.

Shapes in docstrings: N images, C channels, K classes, H height, W width. Sizes are (height, width).
Images are (H, W, C) in u8, u16 or f32; masks are u8 (H, W) of class numbers, and 255 is ignored.
"""

import os
import tempfile
from pathlib import Path

__version__ = "0.1.0"


def _place_numba_cache() -> None:
    """Give numba a folder that it can write to, where it can write neither to the package's nor to the user's own.

    numba keeps compiled kernels beside the source, or else below the home folder. It raises at import when it can
    write to neither, as in a container with a read-only install.
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
