"""``roar scheduler``: luigid with this project's settings, and the page server, both on loopback."""

import argparse
import contextlib
import multiprocessing
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from luigi.configuration import get_config

from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.chain.survey import grid_of
from tasks.commands.command_line import Command, whole
from tasks.commands.printing import say
from tasks.configuration.settings import SCHEDULER_PORT, data_folder, settings
from tasks.runtime.processes import die_with_parent
from tasks.runtime.resources import resources_of_machine

__all__ = ["COMMAND", "serve"]

_HOST = "127.0.0.1"
"""Neither server has a password: only this machine, and tunnels to it, may connect."""
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--port", type=whole(1, 65535), default=SCHEDULER_PORT, help="of luigid (default: %(default)s)")
    parser.add_argument("--page-port", type=whole(1, 65535), help="of the page server (default: [execution] page_port)")


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return serve(report, arguments.port, arguments.page_port or settings().execution.page_port)


def serve(report: Report, port: int, page_port: int) -> int:
    """Run both servers until SIGINT or SIGTERM; return 0 if they ran until then.

    Raises:
        InputError: a port is not available.
    """
    if port == page_port:
        raise InputError(f"The servers cannot share port {port}: give --port or --page-port another port.")
    for number in (port, page_port):
        _require_free(number)
    folder = data_folder()
    folder.mkdir(exist_ok=True)
    context = multiprocessing.get_context("fork")
    servers = [
        context.Process(target=_luigid, args=(folder, port), name="luigid"),
        context.Process(target=_pages, args=(report, page_port, port), name="pages"),
    ]
    with _stopped_by_signals() as stopping:
        for server in servers:
            server.start()
        try:
            _wait_for(servers, (port, page_port), stopping)
            command = f"luigi --module tasks Report{_options(port, page_port)}"
            say(f"Scheduler: http://{_HOST}:{port}   tasks of all runs: {command}")
            say(f"Results:   http://{_HOST}:{page_port}   the grid, logs, figures, the report")
            say(f"From elsewhere: ssh -L {port}:{_HOST}:{port} -L {page_port}:{_HOST}:{page_port} <this machine>")
            while not stopping and all(server.is_alive() for server in servers):
                time.sleep(0.2)
            ended = [server.name for server in servers if not stopping and not server.is_alive()]
        finally:
            _stop(servers)
    if ended:
        sys.stderr.write(f"{' and '.join(ended)} ended by itself; see above. Start both again: runs wait for it.\n")
    return 1 if ended else 0


def _options(port: int, page_port: int) -> str:
    """Return the options by which a run finds both servers."""
    scheduler = "" if port == SCHEDULER_PORT else f" --scheduler-port {port}"
    default = settings().execution.page_port
    return scheduler + ("" if page_port == default else f" --execution-page-port {page_port}")


def _require_free(port: int) -> None:
    if not 0 < port < 1 << 16:
        raise InputError(f"A port is a number from 1 to 65535, got {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise InputError(
                f"Port {port} of {_HOST} is not available ({error.strerror}): is a scheduler running already? "
                "Choose other ports with --port and --page-port."
            ) from error


def _luigid(folder: Path, port: int) -> None:
    """Run luigid; its state lies in the data folder, and survives a restart."""
    die_with_parent()
    config = get_config()
    for name, amount in resources_of_machine().items():
        config.set("resources", name, str(amount))
    from tasks.web import luigid

    luigid.serve(folder / luigid.STATE_FILE, _HOST, port)


def _pages(report: Report, port: int, scheduler_port: int) -> None:
    die_with_parent()
    get_config().set("core", "scheduler_port", str(scheduler_port))  # for the commands that the pages show
    from tasks.web.server import serve as serve_pages

    serve_pages(report, port)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Yield a list to which SIGINT and SIGTERM are added when they arrive."""
    received: list[int] = []

    def record(number: int, _: object) -> None:
        received.append(number)

    before = {number: signal.signal(number, record) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(servers: list[multiprocessing.context.ForkProcess], ports: tuple[int, int], stopping: list[int]) -> None:
    """Wait until both servers answer, or until a signal stops them.

    Raises:
        InputError: a server ended, or does not answer in time.
    """
    deadline = time.monotonic() + _START_SECONDS
    for server, port in zip(servers, ports, strict=True):
        while not stopping and not _answers(port):
            if not server.is_alive() or time.monotonic() > deadline:
                raise InputError(f"{server.name} did not start on port {port}; see above.")
            time.sleep(0.05)


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((_HOST, port)) == 0


def _stop(servers: list[multiprocessing.context.ForkProcess]) -> None:
    """Terminate the servers, so that luigid writes its state; kill a server that does not end in time."""
    for server in servers:
        if server.is_alive() and server.pid:
            os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for server in servers:
        server.join(max(0.1, deadline - time.monotonic()))
        if server.is_alive():
            server.kill()
            server.join()


COMMAND = Command(
    "scheduler",
    "Start luigid and the page of results on 127.0.0.1, until Ctrl-C.",
    _add_arguments,
    _run,
)
