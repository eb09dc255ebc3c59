"""Call a custom function so that its side effects reach neither other methods nor its own next call.

It gets copies of the model and of the tensors, and the state of the process that numbers depend on is restored
afterwards. Other side effects, such as a library's function that it replaced, end with its process: ``DumpMaps`` runs
every custom function in a separate one.
"""

import contextlib
import copy
import os
import random
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from roar_pipeline.seeds import derived_seed

__all__ = ["call", "process_state_restored"]

_CUDNN = ("enabled", "benchmark", "deterministic", "allow_tf32")
_TINY = 1e-310
"""Below the smallest normal double: becomes 0 where denormal numbers are flushed."""


def call(function: Callable[..., Any], model: nn.Module, tensors: tuple[Tensor, ...], *purpose: str) -> Any:
    """Return ``function(model, *tensors)``, called with copies, in eval mode and with gradients enabled.

    The global generators of torch, numpy and the standard library are seeded by ``purpose``, so that a function that
    draws from them returns the same when a killed run is resumed. A returned tensor is copied, too: the function may
    overwrite its own later.

    Args:
        function: anything.
        model: to explain.
        tensors: what the function takes after the model.
        purpose: of the call; calls with the same purpose draw the same numbers.

    Raises:
        RuntimeError: the function called ``exit``.
    """
    with process_state_restored(), torch.inference_mode(False), torch.enable_grad():
        _seed_generators(derived_seed(0, *purpose))
        model_copy = copy.deepcopy(model).eval()
        try:
            returned = function(model_copy, *(tensor.detach().clone() for tensor in tensors))
        except SystemExit as error:
            raise RuntimeError(f"it called exit({error.code!r})") from error
        return returned.detach().clone() if isinstance(returned, Tensor) else returned


@contextlib.contextmanager
def process_state_restored() -> Iterator[None]:
    """Restore, however the body ends, the state of this process that other methods' numbers or files depend on.

    The state is the global generators; torch's grad mode, autocast, default type and device, threads, precision,
    determinism and global module hooks; numpy's error handling, warnings, environment and working directory.
    """
    states = [(write, read, read()) for read, write in _STATES]
    with warnings.catch_warnings():
        try:
            yield
        finally:
            for write, read, value in states:
                if not _is_unchanged(value, read):
                    write(value)


def _seed_generators(seed: int) -> None:
    torch.manual_seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002, it is the global one that such functions use
    random.seed(seed)


def _is_unchanged(value: Any, read: Callable[[], Any]) -> bool:
    """Tell whether a state has not changed; one that cannot be read or compared (tensors, arrays) counts as changed."""
    try:
        return bool(read() == value)
    except (OSError, RuntimeError, ValueError):
        return False


def _read_cuda_generators() -> list[Tensor]:
    return torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []


def _write_cuda_generators(states: list[Tensor]) -> None:
    if states:
        torch.cuda.set_rng_state_all(states)


def _write_default_device(device: torch.device) -> None:
    torch.set_default_device(None if device.type == "cpu" else device)


def _read_determinism() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def _read_cudnn() -> dict[str, bool]:
    return {name: getattr(torch.backends.cudnn, name) for name in _CUDNN}


def _write_cudnn(flags: dict[str, bool]) -> None:
    for name, flag in flags.items():
        setattr(torch.backends.cudnn, name, flag)


def _read_autocast() -> dict[str, bool]:
    return {kind: torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")}


def _write_autocast(enabled: dict[str, bool]) -> None:
    for kind, flag in enabled.items():
        torch.set_autocast_enabled(kind, flag)


def _read_global_hooks() -> dict[str, Any]:
    """Return what ``torch.nn.modules.module.register_module_forward_hook`` and its relatives have registered."""
    registered = {name: value for name, value in vars(nn.modules.module).items() if name.startswith("_global_")}
    return {name: dict(value) if isinstance(value, dict) else value for name, value in registered.items()}


def _write_global_hooks(hooks: dict[str, Any]) -> None:
    for name, value in hooks.items():
        if isinstance(value, dict):
            registered = getattr(nn.modules.module, name)
            registered.clear()
            registered.update(value)
        else:
            setattr(nn.modules.module, name, value)


def _read_environment() -> dict[str, str]:
    return dict(os.environ)


def _write_environment(variables: dict[str, str]) -> None:
    for name in os.environ.keys() - variables.keys():
        del os.environ[name]
    os.environ.update(variables)


_STATES: tuple[tuple[Callable[[], Any], Callable[[Any], Any]], ...] = (
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_default_device, _write_default_device),
    (torch.get_rng_state, torch.set_rng_state),
    (_read_cuda_generators, _write_cuda_generators),
    (np.random.get_state, np.random.set_state),
    (random.getstate, random.setstate),
    (torch.is_grad_enabled, torch.set_grad_enabled),
    (_read_autocast, _write_autocast),
    (torch.get_num_threads, torch.set_num_threads),
    (_read_determinism, lambda flags: torch.use_deterministic_algorithms(flags[0], warn_only=flags[1])),
    (torch.get_float32_matmul_precision, torch.set_float32_matmul_precision),
    (_read_cudnn, _write_cudnn),
    (lambda: torch.backends.mkldnn.enabled, lambda flag: setattr(torch.backends.mkldnn, "enabled", flag)),
    (lambda: torch.tensor(_TINY, dtype=torch.float64).mul(1).item() == 0, torch.set_flush_denormal),
    (_read_global_hooks, _write_global_hooks),
    (np.geterr, lambda handling: np.seterr(**handling)),
    (_read_environment, _write_environment),
    (os.getcwd, os.chdir),
)
"""Reader and writer of every state. The default type and device come first, since reading others makes tensors."""
