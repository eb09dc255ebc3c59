"""Attribution methods by name (PROTOCOL 5). A method is imported, and torch with it, when it is asked for.

A method has one interface: ``method(model, images, image_index, class_index, *, layer) -> maps``.

Legend: N images, P pairs of (image, class), C channels, H x W pixels.

- ``model``: an ``nn.Sequential`` as ``roar_pipeline.vgg`` builds it. Lent for the call, run in eval mode,
  given back as it was: training flags, gradients, hooks.
- ``images``: (N, 3, H, W), normalized; unchanged.
- ``image_index``, ``class_index``: (P,) int64. Pair p asks for the map of class ``class_index[p]`` on image
  ``image_index[p]``; the classes of one image share its forward pass.
- ``layer``: a name that ``vgg.split_at`` knows, for methods that look at a layer.
- returns (P, H, W) float32, raw: no scaling, no color. Row p depends on its image and class alone.

A control has no model: ``control(ids, height, width, seed) -> maps`` (N, H, W).
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from roar_pipeline.errors import InputError

__all__ = ["CONTROLS", "METHODS", "Method", "check_method", "load_method"]


@dataclass(frozen=True)
class Method:
    """Where a method is and what people call it."""

    reference: str
    """``module:function``."""
    title: str


METHODS: dict[str, Method] = {
    "gradcam": Method("roar_pipeline.attribution.gradcam:gradcam", "Grad-CAM"),
}
"""Methods that explain a model."""

CONTROLS: dict[str, Method] = {
    "random": Method("roar_pipeline.attribution.controls:random", "random"),
}
"""Methods that need no model, computed once for all of them."""


def check_method(name: str) -> None:
    """Refuse a name that is neither a method nor a control.

    Raises:
        InputError: lists the known names.
    """
    if name not in METHODS and name not in CONTROLS:
        raise InputError(
            f"unknown attribution method '{name}'. Known: {', '.join(METHODS)}; controls without a model: "
            f"{', '.join(CONTROLS)}. Choose one in [grid] methods or with --method."
        )


def load_method(name: str) -> Callable[..., Any]:
    """Return the function of a method or control, importing its module."""
    check_method(name)
    module, _, function = (METHODS | CONTROLS)[name].reference.partition(":")
    loaded: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return loaded
