"""The two layers at which distillation, Grad-CAM and EBP look at a network of convolutions."""

from collections.abc import Sequence

from torch import nn

__all__ = ["LAYERS", "count_to"]

LAYERS = ("last_relu", "last_pool")
"""``last_relu``, the last ReLU before the last max-pool, and ``last_pool``, that max-pool."""


def count_to(layer: str, modules: Sequence[nn.Module]) -> int | None:
    """Return how many of the modules, which run one after the other, compute the output of ``layer``.

    The last of them is the layer itself. None: the modules have no such layer.
    """
    pools = [index for index, module in enumerate(modules) if isinstance(module, nn.MaxPool2d)]
    if not pools or layer == "last_pool":
        return pools[-1] + 1 if pools else None
    rectifiers = [index for index in range(pools[-1]) if isinstance(modules[index], nn.ReLU)]
    return rectifiers[-1] + 1 if rectifiers else None
