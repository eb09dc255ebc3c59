"""``roar run``: compute the grid's report and print its table."""

import argparse
import contextlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator

from luigi.cmdline import luigi_run

from roar_pipeline.cache.manifests import MANIFEST
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, whole
from tasks.runtime.terminal import closure

__all__ = ["COMMAND", "INTERRUPTED", "interruptible", "run"]

INTERRUPTED = 130
"""The exit code after Ctrl-C, as in shells: 128 plus the signal's number."""
_AGAIN_SECONDS = 3.0
"""Seconds until a Ctrl-C is raised again; cleaning up takes less."""
_NOT_RUN = 25
"""Luigi's exit code where a task did not run."""


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=whole(1), default=cores, help="tasks at a time (default: one per core)")
    parser.add_argument("--partial", action="store_true", help="if some results fail, report on the others")


def run(workers: int, options: list[str], *, partial: bool) -> int:
    """Compute the report; return 0 if it is complete, else Luigi's exit code.

    Args:
        workers: tasks at a time.
        options: further options for Luigi.
        partial: if some results fail, report on the others.
    """
    central = any(option.startswith("--scheduler-") for option in options)
    options = [*([] if central else ["--local-scheduler"]), "--workers", str(workers), *options]
    with grid_of(options) as report:
        if report.complete():
            count = len({task.fingerprint for task in report.requires()})
            sys.stdout.write(f"Nothing to do: the report is done, and so are the {count} results that it shows.\n")
            _print_table(report)
            return 0
    try:
        with interruptible():
            return _compute(options, partial=partial)
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():  # a process that was just forked has lost the signal
            process.terminate()
        sys.stderr.write(
            f"\nStopped. {_done_count(options)} What is done is kept: run the same command again to go on.\n"
        )
        return INTERRUPTED


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the body, Ctrl-C raises KeyboardInterrupt in this process and ends forked processes silently.

    A terminal sends the signal to all processes, and a process that was just forked would print a traceback. In this
    process the signal may arrive during a fork, where Python prints and drops all exceptions
    (``os.register_at_fork``): the exception is not printed, and is raised again until the body has ended.
    """
    own, print_dropped = os.getpid(), sys.unraisablehook

    def drop(dropped: "sys.UnraisableHookArgs") -> None:
        if not isinstance(dropped.exc_value, KeyboardInterrupt):
            print_dropped(dropped)

    def stop(number: int, _: object) -> None:
        if os.getpid() != own:
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        signal.setitimer(signal.ITIMER_REAL, _AGAIN_SECONDS)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGALRM)}
    sys.unraisablehook = drop
    try:
        yield
    finally:
        sys.unraisablehook = print_dropped
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def _compute(options: list[str], *, partial: bool) -> int:
    code = _luigi(options)
    with grid_of(options) as report:
        if report.complete():
            _print_table(report)
            return 0
    sys.stderr.write(
        "Not everything could be made, see above and `roar status`. What is done is kept: mend it and run again.\n"
    )
    if partial:
        _report_partly([*options, "--partial"])
    return code or _NOT_RUN


def _report_partly(options: list[str]) -> None:
    if _luigi(options) == 0:
        with grid_of(options) as report:
            _print_table(report)


def _done_count(options: list[str]) -> str:
    with grid_of(options) as report:
        tasks = closure(report).values()
        done = sum((task.directory / MANIFEST).exists() for task in tasks)
        return f"{done} of {len(tasks)} results are done."


def _print_table(report: Report) -> None:
    sys.stdout.write(f"\n{report.table_path.read_text(encoding='utf-8')}\nReport: {report.path}\n")


def _luigi(options: list[str]) -> int:
    try:
        luigi_run(["--module", "tasks", "Report", *options])
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    return 0


COMMAND = Command(
    "run",
    "Compute the report with everything that it is built on, and print its table.",
    _add_arguments,
    lambda arguments: run(arguments.workers, arguments.options, partial=arguments.partial),
)
