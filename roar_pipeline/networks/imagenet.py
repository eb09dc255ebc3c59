"""torchvision's ImageNet weights: the start of a teacher's training."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roar_pipeline.architectures import VGGS
from roar_pipeline.errors import InputError

__all__ = ["load_weights"]

_CLASSES = 1000
_CHOSEN = {"vit_h_14": "IMAGENET1K_SWAG_LINEAR_V1"}
"""Weights other than torchvision's default, which are for larger images than its model takes."""
_AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")
"""Heads that only serve training."""


def load_weights(model: nn.Module, arch: str, classes: int) -> None:
    """Load torchvision's ImageNet weights of ``arch``.

    The classifier, the last layer with weights, stays as it is unless it has ImageNet's 1000 classes. Of this project's
    VGGs, whose head is another, only the convolutional blocks are loaded.

    Raises:
        InputError: the weights are not in torch's cache and cannot be downloaded.
    """
    if arch in VGGS:
        state = _downloaded(arch, lambda weights: weights.get_state_dict(progress=False, check_hash=True))
        features = {k.removeprefix("features."): v for k, v in state.items() if k.startswith("features.")}
        model.get_submodule("features").load_state_dict(features)
        return
    loaded = {name: value for name, value in _whole_state(arch).items() if not name.startswith(_AUXILIARY)}
    own = model.state_dict()
    if classes != _CLASSES:
        loaded |= {name: own[name] for name in _classifier(model)}
    model.load_state_dict(loaded)


def _whole_state(arch: str) -> dict[str, Tensor]:
    """Return the state of torchvision's model, which renames what old files name otherwise."""
    from torchvision.models import get_model

    with torch.random.fork_rng(devices=[]):
        model: nn.Module = _downloaded(arch, lambda weights: get_model(arch, weights=weights, progress=False))
    return model.state_dict()


def _classifier(model: nn.Module) -> list[str]:
    """Return the names of the parameters of the last layer with weights."""
    layers = [(path, module) for path, module in model.named_modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    path, module = layers[-1]
    return [f"{path}.{name}" for name, _ in module.named_parameters()]


def _downloaded(arch: str, load: Any) -> Any:
    """Return ``load(weights)``; a failure to download them is the user's to mend."""
    from torchvision.models import get_model_weights  # slow to import, and only this needs it

    choices = get_model_weights(arch)
    weights = choices[_CHOSEN[arch]] if arch in _CHOSEN else choices.DEFAULT
    try:
        return load(weights)
    except (OSError, RuntimeError) as error:
        cache = Path(torch.hub.get_dir()) / "checkpoints" / weights.url.rsplit("/", 1)[-1]
        raise InputError(
            f"ImageNet weights of {arch} could not be loaded ({error}). Download {weights.url} on a machine with a "
            f"network and put it at {cache}, or set [teacher] weights = none."
        ) from error
