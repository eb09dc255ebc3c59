"""Run a grid, and see, forecast, repair and clean its cache. Options after those below go to luigi's Report.

For one stage by itself: luigi --module tasks <Stage> --help.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

import tasks  # noqa: F401, registers the families
from roar_pipeline.errors import explain
from roar_pipeline.numerals import shortened, whole_number
from tasks.chain.survey import FAMILIES, grid_of
from tasks.commands import cache, forecast, run, scheduler, status
from tasks.configuration.settings import BAD_INPUT, SCHEDULER_PORT, data_folder, settings
from tasks.runtime.refusals import refusal
from tasks.startup import streams

_USAGE = 2
"""The exit code of argparse, which reads Luigi's options."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


def main(words: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code, Luigi's own for what Luigi runs."""
    try:
        known, rest = _parser().parse_known_args(words)
        return _dispatch(known, rest)
    except SystemExit as end:
        return BAD_INPUT if end.code == _USAGE else _code(end)
    except Exception as error:
        refused = refusal(error) or (explain(error, data_folder()) if isinstance(error, OSError) else None)
        if refused is None:
            raise
        sys.stderr.write(f"{refused}\n")
        return BAD_INPUT


def _code(end: SystemExit) -> int:
    return end.code if isinstance(end.code, int) else int(end.code is not None)


def _dispatch(known: argparse.Namespace, rest: list[str]) -> int:
    if known.command == "run":
        return run.run(known.workers, rest, partial=known.partial)
    with grid_of(rest) as report:
        match known.command:
            case "scheduler":
                return scheduler.serve(report, known.port, known.page_port or settings().execution.page_port)
            case "status":
                return status.show_status(report, known.family, known.depth)
            case "forecast":
                return forecast.show_forecast(report, known.workers)
            case "logs":
                return status.show_logs(report, known.what, known.follow)
            case "invalidate":
                return cache.invalidate(
                    report, known.family, known.where, downstream=known.downstream, dry_run=known.dry_run, yes=known.yes
                )
            case "restore":
                return cache.restore(known.name)
            case "gc":
                return cache.clean(report, known.config, with_trash=known.trash, remove=known.remove, yes=known.yes)
            case "verify":
                return cache.verify(report, full=known.full, repair=known.repair, yes=known.yes)
            case _:
                return cache.reached(report)


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = _Parser(prog="python -m tasks", description=__doc__, formatter_class=formatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")

    def command(name: str, text: str) -> _Parser:
        return commands.add_parser(name, help=text, description=text)

    cores = os.cpu_count() or 1
    run = command("run", "compute the report, and print its table")
    run.add_argument("--workers", type=_whole(1), default=cores, help="tasks at a time (default: one per core)")
    run.add_argument("--partial", action="store_true", help="if some results fail, report on those that there are")

    servers = command("scheduler", "start luigid and the page of results, on 127.0.0.1, until interrupted")
    servers.add_argument(
        "--port", type=_whole(1, 65535), default=SCHEDULER_PORT, help="luigid's (default: %(default)s)"
    )
    servers.add_argument("--page-port", type=_whole(1, 65535), help="of the results (default: [execution] page_port)")

    shown = command("status", "what is done, running, failed, missing or damaged, and why")
    shown.add_argument("family", nargs="?", help=f"one stage: {', '.join(FAMILIES)}")
    shown.add_argument("--depth", type=_whole(0), help="show the tree, so many levels deep")

    ahead = command("forecast", "what the grid still needs: results, time, disk")
    ahead.add_argument("--workers", type=_whole(1), default=cores, help="tasks at a time (default: one per core)")

    logs = command("logs", "the log of a result's attempts, or the newest logs of a stage")
    logs.add_argument("what", help="stage, directory of a result, or the start of its name")
    logs.add_argument("-f", "--follow", action="store_true", help="follow the latest while it grows")

    aside = command("invalidate", "set results aside, so that they are made anew")
    aside.add_argument("family", help=f"stage: {', '.join(FAMILIES)}")
    aside.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="percent=50, model=sswa, retrain.lr=0.01; of one key's values any, of several keys all",
    )
    aside.add_argument(
        "--downstream", action=argparse.BooleanOptionalAction, default=True, help="with all that was built on them"
    )
    aside.add_argument("--dry-run", action="store_true", help="only show them")
    _yes(aside)

    back = command("restore", "bring back what was set aside")
    back.add_argument("name", nargs="?", help="as invalidate named it (default: the latest); list: show all")

    clean = command("gc", "results that the present settings do not reach, with sizes")
    clean.add_argument("--config", action="append", default=[], metavar="FILE", help="keep this file's grid, too")
    clean.add_argument("--remove", action="store_true", help="delete them for good")
    clean.add_argument("--trash", action="store_true", help="with --remove: delete what is set aside, too")
    _yes(clean)

    check = command("verify", "compare results with their manifests")
    check.add_argument("--full", action="store_true", help="contents (sha256), not only sizes")
    check.add_argument("--repair", action="store_true", help="set aside what is damaged")
    _yes(check)

    commands.add_parser("reached")
    return parser


def _whole(low: int, high: int = 10**6) -> Callable[[str], int]:
    """Return what reads a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        try:
            value = whole_number(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"give a whole number from {low} to {high:,}, not '{shortened(text)}'.")
        return value

    return read


def _yes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--yes", action="store_true", help="do not ask")


if __name__ == "__main__":
    streams.protect()
    sys.exit(streams.outcome(main(), BAD_INPUT))
