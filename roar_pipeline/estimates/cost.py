"""What a network costs per image, from its plan alone: multiply-adds, parameters, bytes of activations.

Legend: C channels, h x w cells of a feature map, H x W pixels, K classes. Nothing here imports torch: Luigi's process,
which must not, sets memory aside and forecasts with these numbers.
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
_PLACE = 8
"""Bytes of the place that a max-pool remembers."""


@dataclass(frozen=True)
class Size:
    """How much there is to work on."""

    train: int
    test: int
    height: int
    width: int
    """Pixels."""
    classes: int
    validation: int = 0
    """Images that are not those of the test split."""
    masks: int = 0
    photograph_bytes: int = 0
    """Of the training photographs that are kept for random crops, in all; 0: none are."""

    @property
    def images(self) -> int:
        """Of all splits, each once."""
        return self.train + self.test + self.validation

    @property
    def pixels(self) -> int:
        """H x W."""
        return self.height * self.width


@dataclass(frozen=True)
class Cost:
    """Costs of one image, but for ``parameters``."""

    multiply_adds: int
    """Of a forward pass: convolutions and the Linear layer."""
    parameters: int
    """Numbers that training sets."""
    saved_bytes: int
    """Activations that autograd keeps from a forward pass for the backward pass, in float32."""
    tape_bytes: int
    """Activations that the layer walk of the attribution methods keeps."""
    sums_bytes: int
    """What it keeps beside for RAP: the convolutions' sums of products."""
    widest_bytes: int
    """The largest activation."""
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
        """Numbers that it puts out."""
        return self.outputs * self.cells


@functools.cache
def cost_of(network: Network, classes: int, height: int, width: int, *, reduction: int = 1) -> Cost:
    """Return what ``vgg.build(network, classes, reduction=reduction)`` costs on an image of height x width pixels.

    Training keeps what each convolution, BatchNorm, ReLU and max-pool has seen: of a block's convolutions the output
    before and after BatchNorm (a ReLU's output is the next layer's input), of a max-pool its output and the places of
    the winners. The layer walk, whose ReLU overwrites its input and takes BatchNorm along, keeps half of that.

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
    tape = _FLOAT * (3 * height * width + rectified + head) + (_FLOAT + _PLACE) * sum(pooled)
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
    """Yield the convolutions of each block, and the cells that its max-pool leaves."""
    channels = 3
    for multiples in BLOCKS[network.arch]:
        block = []
        for multiple in multiples:
            outputs = network.width // reduction * multiple
            block.append(_Convolution(channels, outputs, height * width))
            channels = outputs
        height, width = height // 2, width // 2
        yield block, height * width
