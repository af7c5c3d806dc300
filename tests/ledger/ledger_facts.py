"""Facts of runs for tests, made of scores of groups."""

import numpy as np

VALUES = {"lr": 0.1, "seed": 0}


def run_fact(name, of_groups, *, number=0, config=None, images=10, tests=1000, **changes):
    """A run whose groups, of one size, scored `of_groups` (G,)."""
    scores = np.asarray(of_groups, float)
    count = len(scores)
    fact = {
        "fact": "run", "id": f"{number:x}".rjust(16, "0"), "key": name, "time": f"2026-01-01T00:{number:02}:00Z",
        "run": name, "recipe": "mine", "drawn": False, "commit": "c0", "code": "k0", "data": "d0",
        "config": {**VALUES, **(config or {})}, "folds": [0, 1], "of": 2, "metric": "mean Dice over images",
        "cv": {
            "value": float(scores.mean()), "low": None, "high": None, "df": count - 1.0, "note": "",
            "images": images * count, "groups": count,
        },
        "without": ((scores.sum() - scores) / (count - 1)).tolist(), "df": count - 1.0,
        "images": "i0", "crossfit": None, "csv": [name, ""], "tests": tests, "parent": None, "changed": {},
    }  # fmt: skip
    return fact | changes


def score_fact(csv, public, number=50, **changes):
    """A public score, read after the runs."""
    fact = {"fact": "score", "csv": csv, "run": None, "public": public, "private": None, "source": "typed"}
    return {**fact, "key": f"{csv}{public}{number}", "time": f"2026-01-01T00:{number:02}:00Z", **changes}
