"""The results of a grid and their states."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from luigi.cmdline_parser import CmdlineParser

from roar_pipeline.cache import inventory
from roar_pipeline.cache.ownership import FAMILIES
from roar_pipeline.cache.states import State, differences, state_of
from roar_pipeline.cache.trash import TrashEntry, list_trash
from tasks.chain.base import StageTask
from tasks.chain.report import Report
from tasks.configuration.settings import data_folder
from tasks.runtime.terminal import closure

__all__ = ["FAMILIES", "STALE", "Entry", "Survey", "grid_of"]

STALE = State("missing", "it exists, but a result that it shows does not")
"""The state of a finished report if a result that it shows is not done any more."""


@dataclass(frozen=True)
class Entry:
    """A result of the grid."""

    task: StageTask
    state: State

    @property
    def family(self) -> str:
        """The stage."""
        return str(self.task.task_family)


@contextlib.contextmanager
def grid_of(options: Sequence[str]) -> Iterator[Report]:
    """Yield the report for these options of ``luigi ... Report``, which are in force within the body.

    Raises:
        InputError: options or settings are bad.
    """
    with CmdlineParser.global_instance(["--module", "tasks", "Report", *options]) as parser:
        yield parser.get_task_obj()


class Survey:
    """The states of all results that a report is built on: the given ones, or the present ones."""

    def __init__(self, report: Report, entries: Sequence[Entry] | None = None) -> None:
        self.report = report
        self.entries = _present_entries(report) if entries is None else list(entries)
        self.by_fingerprint = {entry.task.fingerprint: entry for entry in self.entries}

    def entries_of(self, family: str) -> list[Entry]:
        """Return the results of one stage."""
        return [entry for entry in self.entries if entry.family == family]

    def why(self, entry: Entry) -> str:
        """Return the reason of a result's state; empty if it is done."""
        if entry.state.kind != "missing" or entry.state.why:
            return entry.state.why
        if (cause := self._cause(entry)) is not entry:
            return f"waits for {cause.task.title} ({cause.state.kind})"
        if trashed := self._trash.get(f"{entry.family}/{entry.task.directory.name}"):
            return f"set aside: {trashed.reason} (roar restore {trashed.name})"
        similar = self._by_label.get((entry.family, _label(entry.task.directory)), [])
        changes = [differences(entry.task.identity, cached.identity) for cached in similar]
        if changes := [change for change in changes if change]:
            return f"there is one with other settings: {'; '.join(min(changes, key=len)[:3])}"
        return "not made yet"

    def _cause(self, entry: Entry) -> Entry:
        """Return the first unfinished result that this one is built on; the entry itself if there is none."""
        for task in entry.task.deps():
            upstream = self.by_fingerprint[task.fingerprint]
            if upstream.state.kind != "done":
                return self._cause(upstream)
        return entry

    @cached_property
    def cache_entries(self) -> list[inventory.CacheEntry]:
        """All directories of the cache, in the grid or not."""
        manifests = {e.task.directory: e.state.manifest for e in self.entries if e.state.manifest is not None}
        return inventory.scan(data_folder(), manifests=manifests)

    @cached_property
    def _by_label(self) -> dict[tuple[str, str], list[inventory.CacheEntry]]:
        """The finished results of the cache by family and label."""
        entries = defaultdict(list)
        for cached in self.cache_entries:
            if cached.manifest is not None:
                entries[cached.family, _label(cached.directory)].append(cached)
        return entries

    @cached_property
    def _trash(self) -> dict[str, TrashEntry]:
        return {name: entry for entry in list_trash(data_folder()) for name in entry.results}


def _label(directory: Path) -> str:
    return directory.name.rpartition("__")[0]


def _present_entries(report: Report) -> list[Entry]:
    entries = [
        Entry(task, state_of(task.directory, task.fingerprint, full=task.is_end_product))
        for task in closure(report).values()
    ]
    return sorted(map(_check_report, entries), key=lambda e: (FAMILIES.index(e.family), e.task.title))


def _check_report(entry: Entry) -> Entry:
    """Return an entry as ``STALE`` if it is a finished report and a result that it shows is not done."""
    if entry.family == "Report" and entry.state.kind == "done" and not entry.task.complete():
        return replace(entry, state=STALE)
    return entry
