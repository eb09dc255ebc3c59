"""``roar pages``: the page of results alone, for browsers on this machine."""

import argparse

from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, whole
from tasks.configuration.settings import settings

__all__ = ["COMMAND"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--port", type=whole(0, 65535), help="of 127.0.0.1; 0: any free one (default: [execution] page_port)"
    )


def _run(given: argparse.Namespace) -> int:
    from tasks.web.server import serve  # and Tornado with it, which no other command needs

    with grid_of(given.options) as report:
        serve(report, settings().execution.page_port if given.port is None else given.port)
    return 0


COMMAND = Command("pages", "Show the grid, its results and its report in the browser.", _arguments, _run)
