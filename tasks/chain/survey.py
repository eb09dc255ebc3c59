"""What a grid consists of, and in what state each of its results is."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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

STALE = State("missing", "it is there, but something that it shows is not")
"""The state of a finished report that shows something which is gone."""


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
    """Yield the report that these options of ``luigi ... Report`` stand for; within the body they are in force.

    Raises:
        InputError: options or settings are bad.
    """
    with CmdlineParser.global_instance(["--module", "tasks", "Report", *options]) as parser:
        yield parser.get_task_obj()


class Survey:
    """The state of everything that a report is built on: at the moment of asking, or as somebody has found it."""

    def __init__(self, report: Report, entries: Sequence[Entry] | None = None) -> None:
        self.report = report
        self.entries = _found(report) if entries is None else list(entries)
        self.by_fingerprint = {entry.task.fingerprint: entry for entry in self.entries}

    def of(self, family: str) -> list[Entry]:
        """Return the results of one stage."""
        return [entry for entry in self.entries if entry.family == family]

    def why(self, entry: Entry) -> str:
        """Say why a result is in its state, in one line; nothing for one that is done."""
        if entry.state.kind != "missing" or entry.state.why:
            return entry.state.why
        if (cause := self._cause(entry)) is not entry:
            return f"waits for {cause.task.title} ({cause.state.kind})"
        if aside := self._trash.get(f"{entry.family}/{entry.task.directory.name}"):
            return f"set aside: {aside.reason} (roar restore {aside.name})"
        label = entry.task.directory.name.rpartition("__")[0]
        near = self._near.get((entry.family, label), [])
        told = [differences(entry.task.identity, stored.identity) for stored in near]
        if told := [each for each in told if each]:
            return f"there is one with other settings: {'; '.join(min(told, key=len)[:3])}"
        return "not made yet"

    def _cause(self, entry: Entry) -> Entry:
        """Return the result nearest to the chain's start that this one waits for; itself if it waits for none."""
        for task in entry.task.deps():
            upstream = self.by_fingerprint[task.fingerprint]
            if upstream.state.kind != "done":
                return self._cause(upstream)
        return entry

    @cached_property
    def stored(self) -> list[inventory.CacheEntry]:
        """Every directory of the cache, of this grid or not."""
        manifests = {e.task.directory: e.state.manifest for e in self.entries if e.state.manifest is not None}
        return inventory.scan(data_folder(), manifests=manifests)

    @cached_property
    def _near(self) -> dict[tuple[str, str], list[inventory.CacheEntry]]:
        found = defaultdict(list)
        for stored in self.stored:
            if stored.manifest is not None:
                found[stored.family, stored.directory.name.rpartition("__")[0]].append(stored)
        return found

    @cached_property
    def _trash(self) -> dict[str, TrashEntry]:
        return {name: entry for entry in list_trash(data_folder()) for name in entry.results}


def _found(report: Report) -> list[Entry]:
    found = [
        Entry(task, state_of(task.directory, task.fingerprint, full=task.is_end_product))
        for task in closure(report).values()
    ]
    return sorted((_checked(e) for e in found), key=lambda e: (FAMILIES.index(e.family), e.task.title))


def _checked(entry: Entry) -> Entry:
    """Take a report for missing that shows something which is gone."""
    if entry.family == "Report" and entry.state.kind == "done" and not entry.task.complete():
        return replace(entry, state=STALE)
    return entry
