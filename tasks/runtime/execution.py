"""How a stage runs: the engine ``local`` gives it a process of its own on this machine."""

import contextlib
import errno
import importlib
import logging
import multiprocessing
import re
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import luigi
from luigi.task_register import Register

from roar_pipeline.cache import attempts
from roar_pipeline.cache.building import SomeFailedError, produce, produce_together
from roar_pipeline.cache.files import try_lock
from roar_pipeline.cache.inventory import RUNS
from roar_pipeline.cache.manifests import provenance
from roar_pipeline.cache.states import duration
from roar_pipeline.errors import InputError, explain, may_pass
from tasks.configuration.settings import data_folder, settings
from tasks.runtime import processes
from tasks.runtime.gpus import claim_gpu
from tasks.runtime.processes import die_with_parent, limit_threads
from tasks.runtime.terminal import leave_terminal

if TYPE_CHECKING:
    from tasks.chain.base import StageTask

__all__ = [
    "AGAIN",
    "Job",
    "TaskFailedError",
    "failure_text",
    "is_worth_another_try",
    "note_death",
    "open_cache",
    "run",
    "run_jobs",
    "run_together",
    "warm_process",
]

_FULL_BELOW = 16 << 20
"""Bytes free under which a crash is put down to the full disk."""

AGAIN = "  again: "
"""In the text of a failure: what runs it again follows."""
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
    """A task failed; the message says why, where its log is, and what runs it again, alone."""

    told: bool = False
    """Whether the terminal has shown the message."""


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


def _require_cache() -> None:
    runs = data_folder() / RUNS
    if _opened and not runs.is_dir() and (gone := explain(FileNotFoundError(errno.ENOENT, "gone"), runs)):
        raise gone


def run(task: "StageTask") -> None:
    """Make a task's result by its function of ``roar_pipeline.stages``, unless another process has made it meanwhile.

    Raises:
        TaskFailedError: whatever went wrong.
    """
    with _place("gpu" in task.resources) as stages:
        try:
            _require_cache()
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
            _require_cache()
            produce_together({name: task.wanted() for name, task in tasks.items()}, getattr(stages, stage), arguments)
        except SomeFailedError as error:
            texts = [failure_text(tasks[name], reason) for name, reason in error.reasons.items()]
            raise TaskFailedError("\n".join(texts)) from error
        except Exception as error:
            raise TaskFailedError(failure_text(next(iter(tasks.values())), error)) from error


_Order = tuple[str, Mapping[str, Any], int]
"""Family and parameters of a task, and the number of its job: what another process needs to know."""


@dataclass(frozen=True)
class Job:
    """What one process does: ``make`` makes the results of ``tasks``."""

    tasks: tuple["StageTask", ...]
    make: Callable[[], None]


def run_jobs(owner: "StageTask") -> None:
    """Carry out a task's jobs one after the other, each in a process of its own; tell the scheduler how far they are.

    So one that runs out of memory, or crashes, fails alone. What may pass (a killed process, a network file system's
    hiccup, a GPU without memory) is tried again, ``[execution] retries`` times.

    Args:
        owner: the task that Luigi runs.

    Raises:
        TaskFailedError: some jobs failed; all have been tried.
    """
    if multiprocessing.parent_process() is not None:
        die_with_parent()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        leave_terminal()
    limit_threads(settings().execution.threads)
    jobs = owner.jobs()
    shows = [_Shown(owner, number, len(jobs)) for number in range(len(jobs))]
    texts = [text for job, shown in zip(jobs, shows, strict=True) if (text := _carry_out(job, shown)) is not None]
    if texts:
        failure = TaskFailedError("\n".join(texts))
        failure.told = True
        raise failure


def warm_process() -> contextlib.AbstractContextManager[None]:
    """Keep a process at hand within a context that has imported for all that follow."""
    return processes.warm_process(_attempt, _warm_up)


def _warm_up() -> None:
    """Import what stages do sooner or later, and look once for all at the code and libraries that manifests name."""
    leave_terminal()
    limit_threads(settings().execution.threads)
    for module in _IMPORTS:
        importlib.import_module(module)
    provenance()


def is_worth_another_try(task: "StageTask", code: int | None) -> bool:
    """Tell whether a process at work on a task was killed (code below 0, or not known), and not for a full disk."""
    return (code is None or code < 0) and not _is_full(task.directory)


def _carry_out(job: Job, shown: "_Shown") -> str | None:
    """Do a job, again if need be; tell and return what went wrong, None if nothing did."""
    for left in range(settings().execution.retries, -1, -1):
        text, passing = _run_apart(job, shown)
        if text is None:
            return None
        if not passing or not left:
            break
        _log.warning("%s\n  This may pass: it is tried again, %d times at most.", text, left)
        time.sleep(_RETRY_SECONDS)
    _log.error("%s", text)
    return text


def _run_apart(job: Job, shown: "_Shown") -> tuple[str | None, bool]:
    """Do a job in a process of its own; return what went wrong (None if nothing did), and whether that may pass."""
    word, code = processes.run_apart(
        _attempt, shown.order, lambda: shown.show(job.tasks[0]), is_light=job.tasks[0].is_light
    )
    if word is not None:
        text, passing = word
        return text, passing
    unmade = [task for task in job.tasks if not task.complete()]
    if not unmade:
        return None, False
    for task in unmade:
        note_death(task, "with what it was forked from" if code is None else f"exit code {code}")
    text = "\n".join(failure_text(task, None) for task in unmade)
    return text, is_worth_another_try(job.tasks[0], code)


def _attempt(order: _Order) -> tuple[str | None, bool]:
    """Do a job in this process; return what went wrong (None if nothing did), and whether that may pass."""
    family, parameters, number = order
    job = Register.get_task_cls(family)(**parameters).jobs()[number]
    try:
        job.make()
    except TaskFailedError as error:
        return str(error), may_pass(error)
    return None, False


class _Shown:
    """What the scheduler's page shows of a job: its share of the batch's bar, and its own line."""

    def __init__(self, owner: "StageTask", number: int, of: int) -> None:
        self._owner, self._number, self._of = owner, number, of
        self.order: _Order = (owner.task_family, owner.param_kwargs, number)
        self._central = not luigi.interface.core().local_scheduler
        self._last = ""

    def show(self, task: "StageTask") -> None:
        """Pass the task's note on, if there is a page and anything new; a scheduler that is away is no matter."""
        note = attempts.read_note(task.directory, attempts.PROGRESS) if self._central else None
        if note is None:
            return
        left = note.get("seconds_left")
        text = f"{note['text']}, {duration(left)} left" if left is not None else str(note["text"])
        if self._of > 1:
            text = f"{self._number + 1} of {self._of}, {task.title}: {text}"
        if text == self._last:
            return
        self._last = text
        with contextlib.suppress(Exception):
            percentage = round(100 * (self._number + note["share"]) / self._of)
            self._owner.set_progress_percentage(percentage)  # type: ignore[misc]
            self._owner.set_status_message(text)  # type: ignore[misc]


def failure_text(task: "StageTask", error: Exception | None) -> str:
    """Return what people need to know of a failure: the reason, the log, the command that makes this result alone."""
    note = attempts.read_note(task.directory, attempts.FAILURE) or {}
    told = str(error) if isinstance(error, InputError) else note.get("message")
    unknown = "it left no word why" if error is None else f"{type(error).__name__}: {error}"
    lines = [f"{task.title} failed: {told or unknown}"]
    if log := attempts.newest_log(task.directory):
        lines.append(f"  log:   {log}")
    return "\n".join([*lines, f"{AGAIN}{task.command()}"])


def note_death(task: "StageTask", ending: str) -> None:
    """Leave word why a worker process is gone that could not do so itself, unless somebody is at it again."""
    message = _death(ending, task.directory)
    if not (data_folder() / RUNS).is_dir():
        return
    with contextlib.suppress(OSError), try_lock(task.directory) as free:
        if free and not task.complete():
            attempts.note_failure(task.directory, message)


def _death(ending: str, directory: Path) -> str:
    found = re.search(r"exit code -(\d+)", ending)
    number = int(found[1]) if found else 0
    name = signal.Signals(number).name if number in set(signal.Signals) else ending
    if _is_full(directory):
        return f"The worker process ended ({name}): no space is left on the disk. Free some and run again."
    if number == signal.SIGKILL:
        return (
            f"The worker process was killed ({name}): by hand, or for want of memory (the kernel's log tells: dmesg). "
            "Run again; if it was memory, lower this stage's batch or run fewer --workers."
        )
    return f"The worker process ended without a word ({name}). Its log may tell more."


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _FULL_BELOW
    except OSError:
        return False


@contextlib.contextmanager
def _place(needs_gpu: bool) -> Iterator[ModuleType]:
    """Make this process a place to work in, and yield the stages."""
    die_with_parent()
    limit_threads(settings().execution.threads)
    with claim_gpu() if needs_gpu else contextlib.nullcontext():
        from roar_pipeline import stages

        yield stages
