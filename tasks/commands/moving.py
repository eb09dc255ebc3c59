"""What commands that move or delete results share: list the results, skip the ones that may not be moved, ask first."""

import sys
from collections import Counter
from collections.abc import Sequence

from roar_pipeline.cache.inventory import CacheEntry
from roar_pipeline.cache.ownership import FAMILIES, obstacle
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.commands.printing import say
from tasks.runtime.terminal import closure

__all__ = ["confirm", "directory_names", "grid_note", "movable", "print_results", "report_moved"]

_MOST_LISTED = 40
"""Most results of the grid that a list names."""


def directory_names(report: Report) -> set[str]:
    """Return the names of the directories of a grid's results."""
    return {task.directory.name for task in closure(report).values()}


def movable(entries: Sequence[CacheEntry]) -> list[CacheEntry]:
    """Return the entries that may be moved; print why the others stay."""
    obstacles = {entry.directory: obstacle(entry.directory) for entry in entries}
    for entry in entries:
        if reason := obstacles[entry.directory]:
            say(f"Left alone: {entry.name}: {reason}")
    return [entry for entry in entries if not obstacles[entry.directory]]


def report_moved(name: str, count: int, busy: Sequence[CacheEntry]) -> int:
    """Print how many results were set aside, and which were not; return the exit code.

    Args:
        name: of the entry in the trash.
        count: results to move.
        busy: the ones that were not moved.
    """
    if count > len(busy):
        say(f"Set aside {count - len(busy)} results. Bring them back with: roar restore {name}")
    for entry in busy:
        say(f"  left, as another process is making it or has made it anew: {entry.name}")
    return 1 if busy else 0


def print_results(title: str, entries: Sequence[CacheEntry], in_grid: set[str]) -> None:
    """Print the counts of results per stage and their names: the first of the grid, and all of other grids.

    Args:
        title: of the list.
        entries: the results.
        in_grid: the names of the grid's directories.
    """
    counts = Counter(entry.family for entry in entries)
    summary = ", ".join(f"{counts[family]} {family}" for family in FAMILIES if counts[family])
    say(f"{title}: {summary or 'nothing'}")
    of_grid = [entry for entry in entries if entry.directory.name in in_grid]
    others = [entry for entry in entries if entry.directory.name not in in_grid]
    for entry in [*of_grid[:_MOST_LISTED], *others]:
        say(f"  {entry.name}{'' if entry.manifest else '  (unfinished)'}{grid_note(entry, in_grid)}")
    if len(of_grid) > _MOST_LISTED:
        say(f"  ... and {len(of_grid) - _MOST_LISTED} more of this grid")


def grid_note(entry: CacheEntry, in_grid: set[str]) -> str:
    """Return the note on a result of another grid; empty for a result of the grid."""
    return "" if entry.directory.name in in_grid else "  (of another grid)"


def confirm(question: str, yes: bool) -> bool:
    """Ask on the terminal, except with ``yes``; return whether the answer is yes.

    Raises:
        InputError: standard input is no terminal.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InputError(f"{question} There is no terminal to ask on: add --yes.")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
