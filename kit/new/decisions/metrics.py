"""The metrics of kit.scoring by the names that `python -m kit new --metric` takes."""

# name: the class, whether it takes the number of classes, and the tasks that it suits
METRICS = {
    "dice": ("MeanDice", False, ("binary",)),
    "dataset-dice": ("DatasetDice", False, ("binary",)),
    "dataset-iou": ("DatasetIoU", False, ("binary",)),
    "iou-thresholds": ("PrecisionOverThresholds", False, ("binary",)),
    "class-dice": ("MeanDicePerClass", True, ("multiclass", "multilabel")),
    "miou": ("MeanIoU", True, ("multiclass", "binary")),
    "instance-precision": ("InstancePrecision", False, ("instances",)),
    "instance-f2": ("InstanceFBeta", False, ("instances",)),
}
DEFAULT_METRIC = {"binary": "dice", "multiclass": "miou", "multilabel": "class-dice", "instances": "instance-precision"}
