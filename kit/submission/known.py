"""The dialects of competitions that kit has recipes for. Each says the name of its competition on Kaggle."""

from kit.submission.dialect import Dialect

# carvana-image-masking-challenge
CARVANA = Dialect(columns=("img", "rle_mask"), order="C", key="{id}.jpg")
