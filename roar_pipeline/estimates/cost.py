"""Cost of a network per image, from its architecture alone: multiply-adds, parameters, bytes of activations.

Legend: C channels, h x w cells of a feature map, H x W pixels, K classes. Nothing here imports torch, as
Luigi's process must not; it reserves memory and forecasts with these numbers.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

from roar_pipeline.config import Network

__all__ = ["BLOCKS", "Cost", "Size", "cost_of"]

BLOCKS = {
    "vgg11_small": ((1,), (2,), (4, 4), (8, 8)),
    "vgg11_bn": ((1,), (2,), (4, 4), (8, 8), (8, 8)),
    "vgg16_bn": ((1, 1), (2, 2), (4, 4, 4), (8, 8, 8), (8, 8, 8)),
}
"""Convolutions per block, as multiples of the first width (Simonyan and Zisserman 2015, table 1, A and D)."""

_FLOAT = 4
"""Bytes of a number."""
_INDEX = 8
"""Bytes of an index that a max-pool saves."""


@dataclass(frozen=True)
class Size:
    """Size of the data."""

    train: int
    test: int
    height: int
    width: int
    """Width in pixels, as ``height``."""
    classes: int
    validation: int = 0
    """Validation images; 0 if they are those of the test split."""
    masks: int = 0
    photograph_bytes: int = 0
    """Total of the training photographs stored for random crops; 0 if there are none."""

    @property
    def images(self) -> int:
        """Number of images in all distinct splits."""
        return self.train + self.test + self.validation

    @property
    def pixels(self) -> int:
        """H x W."""
        return self.height * self.width


@dataclass(frozen=True)
class Cost:
    """Costs per image, and ``parameters``."""

    multiply_adds: int
    """Multiply-adds of a forward pass: convolutions and the Linear layer."""
    parameters: int
    """Number of trainable parameters."""
    saved_bytes: int
    """Bytes of the activations that autograd keeps from a forward pass for the backward pass, in float32."""
    tape_bytes: int
    """Bytes of the activations that the layer walk of the attribution methods keeps."""
    sums_bytes: int
    """Bytes of the sums of products of the convolutions, which the walk also keeps for RAP."""
    widest_bytes: int
    """Bytes of the largest activation."""
    matched: dict[str, int]
    """By layer (last_relu, last_pool): numbers of its activation, C x h x w."""


@dataclass(frozen=True)
class _Convolution:
    """3 x 3, padded, with BatchNorm and ReLU."""

    inputs: int
    outputs: int
    cells: int

    @property
    def multiply_adds(self) -> int:
        return 9 * self.inputs * self.outputs * self.cells

    @property
    def activation(self) -> int:
        """Numbers in its output."""
        return self.outputs * self.cells


@functools.cache
def cost_of(network: Network, classes: int, height: int, width: int, *, reduction: int = 1) -> Cost:
    """Return what ``vgg.build(network, classes, reduction=reduction)`` costs on an image of height x width pixels.

    Training keeps every layer's input: of a convolution the output before and after BatchNorm (a ReLU's output is the
    next layer's input), of a max-pool the output and the winners' indices. The layer walk, whose ReLU overwrites its
    input and which folds BatchNorm, keeps half of that.

    Args:
        network: arch, width and pool.
        classes: K.
        height: H.
        width: W, pixels.
        reduction: divisor of every width.
    """
    blocks = list(_blocks(network, reduction, height, width))
    convolutions = [layer for block, _ in blocks for layer in block]
    pooled = [cells * block[-1].outputs for block, cells in blocks]
    head = convolutions[-1].outputs * network.pool**2
    rectified = sum(layer.activation for layer in convolutions)
    tape = _FLOAT * (3 * height * width + rectified + head) + (_FLOAT + _INDEX) * sum(pooled)
    return Cost(
        multiply_adds=sum(layer.multiply_adds for layer in convolutions) + head * classes,
        parameters=sum((9 * layer.inputs + 3) * layer.outputs for layer in convolutions) + (head + 1) * classes,
        saved_bytes=tape + _FLOAT * rectified + head,  # dropout's mask has a byte per number
        tape_bytes=tape,
        sums_bytes=_FLOAT * (rectified - convolutions[0].activation),
        widest_bytes=_FLOAT * max(layer.activation for layer in convolutions),
        matched={"last_relu": convolutions[-1].activation, "last_pool": pooled[-1]},
    )


def _blocks(network: Network, reduction: int, height: int, width: int) -> Iterator[tuple[list[_Convolution], int]]:
    """Yield the convolutions of each block, and the cells of its max-pool's output."""
    channels = 3
    for multiples in BLOCKS[network.arch]:
        block = []
        for multiple in multiples:
            outputs = network.width // reduction * multiple
            block.append(_Convolution(channels, outputs, height * width))
            channels = outputs
        height, width = height // 2, width // 2
        yield block, height * width
