"""Cost of a network per image, from its architecture alone: multiply-adds, parameters, bytes of activations.

Nothing here imports torch, as Luigi's process must not; it reserves memory and forecasts with these numbers.
"""

import functools

from roar_pipeline.architectures import CIFAR_RESNETS, VGGS, is_custom
from roar_pipeline.config import Network
from roar_pipeline.estimates.amounts import Cost, Size
from roar_pipeline.estimates.cifar_cost import cifar_cost
from roar_pipeline.estimates.torchvision_cost import assumed_cost, torchvision_cost
from roar_pipeline.estimates.vgg_cost import vgg_cost

__all__ = ["Cost", "Size", "cost_of"]


@functools.cache
def cost_of(network: Network, classes: int, height: int, width: int, *, reduction: int = 1) -> Cost:
    """Return what ``classifiers.build(network, classes, reduction=reduction)`` costs on an image.

    A model of the user's own is assumed to cost what ResNet-50 does.

    Args:
        network: arch, width and pool.
        classes: K.
        height: H.
        width: W, pixels.
        reduction: divisor of every width.
    """
    if network.arch in VGGS:
        return vgg_cost(network, classes, height, width, reduction=reduction)
    if network.arch in CIFAR_RESNETS:
        return cifar_cost(network, classes, height, width, reduction=reduction)
    if is_custom(network.arch):
        return assumed_cost(classes, height, width)
    return torchvision_cost(network.arch, classes, height, width)
