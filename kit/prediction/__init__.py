"""How does a network become a mask?

predictor.py   Predictor: networks, views, tiles and a rule; an image -> its mask, at its own size
frame.py       Frame: how an image reaches the network, and which part of the network's map is the image
views.py       test-time augmentation: views and scales
tiles.py       overlapping tiles of large images
levels.py      probabilities in 256 steps, uint8
rule.py        Rule: levels -> mask
watershed.py   objects that grow from seeds, apart where the levels show borders
enlarge.py     a map at the image's own size, and where it reaches a threshold
chosen.py      rule.json: a tuned rule, and whether it is used
saved.py       predictor.json: a run folder's networks and rules, loaded without its data
rebuild.py     a network made again from the source that the folder keeps (plain.py, script.py)
store.py       the store of predictions: one PNG an image
drawing.py     objects of boxes and small masks, drawn into one label image
detecting.py   networks that find objects, over views; object_levels.py: these objects as levels, joined, kept by score
panoptic.py    objects and a map of classes, merged into one image of things and stuff
blended.py     several runs as one: the weighted mean of their levels
saved_blend.py the JSON of a blend: its runs, their weights and its rule
slides.py      images too large for memory: predict_slide, SlideStore; bands.py: level_bands, tiles blended band by
               band; enlarge_bands.py: the bands at the slide's own size
"""

from kit.prediction.bands import level_bands
from kit.prediction.blended import blended
from kit.prediction.frame import Frame
from kit.prediction.levels import quantise
from kit.prediction.predictor import Predictor
from kit.prediction.rule import Rule, rule_for
from kit.prediction.slides import predict_slide
from kit.prediction.store import Store
from kit.prediction.tiles import Tiled
from kit.prediction.views import TTA, VIEWS, View, probabilities

__all__ = [
    "TTA",
    "VIEWS",
    "Frame",
    "Predictor",
    "Rule",
    "Store",
    "Tiled",
    "View",
    "blended",
    "level_bands",
    "predict_slide",
    "probabilities",
    "quantise",
    "rule_for",
]
