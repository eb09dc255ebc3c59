"""Compute several methods' maps at once, sharing what they have in common.

The single-pass methods go down one tape where the model is a sequence that ``walk`` knows; elsewhere gradients and
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
from roar_pipeline.errors import InputError
from roar_pipeline.methods import METHODS, MethodName, load

__all__ = ["Batch", "check", "explain"]


@dataclass(frozen=True)
class Batch:
    """What is to be explained."""

    images: Tensor
    """(N, C, H, W), normalized."""
    ids: Sequence[str]
    """(N,)"""
    image_index: Tensor
    """(P,) int64, the image of each pair."""
    class_index: Tensor
    """(P,) int64, its class."""

    @property
    def where(self) -> tuple[Tensor, Tensor, Tensor]:
        """The arguments that all methods take after the model."""
        return self.images, self.image_index, self.class_index


def check(name: str, model: nn.Module, settings: Maps) -> None:
    """Refuse a method that cannot explain this model, before any work.

    Raises:
        InputError: names the method and what stands in its way.
    """
    method = MethodName.parse(name)
    raw = method.raw
    if method.is_own:
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
        model: that ``check`` accepts for each.
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
    """Return the raw maps (P, H, W), or attributions (P, C, H, W), of every kind asked for."""
    single = [raw for raw in raws if raw in walk.METHODS]
    if "input_x_gradient" in raws and "gradient" not in single:
        single.append("gradient")
    found = _single_pass(single, model, batch, settings)
    if "input_x_gradient" in raws:
        found["input_x_gradient"] = found["gradient"] * batch.images[batch.image_index]
    baseline = black if settings.baseline == "black" else torch.zeros_like(black)
    if "integrated_gradients" in raws:
        found["integrated_gradients"] = sampling.integrated_gradients(
            model, *batch.where, steps=settings.steps, baseline=baseline
        )
    if noisy := [raw for raw in raws if raw in sampling.NOISY]:
        found |= sampling.noisy(
            model,
            *batch.where,
            batch.ids,
            noisy,
            samples=settings.samples,
            spread=settings.spread,
            seed=settings.noise_seed,
            steps=settings.steps,
            baseline=baseline,
        )
    for raw in raws:
        if MethodName(raw).is_own:
            found[raw] = _own(raw, model, batch)
    return found


def _single_pass(names: list[str], model: nn.Module, batch: Batch, settings: Maps) -> dict[str, Tensor]:
    if not names:
        return {}
    layer = settings.layer if settings.layer in walk.LAYERS else walk.LAYERS[0]
    walked = [name for name in names if name != "gradcam" or layer == settings.layer]
    if walked and _accepts(model, walked, layer):
        found = walk.walk(model, *batch.where, walked, layer=layer)
    else:
        wanted = [name for name in names if name in gradients.NAMES]
        found = gradients.differentiate(model, *batch.where, wanted) if wanted else {}
    if "gradcam" in names and "gradcam" not in found:
        found["gradcam"] = gradients.gradcam(model, *batch.where, layer=settings.layer)
    return found


def _accepts(model: nn.Module, names: list[str], layer: str) -> bool:
    try:
        walk.check(model, names, layer=layer)
    except InputError:
        if {"ebp", "lrp", "rap"} & set(names):
            raise
        return False
    return True


def _own(reference: str, model: nn.Module, batch: Batch) -> Tensor:
    """Return the maps (P, H, W) of a function of one's own.

    Raises:
        InputError: it returns something else, or maps that are not finite.
    """
    maps = isolation.call(load(reference), model, batch.where, reference, *batch.ids)
    wanted = (len(batch.image_index), *batch.images.shape[2:])
    if not isinstance(maps, Tensor) or maps.shape != wanted:
        got = tuple(maps.shape) if isinstance(maps, Tensor) else f"a {type(maps).__name__}"
        raise InputError(f"{reference} must return a tensor of maps {wanted}, one per pair; got {got}.")
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
