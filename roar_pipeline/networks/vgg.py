"""VGG classifiers of any width: teacher, students and retrained networks.

Shapes: N images, K classes, C channels, H x W pixels, h x w feature-map cells.
A model is an ``nn.Sequential`` of ``features``, ``avgpool``, ``flatten`` and ``classifier``; the first and last carry
torchvision's names, so torchvision's convolutional weights load as they are.
"""

from collections import OrderedDict

import torch
from torch import nn

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.estimates.vgg_cost import BLOCKS
from roar_pipeline.seeds import derived_seed

__all__ = [
    "build",
    "check_size",
    "smallest_side",
]


def build(network: Network, classes: int, *, reduction: int = 1, seed: int = 0) -> nn.Sequential:
    """Build a classifier (N, 3, H, W) -> scores (N, K) with weights drawn from ``seed``.

    Each block is convolution, batch norm, ReLU, and ends with a 2 x 2 max-pool. The head averages to ``pool`` x
    ``pool`` cells, drops out and is linear (Park et al. 2020; their 7 x 7 at 227 pixels is torchvision's too).
    Initialization is torch's own, which follows the fan in. torchvision draws its VGG's last layer from N(0, 0.01)
    whatever the width; on a narrow student the sensitivities that SWA matches then start near zero, and its mAP on the
    default set falls from .88 to .74.

    Raises:
        InputError: ``reduction`` does not divide the width.
    """
    if network.width % reduction:
        raise InputError(f"reduction {reduction} does not divide the width {network.width}. Choose one that does.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initialization"))
        model = _sequential(network, network.width // reduction, classes)
    return model.to(memory_format=torch.channels_last)


def _sequential(network: Network, base: int, classes: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for block in BLOCKS[network.arch]:
        for multiple in block:
            width = base * multiple
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        layers.append(nn.MaxPool2d(2))
    modules: dict[str, nn.Module] = {
        "features": nn.Sequential(*layers),
        "avgpool": nn.AdaptiveAvgPool2d(network.pool),
        "flatten": nn.Flatten(),
        "classifier": nn.Sequential(nn.Dropout(network.dropout), nn.Linear(channels * network.pool**2, classes)),
    }
    return nn.Sequential(OrderedDict(modules))


def smallest_side(arch: str) -> int:
    """Return the fewest pixels per side that survive every max-pool of ``arch``."""
    return int(2 ** len(BLOCKS[arch]))


def check_size(arch: str, height: int, width: int) -> None:
    """Refuse images that the max-pools of an architecture would reduce to nothing.

    Raises:
        InputError: names the smallest size.
    """
    if min(height, width) < smallest_side(arch):
        raise InputError(
            f"Images of {height} x {width} pixels are too small for {arch}, whose max-pools need "
            f"{smallest_side(arch)} per side. Set [dataset] height and width, or another arch."
        )
