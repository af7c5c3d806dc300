"""The word for an empty mask in a sample file, before training."""

import pytest
from tiny import tiny_competition

from kit.submission.dialect import Dialect
from kit.submission.lint import check_sample


@pytest.mark.parametrize("word", ["-1", "nan", "empty"])
def test_a_sample_with_another_word_for_an_empty_mask_is_refused(tmp_path, word):
    """The CSV would else be written whole, and rejected after the training."""
    sample = tmp_path / "sample.csv"
    sample.write_text("img,rle_mask\n" + "".join(f"test_{number:02}.jpg,{word}\n" for number in range(5)))
    with pytest.raises(ValueError, match=rf"1 problem (?s:.)*an empty mask is '{word}' in the sample, and '' in the"):
        check_sample(tiny_competition(sample_csv=sample))
    check_sample(tiny_competition(sample_csv=sample, dialect=Dialect(key="{id}.jpg", empty=word)))


@pytest.mark.parametrize("filler", ["", "1 0", "0 0", "1 1"])
def test_a_filler_says_nothing_of_empty_masks(tmp_path, filler):
    sample = tmp_path / "sample.csv"
    sample.write_text("img,rle_mask\n" + "".join(f"test_{number:02}.jpg,{filler}\n" for number in range(5)))
    check_sample(tiny_competition(sample_csv=sample))
    check_sample(tiny_competition(sample_csv=sample, dialect=Dialect(key="{id}.jpg", empty="-1")))
