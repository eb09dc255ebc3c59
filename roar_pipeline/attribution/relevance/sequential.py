"""Nets that the layer walk supports, as lists of modules that run one after the other."""

from collections.abc import Mapping

from torch import nn

from roar_pipeline.errors import InputError
from roar_pipeline.networks.layers import count_to

__all__ = ["Layers", "check_layers", "check_signs", "count_below", "layers_of"]

_FAMILIES = ("torchvision.models.vgg.VGG", "torchvision.models.alexnet.AlexNet")
"""Nets that run features, avgpool, flattening and classifier one after the other without being a Sequential."""

_MODULES = (
    nn.Conv2d,
    nn.Linear,
    nn.BatchNorm2d,
    nn.ReLU,
    nn.MaxPool2d,
    nn.AdaptiveAvgPool2d,
    nn.AvgPool2d,
    nn.Flatten,
    nn.Dropout,
    nn.Dropout2d,
    nn.Identity,
)

Layers = list[tuple[str, nn.Module]]
"""Path and module, in the order in which they run."""


def layers_of(model: nn.Module, path: str = "") -> Layers:
    """List the modules in the order in which they run; a module that is no sequence is an entry."""
    children: Mapping[str, nn.Module | None]
    if isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        children = model._modules  # named_children leaves out a module that runs twice
    elif f"{type(model).__module__}.{type(model).__qualname__}" in _FAMILIES:
        names = ("features", "avgpool", "flatten", "classifier")
        children = {name: nn.Flatten() if name == "flatten" else model.get_submodule(name) for name in names}
    else:
        return [(path, model)]
    return [
        layer
        for name, child in children.items()
        if child is not None
        for layer in layers_of(child, f"{path}.{name}" if path else name)
    ]


def _fault(module: nn.Module) -> str | None:
    """Return why the walk cannot go through a module; None if it can."""
    if type(module) not in _MODULES:
        return "is not a layer it knows"
    if isinstance(module, nn.Conv2d):
        if module.padding_mode != "zeros":
            return f"pads with padding_mode '{module.padding_mode}', not with zeros"
        if module.padding == "same" and any(
            d * (k - 1) % 2 for k, d in zip(module.kernel_size, module.dilation, strict=True)
        ):
            return "pads its sides unequally"
    if isinstance(module, nn.BatchNorm2d) and module.running_mean is None:
        return "has no running statistics, so an image's scores depend on its batch"
    if isinstance(module, nn.Flatten) and (module.start_dim, module.end_dim) != (1, -1):
        return "flattens other dimensions than all after the first"
    return None


def check_layers(layers: Layers, names: str) -> None:
    """Refuse a module that the walk cannot go through.

    Raises:
        InputError: names it, by path and class.
    """
    for path, module in layers:
        fault = _fault(module)
        if fault:
            where = f"its module {path}, a {type(module).__name__}," if path else f"a {type(module).__name__}"
            raise InputError(
                f"The layer walk ({names}) cannot explain this model: {where} {fault}. It goes through sequential "
                f"nets (torchvision's VGG and AlexNet, or nn.Sequential) of {', '.join(k.__name__ for k in _MODULES)}. "
                "For other models take gradient, guided, or gradcam at a named layer."
            )


def check_signs(layers: Layers, start: int, names: str) -> None:
    """Refuse a layer from index ``start`` on that would divide by sums of inputs that may be negative.

    Raises:
        InputError: names it, by path and class.
    """
    weighted = rectified = False
    for index, (path, module) in enumerate(layers):
        divides = isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d) or (
            isinstance(module, nn.Linear | nn.Conv2d) and weighted
        )
        if divides and not rectified and index >= start:
            raise InputError(
                f"{names} cannot explain this model: its module {path}, a {type(module).__name__}, may see negative "
                "values, and the rules are for what a ReLU has passed. Put one before it, or take a gradient method."
            )
        if isinstance(module, nn.Linear | nn.Conv2d):
            weighted = True
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
            rectified = False
        elif isinstance(module, nn.ReLU):
            rectified = True


def count_below(layers: Layers, layer: str) -> int:
    """Return the number of modules below a layer's output.

    Raises:
        InputError: there is no such layer.
    """
    modules = [module for _, module in layers]
    if (count := count_to(layer, modules)) is None:
        has_pool = any(isinstance(module, nn.MaxPool2d) for module in modules)
        lacks = "no ReLU before its last max-pool" if has_pool else "no max-pool"
        raise InputError(
            f"The model has {lacks}, so no layer '{layer}'. Take gradcam at a layer named by its module path."
        )
    return count
