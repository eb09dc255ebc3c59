"""A finished network's weights from a file of the user's: read without executing anything, and loaded."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roar_pipeline.architectures import CIFAR_RESNETS
from roar_pipeline.errors import InputError

__all__ = ["load_weights", "read_state"]

_KEYS = ("state_dict", "state", "model_state_dict", "model", "net", "weights")
"""Under which public checkpoints, and this project's, keep the weights beside other things."""
_PREFIXES = ("module.", "_orig_mod.")
"""What ``DataParallel`` and ``torch.compile`` put before every name."""
_PICKLED = re.compile("Unsupported (global|class)|TorchScript")
"""In torch's message on a file whose objects are more than tensors and plain data."""
_SHOWN = 3


def load_weights(model: nn.Module, arch: str, path: Path) -> None:
    """Load the weights of ``path`` into a model of ``arch``.

    Raises:
        InputError: the file cannot be read without executing code, or has other weights than the model.
    """
    state = read_state(path)
    if arch in CIFAR_RESNETS:  # public CIFAR ResNets (Idelbayev, pytorch_resnet_cifar10) name the last layer so
        state = {
            name.replace("linear.", "fc.", 1) if name.startswith("linear.") else name: v for name, v in state.items()
        }
    own = model.state_dict()
    counters = {name for name in own if name.endswith("num_batches_tracked")}
    missing = [name for name in own if name not in state and name not in counters]
    unknown = [name for name in state if name not in own]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(own[name].shape)}"
        for name in own
        if name in state and state[name].shape != own[name].shape
    ]
    if missing or unknown or shapes:
        differences = [
            f"{title} {len(names)}: {', '.join(names[:_SHOWN])}{', ...' if len(names) > _SHOWN else ''}"
            for title, names in (("it lacks", missing), ("it has unknown", unknown), ("it has other shapes", shapes))
            if names
        ]
        raise InputError(
            f"[teacher] weights = {path} are not those of {arch} with this data set's classes: "
            f"{'; '.join(differences)}. Set [teacher] arch and width to those of the file."
        )
    bad = [name for name, value in state.items() if not value.isfinite().all()]
    if bad:
        raise InputError(f"[teacher] weights = {path} holds numbers that are not finite, in {bad[0]}.")
    model.load_state_dict({**{name: own[name] for name in counters}, **state})


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the weights in a checkpoint: a state_dict, or one under a common key. Nothing in the file is executed.

    Raises:
        InputError: the file cannot be read, holds pickled code, or no weights.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError(f"[teacher] weights = {path}: there is no such file.") from None
    except Exception as error:
        if _PICKLED.search(str(error)):
            raise InputError(_pickled(path)) from error
        reason = str(error).strip().splitlines()[-1:] or [type(error).__name__]
        raise InputError(f"[teacher] weights = {path} is no checkpoint that torch reads: {reason[0]}") from error
    for key in _KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not _is_state(content):
        got = (
            f"a dictionary of {', '.join(map(str, list(content)[:5]))}" if isinstance(content, dict) else type(content)
        )
        raise InputError(
            f"[teacher] weights = {path} holds no weights but {got}. Save a model's state_dict: "
            "torch.save(model.state_dict(), path)."
        )
    return {_plain(name): value for name, value in content.items()}


def _is_state(content: Any) -> bool:
    if not isinstance(content, dict) or not content:
        return False
    return all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())


def _plain(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _pickled(path: Path) -> str:
    return (
        f"[teacher] weights = {path} holds pickled code or objects, which are not executed here. If you trust its "
        "source, convert it where its classes are importable: torch.save(torch.load(path, weights_only=False)"
        ".state_dict(), new_path); of a checkpoint with other things beside the model, save its state_dict alone."
    )
