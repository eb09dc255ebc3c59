"""Backward passes of signals through convolutions and fully connected layers.

Legend: N images, P pairs of (image, class), i an input unit of a layer and j an output unit, x an input, w a weight,
w+ = max(w, 0), |w-| = max(-w, 0), R a relevance.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline.attribution.relevance.layers import inverse_, of_pairs, require_saved

__all__ = ["Weighted"]

_Terms = Iterator[tuple[Tensor, Tensor]]
"""Pairs of outputs' signals (P, ...) and the weights that carry them to the inputs."""

_BLOCK = 2**19
"""Number of weights that fit the processor's cache."""

_CANCELED = 256
"""Machine epsilons below which a difference of two sums counts as 0."""


@dataclass
class Weighted:
    """Convolution or fully connected layer, with the BatchNorm that follows a convolution.

    Scores and gradients fold the BatchNorm into weight and bias. Relevance uses no bias, and the layer's own weight, as
    Park et al. ran it on VGG; or the ``folded`` one, in nets with residual blocks, where a branch's scale counts beside
    that of the other branch. The ``first`` such layer follows the z^B rule; RAP has a separate rule for the ``last``.

    With ``keep`` the forward pass saves the sums of x_i w_ij, which spares RAP a convolution. This needs arithmetic in
    the full precision of the dtype: a GPU that rounds products to ten bits (TF32) needs the convolution.
    """

    module: nn.Conv2d | nn.Linear
    norm: tuple[Tensor, Tensor] | None = None
    first: bool = False
    last: bool = False
    keep: bool = False
    folded: bool = False
    x: Tensor | None = field(default=None, init=False)
    _weight: Tensor | None = field(default=None, init=False)
    _sums: Tensor | None = field(default=None, init=False)
    _doubled: Tensor | None = field(default=None, init=False)
    _scratches: dict[str, Tensor] = field(default_factory=dict, init=False)
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
        self._sums = y = self._apply(x, self._rule_weight())
        if bias is None:
            return y.clone()
        bias = bias.view(-1, *(1,) * (y.ndim - 2))
        if self.norm is None or self.folded:
            return y + bias
        return torch.addcmul(bias, y, self.norm[0][:, None, None])

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return weight^T signal."""
        return self._transpose(signal, require_saved(self._weight))

    def relevance(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return R_i = sum_j x_i w+_ij / P_j R_j with P_j = sum_m x_m w+_mj (Bach et al. 2015, eq. 60, beta 0).

        The first layer, whose inputs may be negative, follows the z^B rule (Montavon et al. 2017, eq. 20): with l and
        h the smallest and largest input of the image, x_i w_ij - l w+_ij + h |w-_ij| replaces x_i w+_ij. This equals
        the rule above on the doubled inputs x - l and h - x, none negative, with the weights w+ and |w-|.
        """
        down = self._gather(self._excitation_terms(signal, rows)).mul_(of_pairs(self._inputs(), rows))
        return down.unflatten(1, (self._groups, 2, -1)).sum(2).flatten(1, 2) if self.first else down

    def rap(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Spread relevance by RAP (Nam et al., AAAI 2020), as its authors ran it.

        With P_j and N_j the sums of x_i w+_ij and of x_i |w-_ij|, R+ = max(R, 0) and R- = min(R, 0):

        - first: z^B, as ``relevance``.
        - last: R_i = sum_j x_i |w_ij| / (P_j + N_j) R_j.
        - other convolutions: C_i = x_i sum_j [w+_ij R+_j / P_j + |w-_ij| (R_j / (P_j + N_j) + R-_j / N_j)].
        - other fully connected: C_i = x_i sum_j [w+_ij R_j / P_j + |w-_ij| R_j / (P_j + N_j)].

        The last two subtract one number from every C_i that is not 0, so that sum_i R_i = sum_j R_j.

        With ``keep``, N_j is P_j - sum_i x_i w_ij, and 0 where the two cancel to the last digits.
        """
        if self.first:
            return self.relevance(signal, rows)
        inputs = of_pairs(self._inputs(), rows)
        if self.last:
            return self._gather(self._last_rap_terms(signal, rows)).mul_(inputs)
        total = _sum(signal)
        down = self._gather(self._rap_terms(signal, rows)).mul_(inputs)
        nonzero = down.sign().abs_()
        excess = (_sum(down) - total) / _sum(nonzero).clamp_(min=1)
        return down.addcmul_(nonzero, excess.view(-1, *(1,) * (down.ndim - 1)), value=-1)

    def _excitation_terms(self, signal: Tensor, rows: Tensor | None) -> _Terms:
        for outputs, weight in self._blocks():
            positive = self._positive(weight)
            if outputs.start not in self._inverses:
                self._inverses[outputs.start] = inverse_(self._apply(self._inputs(), positive))
            yield signal[:, outputs].mul_(of_pairs(self._inverses[outputs.start], rows)), positive

    def _last_rap_terms(self, signal: Tensor, rows: Tensor | None) -> _Terms:
        for outputs, weight in self._blocks():
            magnitude = torch.abs(weight, out=self._scratch(weight, "magnitude"))
            sums = self._apply(self._inputs(), magnitude)
            yield signal[:, outputs] * of_pairs(inverse_(sums), rows), magnitude

    def _rap_terms(self, signal: Tensor, rows: Tensor | None) -> _Terms:
        for outputs, weight in self._blocks():
            positive = self._positive(weight)
            positive_sums = self._apply(self._inputs(), positive)
            negative_sums = self._negative_sums(weight, outputs, positive_sums)
            inverse_totals = of_pairs(inverse_(positive_sums + negative_sums), rows)
            inverse_positive = self._inverses[outputs.start] = inverse_(positive_sums)
            block = signal[:, outputs]
            if isinstance(self.module, nn.Conv2d):
                inverse_negative = of_pairs(inverse_(negative_sums), rows)
                to_negative = inverse_negative.mul_(block.clamp(max=0)).addcmul_(block, inverse_totals)
                block.clamp_(min=0)
            else:
                to_negative = inverse_totals.mul_(block)
            yield block.mul_(of_pairs(inverse_positive, rows)), positive
            yield to_negative, self._negative(weight)

    def _negative_sums(self, weight: Tensor, outputs: slice, positive_sums: Tensor) -> Tensor:
        """Return N_j (N, ...) of the outputs from their P_j; their saved sums are overwritten."""
        if self._sums is None:
            return self._apply(self._inputs(), self._negative(weight))
        sums = self._sums[:, outputs]
        negative_sums = torch.sub(positive_sums, sums, out=sums)
        floor = positive_sums * (_CANCELED * torch.finfo(sums.dtype).eps)
        return negative_sums.masked_fill_(negative_sums < floor, 0)

    def _gather(self, terms: _Terms) -> Tensor:
        """Return the sum over terms of sum_j w_ij signal_j (P, ...)."""
        down = self._transpose(*next(terms))
        for signal, weight in terms:
            if isinstance(self.module, nn.Linear):
                down.addmm_(signal, weight)
            else:
                down += self._transpose(signal, weight)
        return down

    @property
    def _groups(self) -> int:
        return self.module.groups if isinstance(self.module, nn.Conv2d) else 1

    def _inputs(self) -> Tensor:
        """Return the inputs (N, ...) of the rules, none negative; the first layer's are doubled, group by group."""
        x = require_saved(self.x)
        if not self.first:
            return x
        if self._doubled is None:
            low, high = (edge.view(-1, *(1,) * (x.ndim - 1)) for edge in x.flatten(1).aminmax(dim=1))
            halves = [half.unflatten(1, (self._groups, -1)) for half in (x - low, high - x)]
            self._doubled = torch.cat(halves, 2).flatten(1, 2)
        return self._doubled

    def _blocks(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield the weight by blocks of outputs, all at once for a convolution: a copy of a block fits the cache."""
        weight = self._rule_weight()
        if isinstance(self.module, nn.Conv2d):
            yield slice(None), weight
            return
        height = max(1, _BLOCK // weight.shape[1])
        for start in range(0, len(weight), height):
            yield slice(start, start + height), weight[start : start + height]

    def _rule_weight(self) -> Tensor:
        """Return the weight that the rules of relevance use."""
        return require_saved(self._weight) if self.folded else self.module.weight.detach()

    def _positive(self, weight: Tensor) -> Tensor:
        if self.first:
            return torch.cat([weight.clamp(min=0), weight.neg().clamp_(min=0)], 1)
        return torch.clamp(weight, min=0, out=self._scratch(weight, "positive"))

    def _negative(self, weight: Tensor) -> Tensor:
        return torch.neg(weight, out=self._scratch(weight, "negative")).clamp_(min=0)

    def _scratch(self, weight: Tensor, use: str) -> Tensor | None:
        """Return a buffer like a block of weights, which the next block reuses; None for a convolution."""
        if isinstance(self.module, nn.Conv2d):
            return None
        if use not in self._scratches:
            self._scratches[use] = torch.empty_like(weight)
        return self._scratches[use][: len(weight)]

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
        sides = zip(require_saved(self.x).shape[2:], signal.shape[2:], padding, reach, m.stride, strict=True)
        skipped = [side + 2 * p - r - 1 - (cells - 1) * stride for side, cells, p, r, stride in sides]
        return F.conv_transpose2d(signal, weight, None, m.stride, padding, skipped, m.groups, m.dilation)


def _sum(values: Tensor) -> Tensor:
    return values.sum(dim=tuple(range(1, values.ndim)))
