"""Cost of a CIFAR ResNet (He et al. 2016, section 4.2) per image.

Legend: C channels, h x w cells of a feature map, H x W pixels, K classes.
"""

from roar_pipeline.config import Network
from roar_pipeline.estimates.amounts import Cost

__all__ = ["blocks_per_stage", "cifar_cost"]

_FLOAT = 4
"""Bytes of a number."""


def blocks_per_stage(arch: str) -> int:
    """Return n of a net of 6n + 2 layers: 3 for ``resnet20``."""
    return (int(arch.removeprefix("resnet")) - 2) // 6


def cifar_cost(network: Network, classes: int, height: int, width: int, *, reduction: int = 1) -> Cost:
    """Return what ``networks.cifar_resnet.build`` with these arguments costs on an image of height x width pixels.

    Training keeps the output of every convolution and of every ReLU. The layer walk, which folds BatchNorm, keeps the
    output of every convolution and every sum, and each shortcut's that is not the identity.

    Args:
        network: arch and width.
        classes: K.
        height: H.
        width: W, pixels.
        reduction: divisor of every width.
    """
    base, blocks = network.width // reduction, blocks_per_stage(network.arch)
    stages = [(base << stage, _halved(height, stage) * _halved(width, stage)) for stage in range(3)]
    maps = [channels * cells for channels, cells in stages]
    convolutions = [(3, *stages[0])]
    for stage, (channels, cells) in enumerate(stages):
        convolutions += [(stages[max(0, stage - 1)][0], channels, cells)]
        convolutions += [(channels, channels, cells)] * (2 * blocks - 1)
    outputs = sum(channels * cells for _, channels, cells in convolutions)
    head = stages[-1][0]
    fixed = 3 * height * width + head
    return Cost(
        multiply_adds=9 * sum(i * o * cells for i, o, cells in convolutions) + head * classes,
        parameters=sum((9 * i + 2) * o for i, o, _ in convolutions) + (head + 1) * classes,
        saved_bytes=_FLOAT * (fixed + 2 * outputs),
        tape_bytes=_FLOAT * (fixed + outputs + blocks * sum(maps) + sum(maps[1:])),
        sums_bytes=_FLOAT * (outputs - maps[0]),
        widest_bytes=_FLOAT * max(maps),
        matched={"last_relu": maps[2], "layer1": maps[0], "layer2": maps[1], "layer3": maps[2]},
    )


def _halved(side: int, times: int) -> int:
    """Return the cells along a side after so many strides of 2, each of which rounds up."""
    return -(-side // (1 << times))
