"""The tape of a net: a step for every module, in the order in which they run."""

from dataclasses import dataclass

from torch import Tensor, nn

from roar_pipeline.attribution.relevance.layers import AveragePool, Identity, MaxPool, Relu, Scale, Step
from roar_pipeline.attribution.relevance.linear import Weighted
from roar_pipeline.attribution.relevance.residual import Residual, Subsample
from roar_pipeline.attribution.relevance.sequential import Branches, Layers
from roar_pipeline.networks import cifar_resnet

__all__ = ["make_tape"]


@dataclass(frozen=True)
class _Options:
    """What holds for all steps of a tape."""

    keep_sums: bool
    keep_addends: bool
    folded: bool


def make_tape(layers: Layers, *, keep_sums: bool, keep_addends: bool) -> list[Step]:
    """Make a step of every entry of ``layers``; a BatchNorm right after a convolution is folded into its step.

    Args:
        layers: that the walk supports.
        keep_sums: ``keep`` of the layers with weights, but for the first and the last.
        keep_addends: ``keep`` of the residual blocks.
    """
    weighted = [index for index, (_, module) in enumerate(layers) if isinstance(module, nn.Linear | nn.Conv2d)]
    blocks = [index for index, (_, module) in enumerate(layers) if isinstance(module, Branches)]
    options = _Options(keep_sums, keep_addends, folded=bool(blocks))
    first = weighted[0] if weighted else None
    last = weighted[-1] if weighted and weighted[-1] > max(blocks, default=-1) else None
    return _steps(layers, options, first, last)


def _steps(layers: Layers, options: _Options, first: int | None = None, last: int | None = None) -> list[Step]:
    """Make the steps; ``first`` and ``last`` are the indices of the net's first and last layer with weights."""
    tape: list[Step] = []
    for index, (_, module) in enumerate(layers):
        if isinstance(module, Branches):
            main, shortcut = _steps(module.main, options), _steps(module.shortcut, options)
            tape.append(Residual(main, shortcut, options.keep_addends))
        elif isinstance(module, nn.Linear | nn.Conv2d):
            after = layers[index + 1][1] if index + 1 < len(layers) else None
            folds = isinstance(module, nn.Conv2d) and isinstance(after, nn.BatchNorm2d)
            norm = _norm(after) if folds and isinstance(after, nn.BatchNorm2d) else None
            keep = options.keep_sums and index not in (first, last)
            tape.append(Weighted(module, norm, index == first, index == last, keep, options.folded))
        elif isinstance(module, nn.BatchNorm2d):
            is_folded = isinstance(layers[index - 1][1], nn.Conv2d) if index else False
            tape.append(Identity() if is_folded else Scale(*_norm(module)))
        else:
            tape.append(_step_without_weights(module))
    return tape


def _step_without_weights(module: nn.Module) -> Step:
    if isinstance(module, nn.ReLU):
        return Relu()
    if isinstance(module, nn.MaxPool2d):
        return MaxPool(module)
    if isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d):
        return AveragePool(module)
    if isinstance(module, cifar_resnet.Subsample):
        return Subsample(module.stride, module.before, module.after)
    return Identity(flatten=isinstance(module, nn.Flatten))


def _norm(module: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return a BatchNorm at evaluation as factor and offset per channel."""
    if module.running_mean is None or module.running_var is None:
        raise ValueError("a BatchNorm without running statistics is not a function of one image")
    factor = (module.running_var + module.eps).rsqrt()
    if module.weight is not None:
        factor *= module.weight
    offset = -module.running_mean * factor
    return factor, offset if module.bias is None else offset + module.bias
