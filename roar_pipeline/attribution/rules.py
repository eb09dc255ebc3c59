"""What each layer does on the way up, and how a signal goes back down through it (PROTOCOL 5, DESIGN 7).

Legend: N images, P pairs of (image, class), C channels, H x W pixels, i an input unit of a layer and j an output unit,
x an input, w a weight, w+ = max(w, 0), |w-| = max(-w, 0), R a relevance.

A step remembers on the way up what the way down needs. ``rows`` (P,) tells the image of each pair; None says that pair
p is image p, which saves a copy of the images' activations. ``gradient`` and ``relevance`` may overwrite the signal
they are given, and a ReLU its input: every tensor here is the walk's own. Large fresh tensors cost the processor more
than the arithmetic on them, so what can be done in place is.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Average", "Pass", "Rectify", "Scale", "Step", "Weighted", "Winner"]

_BLOCK = 2**20
"""Weights that fit the processor's cache."""

_CANCELED = 256
"""Units of rounding below which a difference of two sums counts as 0."""


class Step(Protocol):
    """One layer of a tape."""

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output (N, ...) and remember what the way down needs."""

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Turn d score / d output (P, ...) into d score / d input."""

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread the relevance of the outputs (P, ...) over the inputs by the rule of LRP alpha1-beta0 and EBP."""


def _of_pairs(x: Tensor, rows: Tensor | None) -> Tensor:
    return x if rows is None else x[rows]


def _inverse_(sums: Tensor) -> Tensor:
    """Overwrite sums of non-negative terms by 1 / sums, and by 0 where they are 0: their terms drop out.

    So do sums so small (below 1e-19 in float32) that a relevance divided by them could overflow.
    """
    floor = math.sqrt(torch.finfo(sums.dtype).tiny)
    return torch.threshold_(sums, floor, math.inf).reciprocal_()


@dataclass
class Pass:
    """Dropout, which does nothing at evaluation, and flattening, which a signal undoes."""

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
    """BatchNorm at evaluation, where no convolution takes it in. Relevance takes it as the identity."""

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
class Rectify:
    """ReLU, in place."""

    y: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Overwrite x by max(x, 0)."""
        self.y = x.relu_()
        return self.y

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Stop the signal where the output is 0."""
        y = _of_pairs(_known(self.y), rows)
        torch.ops.aten.threshold_backward.grad_input(signal, y, 0, grad_input=signal)
        return signal

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Change nothing: a unit at 0 gets no relevance from above."""
        return signal


def _known(tensor: Tensor | None) -> Tensor:
    if tensor is None:
        raise RuntimeError("a step goes down before it went up")
    return tensor


@dataclass
class Winner:
    """Max-pool: the largest input of a window, the first of equal ones, takes all of its signal."""

    module: nn.MaxPool2d
    x: Tensor | None = field(default=None, init=False)
    places: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool, and remember who won."""
        m = self.module
        size, stride, padding, dilation = _window(m)
        y, self.places = F.max_pool2d_with_indices(x, size, stride, padding, dilation, m.ceil_mode, return_indices=True)
        self.x = x
        return y

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Hand each signal to its winner; a winner of several windows gets the sum."""
        m = self.module
        x, places = _of_pairs(_known(self.x), rows), _of_pairs(_known(self.places), rows)
        down: Tensor = torch.ops.aten.max_pool2d_with_indices_backward(signal, x, *_window(m), m.ceil_mode, places)
        return down

    relevance = gradient


def _window(m: nn.MaxPool2d) -> list[list[int]]:
    sizes = m.kernel_size, m.stride, m.padding, m.dilation
    return [[size, size] if isinstance(size, int) else list(size) for size in sizes]


@dataclass
class Average:
    """Average pooling, adaptive or not, of inputs that are not negative if relevance is asked for."""

    module: nn.AdaptiveAvgPool2d | nn.AvgPool2d
    x: Tensor | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Pool."""
        self.x = x
        return self._average(x)

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread each signal evenly over its window."""
        return self._spread(signal, _of_pairs(_known(self.x), rows))

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread each relevance over its window in proportion to the inputs."""
        x = _of_pairs(_known(self.x), rows)
        return self._spread(signal * _inverse_(self._average(x).clone()), x) * x

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


@dataclass
class Weighted:
    """Convolution or fully connected layer, with the BatchNorm that follows a convolution.

    Scores and gradients see the BatchNorm folded into weight and bias; relevance sees the layer's own weight and no
    bias (DESIGN 7). The first such layer of a net follows the z^B rule, the last one under RAP a rule of its own.
    ``keep`` keeps the sums of x_i w_ij that RAP needs.
    """

    module: nn.Conv2d | nn.Linear
    norm: tuple[Tensor, Tensor] | None = None
    first: bool = False
    last: bool = False
    keep: bool = False
    x: Tensor | None = field(default=None, init=False)
    _weight: Tensor | None = field(default=None, init=False)
    _sums: Tensor | None = field(default=None, init=False)
    _doubled: Tensor | None = field(default=None, init=False)
    _inverses: dict[int | None, Tensor] = field(default_factory=dict, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return weight x + bias."""
        self.x = x
        self._weight = self.module.weight.detach()
        bias = None if self.module.bias is None else self.module.bias.detach()
        if self.norm is not None:
            factor, offset = self.norm
            self._weight = self._weight * factor[:, None, None, None]
            bias = offset if bias is None else torch.addcmul(offset, bias, factor)
        if not self.keep:
            return self._apply(x, self._weight, bias)
        self._sums = y = self._apply(x, self.module.weight.detach())
        if bias is None:
            return y.clone()
        bias = bias.view(-1, *(1,) * (y.ndim - 2))
        return y + bias if self.norm is None else torch.addcmul(bias, y, self.norm[0][:, None, None])

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return weight^T signal."""
        return self._transpose(signal, _known(self._weight))

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return R_i = sum_j x_i w+_ij / P_j R_j with P_j = sum_m x_m w+_mj (Bach et al. 2015, eq. 60, beta 0).

        The first layer, whose inputs may be negative, follows the z^B rule (Montavon et al. 2017, eq. 20): with l and
        h the smallest and largest input of the image, x_i w_ij - l w+_ij + h |w-_ij| stands for x_i w+_ij. That is the
        rule above on the doubled inputs x - l and h - x, none negative, with the weights w+ and |w-|.
        """
        down = reduce(Tensor.add_, (self._relevance(signal, rows, *block) for block in self._blocks()))
        down = down.mul_(_of_pairs(self._inputs(), rows))
        return down.unflatten(1, (self._groups, 2, -1)).sum(2).flatten(1, 2) if self.first else down

    def rap(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread relevance by RAP (Nam et al., AAAI 2020), as its authors ran it.

        With P_j and N_j the sums of x_i w+_ij and of x_i |w-_ij|, R+ and R- the parts of R = R+ + R- above and below 0:

        - first: z^B, as ``relevance``.
        - last: R_i = sum_j x_i |w_ij| / (P_j + N_j) R_j.
        - other convolutions: C_i = x_i sum_j [w+_ij R+_j / P_j + |w-_ij| (R_j / (P_j + N_j) + R-_j / N_j)].
        - other fully connected: C_i = x_i sum_j [w+_ij R_j / P_j + |w-_ij| R_j / (P_j + N_j)].

        From every C_i that is not 0 the last two subtract the same number, so that sum_i R_i = sum_j R_j.

        N_j is P_j less the sum of x_i w_ij that the forward pass had, which spares a convolution; where the two cancel
        to the last digits it is 0.
        """
        if self.first:
            return self.relevance(signal, rows)
        total = _sum(signal)
        rule = self._rap_last if self.last else self._rap_hidden
        down = reduce(Tensor.add_, (rule(signal, rows, *block) for block in self._blocks()))
        down = down.mul_(_of_pairs(self._inputs(), rows))
        if self.last:
            return down
        reached = down.ne(0)
        excess = (_sum(down) - total) / _sum(reached).clamp_(min=1)
        return down.addcmul_(reached, excess.view(-1, *(1,) * (down.ndim - 1)), value=-1)

    def _relevance(self, signal: Tensor, rows: Tensor | None, outputs: slice, weight: Tensor) -> Tensor:
        positive = self._positive(weight)
        if outputs.start not in self._inverses:
            self._inverses[outputs.start] = _inverse_(self._apply(self._inputs(), positive))
        shares = signal[:, outputs].mul_(_of_pairs(self._inverses[outputs.start], rows))
        return self._transpose(shares, positive)

    def _rap_last(self, signal: Tensor, rows: Tensor | None, outputs: slice, weight: Tensor) -> Tensor:
        size = weight.abs()
        shares = signal[:, outputs] * _of_pairs(_inverse_(self._apply(self._inputs(), size)), rows)
        return self._transpose(shares, size)

    def _rap_hidden(self, signal: Tensor, rows: Tensor | None, outputs: slice, weight: Tensor) -> Tensor:
        positive, negative = self._positive(weight), weight.neg().clamp_(min=0)
        above = self._apply(self._inputs(), positive)
        below = above - _known(self._sums)[:, outputs]
        below.masked_fill_(below < _CANCELED * torch.finfo(below.dtype).eps * above, 0)
        both = _of_pairs(_inverse_(above + below), rows)
        above, below = _inverse_(above), _of_pairs(_inverse_(below), rows)
        self._inverses[outputs.start] = above
        signal = signal[:, outputs]
        if isinstance(self.module, nn.Conv2d):
            against = signal.clamp(max=0).mul_(below).addcmul_(signal, both)
            signal.clamp_(min=0)
        else:
            against = signal * both
        shares = signal.mul_(_of_pairs(above, rows))
        return self._transpose(shares, positive).add_(self._transpose(against, negative))

    @property
    def _groups(self) -> int:
        return self.module.groups if isinstance(self.module, nn.Conv2d) else 1

    def _inputs(self) -> Tensor:
        """Return the inputs (N, ...) of the rules, none negative; the first layer's are doubled, group by group."""
        x = _known(self.x)
        if not self.first:
            return x
        if self._doubled is None:
            low, high = (edge.view(-1, *(1,) * (x.ndim - 1)) for edge in x.flatten(1).aminmax(dim=1))
            halves = [half.unflatten(1, (self._groups, -1)) for half in (x - low, high - x)]
            self._doubled = torch.cat(halves, 2).flatten(1, 2)
        return self._doubled

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the weight by outputs: whole, or such that what is made of a large fully connected one stays small."""
        weight = self.module.weight.detach()
        if isinstance(self.module, nn.Conv2d):
            yield slice(None), weight
            return
        height = max(1, _BLOCK // weight.shape[1])
        for start in range(0, len(weight), height):
            yield slice(start, start + height), weight[start : start + height]

    def _positive(self, weight: Tensor) -> Tensor:
        if self.first:
            return torch.cat([weight.clamp(min=0), weight.neg().clamp_(min=0)], 1)
        return weight.clamp(min=0)

    def _apply(self, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        m = self.module
        if isinstance(m, nn.Linear):
            return F.linear(x, weight, bias)
        return F.conv2d(x, weight, bias, m.stride, m.padding, m.dilation, m.groups)

    def _transpose(self, signal: Tensor, weight: Tensor) -> Tensor:
        m = self.module
        if isinstance(m, nn.Linear):
            return signal @ weight
        reach = [d * (k - 1) for k, d in zip(m.kernel_size, m.dilation, strict=True)]
        if isinstance(m.padding, str):
            padding = [r // 2 if m.padding == "same" else 0 for r in reach]
        else:
            padding = list(m.padding)
        sides = zip(_known(self.x).shape[2:], signal.shape[2:], padding, reach, m.stride, strict=True)
        skipped = [side + 2 * p - r - 1 - (cells - 1) * stride for side, cells, p, r, stride in sides]
        return F.conv_transpose2d(signal, weight, None, m.stride, padding, skipped, m.groups, m.dilation)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)))
