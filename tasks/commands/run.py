"""``roar run``: the grid's report, beside other runs if need be, and its table at the end."""

import argparse
import os
import sys

from luigi.cmdline import luigi_run

from roar_pipeline.cache.manifests import MANIFEST
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, whole
from tasks.runtime.terminal import closure

__all__ = ["COMMAND", "INTERRUPTED", "run"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""
_NOT_RUN = 25
"""Luigi's exit code where something that is needed was not made."""


def _arguments(parser: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=whole(1), default=cores, help="tasks at a time (default: one per core)")
    parser.add_argument("--partial", action="store_true", help="if some results fail, report on those that there are")


def run(workers: int, options: list[str], *, partial: bool) -> int:
    """Compute the report; return 0 if it is there, else Luigi's exit code.

    Args:
        workers: tasks at a time.
        options: further ones for Luigi.
        partial: where something fails, report on what there is.
    """
    central = any(option.startswith("--scheduler-") for option in options)
    given = [*([] if central else ["--local-scheduler"]), "--workers", str(workers), *options]
    with grid_of(given) as report:
        if report.complete():
            shown = len({task.fingerprint for task in report.requires()})
            sys.stdout.write(f"Nothing to do: the report is done, and so are the {shown} results that it shows.\n")
            _show(report)
            return 0
    try:
        return _made(given, partial=partial)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nStopped. {_how_far(given)} What is done is kept: run the same command again to go on.\n")
        return INTERRUPTED


def _made(given: list[str], *, partial: bool) -> int:
    code = _luigi(given)
    with grid_of(given) as report:
        if report.complete():
            _show(report)
            return 0
    sys.stderr.write(
        "Not everything could be made, see above and `roar status`. What is done is kept: mend it and run again.\n"
    )
    if partial:
        _report_partly([*given, "--partial"])
    return code or _NOT_RUN


def _report_partly(given: list[str]) -> None:
    if _luigi(given) == 0:
        with grid_of(given) as report:
            _show(report)


def _how_far(given: list[str]) -> str:
    with grid_of(given) as report:
        tasks = closure(report).values()
        done = sum((task.directory / MANIFEST).exists() for task in tasks)
        return f"{done} of {len(tasks)} results are done."


def _show(report: Report) -> None:
    sys.stdout.write(f"\n{report.table_path.read_text(encoding='utf-8')}\nReport: {report.path}\n")


def _luigi(options: list[str]) -> int:
    try:
        luigi_run(["--module", "tasks", "Report", *options])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


COMMAND = Command(
    "run",
    "Compute the report with all that it is built on, and print its table.",
    _arguments,
    lambda given: run(given.workers, given.options, partial=given.partial),
)
