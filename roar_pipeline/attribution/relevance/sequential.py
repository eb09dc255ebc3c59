"""Nets that the layer walk supports, as lists of modules that run one after the other, with residual blocks."""

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import nn

from roar_pipeline.errors import InputError
from roar_pipeline.networks.cifar_resnet import Subsample
from roar_pipeline.networks.layers import LAYERS, count_to

__all__ = ["Branches", "Layers", "check_layers", "check_signs", "count_below", "layers_of"]

_HEAD = ("avgpool", "flatten", "fc")
_FAMILIES = {
    "torchvision.models.vgg.VGG": ("features", "avgpool", "flatten", "classifier"),
    "torchvision.models.alexnet.AlexNet": ("features", "avgpool", "flatten", "classifier"),
    "torchvision.models.resnet.ResNet": (
        *("conv1", "bn1", "relu", "maxpool"),
        *("layer1", "layer2", "layer3", "layer4"),
        *_HEAD,
    ),
    "roar_pipeline.networks.cifar_resnet.CifarResNet": ("conv1", "bn1", "relu", "layer1", "layer2", "layer3", *_HEAD),
}
"""Nets that run children one after the other without being a Sequential: the children, and where they are flattened."""

_BLOCKS = {
    "torchvision.models.resnet.BasicBlock": (("conv1", "bn1", "relu", "conv2", "bn2"), "downsample", "relu"),
    "torchvision.models.resnet.Bottleneck": (
        ("conv1", "bn1", "relu", "conv2", "bn2", "relu", "conv3", "bn3"),
        "downsample",
        "relu",
    ),
    "roar_pipeline.networks.cifar_resnet.BasicBlock": (
        ("conv1", "bn1", "relu1", "conv2", "bn2"),
        "shortcut",
        "relu2",
    ),
}
"""Residual blocks: the children of the main branch, that of the shortcut, and the one after the sum."""

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


@dataclass(frozen=True)
class Branches:
    """What runs in a residual block from its input to its sum."""

    main: "Layers"
    shortcut: "Layers"
    """Empty if the block's input is added as it is."""


Layers = list[tuple[str, nn.Module | Branches]]
"""Path and module, in the order in which they run. A residual block is its branches and the ReLU after their sum."""


def layers_of(model: nn.Module, path: str = "") -> Layers:
    """List the modules in the order in which they run; a module that is no sequence is an entry."""
    children: Mapping[str, nn.Module | None]
    kind = f"{type(model).__module__}.{type(model).__qualname__}"
    if kind in _BLOCKS:
        return _block_layers(model, path, *_BLOCKS[kind])
    if isinstance(model, nn.Sequential) and type(model).forward is nn.Sequential.forward:
        children = model._modules  # named_children leaves out a module that runs twice
    elif kind in _FAMILIES:
        names = _FAMILIES[kind]
        children = {name: nn.Flatten() if name == "flatten" else model.get_submodule(name) for name in names}
    else:
        return [(path, model)]
    return [
        layer
        for name, child in children.items()
        if child is not None
        for layer in layers_of(child, f"{path}.{name}" if path else name)
    ]


def _block_layers(block: nn.Module, path: str, main: tuple[str, ...], shortcut: str, after: str) -> Layers:
    def layers(name: str) -> Layers:
        child = getattr(block, name)
        return [] if child is None else layers_of(child, f"{path}.{name}" if path else name)

    branches = Branches([layer for name in main for layer in layers(name)], layers(shortcut))
    return [(path, branches), *layers(after)]


def _fault(module: nn.Module) -> str | None:
    """Return why the walk cannot go through a module; None if it can."""
    if type(module) not in (*_MODULES, Subsample):
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
        if isinstance(module, Branches):
            check_layers(module.main + module.shortcut, names)
            continue
        fault = _fault(module)
        if fault:
            where = f"its module {path}, a {type(module).__name__}," if path else f"a {type(module).__name__}"
            raise InputError(
                f"The layer walk ({names}) cannot explain this model: {where} {fault}. It goes through sequential "
                "nets (torchvision's VGG and AlexNet, or nn.Sequential) and residual ones (torchvision's ResNet, "
                f"ResNeXt and Wide ResNet, or CIFAR's) of {', '.join(k.__name__ for k in _MODULES)}. "
                "For other models take gradient, guided, or gradcam at a named layer."
            )


def check_signs(layers: Layers, start: int, names: str) -> None:
    """Refuse a layer from index ``start`` on that would divide by sums of inputs that may be negative.

    Raises:
        InputError: names it, by path and class.
    """
    for path, kind in _unrectified(layers, start):
        raise InputError(
            f"{names} cannot explain this model: its module {path}, a {kind}, may see negative "
            "values, and the rules are for what a ReLU has passed. Put one before it, or take a gradient method."
        )


def _unrectified(layers: Layers, start: int = 0, *, inside: bool = False) -> Iterator[tuple[str, str]]:
    """Yield path and kind of each layer from ``start`` on that divides by sums of inputs that no ReLU has passed.

    The first layer with weights may see any values. The layers ``inside`` a residual block see rectified ones.
    """
    weighted = rectified = inside
    for index, (path, module) in enumerate(layers):
        if isinstance(module, Branches):
            if index >= start:
                if not (weighted and rectified):
                    yield path, "residual block"
                for branch in (module.main, module.shortcut):
                    yield from _unrectified(branch, inside=True)
            weighted, rectified = True, False
            continue
        divides = isinstance(module, nn.AvgPool2d | nn.AdaptiveAvgPool2d) or (
            isinstance(module, nn.Linear | nn.Conv2d) and weighted
        )
        if divides and not rectified and index >= start:
            yield path, type(module).__name__
        if isinstance(module, nn.Linear | nn.Conv2d):
            weighted = True
        if isinstance(module, nn.Linear | nn.Conv2d | nn.BatchNorm2d):
            rectified = False
        elif isinstance(module, nn.ReLU):
            rectified = True


def count_below(layers: Layers, layer: str) -> int:
    """Return the number of entries of ``layers`` that compute the output of a layer.

    Args:
        layers: of the whole net.
        layer: of ``LAYERS``; in a net with residual blocks ``last_relu`` is the last block's output, and there is no
            ``last_pool``. Or the path of a module or a block, but not of what runs inside a block or after flattening.

    Raises:
        InputError: there is no such layer.
    """
    if layer not in LAYERS:
        return _count_to_path(layers, layer)
    blocks = [index for index, (_, module) in enumerate(layers) if isinstance(module, Branches)]
    if blocks and layer == "last_relu":
        return blocks[-1] + 2
    modules = [module for _, module in layers if isinstance(module, nn.Module)]
    if blocks:
        raise InputError(
            f"The model has residual blocks, and no layer '{layer}'. Take last_relu, the last block's output, or the "
            "path of a block, such as layer3."
        )
    if (count := count_to(layer, modules)) is None:
        has_pool = any(isinstance(module, nn.MaxPool2d) for module in modules)
        lacks = "no ReLU before its last max-pool" if has_pool else "no max-pool"
        raise InputError(
            f"The model has {lacks}, so no layer '{layer}'. Take gradcam at a layer named by its module path."
        )
    return count


def _count_to_path(layers: Layers, layer: str) -> int:
    is_vector = [isinstance(module, nn.Flatten | nn.Linear) for _, module in layers]
    cells = layers[: is_vector.index(True) if True in is_vector else len(layers)]
    counts: dict[str, int] = {}
    for index, (path, _) in enumerate(cells):
        names = path.split(".")
        counts |= {".".join(names[: length + 1]): index + 1 for length in range(len(names))}
    if layer not in counts:
        near = difflib.get_close_matches(layer, counts, n=5) or list(counts)
        raise InputError(
            f"The layer walk cannot stop at a layer '{layer}'. Near names: {', '.join(near)}. Set it to one of "
            f"{', '.join(LAYERS)}, or to the path of a module or a whole residual block before the flattening."
        )
    return counts[layer]
