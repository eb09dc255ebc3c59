"""How a stage runs: in the process that Luigi's worker forks for its task.

Luigi's process imports the slow libraries (torch, scikit-learn: seconds, and hundreds of megabytes) once, before the
first stages that need them; the processes forked afterwards inherit them. So Luigi's process must never compute, nor
touch CUDA: neither OpenMP's threads nor CUDA survive a fork.
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

__all__ = ["StageCall", "TaskFailedError", "import_libraries", "open_cache", "run"]

_RETRY_SECONDS = 1.0
_IMPORTS = (
    "roar_pipeline.stages",
    "roar_pipeline.networks.training",
    "roar_pipeline.networks.classifiers",
    "roar_pipeline.networks.finished",
    "roar_pipeline.networks.imagenet",
    "roar_pipeline.networks.distillation",
    "roar_pipeline.attribution.dumping",
    "roar_pipeline.evaluation.prediction_metrics",
    "roar_pipeline.evaluation.localization",
    "roar_pipeline.report.build",
    "roar_pipeline.report.figures.training",
    "torch._dynamo",  # the first optimizer imports it, which takes more than a second
)
"""All modules that stages import. Imported at once, they are the code whose digest the manifests name."""

_log = logging.getLogger("roar")

_cache_existed = False
"""Whether the cache's folder existed when this run began; worker processes inherit the value."""


class TaskFailedError(InputError):
    """A task failed. The message has been logged: the reason, the log, and the command that runs the task alone."""


@dataclass(frozen=True)
class StageCall:
    """The work of a stage's process, in plain data."""

    stage: str
    """Name of the function in ``roar_pipeline.stages``."""
    specs: ResultSpec | Mapping[str, ResultSpec]
    """The result; or several, by the names under which the function takes their directories."""
    arguments: Mapping[str, Any]
    """The function's keyword arguments."""
    needs_gpu: bool = False


def open_cache() -> None:
    """Create the cache's folder, in Luigi's process and before any task runs.

    If it is missing later, its disk is gone: worker processes then write nothing to the empty mount point.
    """
    global _cache_existed
    try:
        (data_folder() / RUNS).mkdir(parents=True, exist_ok=True)
        _cache_existed = True
    except OSError:  # the first task that writes there reports it, with its result
        _cache_existed = False


def import_libraries() -> None:
    """Import the libraries of all stages, and compute once the code and library versions that manifests name.

    Linux only: elsewhere these libraries may not work in a forked process.
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
    """Make a call's results in this process, unless another process has made them by now.

    After a transient error (of a network file system, or a GPU out of memory) the process exits with the code
    ``TRANSIENT``, to be retried in a new process: CUDA may stay unusable in this one.

    Args:
        call: the stage, its results and arguments.
        tries_left: retries that remain.

    Raises:
        TaskFailedError: any other error, or a transient one without retries left.
    """
    _set_up_process()
    try:
        _require_cache()
        with _stages(call.needs_gpu) as stages:
            _produce(call, getattr(stages, call.stage))
    except Exception as error:
        failure = TaskFailedError(_failure_texts(call.specs, error))
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


def _failure_texts(specs: ResultSpec | Mapping[str, ResultSpec], error: Exception) -> str:
    if isinstance(specs, ResultSpec):
        return failure_text(specs, error)
    if isinstance(error, SomeFailedError):
        return "\n".join(failure_text(specs[name], reason) for name, reason in error.reasons.items())
    return failure_text(next(iter(specs.values())), error)


def _set_up_process() -> None:
    """Make a forked process end with its parent, and leave Ctrl-C to it."""
    if multiprocessing.parent_process() is not None:
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        gc.freeze()  # a garbage collection would copy the memory that is shared with Luigi's process
    limit_threads(settings().execution.threads)


def _require_cache() -> None:
    runs = data_folder() / RUNS
    if _cache_existed and not runs.is_dir() and (error := explain(FileNotFoundError(errno.ENOENT, "gone"), runs)):
        raise error


@contextlib.contextmanager
def _stages(needs_gpu: bool) -> Iterator[ModuleType]:
    """Yield the stages; within the body a stage sees one GPU if it needs one."""
    with claim_gpu() if needs_gpu else contextlib.nullcontext():
        from roar_pipeline import stages

        yield stages
