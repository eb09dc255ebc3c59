"""Measure what torchvision's classifiers cost per image, on shapes alone, and print the table of ``estimates``.

Each model is built without weights on the meta device and run at two sizes. What grows with the pixels is a slope, the
rest (Linear layers after the pooling) a constant. Run ``python -m benchmarks.network_costs > TABLE`` where TABLE is
roar_pipeline/estimates/torchvision_costs.py; it takes minutes, and no weights are drawn but RegNet's.
"""

import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from roar_pipeline.architectures import TORCHVISION
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks.layers import find_layer
from roar_pipeline.networks.torchvision_models import on_meta

CLASSES = 1000
SIDES = (224, 448)
FIXED = ("vit", "maxvit")
"""Families that take 224 x 224 pixels only; what they cost is all slope."""

HEADER = '''"""Costs of torchvision's classifiers per image; ``python -m benchmarks.network_costs`` wrote this module.

Nothing here imports torch. A pair is (constant, slope): at H x W pixels and 1000 classes a model costs constant + slope
x H x W. ``features`` is the number of inputs of the classifier, a Linear layer or a 1 x 1 convolution.
"""

from typing import NamedTuple

__all__ = ["COSTS", "Row"]


class Row(NamedTuple):
    """One model."""

    multiply_adds: tuple[int, float]
    """Of a forward pass."""
    parameters: int
    features: int
    saved: tuple[int, float]
    """Bytes that autograd keeps from a forward pass for the backward pass, in float32."""
    sums: tuple[int, float]
    """Bytes of the outputs of convolutions and Linear layers, in float32."""
    widest: float
    """Bytes of the largest output of a module, per pixel."""
    last: float
    """Numbers in the maps that last_relu names, per pixel; 0: there are none."""


COSTS = {'''


def measured(model: nn.Module, side: int) -> dict[str, float]:
    """Return the costs of one image of side x side pixels."""
    images = torch.empty(2, 3, side, side, device="meta")
    own = {id(tensor.untyped_storage()): tensor for tensor in (*model.parameters(), *model.buffers())}
    own_pointers = {tensor.untyped_storage()._cdata for tensor in own.values()}
    kept: dict[int, Tensor] = {}
    outputs: list[tuple[nn.Module, Tensor]] = []

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage()._cdata not in own_pointers:
            kept[tensor.untyped_storage()._cdata] = tensor
        return tensor

    def note(module: nn.Module, _: object, output: object) -> None:
        if isinstance(output, Tensor) and output.dim() > 1:
            outputs.append((module, output))

    handles = [module.register_forward_hook(note) for module in model.modules() if module is not model]
    with FlopCounterMode(display=False) as counter, torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        model(images)
    for handle in handles:
        handle.remove()
    try:
        layer = find_layer(model, "last_relu")
        last = next(output for module, output in reversed(outputs) if module is layer).numel() / 2
    except InputError:
        last = 0.0
    return {
        "multiply_adds": counter.get_total_flops() / 4,
        "saved": sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 2,
        "sums": sum(output.nbytes for module, output in outputs if isinstance(module, nn.Conv2d | nn.Linear)) / 2,
        "widest": max(output.nbytes for _, output in outputs) / 2,
        "last": last,
    }


def row(arch: str) -> str:
    """Return a model's line of the table."""
    model = on_meta(Network(arch=arch), CLASSES).train()
    layers = [module for module in model.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    features = layers[-1].in_features if isinstance(layers[-1], nn.Linear) else layers[-1].in_channels
    small = measured(model, SIDES[0])
    large = small if arch.startswith(FIXED) else measured(model, SIDES[1])
    pixels = [side**2 for side in SIDES]

    def line(costs: Mapping[str, float], others: Mapping[str, float], name: str) -> str:
        if arch.startswith(FIXED):
            return f"(0, {costs[name] / pixels[0]:.6g})"
        slope = (others[name] - costs[name]) / (pixels[1] - pixels[0])
        return f"({max(0, round(costs[name] - slope * pixels[0]))}, {slope:.6g})"

    parameters = sum(parameter.numel() for parameter in model.parameters())
    amounts = [line(small, large, name) for name in ("multiply_adds", "saved", "sums")]
    return (
        f'    "{arch}": Row({amounts[0]}, {parameters}, {features}, {amounts[1]}, {amounts[2]}, '
        f"{small['widest'] / pixels[0]:.6g}, {small['last'] / pixels[0]:.6g}),"
    )


def main() -> None:
    """Print the table as a module."""
    print(HEADER)
    for arch in TORCHVISION:
        print(row(arch), flush=True)
        print(arch, file=sys.stderr, flush=True)
    print('}\n"""By name."""')


if __name__ == "__main__":
    main()
