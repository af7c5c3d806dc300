"""A data set, a network and a loss of each task whose masks are not those of one foreground, for whole runs."""

from any_data import Shapes, nearest_colour
from tasks_data import Objects, Overlapping
from tiny import tiny_network

from kit.losses import bce_dice, cross_entropy

TASKS = {
    "multiclass": (Shapes, nearest_colour, cross_entropy),
    "multilabel": (lambda: Overlapping(3), lambda: tiny_network(3), bce_dice),
    "instances": (Objects, tiny_network, bce_dice),
}
