"""How does a run leave this machine? The room behind `python -m kit bundle` and `python -m kit export`.

folder.py   bundle: a folder that predicts in a notebook without internet
weights.py  the run's files in it, weights in half precision where that was measured to cost nothing
wheels.py   kit itself as a wheel; wheels of other packages for another machine
script.py   predict.py of the bundle: needs nothing but Python
kaggle.py   the notebook, the metadata files of Kaggle's client, and the upload
export.py   one network as ONNX
"""

import importlib

_ROOMS = {"Bundle": "folder", "bundle": "folder", "push": "kaggle"}
__all__ = list(_ROOMS)


def __getattr__(name: str) -> object:
    """Import a file at the first use of its names: the command line needs none of them until then."""
    if name not in _ROOMS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"kit.bundle.{_ROOMS[name]}"), name)
