"""``roar gc``: results that no present settings reach, with sizes, and their removal."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from roar_pipeline.cache import inventory, trash
from roar_pipeline.cache.inventory import CacheEntry
from roar_pipeline.cache.ownership import foreign_folders, obstacle
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, add_yes
from tasks.commands.moving import agreed, names_of
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "REACHED", "clean", "reached"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="keep this file's grid, too")
    parser.add_argument("--remove", action="store_true", help="delete them for good")
    parser.add_argument("--trash", action="store_true", help="with --remove: delete what is set aside, too")
    add_yes(parser)


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return clean(report, given.config, with_trash=given.trash, remove=given.remove, yes=given.yes)


def clean(report: Report, configs: Sequence[str], *, with_trash: bool, remove: bool, yes: bool) -> int:
    """List what no settings reach, with sizes; remove it for good on request.

    Args:
        report: of the settings in force.
        configs: further configuration files whose grids are kept.
        with_trash: what is set aside goes too.
        remove: do it.
        yes: without asking.
    """
    kept = names_of(report)
    for config in [*configs, *([None] if os.environ.get("LUIGI_CONFIG_PATH") else [])]:
        kept |= _reached_by(config)
    for path, why in foreign_folders(data_folder() / inventory.RUNS):
        if path.name not in kept:
            say(f"Left alone: {path.relative_to(data_folder())}: {why}")
    stray = [stored for stored in inventory.scan(data_folder()) if stored.directory.name not in kept]
    stray = [stored for stored in stray if not obstacle(stored.directory, deleting=True)]
    aside = trash.list_trash(data_folder())
    _show_garbage(stray, aside)
    files = ["luigi.cfg", os.environ.get("LUIGI_CONFIG_PATH"), *configs]
    grids = " or ".join(file for file in files if file)
    size = sum(inventory.size_of(stored.directory) for stored in stray)
    say(f"{len(stray)} results, {size / 1e6:.1f} MB, that the grid of {grids} does not reach.")
    dropped = aside if with_trash else []
    if not (stray or aside):
        return 0
    if not remove or not (stray or dropped):
        say("Keep the grids of other files with --config FILE; remove with --remove, and the trash with --trash too.")
        return 0
    if not agreed(f"Delete {len(stray)} results of other grids{' and the trash' if dropped else ''} for good?", yes):
        return 0
    gone = list(inventory.remove(stray))
    for entry in dropped:
        trash.delete(entry)
    say(f"Deleted {len(gone)} results.")
    for stored in stray:
        if stored not in gone:
            say(f"  left, as somebody is making it: {stored.name}")
    return 0


def _show_garbage(stray: Sequence[CacheEntry], aside: Sequence[trash.TrashEntry]) -> None:
    """List what no settings reach, the largest first, and what is in the trash."""
    sizes = {stored.directory: inventory.size_of(stored.directory) for stored in stray}
    for stored in sorted(stray, key=lambda s: -sizes[s.directory]):
        state = "of another grid" if stored.manifest else "of another grid, unfinished"
        say(f"{sizes[stored.directory] / 1e6:10.1f} MB  {stored.name}  ({state})")
    for entry in aside:
        say(f"{inventory.size_of(entry.folder) / 1e6:10.1f} MB  set aside {entry.name}: {entry.reason}")


def reached(report: Report) -> int:
    """Print the directories of a grid, as JSON: ``gc`` asks other configurations so."""
    sys.stdout.write(json.dumps(sorted(names_of(report))))
    return 0


def _reached_by(config: str | None) -> set[str]:
    """Return the directories that the grid of another configuration file reaches; None: that of luigi.cfg alone.

    Raises:
        InputError: it cannot be told; nothing is taken for garbage then.
    """
    if config is not None and not Path(config).is_file():
        raise InputError(f"--config {config}: there is no such file.")
    environment = {k: v for k, v in os.environ.items() if k != "LUIGI_CONFIG_PATH"}
    if config is not None:
        environment["LUIGI_CONFIG_PATH"] = config
    command = [sys.executable, "-m", "tasks", "reached"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"The grid of {config or 'luigi.cfg'} cannot be told: {done.stderr.strip()}")
    return set(json.loads(done.stdout))


def _run_reached(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return reached(report)


COMMAND = Command("gc", "List results that the present settings do not reach, and delete them.", _arguments, _run)
REACHED = Command("reached", "Print the directories of the grid as JSON.", lambda parser: None, _run_reached)
"""For ``gc`` itself, in a process with other settings."""
