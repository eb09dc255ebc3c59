"""``roar gc``: list results that the present settings do not reach, with sizes, and delete them."""

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
from tasks.commands.moving import confirm, directory_names
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "REACHED", "clean", "reached"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", action="append", default=[], metavar="FILE", help="keep this file's grid, too")
    parser.add_argument("--remove", action="store_true", help="delete them for good")
    parser.add_argument("--trash", action="store_true", help="with --remove: delete what is set aside, too")
    add_yes(parser)


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return clean(report, arguments.config, with_trash=arguments.trash, remove=arguments.remove, yes=arguments.yes)


def clean(report: Report, configs: Sequence[str], *, with_trash: bool, remove: bool, yes: bool) -> int:
    """List results that no settings reach, with sizes; delete them for good on request.

    Args:
        report: of the settings in force.
        configs: further configuration files whose grids are kept.
        with_trash: delete the trash too.
        remove: delete, not only list.
        yes: without asking.
    """
    reachable = directory_names(report)
    for config in [*configs, *([None] if os.environ.get("LUIGI_CONFIG_PATH") else [])]:
        reachable |= _reached_by(config)
    for path, reason in foreign_folders(data_folder() / inventory.RUNS):
        if path.name not in reachable:
            say(f"Left alone: {path.relative_to(data_folder())}: {reason}")
    stray = [entry for entry in inventory.scan(data_folder()) if entry.directory.name not in reachable]
    stray = [entry for entry in stray if not obstacle(entry.directory, deleting=True)]
    in_trash = trash.list_trash(data_folder())
    _list_garbage(stray, in_trash)
    files = ["luigi.cfg", os.environ.get("LUIGI_CONFIG_PATH"), *configs]
    grids = " or ".join(file for file in files if file)
    size = sum(inventory.size_of(entry.directory) for entry in stray)
    say(f"{len(stray)} results, {size / 1e6:.1f} MB, that the grid of {grids} does not reach.")
    dropped = in_trash if with_trash else []
    if not (stray or in_trash):
        return 0
    if not remove or not (stray or dropped):
        say("Keep the grids of other files with --config FILE; remove with --remove, and the trash with --trash too.")
        return 0
    if not confirm(f"Delete {len(stray)} results of other grids{' and the trash' if dropped else ''} for good?", yes):
        return 0
    deleted = list(inventory.remove(stray))
    for trash_entry in dropped:
        trash.delete(trash_entry)
    say(f"Deleted {len(deleted)} results.")
    for entry in stray:
        if entry not in deleted:
            say(f"  left, as another process is making it: {entry.name}")
    return 0


def _list_garbage(stray: Sequence[CacheEntry], in_trash: Sequence[trash.TrashEntry]) -> None:
    """List the results that no settings reach, the largest first, and the trash."""
    sizes = {entry.directory: inventory.size_of(entry.directory) for entry in stray}
    for entry in sorted(stray, key=lambda s: -sizes[s.directory]):
        state = "of another grid" if entry.manifest else "of another grid, unfinished"
        say(f"{sizes[entry.directory] / 1e6:10.1f} MB  {entry.name}  ({state})")
    for aside in in_trash:
        say(f"{inventory.size_of(aside.folder) / 1e6:10.1f} MB  set aside {aside.name}: {aside.reason}")


def reached(report: Report) -> int:
    """Print the directories of a grid as JSON, for ``gc`` under other settings."""
    sys.stdout.write(json.dumps(sorted(directory_names(report))))
    return 0


def _reached_by(config: str | None) -> set[str]:
    """Return the names of the directories that the grid of a configuration file reaches; None: of luigi.cfg alone.

    Raises:
        InputError: they cannot be determined, so that nothing may count as garbage.
    """
    if config is not None and not Path(config).is_file():
        raise InputError(f"--config {config}: there is no such file.")
    environment = {k: v for k, v in os.environ.items() if k != "LUIGI_CONFIG_PATH"}
    if config is not None:
        environment["LUIGI_CONFIG_PATH"] = config
    command = [sys.executable, "-m", "tasks", "reached"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"The grid of {config or 'luigi.cfg'} cannot be determined: {done.stderr.strip()}")
    return set(json.loads(done.stdout))


def _run_reached(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return reached(report)


COMMAND = Command("gc", "List results that the present settings do not reach, and delete them.", _add_arguments, _run)
REACHED = Command("reached", "Print the directories of the grid as JSON.", lambda parser: None, _run_reached)
"""``gc`` runs it in a process with other settings."""
