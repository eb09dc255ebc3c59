"""``roar verify``: compare results with their manifests, and set damaged results aside."""

import argparse
import os
import sys

from rich.console import Console
from rich.progress import Progress

from roar_pipeline.cache import inventory
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, add_yes
from tasks.commands.moving import confirm, directory_names, grid_note, movable, report_moved
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "verify"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="compare contents (sha256), not only sizes")
    parser.add_argument("--repair", action="store_true", help="set aside what is damaged")
    add_yes(parser)


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return verify(report, full=arguments.full, repair=arguments.repair, yes=arguments.yes)


def verify(report: Report, *, full: bool, repair: bool, yes: bool) -> int:
    """Compare every result with its manifest, list the damaged ones, and set these aside on request.

    Returns:
        0 if no result is damaged or all damaged ones were set aside, 1 otherwise.
    """
    entries = inventory.scan(data_folder())
    finished = sum(entry.manifest is not None for entry in entries)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("verifying", total=len(entries))
        workers = os.cpu_count() or 1
        faults = inventory.verify(entries, full=full, workers=workers, advance=lambda: progress.advance(bar))
    scope = "contents and sizes" if full else "sizes and shapes"
    if not faults:
        say(f"{finished} results are whole ({scope}). {len(entries) - finished} are unfinished.")
        return 0
    damaged = [entry for entry in entries if entry.directory in faults]
    in_grid = directory_names(report)
    for entry in damaged:
        say(f"{entry.name}: {'; '.join(faults[entry.directory])}{grid_note(entry, in_grid)}")
    say(f"{len(damaged)} of {finished} results are damaged ({scope}).")
    if not repair:
        say("Set only these aside with --repair, and run again: they will be made anew.")
        return 1
    damaged = movable(damaged)
    if not damaged or not confirm("Set them aside?", yes):
        return 1
    name, busy = inventory.move_to_trash(data_folder(), damaged, "verify --repair", damaged=True)
    return report_moved(name, len(damaged), busy)


COMMAND = Command("verify", "Compare results with their manifests, and repair what is damaged.", _add_arguments, _run)
