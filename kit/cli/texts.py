"""Numbers in the tables that commands print."""


def score_cell(value: float | None) -> str:
    """A score, nine characters wide; "none" where there is none."""
    return "     none" if value is None else f"{value:9.5f}"


def gain_cell(gain: dict) -> str:
    """A gain with its sign and its lower bound. gain: {"value", "low"}, as rule.json and soup.json have it."""
    low = gain["low"]
    bound = "no lower bound" if low is None else f"one-sided 80 % lower bound {low:+.5f}"
    return f"{gain['value']:+9.5f}  ({bound})"
