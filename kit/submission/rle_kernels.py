"""Compiled loops of the run lengths: see kit.submission.rle, which checks what they are given."""

import numpy as np

from kit.system.kernels import kernel
from kit.system.objects import BLOCK, TWICE, place_of

_BLOCK = 128  # bytes compared together; most blocks of a mask hold one value only
_PAIRS = np.array([[48 + number // 10, 48 + number % 10] for number in range(100)], np.uint8)  # "00" to "99"


@kernel
def find_edges(pixels, words, edges):
    """Write where the value changes, from 0 before the first pixel to 0 after the last; return how many times.

    words: the same bytes, eight at a time. Even entries of `edges` are starts of runs, odd ones their ends.
    Returns -1 when a byte is neither 0 nor 1.
    """
    count = 0
    value = np.uint8(0)
    alike = np.uint64(0)  # the value, eight times
    seen = np.uint64(0)
    words_of_block = _BLOCK // 8
    for block in range(0, words.size // words_of_block * words_of_block, words_of_block):
        different = np.uint64(0)
        for word in range(block, block + words_of_block):
            different |= words[word] ^ alike
        if different == 0:
            continue
        for word in range(block, block + words_of_block):
            if words[word] == alike:
                continue
            seen |= words[word]
            for i in range(word * 8, word * 8 + 8):
                edges[count] = i  # written always, kept rarely: on noise the processor would mispredict a branch here
                count += pixels[i] != value
                value = pixels[i]
            alike = np.uint64(value) * np.uint64(0x0101010101010101)
    for i in range(words.size // words_of_block * _BLOCK, pixels.size):
        edges[count] = i
        count += pixels[i] != value
        value = pixels[i]
        seen |= np.uint64(value)
    if value:
        edges[count] = pixels.size
        count += 1
    return count if seen & np.uint64(0xFEFEFEFEFEFEFEFE) == 0 else -1


@kernel
def find_label_runs(pixels, words, starts, ends, owners):
    """Write where each run of one label begins and ends, and whose it is; return how many there are. 0 has none.

    words: the same labels, two at a time. Returns -1 where a label is below 0.
    """
    count = 0
    value, alike = np.int32(0), np.uint64(0)
    for begin in range(0, pixels.size, BLOCK):
        end = min(begin + BLOCK, pixels.size)
        if end - begin == BLOCK:
            differs = np.uint64(0)
            for word in range(begin // 2, begin // 2 + BLOCK // 2):
                differs |= words[word] ^ alike
            if differs == 0:
                continue
        for i in range(begin, end):
            if pixels[i] == value:
                continue
            if value != 0:
                ends[count] = i
                count += 1
            value = pixels[i]
            if value < 0:
                return -1
            starts[count] = i
            owners[count] = value
        alike = np.uint64(value) * TWICE
    if value != 0:
        ends[count] = pixels.size
        count += 1
    return count


@kernel
def group_runs(starts, ends, owners, keys, numbers, names, edges, stops):
    """Sort runs by their owners, these in the order of their first runs; return how many owners there are.

    keys, numbers: a table of a power of two of free places (-1), more than there are runs. names: the owners. edges
    (2R,): begin and end of each run. stops: how many entries of `edges` the owners have up to each one.
    """
    count = 0
    of_run = np.empty(owners.size, np.int64)
    for run in range(owners.size):
        place = place_of(np.int64(owners[run]), keys, keys.size - 1)
        if keys[place] < 0:
            keys[place], numbers[place] = owners[run], count
            names[count], stops[count] = owners[run], 0
            count += 1
        of_run[run] = numbers[place]
        stops[of_run[run]] += 2
    total = 0
    for number in range(count):
        total, stops[number] = total + stops[number], total
    for run in range(owners.size):
        at = stops[of_run[run]]
        edges[at], edges[at + 1] = starts[run], ends[run]
        stops[of_run[run]] = at + 2
    return count


@kernel
def format_objects(edges, stops, text, begins):
    """Write the runs of each object as ASCII, one text after the other up to the end of `text`, and where each begins.

    stops: how many entries of `edges` the objects have up to each one.
    """
    end = text.size
    for number in range(stops.size - 1, -1, -1):
        first = stops[number - 1] if number else 0
        end = format_runs(edges[first : stops[number]], text[:end])
        begins[number] = end


@kernel
def format_runs(edges, text):
    """Write "start length …" as ASCII up to the end of `text`; return where it begins.

    The numbers are written from the last to the first, eight digits at a time. The zeros in front of a number are
    overwritten by the number before it.
    """
    ten = np.uint64(10)  # numba divides uint64 by a plain int in floating point
    at = text.size
    digits, least = 19, ten ** np.uint64(18)  # digits of the current start, and the least number with as many
    for i in range(edges.size - 2, -2, -2):
        start, length = np.uint64(edges[i]) + np.uint64(1), np.uint64(edges[i + 1] - edges[i])
        _write_digits(length, text, at)
        at -= 1
        bound = ten
        while length >= bound:
            bound *= ten
            at -= 1
        at -= 1
        text[at] = 32  # a blank
        _write_digits(start, text, at)
        while start < least:
            least //= ten
            digits -= 1
        at -= digits + 1
        text[at] = 32
    return min(at + 1, text.size)


@kernel
def _write_digits(number, text, end):
    """Write `number` (uint64) before text[end], with zeros in front of it up to a multiple of eight digits.

    Pairs of digits are computed independently; single digits, by repeated division, would wait for each other.
    """
    myriad = np.uint64(10_000)
    if number < np.uint64(10):
        text[end - 1] = np.uint64(48) + number  # 48 is "0"
        return
    while number:
        for _ in range(2):
            rest = number // myriad
            _write_four(number - rest * myriad, text, end)
            number = rest
            end -= 4


@kernel
def _write_four(number, text, end):
    high = number // np.uint64(100)
    low = number - high * np.uint64(100)
    text[end - 4] = _PAIRS[high, 0]
    text[end - 3] = _PAIRS[high, 1]
    text[end - 2] = _PAIRS[low, 0]
    text[end - 1] = _PAIRS[low, 1]


@kernel
def parse_runs(text, limit, found):
    """Read "start length …" into `found` (R, 2), starts from 0; return R, or -1 when malformed."""
    tokens = 0
    end = 0  # of the last run
    at = 0
    while at < text.size:
        if text[at] == 32:
            at += 1
            continue
        number = 0
        while at < text.size and text[at] != 32:
            if text[at] < 48 or text[at] > 57 or number > limit:
                return -1
            number = number * 10 + np.int64(text[at] - 48)
            at += 1
        if number < 1 or number > limit:
            return -1
        run = tokens // 2
        if tokens % 2 == 0:
            found[run, 0] = number - 1
            if number <= end:
                return -1
        else:
            found[run, 1] = number
            end = found[run, 0] + number
            if end > limit:
                return -1
        tokens += 1
    return tokens // 2 if tokens % 2 == 0 else -1
