"""The sum of a residual block, and the shortcut of CIFAR's residual nets.

Legend: N images, P pairs of (image, class), C channels, h x w cells. Steps as in ``layers``.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from roar_pipeline.attribution.relevance.layers import Step, inverse_, of_pairs

__all__ = ["Residual", "Rule", "Subsample"]

Rule = Callable[[Step, Tensor, Tensor | None], Tensor]
"""Takes a signal through a step: (step, signal, rows) -> signal."""


@dataclass
class Residual:
    """The sum y = a + b of a residual block, with a = main(x) and b = shortcut(x); without shortcut steps b = x.

    Gradients: both addends get the signal, and x the sum of what returns from them.

    Relevance: a gets R a+ / (a+ + b+) and b gets R b+ / (a+ + b+), with a+ = max(a, 0), and x the sum of what returns.
    This is the rule of LRP alpha1-beta0 (Bach et al. 2015, eq. 60, beta 0) and of EBP (Zhang et al. 2016) for a unit
    with the inputs a and b and the weights 1. Where both denominators are 0, y is not positive, the ReLU above puts out
    0, and no relevance arrives. So the sum conserves relevance.

    Three decisions of our own. a and b are the values that are added, so the offset of their BatchNorm counts towards
    their shares, although it gets no relevance itself. A negative addend gets nothing; with the signed shares a / (a +
    b), which zennit's composites take, it would get a negative part, and the other addend more than there is. RAP's
    paper (Nam et al. 2020) has no rule for sums; RAP follows the same one here.

    With ``keep`` the forward pass saves the addends, which relevance needs; otherwise the sum overwrites a, which the
    main branch must have made anew, as a convolution does.
    """

    main: list[Step]
    shortcut: list[Step]
    keep: bool = False
    _addends: tuple[Tensor, Tensor] | None = field(default=None, init=False)
    _shares: tuple[Tensor, Tensor] | None = field(default=None, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return main(x) + shortcut(x)."""
        a = _run(self.main, x)
        b = _run(self.shortcut, x)
        if not self.keep:
            return a.add_(b)
        self._addends, self._shares = (a, b), None
        return a + b

    def gradient(self, signal: Tensor, rows: Tensor | None, rule: Rule | None = None) -> Tensor:
        """Take d score / d y down both branches by ``rule`` (by default, that of the gradient), and add the results."""
        rule = rule or (lambda step, down, rows: step.gradient(down, rows))
        down = _descend(self.main, signal.clone(), rows, rule)
        return down.add_(_descend(self.shortcut, signal, rows, rule))

    def relevance(self, signal: Tensor, rows: Tensor | None, rule: Rule | None = None) -> Tensor:
        """Divide relevance among the addends, take it down both branches by ``rule``, and add the results."""
        rule = rule or (lambda step, down, rows: step.relevance(down, rows))
        to_main, to_shortcut = (of_pairs(share, rows) for share in self._shares_of_addends())
        down = _descend(self.main, signal * to_main, rows, rule)
        return down.add_(_descend(self.shortcut, signal.mul_(to_shortcut), rows, rule))

    def _shares_of_addends(self) -> tuple[Tensor, Tensor]:
        """Return a+ / (a+ + b+) and b+ / (a+ + b+), each (N, C, h, w), in the memory of the addend a."""
        if self._shares is None:
            if self._addends is None:
                raise RuntimeError("relevance needs a forward pass before it that keeps the addends")
            a, b = self._addends[0].clamp_(min=0), self._addends[1].clamp(min=0)
            inverse = inverse_(a + b)
            self._shares, self._addends = (a.mul_(inverse), b.mul_(inverse)), None
        return self._shares


@dataclass
class Subsample:
    """Every ``stride``-th cell, and zeros for ``before`` and ``after`` channels (He et al. 2016, option A).

    Every output copies one input or is 0, so relevance goes where the gradient goes.
    """

    stride: int
    before: int
    after: int
    height: int = field(default=0, init=False)
    width: int = field(default=0, init=False)

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, h, w) -> (N, before + C + after, ceil(h / stride), ceil(w / stride))."""
        self.height, self.width = x.shape[2:]
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def gradient(self, signal: Tensor, rows: Tensor | None) -> Tensor:
        """Return each cell's signal to where it came from, and 0 to the other cells."""
        channels = signal.shape[1] - self.before - self.after
        down = torch.empty(
            (len(signal), channels, self.height, self.width),
            dtype=signal.dtype,
            device=signal.device,
            memory_format=torch.channels_last,
        ).zero_()
        down[:, :, :: self.stride, :: self.stride] = signal[:, self.before : self.before + channels]
        return down

    relevance = gradient


def _run(steps: list[Step], x: Tensor) -> Tensor:
    for step in steps:
        x = step.forward(x)
    return x


def _descend(steps: list[Step], signal: Tensor, rows: Tensor | None, rule: Rule) -> Tensor:
    for step in reversed(steps):
        signal = rule(step, signal, rows)
    return signal
