"""``roar pages``: the page server alone, for browsers on this machine."""

import argparse

from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, whole
from tasks.configuration.settings import settings

__all__ = ["COMMAND"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=whole(0, 65535), help="on 127.0.0.1; 0: any free port (default: [execution] page_port)"
    )


def _run(arguments: argparse.Namespace) -> int:
    from tasks.web.server import serve  # imports Tornado, which no other command needs

    with grid_of(arguments.options) as report:
        serve(report, settings().execution.page_port if arguments.port is None else arguments.port)
    return 0


COMMAND = Command("pages", "Show the grid, its results and its report in the browser.", _add_arguments, _run)
