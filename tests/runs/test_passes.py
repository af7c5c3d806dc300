"""How a prediction uses its time, with a clock that is moved by hand."""

import pytest

from kit.prediction import TTA, VIEWS
from kit.runs.passes import Budget, Costs, Pass, Timing, blend_ladder, ladder, passes


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def worked(seconds, count=40, networks=3, views="hflip", slower=lambda done: 1.0, weights=None, fixed=0.0):
    """Work through the passes, a second a unit of cost -> ({id: the passes that it got}, seconds taken, lines said)."""
    clock, lines, got, done = Clock(), [], {str(number): [] for number in range(count)}, 0
    weights = weights or dict.fromkeys(got, 1.0)
    budget = Budget(seconds, clock(), clock)
    for share in passes(list(got), Timing(weights, ladder(networks, TTA(VIEWS[views])), budget, lines.append)):
        while share.remaining and not share.should_stop():
            id, one = share.left[0], share.now
            took = (one.cost * weights[id] + fixed) * slower(done)
            clock.now += took
            done += 1
            got[id].append(one)
            share.add(1, took)
    return got, clock.now - 100, lines


def test_the_steps_add_networks_before_views():
    steps = ladder(3, TTA(VIEWS["d4"], (1.0, 0.5)))
    assert [(step.networks, len(step.tta.views), len(step.tta.scales)) for step in steps] == [
        (1, 1, 1),
        (2, 1, 1),
        (3, 1, 1),
        (3, 2, 1),
        (3, 4, 1),
        (3, 8, 1),
        (3, 8, 2),
    ]
    assert [step.cost for step in steps] == [1, 2, 3, 6, 12, 24, 30]
    assert ladder(1, TTA()) == [Pass(1, TTA())]
    assert str(steps[3]) == "3 networks with 2 views"


def test_a_blend_has_one_network_of_each_run_first():
    steps = blend_ladder([1, 2], [TTA(VIEWS["flips"]), TTA(VIEWS["hflip"], (1.0, 2.0))], [1, 3], [8.0, 5.0])
    counted = [[part and (part.networks, len(part.tta.views), len(part.tta.scales)) for part in s.parts] for s in steps]
    assert counted == [
        [None, (1, 1, 1)],  # the weightier run
        [(1, 1, 1), (1, 1, 1)],
        [(1, 1, 1), (2, 1, 1)],
        [(1, 2, 1), (2, 2, 1)],
        [(1, 4, 1), (2, 2, 2)],
    ]
    # one view costs 8 / 4 of the first, and 5 / (2 · (1 + 4)) of the other
    assert [one.cost for one in steps] == [0.5, 2.5, 3, 6, 18]
    assert [str(one) for one in steps[::2]] == [
        "1 network of 1 run with one view",
        "3 networks of 2 runs with one view",
        "3 networks of 2 runs with the views of each",
    ]


def test_without_a_limit_there_is_one_pass_of_all():
    got, took, lines = worked(None)
    assert {(*map(str, each),) for each in got.values()} == {("3 networks with 2 views",)}
    assert took == 240
    assert lines == []


def test_with_much_time_the_whole_comes_after_the_first_pass():
    got, took, lines = worked(400)
    assert [[one.cost for one in each] for each in got.values()] == [[1, 6]] * 40
    assert (took, lines) == (280, [])


@pytest.mark.parametrize("seconds", [130, 170, 200, 260])
def test_with_less_time_the_best_that_fits_comes_next_and_the_rest_of_the_time_is_used(seconds):
    got, took, _ = worked(seconds)
    assert took <= seconds
    assert all(each[0].cost == 1 for each in got.values())
    last = [each[-1].cost for each in got.values()]
    assert min(last) >= 2
    assert sum(one.cost for each in got.values() for one in each) > 0.85 * seconds  # no time is left idle
    assert all(each == sorted(each, key=lambda one: one.cost) for each in got.values())


def test_with_too_little_time_the_first_images_get_a_mask_and_it_is_said():
    got, took, lines = worked(20)
    assert took <= 20
    assert [len(each) for each in got.values()] == [1] * 19 + [0] * 21
    assert len(lines) == 1
    assert lines[0].startswith("late: not all of the other 39 images get 1 network with one view")
    assert lines[0].endswith("those that do not have empty masks")


def test_without_time_nothing_is_done():
    got, took, _ = worked(0)
    assert took == 0
    assert not any(got.values())


def test_a_pass_that_is_late_goes_on_as_a_cheaper_one_and_says_so():
    got, took, lines = worked(300, slower=lambda done: 1.0 if done < 50 else 1.6)  # slower in the second pass
    assert took <= 300
    last = [each[-1].cost for each in got.values()]
    assert last[:10] == [6] * 10
    assert set(last) == {6, 3}
    assert all([one.cost for one in each].count(6) < 2 for each in got.values())  # what is done is not done again
    assert lines[0].startswith("late: the other ")
    assert lines[0].endswith("images get 3 networks with one view, not 3 networks with 2 views")


def test_a_pass_that_is_late_without_a_cheaper_one_keeps_what_there_was():
    got, took, lines = worked(100, networks=2, views="none", slower=lambda done: 1.0 if done < 45 else 4.0)
    assert took <= 100
    assert all(each[0].cost == 1 for each in got.values())
    assert len(lines) == 1
    assert lines[0].endswith("those that do not keep the masks of 1 network with one view")


def test_large_images_at_the_end_are_foreseen_by_their_pixels():
    weights = {str(number): 1.0 if number < 20 else 4.0 for number in range(40)}
    got, took, lines = worked(330, weights=weights)  # the first pass takes 100
    assert took <= 330
    assert min(each[-1].cost for each in got.values()) >= 2
    assert not any("empty" in line for line in lines)


def test_what_an_image_costs_beside_the_networks_is_learnt():
    got, took, _ = worked(900, fixed=5.0)
    assert took <= 900
    assert max(each[-1].cost for each in got.values()) == 6  # 1 + 5, then 6 + 5 seconds: it fits


def test_costs_are_those_of_the_nearest_pass_and_the_first_batch_warms_up():
    costs, (one, two, *_, whole) = Costs(), ladder(3, TTA(VIEWS["hflip"]))
    assert costs.estimate(one, 5) == 0
    costs.add(one, 1, 9.0)
    assert costs.estimate(one, 2) == 18
    costs.add(one, 1, 1.0)
    costs.add(one, 1, 1.0)
    assert costs.estimate(one, 2) == 2
    assert costs.estimate(whole, 2) == 12
    costs.add(whole, 1, 4.0)
    assert costs.estimate(whole, 2) == 8
    assert costs.estimate(two, 1) == 2


def test_unreadable_images_are_left_out_of_later_passes():
    clock, bad = Clock(), {}
    timing = Timing(dict.fromkeys("abc", 1.0), ladder(2, TTA()), Budget(100, clock(), clock), lambda text: None)
    seen = []
    for share in passes("abc", timing, bad):
        seen.append(share.ids)
        share.add(3, 1.0)
        bad["b"] = "damaged"
    assert seen == [["a", "b", "c"], ["a", "c"]]


def test_a_reserve_is_kept():
    clock = Clock()
    budget = Budget(60, 90.0, clock)
    assert budget.left() == 50
    budget.reserve = 20
    assert budget.left() == 30
    assert Budget(None, 0).left() == float("inf")
