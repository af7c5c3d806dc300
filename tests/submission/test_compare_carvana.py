"""Carvana's own CSV of training masks is compared with the masks before folds are made."""

import pytest

from kit.datasets.carvana import Carvana
from kit.datasets.studio import draw_studio
from kit.folds import area_group_kfold
from kit.submission import known


def test_folds_are_made_only_where_the_csv_agrees_with_the_masks(tmp_path):
    folder = draw_studio(tmp_path / "data", cars=4, test_cars=1, size=(48, 64))
    carvana = Carvana(folder)
    assert known.carvana_folds(carvana, 2, seed=0).tolist() == area_group_kfold(carvana, 2, seed=0).tolist()
    header, *rows = (folder / "train_masks.csv").read_text().splitlines()
    (folder / "train_masks.csv").write_text("\n".join([header, *(f"{row} 3000 5" for row in rows)]) + "\n")
    with pytest.raises(
        ValueError, match=r"differences? between train_masks\.csv and the masks:(.|\n)*in 5 of 3,072 pixels"
    ):
        known.carvana_folds(Carvana(folder), 2, seed=0)
