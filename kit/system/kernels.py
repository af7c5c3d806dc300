"""Compiled kernels: serial, without Python's lock so that threads can run several, and kept on the disk once compiled.

A kernel does not check its arguments: it reads out of bounds where dtype or shape are others than it was written for.
Every function that calls one checks dtype, number of dimensions and contiguity first.
"""

import contextlib
import uuid
from collections.abc import Callable

from numba import njit
from numba.core.caching import IndexDataCacheFile


class _OwnFiles(IndexDataCacheFile):
    """numba's files of a compiled function, each under a name of its own.

    numba numbers them and locks nothing. Of two processes that compile a function for other types at once, both take
    the same number, and a third one may load code for types that it does not have.
    """

    def _data_name(self, number: int) -> str:
        return super()._data_name(uuid.uuid4().int)


def kernel(function: Callable) -> Callable:
    """Compile a function at its first call, for the types of its arguments, and keep it on the disk."""
    compiled = njit(cache=True, nogil=True)(function)
    with contextlib.suppress(AttributeError):  # NUMBA_DISABLE_JIT gives the function itself
        compiled._cache._cache_file.__class__ = _OwnFiles
    return compiled


@kernel
def _nothing():
    pass


_nothing()  # Numba sets itself up at its first call, for a third of a second: better here than in the first image
