"""Where a stage runs. The engine ``local`` runs it in the process that Luigi forked for the task."""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import re
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from roar_pipeline import attempts
from roar_pipeline.errors import InputError
from roar_pipeline.files import try_lock
from roar_pipeline.producing import SomeFailedError, produce, produce_together
from tasks.gpus import claim_gpu
from tasks.settings import settings

if TYPE_CHECKING:
    from tasks.base import StageTask

__all__ = ["TaskFailedError", "note_death", "run", "run_each", "run_together"]

_PR_SET_PDEATHSIG = 1
_FULL_BELOW = 16 << 20
"""Bytes free under which a crash is put down to the full disk."""

_log = logging.getLogger("roar")


class TaskFailedError(InputError):
    """A task failed; the message says why, where its log is, and what runs it again, alone."""


def run(task: "StageTask") -> None:
    """Make a task's result by its function of ``roar_pipeline.stages``, unless another process has made it meanwhile.

    Raises:
        TaskFailedError: whatever went wrong.
    """
    with _place("gpu" in task.resources) as stages:
        try:
            produce(task.wanted(), getattr(stages, task.stage), task.arguments())
        except Exception as error:
            raise TaskFailedError(failure_text(task, error)) from error


def run_together(stage: str, tasks: Mapping[str, "StageTask"], arguments: Mapping[str, Any]) -> None:
    """Make several tasks' results, by name, with one call of a function of ``roar_pipeline.stages``.

    Raises:
        TaskFailedError: some or all of them failed.
    """
    with _place(any("gpu" in task.resources for task in tasks.values())) as stages:
        try:
            produce_together({name: task.wanted() for name, task in tasks.items()}, getattr(stages, stage), arguments)
        except SomeFailedError as error:
            texts = [failure_text(tasks[name], reason) for name, reason in error.reasons.items()]
            raise TaskFailedError("\n".join(texts)) from error
        except Exception as error:
            raise TaskFailedError(failure_text(next(iter(tasks.values())), error)) from error


def run_each(tasks: Sequence["StageTask"]) -> None:
    """Run tasks one after the other, each in a process of its own that has torch imported already.

    So one that runs out of memory, or crashes, fails alone.

    Raises:
        TaskFailedError: some of them failed; all have been tried.
    """
    with _place(False):
        from roar_pipeline import maps, metrics, training  # noqa: F401, once for all

        texts = [text for task in tasks if (text := _run_apart(task)) is not None]
    if texts:
        raise TaskFailedError("\n".join(texts))


def _run_apart(task: "StageTask") -> str | None:
    """Run a task in a forked process; return what went wrong, None if nothing did."""
    fork = multiprocessing.get_context("fork")
    receiver, sender = fork.Pipe(duplex=False)
    process = fork.Process(target=_report_failure, args=(task, sender))
    process.start()
    sender.close()
    try:
        text: str | None = receiver.recv()
    except EOFError:
        text = None
    process.join()
    if process.exitcode == 0 or text is not None:
        return text
    note_death(task, f"exit code {process.exitcode}")
    return failure_text(task, None)


def _report_failure(task: "StageTask", sender: Connection) -> None:
    _die_with_parent()
    try:
        task.run()
    except TaskFailedError as error:
        sender.send(str(error))
        _log.error("%s", error)


def failure_text(task: "StageTask", error: Exception | None) -> str:
    """Return what people need to know of a failure: the reason, the log, the command that makes this result alone."""
    note = attempts.read_note(task.directory, attempts.FAILURE) or {}
    told = str(error) if isinstance(error, InputError) else note.get("message")
    lines = [f"{task.title} failed: {told or f'{type(error).__name__}: {error}'}"]
    if log := next(iter(reversed(attempts.logs(task.directory))), None):
        lines.append(f"  log:   {log}")
    return "\n".join([*lines, f"  again: {task.command()}"])


def note_death(task: "StageTask", ending: str) -> None:
    """Leave word why a worker process is gone that could not do so itself, unless somebody is at it again."""
    message = _death(ending, task.directory)
    with contextlib.suppress(OSError), try_lock(task.directory) as free:
        if free and not task.complete():
            attempts.note_failure(task.directory, message)


def _death(ending: str, directory: Path) -> str:
    found = re.search(r"exit code -(\d+)", ending)
    number = int(found[1]) if found else 0
    name = signal.Signals(number).name if number in set(signal.Signals) else ending
    with contextlib.suppress(OSError):
        if shutil.disk_usage(directory).free < _FULL_BELOW:
            return f"The worker process ended ({name}): no space is left on the disk. Free some and run again."
    if number == signal.SIGKILL:
        return (
            f"The worker process was killed ({name}): by hand, or for want of memory (the kernel's log tells: dmesg). "
            "Run again; if it was memory, lower this stage's batch or run fewer --workers."
        )
    return f"The worker process ended without a word ({name}). Its log may tell more."


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
