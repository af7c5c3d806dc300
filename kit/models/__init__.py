"""Networks answer one question: what is computed? Images f32 (N, C, H, W), normalised, -> logits (N, K, H, W).

K = 1 means sigmoid, K > 1 softmax. Every network takes num_classes and in_channels=3, and images of any size.
Networks of objects give Detections in place of logits, and in training take label images too: see mask_rcnn.py.

    unet.py, fcn.py, deconvnet.py, segnet.py   one paper each, written here: UNet, FCN8s, DeconvNet, SegNet ...
    dynamic_unet.py                            DynamicUNet, a decoder for any encoder
    mask_rcnn.py, panoptic_fpn.py              MaskRCNN, PanopticFPN: objects by themselves, with or without semantics
    fpn.py, rpn.py, roi_heads.py, boxes.py     the parts of both: pyramid, proposals, heads, the arithmetic of boxes
    torchvision_weights.py                     loads torchvision's maskrcnn_resnet50_fpn into MaskRCNN
    encoder_unet.py                            EncoderUNet, a U-Net on any encoder with a skip of full size
    vgg.py                                     VGG16, the trunk of three of them, and its weights
    pretrained/                                smp's architectures with pretrained encoders: unet, fpn, segformer ...
    encoders.py                                an encoder alone, and its weights from a package, the hub or a file
    hub.py                                     which encoders and weights there are, and what they expect
    packages.py                                finds weights that installed packages hold
    weight_files.py                            reads the files that other frameworks write
    inputs.py                                  checks channels, pads images of any size; on_encoder.py: what networks on
                                               an encoder share

All that needs smp and timm is imported from kit.models.pretrained, because importing these takes seconds.
"""

from kit.models.deconvnet import DeconvNet, SmallDeconvNet
from kit.models.dynamic_unet import DynamicUNet
from kit.models.encoder_unet import EncoderUNet
from kit.models.fcn import FCN8s, FCN16s, FCN32s
from kit.models.mask_rcnn import Detections, MaskRCNN
from kit.models.panoptic_fpn import Panoptic, PanopticFPN
from kit.models.segnet import SegNet, SegNetBasic
from kit.models.unet import CompactUNet, MirrorTiled, UNet
from kit.models.vgg import load_vgg16, read_vgg16

__all__ = [
    "CompactUNet",
    "DeconvNet",
    "Detections",
    "DynamicUNet",
    "EncoderUNet",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "MaskRCNN",
    "MirrorTiled",
    "Panoptic",
    "PanopticFPN",
    "SegNet",
    "SegNetBasic",
    "SmallDeconvNet",
    "UNet",
    "load_vgg16",
    "read_vgg16",
]
