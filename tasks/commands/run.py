"""``roar run``: the grid's report, beside other runs if need be, and its table at the end."""

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
"""The exit code after Ctrl-C, as shells have it: 128 and the signal's number."""
_AGAIN_SECONDS = 3.0
"""What is cleaned up after Ctrl-C takes less."""
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
        with interruptible():
            return _made(given, partial=partial)
    except KeyboardInterrupt:
        for process in multiprocessing.active_children():  # a signal in the midst of a fork is lost
            process.terminate()
        sys.stderr.write(f"\nStopped. {_how_far(given)} What is done is kept: run the same command again to go on.\n")
        return INTERRUPTED


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Within the body, have Ctrl-C be a KeyboardInterrupt here, and end forked processes without a word.

    A terminal sends the signal to all of them, and one that was forked a moment ago would print a traceback. Here it
    may come in the midst of a fork, where Python prints and drops all exceptions (``os.register_at_fork``): it is not
    printed, and raised again until the body has ended.
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
