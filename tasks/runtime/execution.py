"""How a stage runs: in the process that Luigi's worker forks for its task.

What is slow to import (torch, scikit-learn: seconds, and hundreds of megabytes) is imported once, in Luigi's own
process, when a run comes to its stages that need it; the processes forked from then on have it. So Luigi's process must
never compute, nor touch CUDA: neither OpenMP's threads nor CUDA survive a fork.
"""

import contextlib
import errno
import gc
import importlib
import logging
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from roar_pipeline.cache.building import ResultSpec, SomeFailedError, produce, produce_together
from roar_pipeline.cache.inventory import RUNS
from roar_pipeline.cache.manifests import provenance
from roar_pipeline.errors import InputError, explain, is_transient
from tasks.configuration.settings import data_folder, settings
from tasks.runtime.failures import TRANSIENT, failure_text
from tasks.runtime.gpus import claim_gpu
from tasks.runtime.processes import die_with_parent, limit_threads
from tasks.runtime.terminal import leave_terminal

__all__ = ["StageCall", "TaskFailedError", "import_libraries", "open_cache", "run"]

_RETRY_SECONDS = 1.0
_IMPORTS = (
    "roar_pipeline.stages",
    "roar_pipeline.networks.training",
    "roar_pipeline.networks.vgg",
    "roar_pipeline.networks.distillation",
    "roar_pipeline.attribution.dumping",
    "roar_pipeline.evaluation.metrics",
    "roar_pipeline.evaluation.localization",
    "roar_pipeline.report.build",
    "roar_pipeline.report.figures.training",
    "torch._dynamo",  # the first optimizer brings it in, for more than a second
)
"""All that stages import, so that they run the code whose digest their manifests name."""

_log = logging.getLogger("roar")

_opened = False
"""Whether the cache was there when this run began; worker processes inherit it."""


class TaskFailedError(InputError):
    """A task failed; the message, which has been logged, says why, where its log is, and what runs it again, alone."""


@dataclass(frozen=True)
class StageCall:
    """What a stage's process does, in plain data."""

    stage: str
    """Name of the function in ``roar_pipeline.stages``."""
    specs: ResultSpec | Mapping[str, ResultSpec]
    """The result; or several, by the names under which the function takes their directories."""
    arguments: Mapping[str, Any]
    """The function's keyword arguments."""
    needs_gpu: bool = False


def open_cache() -> None:
    """Make the cache's folder where there is none, in Luigi's process and before any task runs.

    Then a worker process that does not find it knows that its disk is gone, and makes nothing in the bare mount point.
    """
    global _opened
    try:
        (data_folder() / RUNS).mkdir(parents=True, exist_ok=True)
        _opened = True
    except OSError:  # whoever is to write there says it, beside what could not be made
        _opened = False


def import_libraries() -> None:
    """Import what stages do sooner or later, and look once for all at the code and libraries that manifests name.

    Linux only: elsewhere a process that is forked from one with these libraries may not be able to use them.
    """
    if sys.platform != "linux":
        return
    limit_threads(settings().execution.threads)
    try:
        for module in _IMPORTS:
            importlib.import_module(module)
        provenance()
    except Exception as error:
        _log.warning("Stages import by themselves what they need: %s: %s", type(error).__name__, error)


def run(call: StageCall, tries_left: int = 0) -> None:
    """Make a call's results in this process, unless another process has made them meanwhile.

    After a transient error (a network file system's hiccup, a GPU without memory) the process ends with the exit code
    ``TRANSIENT``: CUDA, say, stays unusable in this process, and another one begins with a clean slate.

    Args:
        call: what to do.
        tries_left: times that the process would be begun again.

    Raises:
        TaskFailedError: whatever else went wrong, or the same with no tries left.
    """
    _set_up_process()
    try:
        _require_cache()
        with _stages(call.needs_gpu) as stages:
            _produce(call, getattr(stages, call.stage))
    except Exception as error:
        failure = TaskFailedError(_text(call.specs, error))
        if tries_left and is_transient(error):
            _log.warning("%s\n  This may pass: it is tried again, %d times at most.", failure, tries_left)
            time.sleep(_RETRY_SECONDS)
            os._exit(TRANSIENT)
        _log.error("%s", failure)
        raise failure from error


def _produce(call: StageCall, function: Any) -> None:
    if isinstance(call.specs, ResultSpec):
        produce(call.specs, function, call.arguments)
    else:
        produce_together(call.specs, function, call.arguments)


def _text(specs: ResultSpec | Mapping[str, ResultSpec], error: Exception) -> str:
    if isinstance(specs, ResultSpec):
        return failure_text(specs, error)
    if isinstance(error, SomeFailedError):
        return "\n".join(failure_text(specs[name], reason) for name, reason in error.reasons.items())
    return failure_text(next(iter(specs.values())), error)


def _set_up_process() -> None:
    """Make a process that Luigi forked one that ends with it, and leaves the terminal to it."""
    if multiprocessing.parent_process() is not None:
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        leave_terminal()
        gc.freeze()  # a collection would copy all the memory that is shared with Luigi's process
    limit_threads(settings().execution.threads)


def _require_cache() -> None:
    runs = data_folder() / RUNS
    if _opened and not runs.is_dir() and (gone := explain(FileNotFoundError(errno.ENOENT, "gone"), runs)):
        raise gone


@contextlib.contextmanager
def _stages(needs_gpu: bool) -> Iterator[ModuleType]:
    """Yield the stages; within the body a stage sees one GPU if it needs one."""
    with claim_gpu() if needs_gpu else contextlib.nullcontext():
        from roar_pipeline import stages

        yield stages
