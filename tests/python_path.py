"""PYTHONPATH of a process that a test starts."""

import os


def python_path(*folders):
    """These folders, and then those of the user's PYTHONPATH, where packages may lie."""
    return os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
