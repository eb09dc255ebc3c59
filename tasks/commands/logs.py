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


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", help="stage, directory of a result, or the start of its name")
    parser.add_argument("-f", "--follow", action="store_true", help="follow the latest while it grows")


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return show_logs(report, arguments.what, arguments.follow)


def show_logs(report: Report, what: str, follow: bool) -> int:
    """Print all logs of one result, or the newest log of several; with ``follow`` the latest while it grows.

    Raises:
        InputError: no stage or directory has this name, or there is no log.
    """
    out = console()
    logs_of_results = [attempts.logs(directory) for directory in _directories(report, what)]
    logs = logs_of_results[0] if len(logs_of_results) == 1 else [logs[-1] for logs in logs_of_results if logs]
    if not logs:
        raise InputError(f"There is no log of {what} yet. To list the results: roar status.")
    if follow:
        latest = max(logs, key=lambda log: log.stat().st_mtime)
        note(out, f"==> {latest} <==")
        return _follow(out, latest)
    for log in logs:
        note(out, f"==> {log} <==")
        note(out, attempts.read_log(log).rstrip())
    return 0


def _directories(report: Report, what: str) -> list[Path]:
    if what in FAMILIES:
        return [entry.task.directory for entry in Survey(report).entries_of(what)]
    path = Path(what)
    try:
        if what and path.is_dir():
            return [path]
        results = sorted((data_folder() / "runs").glob("*/*"))
        matches = [result for result in results if path.name and result.name.startswith(path.name)]
    except (OSError, ValueError):  # a name that no file can have
        matches = []
    if not matches:
        raise InputError(f"'{shortened(what)}' is neither a stage ({', '.join(FAMILIES)}) nor a directory of a result.")
    return matches


def _follow(out: Console, log: Path) -> int:
    """Print a log while it grows, until Ctrl-C."""
    check_is_file(log)
    with contextlib.suppress(KeyboardInterrupt), log.open(encoding="utf-8", errors="replace") as opened:
        while True:
            if text := opened.read():
                out.print(escape(text), end="", soft_wrap=True, highlight=False)
            else:
                time.sleep(_FOLLOW_SECONDS)
    return 0


COMMAND = Command("logs", "Print the log of a result's attempts, or the newest logs of a stage.", _add_arguments, _run)
