"""Layers by name: where distillation, Grad-CAM and EBP look at a network, and how to read their outputs.

Shapes: N images, C channels, h x w cells of a layer.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from roar_pipeline.architectures import LAST_MAPS
from roar_pipeline.errors import InputError

__all__ = ["LAYERS", "channel_maps", "count_to", "find_layer", "graph_above", "last_output"]

LAYERS = ("last_relu", "last_pool")
"""``last_relu``, the last ReLU before the last max-pool, and ``last_pool``, that max-pool.

In families without such a pool, ``last_relu`` is the last map before the pooling: see ``architectures.LAST_MAPS``.
"""


def count_to(layer: str, modules: Sequence[nn.Module]) -> int | None:
    """Return how many of the modules, which run one after the other, compute the output of ``layer``.

    The last of them is the layer itself. None: the modules have no such layer.
    """
    pools = [index for index, module in enumerate(modules) if isinstance(module, nn.MaxPool2d)]
    if not pools or layer == "last_pool":
        return pools[-1] + 1 if pools else None
    rectifiers = [index for index in range(pools[-1]) if isinstance(modules[index], nn.ReLU)]
    return rectifiers[-1] + 1 if rectifiers else None


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """Return the module that ``layer`` names.

    Args:
        model: any classifier.
        layer: a module's dotted path, such as ``layer4``; or ``last_relu``, which is the last ReLU before the last
            max-pool where ``model.features`` is a plain sequence of layers (VGG, AlexNet), and the module of
            ``architectures.LAST_MAPS`` in other families; or ``last_pool``, that max-pool.

    Raises:
        InputError: there is none; the message lists the existing ones.
    """
    path = LAST_MAPS.get(type(model).__name__, layer) if layer == "last_relu" else layer
    if path in LAYERS:
        return _around_last_pool(model, path)
    try:
        return model.get_submodule(path)
    except AttributeError:
        paths = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
        near = difflib.get_close_matches(path, paths, n=5) or [name for name, _ in model.named_children()]
        raise InputError(
            f"{type(model).__name__} has no layer '{layer}'. Near names: {', '.join(near)}. "
            "Name one by its dotted path."
        ) from None


def _around_last_pool(model: nn.Module, layer: str) -> nn.Module:
    features = getattr(model, "features", None)
    layers = list(features) if isinstance(features, nn.Sequential) else []
    # In nested features (DenseNet, SqueezeNet) the last max-pool at this level is one of the first layers.
    is_flat = not any(True for module in layers for _ in module.children())
    count = count_to(layer, layers) if is_flat else None
    if count is None:
        names = ", ".join(name for name, _ in model.named_children())
        raise InputError(
            f"{type(model).__name__} has no layer '{layer}': its features are not a plain sequence of layers with a "
            f"ReLU and a max-pool. Name a layer by its dotted path, such as 'layer4' of a ResNet; it has {names}."
        )
    return layers[count - 1]


@contextlib.contextmanager
def last_output(module: nn.Module) -> Iterator[list[Any]]:
    """Yield a list of the module's last output, part of the graph if one is recorded."""
    with _watched(module, lambda output: output) as outputs:
        yield outputs


@contextlib.contextmanager
def graph_above(module: nn.Module) -> Iterator[list[Any]]:
    """Record the graph only above ``module``; yield a list of its last output, which is a leaf."""

    def begin(output: Tensor) -> Tensor:
        torch.set_grad_enabled(True)
        return output.detach().requires_grad_()

    with _watched(module, begin) as outputs, torch.no_grad():
        yield outputs


@contextlib.contextmanager
def _watched(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[list[Any]]:
    """Yield a list of the module's last output, changed. The layers above get a copy, as they may work in place."""
    outputs: list[Any] = []

    def watch(_: nn.Module, __: Any, output: Any) -> Any:
        outputs[:] = [change(output) if isinstance(output, Tensor) else output]
        return outputs[0].clone() if isinstance(output, Tensor) else output

    handle = module.register_forward_hook(watch)
    try:
        yield outputs
    finally:
        handle.remove()


def channel_maps(outputs: Sequence[Any], layer: str, rows: int, user: str) -> Tensor:
    """Return the one output of a layer, (N, C, h, w).

    Args:
        outputs: as ``last_output`` or ``graph_above`` yields them.
        layer: for messages.
        rows: N.
        user: for messages, what looks at the layer.

    Raises:
        InputError: the layer did not run, or puts out something else.
    """
    if not outputs:
        raise InputError(f"Layer '{layer}' does not run when the model is evaluated. Name one that does.")
    (output,) = outputs
    if not isinstance(output, Tensor) or output.dim() != 4 or len(output) != rows:
        got = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"{user} needs a layer that puts out (N, C, h, w); '{layer}' puts out {got} for {rows} images. "
            "Name a convolutional layer."
        )
    return output
