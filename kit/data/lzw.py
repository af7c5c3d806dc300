"""LZW as TIFF packs it (TIFF 6.0 specification, section 13): codes of 9 to 12 bits, the highest bit first.

Each string of the table is a stretch of what was unpacked before, so the table holds where it begins and its length.
"""

import numpy as np

from kit.system.kernels import kernel

CLEAR, END = 256, 257


def unpack_lzw(packed: bytes, size: int) -> np.ndarray:
    """Unpack at most `size` bytes -> u8 (n,), fewer where `packed` ends early. Raises ValueError on an unknown code."""
    unpacked = np.empty(size, np.uint8)
    count = _unpack(np.frombuffer(packed, np.uint8), unpacked)
    if count < 0:
        raise ValueError("an LZW code that is not in the table")
    return unpacked[:count]


@kernel
def _unpack(packed, unpacked):
    """packed u8 (n,), unpacked u8 (size,): how many bytes were written, -1 at a code that is not in the table."""
    begins, lengths = np.empty(4097, np.int64), np.empty(4097, np.int64)
    bits, known, count, at = 9, 258, 0, 0
    last_begin = last_length = 0  # of the string before; no length after a clear code
    while count < unpacked.size and at + bits <= packed.size * 8:
        code = 0
        for place in range(at, at + bits):
            code = code * 2 + ((packed[place >> 3] >> (7 - (place & 7))) & 1)
        at += bits
        if code == END:
            break
        if code == CLEAR:
            bits, known, last_length = 9, 258, 0
            continue
        begin = count
        if code < 256:
            unpacked[count] = code
            length = 1
        else:
            if code < known:
                source, length = begins[code], lengths[code]
            elif code == known and last_length:
                source, length = last_begin, last_length + 1  # its last byte is the first that it writes
            else:
                return -1
            length = min(length, unpacked.size - count)
            for i in range(length):
                unpacked[count + i] = unpacked[source + i]
        count += length
        if last_length and known < 4096:
            begins[known], lengths[known] = last_begin, last_length + 1
            known += 1
        if known >= (1 << bits) - 1 and bits < 12:
            bits += 1
        last_begin, last_length = begin, length
    return count
