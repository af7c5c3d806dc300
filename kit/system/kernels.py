"""Compiled kernels: serial, without Python's lock so that threads can run several, and kept on the disk once compiled.

A kernel does not check its arguments: it reads out of bounds where dtype or shape are others than it was written for.
Every function that calls one checks dtype, number of dimensions and contiguity first.
"""

from numba import njit

kernel = njit(cache=True, nogil=True)


@kernel
def _nothing():
    pass


_nothing()  # Numba sets itself up at its first call, for a third of a second: better here than in the first image
