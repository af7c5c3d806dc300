"""Load the weights of torchvision's maskrcnn_resnet50_fpn into MaskRCNN.

    network = MaskRCNN(
        encoder("resnet50", "none"), num_classes=90, group_norm=False, aligned=False,
        anchor_sizes=(32, 64, 128, 256, 512), detections=100, nms=0.5,
    )
    load_torchvision(network, read_weights(Path("maskrcnn_resnet50_fpn_coco.pth")).tensors)

With these settings both compute the same, for images whose sides are multiples of 64 or are filled up to such (see
`Differences`), normalised as torchvision's own transform does. With other settings it is a start for training:
num_classes of your own leaves the layers that give classes as they are, and the anchors may be smaller.
The file that torchvision publishes was trained on COCO: 90 numbers of classes, some of them without a class.

Differences. torchvision takes the quotient of the sides of image and map for a stride, 53 for 160 and 3, where it is
64 here. Its background has a mask and shifts, which nothing uses; they are left out here.
"""

import re
from collections.abc import Mapping

from torch import Tensor, nn

from kit.models.mask_rcnn import MaskRCNN

# torchvision's names, those of its older files too -> names here
NAMES = (
    (r"backbone\.body\.(.+)", r"pyramid.encoder.\1"),
    (r"backbone\.fpn\.inner_blocks\.(\d)(?:\.0)?\.(\w+)", r"pyramid.fpn.lateral.\1.0.\2"),
    (r"backbone\.fpn\.layer_blocks\.(\d)(?:\.0)?\.(\w+)", r"pyramid.fpn.smooth.\1.0.\2"),
    (r"rpn\.head\.conv(?:\.0\.0)?\.(\w+)", r"rpn.conv.\1"),
    (r"rpn\.head\.cls_logits\.(\w+)", r"rpn.objectness.\1"),
    (r"rpn\.head\.bbox_pred\.(\w+)", r"rpn.shifts.\1"),
    (r"roi_heads\.box_head\.(fc[67]\.\w+)", r"box_head.\1"),
    (r"roi_heads\.box_predictor\.cls_score\.(\w+)", r"box_head.classes.\1"),
    (r"roi_heads\.box_predictor\.bbox_pred\.(\w+)", r"box_head.shifts.\1"),
    (r"roi_heads\.mask_head\.([0-3])\.0\.(\w+)", r"mask_head.convs.\1.\2"),
    (r"roi_heads\.mask_predictor\.conv5_mask\.(\w+)", r"mask_head.enlarge.\1"),
    (r"roi_heads\.mask_predictor\.mask_fcn_logits\.(\w+)", r"mask_head.logits.\1"),
)
OLD_MASK_HEAD = re.compile(r"roi_heads\.mask_head\.mask_fcn([1-4])\.(\w+)")
OF_CLASSES = ("box_head.classes.", "box_head.shifts.", "mask_head.logits.")
COUNTS = "num_batches_tracked"


def load_torchvision(network: MaskRCNN, state_dict: Mapping[str, Tensor]) -> None:
    """Load a state dict of torchvision's maskrcnn_resnet50_fpn.

    Where it has another number of classes, the layers that give classes stay as they are and a line is printed. A
    state dict without counts of batches is of frozen batch normalisation, as the published one: the encoder's is then
    frozen too. Raises ValueError where names or shapes do not fit.
    """
    wanted = network.state_dict()
    tensors = {_name(theirs): value for theirs, value in state_dict.items()}
    for name in ("box_head.shifts.", "mask_head.logits."):  # without the background's
        drop = 4 if name == "box_head.shifts." else 1
        tensors |= {key: value[drop:] for key, value in tensors.items() if key.startswith(name)}
    counted = any(name.endswith(COUNTS) for name in tensors)
    if not counted:
        tensors |= {name: value for name, value in wanted.items() if name.endswith(COUNTS)}
    new = [name for name, value in wanted.items() if name.startswith(OF_CLASSES) and _differs(tensors, name, value)]
    tensors |= {name: wanted[name] for name in new}
    _check(tensors, wanted)
    network.load_state_dict(tensors)
    if new:
        print(f"the layers of classes start new, num_classes is {network.num_classes}: {', '.join(new)}", flush=True)
    if not counted:
        _freeze(network)


def _name(theirs: str) -> str:
    """The name of a tensor here; its own where it has none."""
    theirs = OLD_MASK_HEAD.sub(lambda found: f"roi_heads.mask_head.{int(found[1]) - 1}.0.{found[2]}", theirs)
    for pattern, ours in NAMES:
        if found := re.fullmatch(pattern, theirs):
            return found.expand(ours)
    return theirs


def _differs(tensors: Mapping[str, Tensor], name: str, wanted: Tensor) -> bool:
    return name in tensors and tensors[name].shape != wanted.shape


def _check(tensors: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    """Raise ValueError unless both have the same names and shapes."""
    problems = {
        "are missing": [name for name in wanted if name not in tensors],
        "are not of this network": [name for name in tensors if name not in wanted],
        "have another shape": [name for name, value in wanted.items() if _differs(tensors, name, value)],
    }
    told = [f"{len(names)} tensors {what} ({', '.join(names[:3])})" for what, names in problems.items() if names]
    if told:
        raise ValueError(
            f"expected the state dict of torchvision's maskrcnn_resnet50_fpn: {'; '.join(told)}. Build the network on "
            'encoder("resnet50", "none") with group_norm=False, channels=256, hidden=1024 and three ratios'
        )


def _freeze(network: MaskRCNN) -> None:
    """As torchvision with its published weights, whose frozen normalisation adds nothing to the variance."""
    for module in network.pyramid.encoder.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = 0.0
    network.freeze_batchnorm()
