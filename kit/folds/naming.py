"""How a fold is called: by its number, or a network that is trained on all images "full0", after its seed."""

Fold = int | str


def is_full(fold: Fold) -> bool:
    """Whether nothing is held out: a full fit."""
    return isinstance(fold, str)


def fold_name(fold: Fold) -> str:
    """The name of its folder in a run folder: fold3, or full0."""
    return fold if is_full(fold) else f"fold{fold}"
