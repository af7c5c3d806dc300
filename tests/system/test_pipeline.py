import threading
import time

import pytest

from kit.system.threads import ordered_map, read_ahead


@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_results_come_in_order(threads):
    def work(item):
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(ordered_map(work, range(40), threads)) == [item * item for item in range(40)]
    assert list(ordered_map(work, [], threads)) == []


def test_as_many_are_in_work_as_there_are_threads():
    meeting = threading.Barrier(3, timeout=300)  # passes only when three have come
    assert list(ordered_map(lambda item: meeting.wait() * 0 + item, range(6), 3)) == list(range(6))


@pytest.mark.parametrize("threads", [1, 4])
def test_no_more_is_read_than_two_items_a_thread(threads):
    read = []
    results = ordered_map(lambda item: item, (read.append(item) or item for item in range(1000)), threads)
    next(results)
    time.sleep(0.1)
    assert len(read) <= 2 * threads + 1


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_error_is_raised_in_its_place(threads):
    def work(item):
        if item == 7:
            raise ValueError("seven")
        return item

    found = []
    with pytest.raises(ValueError, match="seven"):
        found.extend(ordered_map(work, range(20), threads))
    assert found == list(range(7))


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_an_error_of_the_items_comes_after_what_came_before_it(threads):
    def items():
        yield from range(5)
        raise OSError("the disk is gone")

    found = []
    with pytest.raises(OSError, match="the disk is gone"):
        found.extend(ordered_map(lambda item: item, items(), threads))
    assert found == list(range(5))


def test_when_the_reader_stops_the_work_stops():
    before, worked = threading.active_count(), []
    results = ordered_map(lambda item: time.sleep(0.01) or worked.append(item), range(1000), 2)
    next(results)
    results.close()
    assert len(worked) <= 5
    assert threading.active_count() == before


def test_an_interrupt_of_the_reader_drops_what_is_not_begun():
    before, worked = threading.active_count(), []

    def read():
        for _ in ordered_map(lambda item: time.sleep(0.01) or worked.append(item), range(1000), 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    deadline = time.monotonic() + 20
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() == before
    assert len(worked) <= 5


def test_what_is_read_ahead_is_not_asked_again_once_it_has_ended():
    """Where workers stay, epochs share one iterator: a late call would take the first batch of the next."""

    class Source:
        asked = 0

        def __iter__(self):
            return self

        def __next__(self):
            self.asked += 1
            if self.asked > 5:
                raise StopIteration
            return self.asked

    source = Source()
    assert list(read_ahead(source)) == [1, 2, 3, 4, 5]
    assert source.asked == 6
