"""Architectures by name. Nothing here imports torch: names are checked before it is loaded.

Three families have names: VGGs of any width (``VGGS``), CIFAR's ResNets (``CIFAR_RESNETS``, He et al. 2016, section
4.2), and torchvision's classifiers (``TORCHVISION``). ``module:function`` is an architecture of the user's own.
"""

import re

from roar_pipeline.custom_functions import source_file
from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened

__all__ = [
    "CIFAR_RESNETS",
    "LAST_MAPS",
    "TORCHVISION",
    "VGGS",
    "check_arch",
    "default_layer",
    "has_last_pool",
    "has_width",
    "idle_keys",
    "is_custom",
]

VGGS = ("vgg11_small", "vgg11_bn", "vgg16_bn")
"""VGG with batch normalization (Simonyan and Zisserman 2015, A and D); vgg11_small lacks the fifth block."""

CIFAR_RESNETS = ("resnet20", "resnet32", "resnet44", "resnet56", "resnet110")
"""6n + 2 layers in three stages of width, 2 width and 4 width channels."""

TORCHVISION = (
    "alexnet",
    *(f"convnext_{size}" for size in ("base", "large", "small", "tiny")),
    *(f"densenet{layers}" for layers in (121, 161, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "lms"),
    "googlenet",
    "inception_v3",
    "maxvit_t",
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v2",
    "mobilenet_v3_large",
    "mobilenet_v3_small",
    *(f"regnet_x_{size}" for size in ("16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf")),
    *(f"regnet_y_{size}" for size in ("128gf", "16gf", "1_6gf", "32gf", "3_2gf", "400mf", "800mf", "8gf")),
    *(f"resnet{layers}" for layers in (101, 152, 18, 34, 50)),
    "resnext101_32x8d",
    "resnext101_64x4d",
    "resnext50_32x4d",
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    "squeezenet1_0",
    "squeezenet1_1",
    *(f"swin_{size}" for size in "bst"),
    *(f"swin_v2_{size}" for size in "bst"),
    "vgg11",
    "vgg13",
    "vgg13_bn",
    "vgg16",
    "vgg19",
    "vgg19_bn",
    *(f"vit_{size}" for size in ("b_16", "b_32", "h_14", "l_16", "l_32")),
    "wide_resnet101_2",
    "wide_resnet50_2",
)
"""torchvision's classifiers, but for vgg11_bn and vgg16_bn: those are ours, the same convolutions with another head."""

LAST_MAPS = {
    "CifarResNet": "layer3",
    "ConvNeXt": "features",
    "DenseNet": "features",
    "EfficientNet": "features",
    "GoogLeNet": "inception5b",
    "Inception3": "Mixed_7c",
    "MaxVit": "blocks.3",
    "MNASNet": "layers",
    "MobileNetV2": "features",
    "MobileNetV3": "features",
    "RegNet": "trunk_output",
    "ResNet": "layer4",
    "ShuffleNetV2": "conv5",
    "SqueezeNet": "features",
    "SwinTransformer": "permute",
}
"""By class, the path of the module whose output (N, C, h, w) is the last before the pooling: what ``last_relu`` names.

Of a ResNet that is its last block, after the block's ReLU. VGG and AlexNet have their last ReLU before their last
max-pool instead; a vision transformer has no such maps.
"""

_CLASSES = {
    "convnext": "ConvNeXt",
    "densenet": "DenseNet",
    "efficientnet": "EfficientNet",
    "googlenet": "GoogLeNet",
    "inception": "Inception3",
    "maxvit": "MaxVit",
    "mnasnet": "MNASNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3": "MobileNetV3",
    "regnet": "RegNet",
    "resnet": "ResNet",
    "resnext": "ResNet",
    "shufflenet": "ShuffleNetV2",
    "squeezenet": "SqueezeNet",
    "swin": "SwinTransformer",
    "wide_resnet": "ResNet",
}
"""Class in torchvision by the beginning of the name."""

_CUSTOM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def is_custom(arch: str) -> bool:
    """Tell whether a name is that of a function of the user's own, ``module:function``."""
    return bool(_CUSTOM.fullmatch(arch))


def has_width(arch: str) -> bool:
    """Tell whether an architecture has a ``width``, which a student's ``reduction`` divides."""
    return arch in VGGS + CIFAR_RESNETS


def default_layer(arch: str) -> str:
    """Return the path of the module that ``last_relu`` names, or ``last_relu`` where the maps are between modules."""
    if arch in CIFAR_RESNETS:
        return LAST_MAPS["CifarResNet"]
    of_class = next((name for start, name in _CLASSES.items() if arch.startswith(start)), None)
    return LAST_MAPS[of_class] if of_class and arch in TORCHVISION else "last_relu"


def has_last_pool(arch: str) -> bool:
    """Tell whether an architecture may have a ``last_pool``: VGG, AlexNet, and functions of the user's own."""
    return arch.startswith(("vgg", "alexnet")) or is_custom(arch)


def idle_keys(arch: str) -> set[str]:
    """Return the settings of a network that an architecture does not read."""
    if arch in VGGS:
        return set()
    return {"pool", "dropout"} if arch in CIFAR_RESNETS else {"width", "pool", "dropout"}


def check_arch(arch: str) -> None:
    """Refuse a text that names no architecture.

    Raises:
        InputError: lists the known names; or Python finds no module of that name.
    """
    if is_custom(arch):
        source_file(arch)
        return
    if arch not in VGGS + CIFAR_RESNETS + TORCHVISION:
        raise InputError(
            f"unknown arch '{shortened(arch)}'. Known: {', '.join(VGGS + CIFAR_RESNETS)}; torchvision's classifiers, "
            f"such as {', '.join(TORCHVISION[-18:-14])}, resnet18; module:function(classes) of your own."
        )
