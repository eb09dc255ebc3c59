"""``roar logs``: the complete output of a result's attempts."""

import argparse
import contextlib
import time
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from roar_pipeline.cache import attempts
from roar_pipeline.cache.files import check_is_file
from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, Survey, grid_of
from tasks.commands.command_line import Command
from tasks.commands.printing import console, note
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "show_logs"]

_FOLLOW_SECONDS = 0.5


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help="stage, directory of a result, or the start of its name")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the latest while it grows")


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return show_logs(report, given.what, given.follow)


def show_logs(report: Report, what: str, follow: bool) -> int:
    """Print the logs of all attempts at one result, or the newest of each; follow the latest while it grows.

    Raises:
        InputError: there is no such stage or directory, or no log.
    """
    out = console()
    directories = _directories(report, what)
    found = [attempts.logs(directory) for directory in directories]
    shown = found[0] if len(found) == 1 else [logs[-1] for logs in found if logs]
    if not shown:
        raise InputError(f"There is no log of {what} yet. What there is: roar status.")
    if follow:
        latest = max(shown, key=lambda log: log.stat().st_mtime)
        note(out, f"==> {latest} <==")
        return _follow(out, latest)
    for log in shown:
        note(out, f"==> {log} <==")
        note(out, attempts.read_log(log).rstrip())
    return 0


def _directories(report: Report, what: str) -> list[Path]:
    if what in FAMILIES:
        return [entry.task.directory for entry in Survey(report).of(what)]
    path = Path(what)
    try:
        results = sorted((data_folder() / "runs").glob("*/*"))
        found = (
            [path]
            if what and path.is_dir()
            else [each for each in results if path.name and each.name.startswith(path.name)]
        )
    except (OSError, ValueError):  # a name that no file can have
        found = []
    if not found:
        raise InputError(f"'{shortened(what)}' is neither a stage ({', '.join(FAMILIES)}) nor a directory of a result.")
    return found


def _follow(out: Console, log: Path) -> int:
    """Print a log and what is added to it, until somebody interrupts."""
    check_is_file(log)
    with contextlib.suppress(KeyboardInterrupt), log.open(encoding="utf-8", errors="replace") as opened:
        while True:
            if text := opened.read():
                out.print(escape(text), end="", soft_wrap=True, highlight=False)
            else:
                time.sleep(_FOLLOW_SECONDS)
    return 0


COMMAND = Command("logs", "Print the log of a result's attempts, or the newest logs of a stage.", _arguments, _run)
