"""Where a stage runs. The engine ``local`` runs it in the process that Luigi forked for the task."""

import contextlib
import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from roar_pipeline import files
from tasks.gpus import claim_gpu
from tasks.settings import settings

__all__ = ["run", "run_together"]

_PR_SET_PDEATHSIG = 1


def run(
    stage: str, directory: Path, identity: Mapping[str, Any], arguments: Mapping[str, Any], *, needs_gpu: bool
) -> None:
    """Make a result by a function of ``roar_pipeline.stages``, unless another process has made it meanwhile."""
    with _place(needs_gpu) as stages:
        files.produce(directory, identity, getattr(stages, stage), arguments)


def run_together(
    stage: str,
    results: Mapping[str, tuple[Path, Mapping[str, Any]]],
    arguments: Mapping[str, Any],
    *,
    needs_gpu: bool,
) -> None:
    """Make several results, by name, with one call of a function of ``roar_pipeline.stages``."""
    with _place(needs_gpu) as stages:
        files.produce_together(results, getattr(stages, stage), arguments)


@contextlib.contextmanager
def _place(needs_gpu: bool) -> Iterator[ModuleType]:
    """Make this process a place to work in, and yield the stages."""
    _die_with_parent()
    _limit_threads(settings().execution.threads)
    with claim_gpu() if needs_gpu else contextlib.nullcontext():
        from roar_pipeline import stages

        yield stages


def _die_with_parent() -> None:
    """Ask the kernel to end this worker process when the Luigi process is gone, however it went. Linux only."""
    parent = multiprocessing.parent_process()
    if sys.platform != "linux" or parent is None:
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent.pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _limit_threads(threads: int) -> None:
    """Set what numerical libraries read when they are first imported: idle threads sleep instead of spinning."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
