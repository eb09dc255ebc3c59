"""Classifiers of the user's own: ``module:function``, called as ``function(classes)``.

Shapes: N images, K classes, H x W pixels.
"""

import copy

import torch
from torch import Tensor, nn

from roar_pipeline.config import Network
from roar_pipeline.custom_functions import load
from roar_pipeline.errors import InputError
from roar_pipeline.seeds import derived_seed

__all__ = ["build", "check"]

_TOLERANCE = 1e-3
"""How much a score may differ in another batch, as a share of the largest one: rounding differs by less."""


def build(network: Network, classes: int, *, seed: int = 0) -> nn.Module:
    """Return ``function(classes)``, called with torch's generators seeded by ``seed``.

    Raises:
        InputError: the function cannot be loaded, fails, or returns no ``nn.Module``.
    """
    function = load(network.arch)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initialization"))
        try:
            model = function(classes)
        except Exception as error:
            raise InputError(f"{network.arch}({classes}) raised {type(error).__name__}: {error}.") from error
    if not isinstance(model, nn.Module):
        raise InputError(f"{network.arch}({classes}) returned a {type(model).__name__}, not a torch.nn.Module.")
    if not any(True for _ in model.parameters()):
        raise InputError(f"{network.arch}({classes}) returned a {type(model).__name__} without parameters.")
    return model.cpu().float().to(memory_format=torch.channels_last)


def check(model: nn.Module, arch: str, classes: int, height: int, width: int) -> None:
    """Refuse a model that is no classifier of such images, before any training. The model itself does not run.

    Raises:
        InputError: it fails, does not return scores (N, K), or an image's scores depend on the images beside it.
    """
    images = torch.randn(3, 3, height, width, generator=torch.Generator().manual_seed(0))
    copied = copy.deepcopy(model).cpu()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        alone, together = (_scores(copied.eval(), batch, arch, classes) for batch in (images[:1], images))
        if not torch.allclose(alone[0], together[0], atol=_TOLERANCE * float(together.abs().max()), rtol=_TOLERANCE):
            raise InputError(
                f"The scores of {arch} depend on the batch: of one image alone they are {_text(alone[0])}, with two "
                f"others beside it {_text(together[0])}. In eval mode each image must have its own scores: use running "
                "statistics in normalization layers, and no dropout outside of training."
            )
        _scores(copied.train(), images, arch, classes)


def _scores(model: nn.Module, images: Tensor, arch: str, classes: int) -> Tensor:
    n, _, height, width = images.shape
    mode = "training" if model.training else "eval"
    try:
        scores = model(images)
    except Exception as error:
        raise InputError(
            f"{arch} fails in {mode} mode on {n} images of {height} x {width} pixels: {type(error).__name__}: {error}. "
            "Set [dataset] height and width to what it takes."
        ) from error
    if not isinstance(scores, Tensor):
        raise InputError(
            f"{arch} returns a {type(scores).__name__} in {mode} mode, not a tensor of scores ({n}, {classes}). Return "
            "the scores alone."
        )
    if scores.shape != (n, classes):
        raise InputError(
            f"{arch} returns {tuple(scores.shape)} for {n} images in {mode} mode, not scores ({n}, {classes}): one "
            f"for each of the data set's {classes} classes."
        )
    if not scores.is_floating_point() or not scores.isfinite().all():
        raise InputError(f"{arch} returns scores in {mode} mode that are not finite floating point numbers.")
    return scores


def _text(scores: Tensor) -> str:
    return ", ".join(f"{value:.4g}" for value in scores[:3].tolist()) + (", ..." if len(scores) > 3 else "")
