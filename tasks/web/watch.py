"""The present state of a whole grid, cheap enough to be taken every two seconds.

The tasks of the grid are collected once. A result is inspected again only if a size or time of its files has changed,
or if it is running.
"""

import os
import re
import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from roar_pipeline.cache.inventory import RUNS
from roar_pipeline.cache.manifests import MANIFEST
from roar_pipeline.cache.states import State, state_of
from roar_pipeline.report.labels import METRICS, leading_metric
from tasks.chain.base import StageTask
from tasks.chain.report import Report
from tasks.chain.retraining import Retrain
from tasks.chain.survey import FAMILIES, STALE, Entry, Survey
from tasks.configuration.settings import data_folder
from tasks.runtime.terminal import closure
from tasks.web.safety import is_below, read_json_below

__all__ = ["DIGITS", "Snapshot", "Watch", "last_line"]

DIGITS = 12
"""Number of digits of a fingerprint in addresses and in names of directories."""
_ADDRESS = re.compile(f"[0-9a-f]{{{DIGITS}}}")
_SETTLED_SECONDS = 2.0
"""A file that changed more recently may change again without another time stamp."""
_FOLDER_SECONDS = 60.0
"""Interval of inspection of results that hold folders: a folder's time does not show changes deep below it."""
_EXPLAINED = ("running", "failed", "interrupted", "damaged")
"""States whose reason the grid's page shows."""


@dataclass(frozen=True)
class Snapshot:
    """The grid at one moment."""

    survey: Survey
    facts: Mapping[str, Mapping[str, Any]]
    """By the first digits of the fingerprint: family, title, state; of a done result its score (0..1, of the report's
    leading metric) and metric (its name) if it has one; of ``_EXPLAINED`` states why (one line), share (of the work,
    0..1) and command (makes it alone)."""
    changed: Mapping[str, int]
    """The revision in which these facts changed last."""
    revision: int
    others: Mapping[str, Path]
    """Directories of the results outside the grid, by their digits."""

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The grid's results by the digits."""
        return {entry.task.fingerprint[:DIGITS]: entry for entry in self.survey.entries}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """The number of results by family and state."""
        counts: dict[str, Counter[str]] = {family: Counter() for family in FAMILIES}
        for facts in self.facts.values():
            counts[facts["family"]][facts["state"]] += 1
        return {family: dict(of_family) for family, of_family in counts.items() if of_family}


@dataclass(frozen=True)
class _Inspection:
    """The outcome of the latest inspection of a result."""

    state: State
    score: tuple[float, str] | None
    names: tuple[str, ...]
    """The files that were inspected."""
    stamps: Sequence[Any]
    """The stamps of the directory and of these files."""
    expires: float
    """Time at which the outcome becomes invalid even if no stamp changes, seconds of the epoch."""


class Watch:
    """The state of everything that a report is built on. Not thread-safe."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.data = data_folder()
        self.runs = (self.data / RUNS).resolve()
        self.boot = uuid.uuid4().hex[:8]
        """Distinguishes this watch's revisions from those of another server."""
        tasks = closure(report).values()
        self.tasks = sorted(tasks, key=lambda task: (FAMILIES.index(task.task_family), task.title))
        self.cells = [task for task in report.requires() if isinstance(task, Retrain)]
        self._reported = frozenset(task.fingerprint for task in report.requires())
        self._titles = {task.fingerprint: task.title for task in self.tasks}
        self._inspections: dict[str, _Inspection] = {}
        self._commands: dict[str, str] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._changed: dict[str, int] = {}
        self._revision = 0

    def snapshot(self) -> Snapshot:
        """Return the present state of all results."""
        entries = [Entry(task, self._state(task)) for task in self.tasks]
        done = {entry.task.fingerprint for entry in entries if entry.state.kind == "done"}
        if not self._reported <= done:
            entries = [_with_stale_report(entry) for entry in entries]
        self._revision += 1
        for entry in entries:
            digits = entry.task.fingerprint[:DIGITS]
            facts = self._facts_of(entry)
            if self._facts.get(digits) != facts:
                self._facts[digits] = facts
                self._changed[digits] = self._revision
        survey = Survey(self.report, entries)
        return Snapshot(survey, dict(self._facts), dict(self._changed), self._revision, self._others())

    def _state(self, task: StageTask) -> State:
        last = self._inspections.get(task.fingerprint)
        if last is None or time.time() > last.expires or _stamps(task.directory, last.names) != last.stamps:
            last = self._inspections[task.fingerprint] = self._inspect(task)
        return last.state

    def _inspect(self, task: StageTask) -> _Inspection:
        now = time.time()
        try:
            state = state_of(task.directory, task.fingerprint, full=task.is_end_product)
        except OSError as error:
            return _Inspection(State("damaged", f"cannot be read: {error}"), None, (), (), now)
        files = (state.manifest or {}).get("files", {})
        score = self._score(task.directory) if state.kind == "done" and "metrics.json" in files else None
        names = (MANIFEST, *(name for name, record in files.items() if "count" not in record))
        stamps = _stamps(task.directory, names)
        is_settled = max((changed for *_, changed in filter(None, stamps)), default=0) / 1e9 < now - _SETTLED_SECONDS
        expires = now + _FOLDER_SECONDS if len(names) < 1 + len(files) else float("inf")
        if state.kind == "running" or not is_settled:
            expires = now
        return _Inspection(replace(state, manifest=None), score, names, stamps, expires)

    def _score(self, directory: Path) -> tuple[float, str] | None:
        metrics = read_json_below(self.runs, directory / "metrics.json")
        test = metrics.get("test") if isinstance(metrics, dict) else None
        if not isinstance(test, dict) or (metric := leading_metric(test)) is None:
            return None
        return (round(test[metric], 4), metric) if isinstance(test[metric], float) else None

    def _facts_of(self, entry: Entry) -> dict[str, Any]:
        state, fingerprint = entry.state, entry.task.fingerprint
        facts: dict[str, Any] = {"family": entry.family, "title": self._titles[fingerprint], "state": state.kind}
        if state.kind in _EXPLAINED:
            facts |= {"why": last_line(state.why), "share": state.share}
            if fingerprint not in self._commands:
                self._commands[fingerprint] = entry.task.command()
            facts["command"] = self._commands[fingerprint]
        elif (score := self._inspections[fingerprint].score) is not None:
            facts |= {"score": score[0], "metric": METRICS[score[1]].label.partition(" (")[0]}
        return facts

    def _others(self) -> dict[str, Path]:
        others = {}
        for family in FAMILIES:
            if is_below(self.runs, self.runs / family):
                for name, path in _folders(self.data / RUNS / family):
                    digits = name.rpartition("__")[2]
                    if _ADDRESS.fullmatch(digits) and digits not in self._facts:
                        others[digits] = Path(path)
        return others


def last_line(text: str) -> str:
    """Return the last line of a reason: of a traceback, the error."""
    return next(iter(reversed(text.strip().splitlines())), "")


def _with_stale_report(entry: Entry) -> Entry:
    is_stale = entry.family == "Report" and entry.state.kind == "done"
    return replace(entry, state=STALE) if is_stale else entry


def _stamps(directory: Path, names: Sequence[str]) -> list[tuple[int, int, int] | None]:
    """Return inode, size and time (ns) of a directory and of files in it; None for those that do not exist."""
    stamps: list[tuple[int, int, int] | None] = []
    for path in (str(directory), *(f"{directory}/{name}" for name in names)):
        try:
            stat = os.stat(path)  # noqa: PTH116, thousands of them, every two seconds
        except OSError:
            stamps.append(None)
        else:
            stamps.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        if stamps[0] is None:
            break
    return stamps


def _folders(directory: Path) -> list[tuple[str, str]]:
    """Return name and path of a folder's subfolders, without links."""
    try:
        with os.scandir(directory) as entries:
            return sorted((entry.name, entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))
    except OSError:
        return []
