"""The sentences about two runs say no more than their numbers."""

import pytest

from kit.report.comparing_text import notes, shown_slices, verdict


def a_pair(**changes):
    pair = {
        "a": "one", "b": "two", "difference": 0.0012, "low": 0.0003, "high": 0.0021, "p": 0.01, "holm": 0.01,
        "better": 0.99, "worse": 0.01, "equal": 0.0, "detectable": 0.00131, "groups": 32, "about": "these networks",
        "sign_flips": {"p": 0.02, "count": 20000, "exact": False, "smallest": 5e-5}, "note": "",
    }  # fmt: skip
    return pair | changes


def some_facts(margin=0.0, recipes=("one", "two"), sigma=None, **changes):
    return {
        "pairs": [a_pair(**changes)],
        "shown": {"a": "one", "b": "two"},
        "margin": margin,
        "sigma_seed": sigma,
        "recipes": [{"name": name, "runs": ["x", "y"]} for name in recipes],
    }


@pytest.mark.parametrize(
    ("facts", "sentence"),
    [
        (some_facts(), "two better than one by 0.0012 ± 0.0009 on 32 groups; these networks only"),
        (
            some_facts(difference=-0.0012, low=-0.0021, high=-0.0003),
            "one better than two by 0.0012 ± 0.0009 on 32 groups; these networks only",
        ),
        (
            some_facts(low=-0.0001, high=0.0025, p=0.06, holm=0.06),
            "no difference shown between one and two: two - one is +0.0012 ± 0.0013 on 32 groups; a difference of "
            "0.0013 would be found in 80 % of cases; these networks only",
        ),
        (
            some_facts(difference=-0.1009, low=-0.2989, high=0.0971, p=0.265, holm=0.265, recipes=("one", "two", "c")),
            "no difference shown between one and two (the best two of 3): two - one is −0.1009 ± 0.1980 on 32 groups",
        ),
        (
            some_facts(holm=0.06, recipes=("one", "two", "c")),
            "no difference shown between one and two (the best two of 3)",
        ),
        (
            some_facts(margin=0.003, equal=0.97),
            "one and two are equal within 0.003 (probability 0.970); these networks only",
        ),
        (
            some_facts(about="the recipes", low=0.00115, high=0.00125),
            "two better than one by 0.00120 ± 0.00005 on 32 groups; the recipes, from 2 and 2 seeds",
        ),
        (
            some_facts(low=None, high=None, p=None, holm=None, note="none: two groups only, an interval needs three"),
            "two scores 0.0012 above one; how sure that is cannot be said: two groups only, an interval needs three",
        ),
        (
            some_facts(difference=0.0, low=0.0, high=0.0, p=1.0, holm=1.0, detectable=None),
            "one and two score alike in every group",
        ),
    ],
)
def test_the_sentence_says_no_more_than_the_numbers(facts, sentence):
    assert verdict(facts).startswith(sentence)


def test_notes_say_what_the_sign_flip_test_can_and_cannot():
    said = lambda **changes: " ".join(notes(some_facts(**changes), seeds_alone=False, other_folds=False))  # noqa: E731
    few = said(groups=5, sign_flips={"p": 0.0625, "count": 32, "exact": True, "smallest": 0.0625})
    assert "With 5 groups the sign-flip test cannot go below p = 0.0625, so it can call nothing significant" in few
    assert "does not confirm it: p = 0.080" in said(sign_flips={"p": 0.08, "count": 1, "exact": True, "smallest": 0.01})
    assert "sign-flip" not in said()
    assert "To speak of the recipes, train each with two or more seeds" in said()
    assert "few groups decide it" in said(note="few groups decide it (skewed): the interval may be too narrow")


def test_of_many_groups_a_table_shows_both_ends():
    rows = [{"kind": "group", "name": f"group {k}", "difference": k / 100, "low": None} for k in range(30)]
    others = [{"kind": "fold", "name": f"fold {k}", "difference": 0, "low": (None, 0.1)[k]} for k in (0, 1)]
    shown = [one["name"] for one in shown_slices([*others, *rows])]
    assert shown == ["fold 1", "fold 0", *(f"group {k}" for k in (29, 28, 27, 26, 25, 4, 3, 2, 1, 0))]
