"""The sentences of a comparison: what the numbers say, in words that do not say more than the numbers."""

import textwrap

from kit.scoring.intervals import NONE, why_none
from kit.system.files import counted

LEVEL = 0.05
CERTAIN = 0.95  # of being equal
FEWEST = 6  # groups for which the sign-flip test can be below 5 %


def verdict(facts: dict) -> str:
    """One sentence on the pair that is shown. facts: of kit.report.comparing, without the sentences."""
    first, second, pair = _shown_pair(facts)
    a, b = (second, first) if pair["difference"] < 0 else (first, second)
    size, groups = abs(pair["difference"]), counted(pair["groups"], "group")
    scope = "these networks only" if pair["about"] == "these networks" else f"the recipes, from {_seeds(facts)}"
    more = f" (the best two of {len(facts['recipes'])})" if len(facts["recipes"]) > 2 else ""
    if pair["low"] is None or pair["p"] is None:
        reason = why_none(pair["note"])
        return f"{b} scores {size:.4f} above {a}{more}; how sure that is cannot be said: {reason}"
    if size == 0 and pair["p"] == 1:
        return f"{a} and {b} score alike in every group{more}"
    digits = _digits((pair["high"] - pair["low"]) / 2)
    reach = f"± {(pair['high'] - pair['low']) / 2:.{digits}f} on {groups}"
    if facts["margin"] and pair["equal"] >= CERTAIN:
        chance = f"probability {pair['equal']:.3f}"
        return f"{a} and {b} are equal within {facts['margin']:g} ({chance}){more}; {scope}"
    if is_significant(pair):
        return f"{b} better than {a} by {size:.{digits}f} {reach}{more}; {scope}"
    found = f"a difference of {pair['detectable']:.{digits}f} would be found in 80 % of cases"
    row = f"{second} - {first} is {signed(pair['difference'], digits)}"  # with the sign of the table's row
    return f"no difference shown between {first} and {second}{more}: {row} {reach}; {found}; {scope}"


def is_significant(pair: dict) -> bool:
    """Whether p, after Holm's correction, is below 5 %."""
    return pair["holm"] is not None and pair["holm"] < LEVEL


def notes(facts: dict, *, seeds_alone: bool, other_folds: bool) -> list[str]:
    """What a reader must know beside the verdict.

    seeds_alone: all runs are seeds of one recipe, compared one by one.
    """
    _, _, pair = _shown_pair(facts)
    found = []
    if seeds_alone:
        found.append("These are seeds of one recipe: their networks differ by chance, and nothing was improved.")
    elif facts["sigma_seed"] is None:
        found.append(
            "Another seed of the same recipe gives another score. To speak of the recipes, train each with two or more "
            "seeds and compare all of these runs."
        )
    else:
        spread = facts["sigma_seed"]
        what = f"{spread['value']:.5f}, from {counted(spread['df'], 'difference')} between seeds"
        found.append(f"The standard deviation of a recipe's score over its seeds is {what}. The ± includes it.")
    if other_folds:
        found.append(
            "The runs are split into other folds, so their networks saw other images: that adds to the difference, and "
            "the ± holds it only as far as it differs from group to group."
        )
    if len(facts["pairs"]) > 1:
        found.append(f"p is corrected for {len(facts['pairs'])} pairs (Holm).")
    if pair["note"] and not pair["note"].startswith(NONE):
        found.append(f"The difference of {facts['shown']['a']} and {facts['shown']['b']}: {pair['note']}.")
    return found + _of_flips(pair)


def _of_flips(pair: dict) -> list[str]:
    """What the sign-flip test adds."""
    flips = pair["sign_flips"]
    if flips is None or pair["p"] is None:
        return []
    if pair["groups"] < FEWEST:
        return [
            f"With {counted(pair['groups'], 'group')} the sign-flip test cannot go below p = {flips['smallest']:.3g}, "
            f"so it can call nothing significant at 5 %. The ± relies on differences that are normal over groups."
        ]
    if is_significant(pair) and flips["p"] >= LEVEL:
        return [f"The sign-flip test, which assumes no normal differences, does not confirm it: p = {flips['p']:.3f}."]
    return []


def comparison_text(facts: dict, width: int = 100, images: int = 5) -> str:
    """The comparison for a terminal: verdict, notes, table of pairs, images and slices that won and lost most."""
    lines = textwrap.wrap(facts["verdict"], width)
    for note in facts["notes"]:
        lines += textwrap.wrap(note, width, initial_indent="- ", subsequent_indent="  ")
    what = f"{counted(facts['images'], 'image')}, {counted(facts['groups'], 'group')}"
    lines += ["", f"{facts['metric']}, {what}"]
    size = max(len(recipe["name"]) for recipe in facts["recipes"])
    for recipe in facts["recipes"]:
        seeds = f"   mean of {', '.join(f'{one:.5f}' for one in recipe['scores'])}" if len(recipe["scores"]) > 1 else ""
        lines.append(f"  {recipe['name']:{size}}  {recipe['score']:.5f}{seeds}")
    lines += ["", *_pairs_text(facts), "", *_images_text(facts, images), "", *_slices_text(facts)]
    return "\n".join(line.rstrip() for line in lines)


def _pairs_text(facts: dict) -> list[str]:
    size = max(len(f"{pair['b']} - {pair['a']}") for pair in facts["pairs"])
    head = f"{'':{size}}  {'difference':>10} {'95 % from':>10} {'to':>10} {'p':>7} {'Holm':>7} {'flips p':>7}"
    margin = facts["margin"]
    chances = [("better", "better"), *([("equal", f"±{margin:g}")] if margin else []), ("worse", "worse")]
    lines = [head + "".join(f" {label:>7}" for _, label in chances) + f" {'detects':>9}"]
    for pair in facts["pairs"]:
        flips = pair["sign_flips"] and pair["sign_flips"]["p"]
        cells = [f"{signed(pair[name]):>10}" for name in ("difference", "low", "high")]
        cells += [f"{share(one):>7}" for one in (pair["p"], pair["holm"], flips)]
        cells += [f"{share(pair[name]):>7}" for name, _ in chances]
        detectable = "–" if pair["detectable"] is None else f"{pair['detectable']:.5f}"
        lines.append(f"{pair['b'] + ' - ' + pair['a']:{size}}  {' '.join(cells)} {detectable:>9}")
    return lines


def _images_text(facts: dict, count: int) -> list[str]:
    a, b = facts["shown"]["a"], facts["shown"]["b"]
    won = [one for one in facts["changed"] if (one["effect"] or 0) > 0]
    lost = [one for one in facts["changed"][::-1] if (one["effect"] or 0) < 0]
    lines = [
        f"{b} against {a}: {len(won)} images won, {len(lost)} lost, {facts['images'] - len(won) - len(lost)} equal"
    ]
    for label, rows in (("won most", won[:count]), ("lost most", lost[:count])):
        for row in rows:
            lines.append(f"  {label:9}  {row['id']}  {score(row['a'])} → {score(row['b'])}  ({signed(row['effect'])})")
    return lines


def _slices_text(facts: dict) -> list[str]:
    """All slices, but of many groups those that won and lost most."""
    rows = shown_slices(facts["slices"])
    if not rows:
        return []
    rows = [row | {"name": f"{row['name']}, {row['score']}" if row["score"] else row["name"]} for row in rows]
    size = max(len(row["name"]) for row in rows)
    lines = [f"{'slice':{size}}  {'images':>6}  {'difference':>10} {'95 % from':>10} {'to':>10}"]
    for row in rows:
        cells = " ".join(f"{signed(row[name]):>10}" for name in ("difference", "low", "high"))
        lines.append(f"{row['name']:{size}}  {row['images']:6}  {cells}")
    return [*lines, "The interval of each slice is 95 % by itself: of 20 slices without a difference one shows one."]


def shown_slices(slices: list[dict], most: int = 10) -> list[dict]:
    """The slices for a table, those with an interval first; of many groups the `most` that won and lost most."""
    groups = sorted((one for one in slices if one["kind"] == "group"), key=lambda one: -(one["difference"] or 0))
    if len(groups) > most:
        groups = groups[: most // 2] + groups[len(groups) - most // 2 :]
    shown = [one for one in slices if one["kind"] != "group"] + groups
    return sorted(shown, key=lambda one: one["low"] is None)


def signed(value: float | None, digits: int = 5) -> str:
    """A difference; digits: after the point."""
    return "–" if value is None else f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def score(value: float | None) -> str:
    """A score, four digits after the point."""
    return "–" if value is None else f"{value:.4f}"


def share(value: float | None) -> str:
    """A probability, three digits after the point."""
    return "–" if value is None else "<.001" if 0 < value < 0.0005 else f"{value:.3f}"


def _shown_pair(facts: dict) -> tuple[str, str, dict]:
    """The names of the pair that is shown, and its numbers seen from a to b."""
    a, b = facts["shown"]["a"], facts["shown"]["b"]
    pair = next(one for one in facts["pairs"] if {one["a"], one["b"]} == {a, b})
    return pair["a"], pair["b"], pair


def _seeds(facts: dict) -> str:
    """How many seeds each recipe has, of the pair that is shown."""
    counts = {one["name"]: len(one["runs"]) for one in facts["recipes"]}
    return " and ".join(f"{counts[name]}" for name in facts["shown"].values()) + " seeds"


def _digits(reach: float) -> int:
    """Digits after the point that show the ±: four to six."""
    return next((digits for digits in (4, 5) if reach >= 5 * 10.0**-digits), 6)
