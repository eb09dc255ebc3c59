"""VGG classifiers of any width: teacher, students and retrained networks.

Shapes: N images, K classes, C channels, H x W pixels, h x w feature-map cells.
A model is an ``nn.Sequential`` of ``features``, ``avgpool``, ``flatten`` and ``classifier``; the first and last carry
torchvision's names, so torchvision's convolutional weights load as they are.
"""

from collections import OrderedDict
from pathlib import Path

import torch
from torch import nn

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.estimates.vgg_cost import BLOCKS
from roar_pipeline.networks.layers import count_to
from roar_pipeline.seeds import derived_seed

__all__ = [
    "build",
    "check_size",
    "load_imagenet_features",
    "smallest_side",
    "split_at",
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


def split_at(model: nn.Module, layer: str) -> tuple[nn.Sequential, nn.Sequential]:
    """Split the model into two that share its modules: ``upper(lower(images))`` are the model's scores.

    Args:
        model: as ``build`` returns it.
        layer: ``last_relu``, the last ReLU before the last max-pool of the features (14 x 14 cells at 227 pixels), or
            ``last_pool``, the output of that max-pool (7 x 7).
    """
    features = model.get_submodule("features")
    modules = list(features.children())
    if (boundary := count_to(layer, modules)) is None:
        raise InputError("The model's features have no max-pool, so no layer before or after the last one.")
    head = [model.get_submodule(name) for name in ("avgpool", "flatten", "classifier")]
    return nn.Sequential(*modules[:boundary]), nn.Sequential(*modules[boundary:], *head)


def load_imagenet_features(model: nn.Module, arch: str) -> None:
    """Load torchvision's ImageNet weights of ``arch`` into the convolutional blocks; the head stays as it is.

    Raises:
        InputError: they are not in torch's cache and cannot be downloaded.
    """
    from torchvision.models import get_model_weights  # slow to import, and only this needs it

    weights = get_model_weights(arch).DEFAULT
    try:
        state = weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise InputError(
            f"ImageNet weights of {arch} could not be loaded ({error}). Download {weights.url} on a machine with a "
            f"network and put it at {cache}, or set [teacher] weights = none."
        ) from error
    features = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
    model.get_submodule("features").load_state_dict(features)
