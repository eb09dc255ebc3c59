"""``roar restore``: what was set aside, back in its place."""

import argparse

from roar_pipeline.cache import trash
from roar_pipeline.errors import InputError
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "restore"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", nargs="?", help="as invalidate named it (default: the latest); list: show all")


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options):
        return restore(given.name)


def restore(name: str | None) -> int:
    """Bring back what was set aside, by name or the latest; without anything in the trash, say so."""
    entries = trash.list_trash(data_folder())
    if name == "list":
        for entry in entries:
            say(f"{entry.name}  {len(entry.results):5} results  {entry.reason}")
        return 0
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if not chosen:
        known = ", ".join(entry.name for entry in entries) or "none"
        raise InputError(f"There is nothing set aside{f' as {name}' if name else ''}. Known: {known}.")
    back, left = trash.restore(data_folder(), chosen[-1])
    say(f"Brought back {len(back)} results ({chosen[-1].reason}).")
    for each, why in left.items():
        say(f"  left in the trash: {each}: {why}")
    return 0


COMMAND = Command("restore", "Bring back what was set aside.", _arguments, _run)
