"""The progress of a run in the terminal: one line per finished task, and below them a bar per running task.

Luigi's own process reads the manifests and notes in the results' directories. So it also shows what another run on the
same cache finishes, and worker processes do not write to the terminal.
"""

import logging
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from roar_pipeline.cache import attempts
from roar_pipeline.cache.files import holder
from roar_pipeline.cache.manifests import MANIFEST, read_manifest
from roar_pipeline.cache.states import duration
from tasks.runtime.protocols import ResultTask, Task

__all__ = ["Monitor", "closure", "progress_text", "seconds_left"]

_UPDATE_SECONDS = 0.5
_SAMPLE = 5
"""Finished tasks of a family from which the remaining time is estimated, at most."""

_log = logging.getLogger("roar")


class Monitor:
    """Context that shows the progress of a run: bars in a terminal, plain lines in a file or pipe."""

    def __init__(self, tasks: Iterable[ResultTask], workers: int) -> None:
        self._planned = {key: task for root in tasks for key, task in closure(root).items()}
        self._waiting = {key: task for key, task in self._planned.items() if not _has_manifest(task)}
        self._workers = workers
        self._started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="progress", daemon=True)
        self._bars = _Bars(len(self._planned)) if sys.stderr.isatty() else None

    def __enter__(self) -> "Monitor":
        if self._bars:
            self._bars.start()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._update()
        if self._bars:
            self._bars.stop()

    def _watch(self) -> None:
        while not self._stopped.wait(_UPDATE_SECONDS):
            self._update()

    def _update(self) -> None:
        finished = {key: times for key, task in self._waiting.items() if (times := _finished(task)) is not None}
        for key, (_, seconds) in sorted(finished.items(), key=lambda pair: pair[1]):
            self._log_finished(self._waiting.pop(key), seconds)
        if self._bars:
            self._bars.show(len(self._planned) - len(self._waiting), list(self._waiting.values()))

    def _log_finished(self, task: ResultTask, seconds: float) -> None:
        done, total = len(self._planned) - len(self._waiting), len(self._planned)
        remaining = seconds_left(list(self._planned.values()), list(self._waiting.values()), self._workers)
        rest = f", about {duration(remaining)} left" if self._waiting and remaining is not None else ""
        elapsed = duration(time.monotonic() - self._started)
        _log.info("[%d/%d] %s: %.1f s (%s elapsed%s)", done, total, task.title, seconds, elapsed, rest)


class _Bars:
    """A bar for the whole run, and one per running task."""

    def __init__(self, total: int) -> None:
        columns = (TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn())
        self._progress = Progress(*columns, TextColumn("{task.fields[text]}"), console=Console(stderr=True))
        self._all = self._progress.add_task("all", total=total, text="")
        self._rows: dict[str, TaskID] = {}
        self._handlers: list[logging.StreamHandler[Any]] = []

    def start(self) -> None:
        """Draw the bars on the terminal's last lines, and print log lines above them."""
        streams = [h for h in _log.handlers if isinstance(h, logging.StreamHandler) and h.stream is sys.stderr]
        self._progress.start()
        for handler in streams:
            handler.setStream(sys.stderr)
            self._handlers.append(handler)

    def stop(self) -> None:
        """Release the terminal."""
        self._progress.stop()
        for handler in self._handlers:
            handler.setStream(sys.stderr)

    def show(self, done: int, waiting: Sequence[ResultTask]) -> None:
        """Update the bars."""
        self._progress.update(self._all, completed=done)
        running = {}
        for task in waiting:
            note = attempts.read_note(task.directory, attempts.PROGRESS)
            if note is not None and holder(task.directory) is not None:
                running[task.fingerprint] = (task, note)
        for key in self._rows.keys() - running.keys():
            self._progress.remove_task(self._rows.pop(key))
        for key, (task, note) in running.items():
            if key not in self._rows:
                self._rows[key] = self._progress.add_task(escape(task.title), total=100, text="")
            self._progress.update(
                self._rows[key], completed=round(100 * note["share"]), text=escape(progress_text(note))
            )


def progress_text(note: Mapping[str, Any]) -> str:
    """Return a stage's own progress line, with the time left if it is known."""
    remaining = note.get("seconds_left")
    return f"{note['text']}, {duration(remaining)} left" if remaining is not None else str(note["text"])


def _finished(task: ResultTask) -> tuple[int, float] | None:
    """Return when a result was finished (ns) and how many seconds it took; None if it is missing or not readable."""
    try:
        return (task.directory / MANIFEST).stat().st_mtime_ns, _seconds(task)
    except OSError:
        return None


def _seconds(task: ResultTask) -> float:
    """Return how many seconds a finished result took; 0 if its manifest cannot be read."""
    try:
        return float((read_manifest(task.directory) or {}).get("seconds", 0.0))
    except OSError:
        return 0.0


def _has_manifest(task: ResultTask) -> bool:
    try:
        return (task.directory / MANIFEST).exists()
    except OSError:
        return False


def seconds_left(planned: list[Any], waiting: list[Any], workers: int) -> float | None:
    """Estimate the wall time of the waiting tasks from the times of finished ones of the same family, else of any."""
    unfinished = {t.fingerprint for t in waiting}
    durations: dict[str, list[float]] = defaultdict(list)
    for task in planned:
        if task.fingerprint not in unfinished and len(durations[task.task_family]) < _SAMPLE:
            durations[task.task_family].append(_seconds(task))
    times = [seconds for family in durations.values() for seconds in family]
    if not times:
        return None
    mean = sum(times) / len(times)
    means = {family: sum(values) / len(values) for family, values in durations.items() if values}
    return sum(means.get(t.task_family, mean) for t in waiting) / max(1, workers)


def closure(root: Task) -> dict[str, Task]:
    """Return the task and all tasks that it is built on, by fingerprint."""
    tasks: dict[str, Task] = {}
    stack: list[Task] = [root]
    while stack:
        for task in stack.pop().single_tasks():
            if task.fingerprint not in tasks:
                tasks[task.fingerprint] = task
                stack += task.deps()
    return tasks
