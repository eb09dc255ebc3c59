"""The present state of a whole grid, found out often and cheaply.

What a grid consists of is worked out once. A result is looked at closely only if its files have changed since, which
their sizes and times tell; what is being made is looked at every time.
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
"""Of a fingerprint, in addresses and in the names of directories."""
_ADDRESS = re.compile(f"[0-9a-f]{{{DIGITS}}}")
_SETTLED_SECONDS = 2.0
"""A file that changed more recently may change again without its time telling."""
_FOLDER_SECONDS = 60.0
"""Results that hold folders are looked at closely this often: no time of one place tells of a change below it."""
_EXPLAINED = ("running", "failed", "interrupted", "damaged")
"""States whose reason the pages tell at once."""


@dataclass(frozen=True)
class Snapshot:
    """The grid at one moment."""

    survey: Survey
    facts: Mapping[str, Mapping[str, Any]]
    """By the first digits of the fingerprint: family, title, state, and where there is one: why (one line), share
    (done of the work, 0..1), score (0..1, of the report's leading metric) and metric (its name), command (makes it
    alone, unless it is done or missing)."""
    changed: Mapping[str, int]
    """The revision in which these facts changed last."""
    revision: int
    others: Mapping[str, Path]
    """Directories of results that are not of this grid, by the digits."""

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """The grid's results by the digits."""
        return {entry.task.fingerprint[:DIGITS]: entry for entry in self.survey.entries}

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """How many results of each stage are in which state."""
        found: dict[str, Counter[str]] = {family: Counter() for family in FAMILIES}
        for facts in self.facts.values():
            found[facts["family"]][facts["state"]] += 1
        return {family: dict(counts) for family, counts in found.items() if counts}


@dataclass(frozen=True)
class _Seen:
    """What was found when a result was last looked at closely."""

    state: State
    score: tuple[float, str] | None
    names: tuple[str, ...]
    """Files that were looked at."""
    stamp: Sequence[Any]
    """Of the directory and these files."""
    until: float
    """When it must be looked at again in any case, seconds of the epoch."""


class Watch:
    """Everything that a report is built on, watched. One thread at a time may ask."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self.data = data_folder()
        self.runs = (self.data / RUNS).resolve()
        self.boot = uuid.uuid4().hex[:8]
        """Tells this watch's revisions from those of another."""
        found = closure(report).values()
        self.tasks = sorted(found, key=lambda task: (FAMILIES.index(task.task_family), task.title))
        self.cells = [task for task in report.requires() if isinstance(task, Retrain)]
        self._shown = frozenset(task.fingerprint for task in report.requires())
        self._titles = {task.fingerprint: task.title for task in self.tasks}
        self._seen: dict[str, _Seen] = {}
        self._commands: dict[str, str] = {}
        self._facts: dict[str, Mapping[str, Any]] = {}
        self._changed: dict[str, int] = {}
        self._revision = 0

    def look(self) -> Snapshot:
        """Return the state of everything now."""
        entries = [Entry(task, self._state(task)) for task in self.tasks]
        done = {entry.task.fingerprint for entry in entries if entry.state.kind == "done"}
        if not self._shown <= done:
            entries = [_without_stale(entry) for entry in entries]
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
        seen = self._seen.get(task.fingerprint)
        if seen is None or time.time() > seen.until or _stamp(task.directory, seen.names) != seen.stamp:
            seen = self._seen[task.fingerprint] = self._look_at(task)
        return seen.state

    def _look_at(self, task: StageTask) -> _Seen:
        now = time.time()
        try:
            state = state_of(task.directory, task.fingerprint, full=task.is_end_product)
        except OSError as error:
            return _Seen(State("damaged", f"cannot be read: {error}"), None, (), (), now)
        files = (state.manifest or {}).get("files", {})
        score = self._score(task.directory) if state.kind == "done" and "metrics.json" in files else None
        names = (MANIFEST, *(name for name, entry in files.items() if "count" not in entry))
        stamp = _stamp(task.directory, names)
        settled = max((changed for *_, changed in filter(None, stamp)), default=0) / 1e9 < now - _SETTLED_SECONDS
        until = now + _FOLDER_SECONDS if len(names) < 1 + len(files) else float("inf")
        return _Seen(
            replace(state, manifest=None), score, names, stamp, until if settled and state.kind != "running" else now
        )

    def _score(self, directory: Path) -> tuple[float, str] | None:
        measured = read_json_below(self.runs, directory / "metrics.json")
        test = measured.get("test") if isinstance(measured, dict) else None
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
        elif (score := self._seen[fingerprint].score) is not None:
            facts |= {"score": score[0], "metric": METRICS[score[1]].label.partition(" (")[0]}
        return facts

    def _others(self) -> dict[str, Path]:
        found = {}
        for family in FAMILIES:
            if is_below(self.runs, self.runs / family):
                for name, place in _folders(self.data / RUNS / family):
                    digits = name.rpartition("__")[2]
                    if _ADDRESS.fullmatch(digits) and digits not in self._facts:
                        found[digits] = Path(place)
        return found


def last_line(text: str) -> str:
    """Return the last line of a reason, which of an error is what went wrong."""
    return next(iter(reversed(text.strip().splitlines())), "")


def _without_stale(entry: Entry) -> Entry:
    is_stale = entry.family == "Report" and entry.state.kind == "done"
    return replace(entry, state=STALE) if is_stale else entry


def _stamp(directory: Path, names: Sequence[str]) -> list[tuple[int, int, int] | None]:
    """Return inode, size and time (ns) of a directory and of files in it; None for what is not there."""
    found: list[tuple[int, int, int] | None] = []
    for path in (str(directory), *(f"{directory}/{name}" for name in names)):
        try:
            stat = os.stat(path)  # noqa: PTH116, thousands of them, every two seconds
        except OSError:
            found.append(None)
        else:
            found.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        if found[0] is None:
            break
    return found


def _folders(directory: Path) -> list[tuple[str, str]]:
    """Return name and path of a folder's own folders, links left out."""
    try:
        with os.scandir(directory) as entries:
            return sorted((each.name, each.path) for each in entries if each.is_dir(follow_symlinks=False))
    except OSError:
        return []
