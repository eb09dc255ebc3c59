"""What the commands that move or delete results share: they name them, leave what is in use, and ask first."""

import sys
from collections.abc import Mapping, Sequence

from roar_pipeline.cache.inventory import CacheEntry
from roar_pipeline.cache.ownership import FAMILIES, obstacle
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.commands.printing import say
from tasks.runtime.terminal import closure

__all__ = ["agreed", "list_results", "moved", "names_of", "of_whom", "without_left"]

_SHOWN = 40
"""Results of the grid that a list names."""


def names_of(report: Report) -> set[str]:
    """Return the names of the directories of a grid."""
    return {task.directory.name for task in closure(report).values()}


def without_left(stored: Sequence[CacheEntry], *, deleting: bool = False) -> list[CacheEntry]:
    """Return what may be moved or deleted; say of the rest why it stays."""
    reasons = {each.directory: obstacle(each.directory, deleting=deleting) for each in stored}
    for each in stored:
        if why := reasons[each.directory]:
            say(f"Left alone: {each.name}: {why}")
    return [each for each in stored if not reasons[each.directory]]


def moved(name: str, count: int, busy: Sequence[CacheEntry]) -> int:
    """Say what was set aside and what was left; return the exit code.

    Args:
        name: of the entry in the trash.
        count: results that were to be moved.
        busy: those of them that were left.
    """
    if count > len(busy):
        say(f"Set aside {count - len(busy)} results. Bring them back with: roar restore {name}")
    for each in busy:
        say(f"  left, as somebody is making it or has made it anew: {each.name}")
    return 1 if busy else 0


def list_results(title: str, chosen: Sequence[CacheEntry], own: set[str]) -> None:
    """Name results: the first of the grid, and all that are another grid's."""
    counts: Mapping[str, list[CacheEntry]] = {f: [s for s in chosen if s.family == f] for f in FAMILIES}
    told = ", ".join(f"{len(of_family)} {family}" for family, of_family in counts.items() if of_family)
    say(f"{title}: {told or 'nothing'}")
    of_grid = [each for each in chosen if each.directory.name in own]
    others = [each for each in chosen if each.directory.name not in own]
    for each in [*of_grid[:_SHOWN], *others]:
        say(f"  {each.name}{'' if each.manifest else '  (unfinished)'}{of_whom(each, own)}")
    if len(of_grid) > _SHOWN:
        say(f"  ... and {len(of_grid) - _SHOWN} more of this grid")


def of_whom(stored: CacheEntry, own: set[str]) -> str:
    """Say that a result is another grid's; nothing of one of the grid."""
    return "" if stored.directory.name in own else "  (of another grid)"


def agreed(question: str, yes: bool) -> bool:
    """Ask, unless told to go ahead.

    Raises:
        InputError: there is nobody to ask.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InputError(f"{question} There is no terminal to ask on: add --yes.")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
