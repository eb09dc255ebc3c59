"""The forward pass of every layer, and how a signal goes back down through it.

Legend: N images, P pairs of (image, class), C channels, H x W pixels. Layers with weights are in ``weighted``.

A step saves in its forward pass what the backward pass needs. ``rows`` (P,) holds the image of each pair; with None,
pair p is of image p, which saves a copy of the images' activations. ``gradient`` and ``relevance`` may overwrite their
signal, and a ReLU its input: no tensor here is shared with the model or the caller. Steps work in place where possible,
as allocating large tensors takes longer than the arithmetic on them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AveragePool", "Identity", "MaxPool", "Relu", "Scale", "Step", "inverse_", "of_pairs", "require_saved"]


class Step(Protocol):
    """One layer of a tape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (N, ...), and save what the backward pass needs."""

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Turn d score / d output (P, ...) into d score / d input."""

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread the relevance of the outputs (P, ...) over the inputs by the rule of LRP alpha1-beta0 and EBP."""


def of_pairs(x: Tensor, rows: Tensor | None) -> Tensor:
    """Return for each pair the values (N, ...) of its image: (P, ...)."""
    return x if rows is None else x[rows]


def require_saved(tensor: Tensor | None) -> Tensor:
    """Return a tensor that a step saved in its forward pass."""
    if tensor is None:
        raise RuntimeError("a step's backward pass needs a forward pass before it")
    return tensor


def inverse_(sums: Tensor) -> Tensor:
    """Overwrite sums of non-negative terms by 1 / sums, and by 0 where they are 0, so that their terms drop out.

    So do sums so small (below 1e-19 in float32) that a relevance divided by them could overflow.
    """
    floor = math.sqrt(torch.finfo(sums.dtype).tiny)
    return torch.threshold_(sums, floor, math.inf).reciprocal_()


@dataclass
class Identity:
    """Dropout, which does nothing at evaluation, and flattening, which the backward pass undoes."""

    flatten: bool = False
    shape: Sequence[int] = field(default=(), init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the same numbers."""
        self.shape = x.shape[1:]
        return x.flatten(1) if self.flatten else x

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return the same numbers in the input's shape."""
        return signal.reshape(-1, *self.shape)

    relevance = gradient


@dataclass
class Scale:
    """BatchNorm at evaluation that is not folded into a convolution. Relevance passes through it unchanged."""

    factor: Tensor
    offset: Tensor

    def forward(self, x: Tensor) -> Tensor:
        """Return factor * x + offset per channel."""
        return torch.addcmul(self.offset[:, None, None], x, self.factor[:, None, None])

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Multiply by the factor."""
        return signal.mul_(self.factor[:, None, None])

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Change nothing."""
        return signal


@dataclass
class Relu:
    """ReLU, in place."""

    y: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Overwrite x by max(x, 0)."""
        self.y = x.relu_()
        return self.y

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Stop the signal where the output is 0."""
        y = of_pairs(require_saved(self.y), rows)
        torch.ops.aten.threshold_backward.grad_input(signal, y, 0, grad_input=signal)
        return signal

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Change nothing: a unit at 0 gets no relevance from above."""
        return signal


@dataclass
class MaxPool:
    """Max-pool: the largest input of a window, the first of equal ones, takes all of its signal."""

    module: nn.MaxPool2d
    x: Tensor | None = field(default=None, init=False)
    indices: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool, and save the winners' indices."""
        m = self.module
        size, stride, padding, dilation = _window(m)
        y, self.indices = F.max_pool2d_with_indices(
            x, size, stride, padding, dilation, m.ceil_mode, return_indices=True
        )
        self.x = x
        return y

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Route each signal to its window's winner; a winner of several windows gets the sum."""
        m = self.module
        x, indices = of_pairs(require_saved(self.x), rows), of_pairs(require_saved(self.indices), rows)
        down: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(signal, x, *_window(m), m.ceil_mode, indices)
        return down

    relevance = gradient


def _window(m: nn.MaxPool2d) -> list[list[int]]:
    sizes = m.kernel_size, m.stride, m.padding, m.dilation
    return [[size, size] if isinstance(size, int) else list(size) for size in sizes]


@dataclass
class AveragePool:
    """Average pooling, adaptive or not. Relevance needs inputs that are not negative."""

    module: nn.AdaptiveAvgPool2d | nn.AvgPool2d
    x: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        self.x = x
        return self._average(x)

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread each signal evenly over its window."""
        return self._spread(signal, of_pairs(require_saved(self.x), rows))

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread each relevance over its window in proportion to the inputs."""
        x = of_pairs(require_saved(self.x), rows)
        return self._spread(signal * inverse_(self._average(x).clone()), x) * x

    def _spread(self, signal: Tensor, x: Tensor) -> Tensor:
        spread = torch.func.vjp(self._average, x)[1]
        down: Tensor = spread(signal)[0]
        return down

    def _average(self, x: Tensor) -> Tensor:
        m = self.module
        if isinstance(m, nn.AdaptiveAvgPool2d):
            return F.adaptive_avg_pool2d(x, m.output_size)
        window = m.kernel_size, m.stride, m.padding
        return F.avg_pool2d(x, *window, m.ceil_mode, m.count_include_pad, m.divisor_override)
