"""Compiled kernels: serial, so that threads can run several; without Python's lock; kept on the disk once compiled."""

from numba import njit

kernel = njit(cache=True, nogil=True)


@kernel
def _nothing():
    pass


_nothing()  # at its first call Numba sets itself up for a third of a second: here, and not in the first picture
