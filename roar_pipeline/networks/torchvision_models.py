"""torchvision's classifiers by name.

Shapes: N images, K classes, H x W pixels.
"""

from typing import Any

import torch
from torch import nn

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.seeds import derived_seed

__all__ = ["build", "check_size", "on_meta"]

_SIZES = (8, 16, 32, 64, 128, 224, 256, 299, 384, 512)
"""Sides that the search for the smallest begins with."""

_INCEPTION = {"aux_logits": False, "init_weights": True, "transform_input": True}
"""Without the heads that only serve training, of which a training by this project has none. The input is scaled as
Inception's ImageNet weights expect it, also without these weights, so that a saved model is rebuilt as it was."""

_OPTIONS: dict[str, dict[str, Any]] = {"googlenet": _INCEPTION, "inception_v3": _INCEPTION}


def build(network: Network, classes: int, *, seed: int = 0) -> nn.Module:
    """Build (N, 3, H, W) -> scores (N, K) with torchvision's own initialization, drawn from ``seed``."""
    from torchvision.models import get_model  # slow to import, and only this needs it

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initialization"))
        model: nn.Module = get_model(network.arch, num_classes=classes, **_OPTIONS.get(network.arch, {}))
    return model.to(memory_format=torch.channels_last)


def on_meta(network: Network, classes: int) -> nn.Module:
    """Build a model of which only the shapes exist."""
    from torchvision.models import get_model

    options = _OPTIONS.get(network.arch, {})
    if network.arch.startswith("regnet"):  # computes its widths by tensors, of which meta ones have no values
        with torch.random.fork_rng(devices=[]):
            built: nn.Module = get_model(network.arch, num_classes=classes, **options)
        return built.to("meta")
    with torch.device("meta"):
        model: nn.Module = get_model(network.arch, num_classes=classes, **options)
    return model


def check_size(network: Network, height: int, width: int) -> None:
    """Refuse images that the model cannot be trained on; only shapes are computed.

    Raises:
        InputError: names the smallest square that works.
    """
    model = on_meta(network, 2)
    if not _takes(model, height, width):
        side = _smallest_side(model)
        works = f"Images of {side} x {side} are the smallest squares that it takes. " if side else ""
        raise InputError(
            f"{network.arch} does not take images of {height} x {width} pixels. {works}Set [dataset] height and width, "
            "or another arch."
        )


def _takes(model: nn.Module, height: int, width: int) -> bool:
    """Tell whether a step of training works on two such images."""
    try:
        with torch.no_grad():
            model.train()(torch.empty(2, 3, height, width, device="meta"))
    except (RuntimeError, ValueError, AssertionError):
        return False
    return True


def _smallest_side(model: nn.Module) -> int | None:
    """Find the smallest square by bisection between a side that fails and the next that works; None: none works."""
    works = next((side for side in _SIZES if _takes(model, side, side)), None)
    if works is None:
        return None
    fails = max((side for side in _SIZES if side < works), default=0)
    while works - fails > 1:
        side = (works + fails) // 2
        works, fails = (side, fails) if _takes(model, side, side) else (works, side)
    return works
