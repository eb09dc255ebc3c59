"""``roar verify``: results compared with their manifests."""

import argparse
import os
import sys

from rich.console import Console
from rich.progress import Progress

from roar_pipeline.cache import inventory
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, add_yes
from tasks.commands.moving import agreed, moved, names_of, of_whom, without_left
from tasks.commands.printing import say
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "verify"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--full", action="store_true", help="contents (sha256), not only sizes")
    parser.add_argument("--repair", action="store_true", help="set aside what is damaged")
    add_yes(parser)


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return verify(report, full=given.full, repair=given.repair, yes=given.yes)


def verify(report: Report, *, full: bool, repair: bool, yes: bool) -> int:
    """Compare every result with its manifest; name what is damaged, and set just that aside on request.

    Returns:
        0 if all is whole or mended, 1 if something is damaged.
    """
    stored = inventory.scan(data_folder())
    finished = sum(each.manifest is not None for each in stored)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("verifying", total=len(stored))
        workers = os.cpu_count() or 1
        faults = inventory.verify(stored, full=full, workers=workers, advance=lambda: progress.advance(bar))
    what = "contents and sizes" if full else "sizes and shapes"
    if not faults:
        say(f"{finished} results are whole ({what}). {len(stored) - finished} are unfinished.")
        return 0
    damaged = [each for each in stored if each.directory in faults]
    own = names_of(report)
    for each in damaged:
        say(f"{each.name}: {'; '.join(faults[each.directory])}{of_whom(each, own)}")
    say(f"{len(damaged)} of {finished} results are damaged ({what}).")
    if not repair:
        say("Set just these aside with --repair, and run again: they will be made anew.")
        return 1
    damaged = without_left(damaged)
    if not damaged or not agreed("Set them aside?", yes):
        return 1
    name, busy = inventory.move_to_trash(data_folder(), damaged, "verify --repair", damaged=True)
    return moved(name, len(damaged), busy)


COMMAND = Command("verify", "Compare results with their manifests, and repair what is damaged.", _arguments, _run)
