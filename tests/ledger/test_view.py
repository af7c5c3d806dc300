"""What the ledger shows: scores joined to runs, looks, the two final submissions."""

import json
from pathlib import Path

import numpy as np
import pytest
from ledger_facts import run_fact, score_fact

from kit.ledger.blends import record_blend
from kit.ledger.facts import Ledger
from kit.ledger.finals import honest, propose
from kit.ledger.shifts import Public
from kit.ledger.table import changes_text, text_of
from kit.ledger.view import run_of, view

HARD = np.random.default_rng(0).normal(0, 0.03, 20)


def facts(*means, noise=0.004, **changes):
    """Runs a, b, … with these CVs."""
    generator = np.random.default_rng(1)
    own = [HARD - HARD.mean() + noise * generator.normal(size=20) for _ in means]
    return [run_fact("abcdef"[i], mean + own[i] - own[i].mean(), number=i, **changes) for i, mean in enumerate(means)]


def test_scores_find_their_runs():
    runs = facts(0.9, 0.91)
    runs[1]["csv"] = ["mine_b", "_drawn"]
    for name, expected in {
        "a.csv": ("0" * 16, ""),
        "a.csv.zip": ("0" * 16, ""),
        "a_fold3.csv": ("0" * 16, "_fold"),
        "mine_b_full_drawn.csv": ("0" * 15 + "1", "_full"),
        "mine_b.csv": (None, ""),
        "submission.csv": (None, ""),
    }.items():
        assert run_of(name, "2026-02-01T00:00:00Z", runs) == expected
    assert run_of("submission.csv", "2026-02-01", runs, "notebook of a, second try") == ("0" * 16, "")
    assert run_of("submission.csv", "2026-02-01", runs, "from mine_b_full_drawn.csv") == ("0" * 15 + "1", "_full")


def test_of_a_folder_that_was_trained_anew_the_date_decides():
    runs = [run_fact("a", HARD, number=1), run_fact("a", HARD, number=20, config={"lr": 1})]
    ids = [run["id"] for run in runs]
    for date, expected in {"2025-12-31 00:00:00": 0, "2026-01-01 00:10:00.5": 0, "2026-01-01T00:30:00Z": 1}.items():
        assert run_of("a.csv", date, runs)[0] == ids[expected]


def test_looks_are_counted_once():
    given = [
        *facts(0.9, 0.91),
        score_fact("a.csv", 0.8),
        score_fact("a.csv", 0.8, number=51, ref="7", source="kaggle"),
        score_fact("b.csv", 0.82, ref="8", source="kaggle"),
        score_fact("b.csv", 0.82, number=52, ref="9", source="kaggle"),
        score_fact("waits.csv", None, ref="10", source="kaggle"),
    ]
    seen = view(given)
    assert (seen["looks"]["count"], seen["looks"]["best"]) == (3, 0.82)
    assert [run["public"] for run in seen["runs"]] == [0.8, 0.82]
    assert any("no public score yet" in note and "waits.csv" in note for note in seen["notes"])
    assert json.loads(json.dumps(seen)) == seen


def test_the_submission_of_all_folds_speaks_of_a_run():
    given = [
        *facts(0.9),
        score_fact("a_fold0.csv", 0.7, number=55),
        score_fact("a.csv", 0.8),
        score_fact("a_full.csv", 0.9, number=56),
    ]
    assert view(given)["runs"][0]["public"] == 0.8
    assert view([*given[:2], score_fact("a.csv", None)])["runs"][0]["public"] == 0.7


def test_a_later_fact_of_a_run_replaces_the_earlier():
    first, second = (run_fact("a", HARD, number=1, folds=folds) for folds in ([0], [0, 1]))
    second |= {"key": "later", "cv": {**second["cv"], "value": 0.5}}
    assert [run["cv"]["value"] for run in view([first, second])["runs"]] == [0.5]
    assert [run["cv"]["value"] for run in view([second, first])["runs"]] == [0.5]


def test_the_finals_are_the_best_here_and_the_best_by_both():
    runs = facts(0.9, 0.905, 0.9045)
    public = {runs[0]["id"]: 0.88, runs[1]["id"]: 0.884, runs[2]["id"]: 0.887}
    first, second = propose(runs, public, Public(groups=40, stated=True))
    assert (first.run, first.by) == (runs[1]["id"], "cv")
    assert (second.run, second.by) == (runs[2]["id"], "both")
    assert "the best CV (0.90500); ahead of c by 0.00050" in first.reason
    assert "which chance explains" in first.reason
    few = propose(runs, public, Public(groups=1, stated=True))  # one group on the leaderboard says next to nothing
    assert few[1].reason.startswith("the first leads by CV and leaderboard together too")
    unsent = propose(runs, {runs[0]["id"]: 0.88}, Public(groups=40, stated=True))
    assert (unsent[0].run, unsent[1].reason.partition(",")[0]) == (runs[1]["id"], "the first has no public score yet")


def test_the_weights_of_both_by_hand():
    """Where all differences have one variance, the leaderboard weighs G_pub / (G_cv + G_pub)."""
    runs = facts(0.9, 0.904, 0.906)
    generator = np.random.default_rng(5)
    for run in runs:
        run["without"] = (
            run["cv"]["value"] + HARD / 19 + 0.001 * generator.permutation(np.linspace(-1, 1, 20))
        ).tolist()
    scores = {run["id"]: score for run, score in zip(runs, (0.5, 0.506, 0.503), strict=True)}
    own = [0, 0.004 + 0.75 * (0.006 - 0.004), 0.006 + 0.75 * (0.003 - 0.006)]
    _, second = propose(runs, scores, Public(groups=60, stated=True))
    order = np.argsort(own)[::-1]
    assert second.run == runs[order[0]]["id"]
    np.testing.assert_allclose(second.value, own[order[0]] - own[order[1]], rtol=1e-9)


def test_the_cross_fitted_score_leads():
    runs = facts(0.9, 0.905)
    runs[1]["crossfit"] = {"value": 0.899, "low": None, "high": None}
    assert honest(runs[1]) == 0.899
    assert propose(runs, {}, Public())[0].run == runs[0]["id"]
    runs[1]["crossfit"]["value"] = 0.92
    first, second = propose(runs, {}, Public())
    assert "the best cross-fitted CV (0.92000)" in first.reason
    assert second.reason.startswith("no public score yet: the next best CV")


def test_runs_of_other_images_are_not_proposed():
    runs = facts(0.9, 0.91, 0.99)
    runs[2] |= {"folds": [0], "images": "fold 0 alone"}
    seen = view(runs)
    assert [final["run"] for final in seen["finals"]] == [runs[1]["id"], runs[0]["id"]]
    assert any("not proposed: c" in note for note in seen["notes"])
    assert propose([], {}, Public()) == []
    assert len(propose(runs[:1], {}, Public())) == 1


def test_the_text():
    runs = facts(0.9, 0.905, 0.9045)
    runs[1] |= {"parent": runs[0]["id"], "changed": {"lr": [0.1, 0.2], "code": ["a", "b"]}}
    given = [*runs, score_fact("a.csv", 0.88), score_fact("b.csv", 0.886), score_fact("c.csv", 0.93)]
    given.append({"fact": "public", "key": "p", "time": "2026-01-02", "share": 0.34, "groups": None})
    text = text_of(view(given))
    for part in (
        "a    2/2    0.9000",
        "base",
        "of a: lr 0.1 → 0.2; code",
        "leaderboard: 3 looks, the best 0.93; a gain there below",
        "! c gained 0.0455 more on the leaderboard than in CV, against a",
        "shift: LB − CV is -0.0045",
        "34% of the test images (as stated)",
        "final submissions:\n  1. b: the best CV",
    ):
        assert part in text
    assert "no finished run yet" in text_of(view([]))


def test_what_changed_is_said_once_and_of_long_values_what_differs():
    rule = "Rule(fill_holes=3, min_area={}, threshold={})"
    changed = {
        "image_size": ["[96, 128]", "[128, 192]"],
        "frame.resizing.size": ["[96, 128]", "[128, 192]"],  # the same under another name
        "prediction.rule": [rule.format(60, 0.5), rule.format("(60, 80)", 0.5)],
        "prediction.tuned": ["Rule(threshold=0.5)", "Rule(min_area=30, threshold=0.5)"],
        "prediction.tta": [None, "plain, h"],  # an earlier kit did not say it
        "encoder_weights": [f"sha256 {'a' * 60}b", f"sha256 {'a' * 60}c"],
        "lr": [None, 0.1],
        "code": ["k0", "k1"],
    }
    same, *others = changes_text(changed)
    assert same == "image_size [96, 128] → [128, 192]"
    assert others[0] == "prediction.rule min_area=60 → min_area=(60, 80)"
    assert others[1] == "prediction.tuned no min_area → min_area=30"
    assert others[2] == f"encoder_weights …{'a' * 9}b → …{'a' * 9}c"
    assert others[3:] == ["lr none → 0.1", "code"]


def test_a_blend_is_no_unknown_submission(tmp_path):
    found = {
        "runs": [{"folder": "runs/a"}], "chosen": {"name": "greedy", "weights": {"a": 0.75, "b": 0.25}}, "metric": "m",
        "images": 9, "groups": 3, "folds": [0, 1], "gain_over_best_run": {"value": 0.01, "low": None, "high": None},
        "expected": {"value": 0.9123456789012, "low": 0.9, "high": 0.92, "note": ""},
    }  # fmt: skip
    given = Ledger(tmp_path / "ledger.jsonl")
    fact = record_blend(found, Path("submissions/blend.csv"), given)
    assert fact["expected"] == {"value": 0.912345679, "low": 0.9, "high": 0.92, "note": ""}
    assert record_blend(found, Path("blend.csv"), given) is None  # nothing new
    own = [*facts(0.9), fact]
    seen = view([*own, score_fact("blend.csv", 0.88), score_fact("other.csv", 0.7)])
    assert [(one["csv"], one["public"], one["members"]) for one in seen["blends"]] == [
        ("blend.csv", 0.88, {"a": 0.75, "b": 0.25})
    ]
    line = "blend.csv: greedy, 0.75 a + 0.25 b; expected 0.9123 (0.9000 to 0.9200), public 0.88"
    assert f"blends:\n  {line}" in text_of(seen)
    said = "blend.csv lets expect 0.9123, more than each run alone (0.9000)"
    assert not any(said in note for note in seen["notes"])  # of another metric
    own[0]["metric"] = "m"
    assert any(said in note for note in view(own)["notes"])
    assert any("1 submission of no run that is known here: other.csv" in note for note in seen["notes"])
    per_class = {"name": "greedy", "weights": {"cat": {"a": 1.0}, "dog": {"a": 0.5, "b": 0.5}}}
    assert record_blend({**found, "chosen": per_class}, Path("c.csv"), given)["members"] == {"a": 0.75, "b": 0.25}


def test_leaks_that_nobody_allowed_are_a_note():
    runs = facts(0.9, 0.91)
    runs[1]["leaks"] = ["x and y: the same pixels"]
    assert any("an audit found leaks that nobody allowed" in note for note in view(runs)["notes"])
    assert not any("leaks" in note for note in view(runs[:1])["notes"])


@pytest.mark.parametrize("stated", [{"share": 0.5, "groups": None}, {"share": None, "groups": 12.0}])
def test_what_is_stated_of_the_leaderboard(stated):
    seen = view([*facts(0.9), {"fact": "public", "key": "p", "time": "2026-01-02", **stated}])
    assert seen["public"] == {"share": stated["share"] or 0.3, "groups": stated["groups"], "stated": True}
