"""``roar restore``: bring back the results that were set aside."""

import argparse

from roar_pipeline.cache import trash
from roar_pipeline.errors import InputError
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "restore"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="as invalidate named it (default: the latest); list: show all")


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options):
        return restore(arguments.name)


def restore(name: str | None) -> int:
    """Bring back the results of an entry of the trash, by name or the latest; ``list`` prints the entries.

    Raises:
        InputError: the trash has no such entry.
    """
    entries = trash.list_trash(data_folder())
    if name == "list":
        for entry in entries:
            say(f"{entry.name}  {len(entry.results):5} results  {entry.reason}")
        return 0
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if not chosen:
        names = ", ".join(entry.name for entry in entries) or "none"
        raise InputError(f"There is nothing set aside{f' as {name}' if name else ''}. Known: {names}.")
    restored, skipped = trash.restore(data_folder(), chosen[-1])
    say(f"Brought back {len(restored)} results ({chosen[-1].reason}).")
    for result, reason in skipped.items():
        say(f"  left in the trash: {result}: {reason}")
    return 0


COMMAND = Command("restore", "Bring back results that were set aside.", _add_arguments, _run)
