"""Compute the maps of several methods at once, with shared passes.

The single-pass methods go down one tape where ``walk`` knows the model; elsewhere gradients and
Grad-CAM come from autograd. The SmoothGrad families share their samples.

Legend: N images, P pairs of (image, class), C channels, H x W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from roar_pipeline.attribution import gradients, isolation, postprocess, sampling
from roar_pipeline.attribution.relevance import walk
from roar_pipeline.config import Maps
from roar_pipeline.custom_functions import load
from roar_pipeline.errors import InputError
from roar_pipeline.methods import METHODS, MethodName
from roar_pipeline.networks.layers import LAYERS

__all__ = ["Batch", "check", "explain"]


@dataclass(frozen=True)
class Batch:
    """Pairs of (image, class) to explain."""

    images: Tensor
    """(N, C, H, W), normalized."""
    ids: Sequence[str]
    """(N,), the images' ids."""
    image_index: Tensor
    """(P,) int64, the image of each pair."""
    class_index: Tensor
    """(P,) int64, the class of each pair."""

    @property
    def arguments(self) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments that all methods take after the model."""
        return self.images, self.image_index, self.class_index


def check(name: str, model: nn.Module, settings: Maps) -> None:
    """Refuse a method that cannot explain this model, before any work.

    Raises:
        InputError: names the method and the obstacle.
    """
    method = MethodName.parse(name)
    raw = method.raw
    if method.is_custom:
        with isolation.process_state_restored():
            load(raw)
    elif raw in ("ebp", "lrp", "rap"):
        walk.check(model, [raw], layer=settings.layer if raw == "ebp" else "last_relu")
    elif raw == "gradcam":
        gradients.find_layer(model, settings.layer)


def explain(
    names: Sequence[str], model: nn.Module, batch: Batch, settings: Maps, black: Tensor
) -> dict[str, NDArray[np.float32]]:
    """Return the maps (P, H, W) of every method in ``names``.

    Args:
        names: methods, with their variants; no controls.
        model: that ``check`` accepts for every name.
        batch: N images and P pairs.
        settings: layer, steps, baseline, samples, spread, noise_seed.
        black: a black image's normalized values, (1, C, 1, 1).
    """
    methods = {name: MethodName.parse(name) for name in names}
    raws = _compute(list(dict.fromkeys(method.raw for method in methods.values())), model, batch, settings, black)
    maps: dict[str, NDArray[np.float32]] = {}
    for base in dict.fromkeys(method.base for method in methods.values()):
        raw = raws[MethodName(base).raw]
        reduction = METHODS[base].reduction if base in METHODS else None
        maps[base] = (postprocess.reduce(raw, reduction) if reduction else raw).float().cpu().numpy()
    return {name: postprocess.vary(maps[method.base], method.variant) for name, method in methods.items()}


def _compute(raws: list[str], model: nn.Module, batch: Batch, settings: Maps, black: Tensor) -> dict[str, Tensor]:
    """Return the raw maps (P, H, W), or attributions (P, C, H, W), of every kind in ``raws``."""
    single = [raw for raw in raws if raw in walk.METHODS]
    if "input_x_gradient" in raws and "gradient" not in single:
        single.append("gradient")
    attributions = _single_pass(single, model, batch, settings)
    if "input_x_gradient" in raws:
        attributions["input_x_gradient"] = attributions["gradient"] * batch.images[batch.image_index]
    path = sampling.StraightPath(black if settings.baseline == "black" else torch.zeros_like(black), settings.steps)
    if "integrated_gradients" in raws:
        attributions["integrated_gradients"] = sampling.integrated_gradients(model, *batch.arguments, path)
    if noisy := [raw for raw in raws if raw in sampling.NOISY]:
        noise = sampling.Noise(batch.ids, settings.samples, settings.spread, settings.noise_seed)
        attributions |= sampling.noisy(model, *batch.arguments, noisy, noise, path)
    for raw in raws:
        if MethodName(raw).is_custom:
            attributions[raw] = _custom_maps(raw, model, batch)
    return attributions


def _single_pass(names: list[str], model: nn.Module, batch: Batch, settings: Maps) -> dict[str, Tensor]:
    if not names:
        return {}
    walked = [name for name in names if name != "gradcam" or settings.layer in LAYERS]
    if walked and _accepts(model, walked, settings.layer):
        attributions = walk.walk(model, *batch.arguments, walked, layer=settings.layer)
    else:
        by_autograd = [name for name in names if name in gradients.NAMES]
        attributions = gradients.differentiate(model, *batch.arguments, by_autograd) if by_autograd else {}
    if "gradcam" in names and "gradcam" not in attributions:
        attributions["gradcam"] = gradients.gradcam(model, *batch.arguments, layer=settings.layer)
    return attributions


def _accepts(model: nn.Module, names: list[str], layer: str) -> bool:
    try:
        walk.check(model, names, layer=layer)
    except InputError:
        if {"ebp", "lrp", "rap"} & set(names):
            raise
        return False
    return True


def _custom_maps(reference: str, model: nn.Module, batch: Batch) -> Tensor:
    """Return the maps (P, H, W) of a custom function.

    Raises:
        InputError: it returns something else, or maps that are not finite.
    """
    maps = isolation.call(load(reference), model, batch.arguments, reference, *batch.ids)
    shape = (len(batch.image_index), *batch.images.shape[2:])
    if not isinstance(maps, Tensor) or maps.shape != shape:
        got = tuple(maps.shape) if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
        raise InputError(f"{reference} must return a tensor of maps {shape}, one per pair; got {got}.")
    if not maps.is_floating_point():
        raise InputError(
            f"{reference} must return maps of floating point numbers, by which pixels are ranked; got {maps.dtype}. "
            "Return maps.float(), or of complex maps what ranks pixels, such as maps.abs()."
        )
    bad = (~maps.float().isfinite()).flatten(1).any(1).nonzero().flatten()
    if len(bad):
        image, class_index = batch.ids[int(batch.image_index[bad[0]])], int(batch.class_index[bad[0]])
        raise InputError(
            f"{reference} returned maps that are not finite (NaN, infinite, or too large for float32), {len(bad)} of "
            f"{len(maps)}, the first of image {image} and class {class_index}. Mend the function: a division by 0, "
            "perhaps."
        )
    return maps
