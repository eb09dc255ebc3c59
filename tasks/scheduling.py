"""``python -m tasks scheduler``: luigid with this project's settings, and the page server beside it, on loopback."""

import contextlib
import json
import logging
import multiprocessing
import os
import pickle
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from luigi.configuration import get_config
from luigi.scheduler import Scheduler

from roar_pipeline.errors import InputError
from roar_pipeline.files import write_bytes
from tasks.execution import AGAIN
from tasks.grouping import NAMESPACE
from tasks.processes import die_with_parent
from tasks.report import Report
from tasks.resources import resources_of_machine
from tasks.settings import SCHEDULER_PORT, data_folder, settings

__all__ = ["serve"]

_HOST = "127.0.0.1"
"""Neither server asks for a password: they are for this machine alone, and for who tunnels to it."""
_LUIGI = "luigi --module tasks "
"""How the commands begin that ``tasks.base`` writes, and those of the dialog."""
_START_SECONDS = 30.0
_STATE_SECONDS = 5.0
_STOP_SECONDS = 10.0


def serve(report: Report, port: int, page_port: int) -> int:
    """Run both servers until SIGINT or SIGTERM; return 0 if they ran.

    Raises:
        InputError: a port cannot be had.
    """
    if port == page_port:
        raise InputError(f"Both servers cannot have port {port}: give --port or --page-port another one.")
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
            _say(f"Scheduler: http://{_HOST}:{port}   tasks of all runs: {command}")
            _say(f"Results:   http://{_HOST}:{page_port}   the grid, logs, figures, the report")
            _say(f"From elsewhere: ssh -L {port}:{_HOST}:{port} -L {page_port}:{_HOST}:{page_port} <this machine>")
            while not stopping and all(server.is_alive() for server in servers):
                time.sleep(0.2)
            gone = [server.name for server in servers if not stopping and not server.is_alive()]
        finally:
            _stop(servers)
    if gone:
        sys.stderr.write(
            f"{' and '.join(gone)} ended by itself; see above. Start both again: what runs waits for it.\n"
        )
    return 1 if gone else 0


def _options(port: int, page_port: int) -> str:
    """Return what a run must be told to find both servers."""
    scheduler = "" if port == SCHEDULER_PORT else f" --scheduler-port {port}"
    usual = settings().execution.page_port
    return scheduler + ("" if page_port == usual else f" --execution-page-port {page_port}")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _require_free(port: int) -> None:
    if not 0 < port < 1 << 16:
        raise InputError(f"A port is a number from 1 to 65535, got {port}.")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((_HOST, port))
        except OSError as error:
            raise InputError(
                f"Port {port} of {_HOST} cannot be had ({error.strerror}): is a scheduler running already? "
                "Choose others with --port and --page-port."
            ) from error


class _Scheduler(Scheduler):
    """luigid's, with a state that is written whole, a page for batched tasks, the right command where one failed."""

    def __init__(self, state: Path) -> None:
        super().__init__(state_path=str(state))
        self._file = state

    def dump(self) -> None:
        """Write the state; what cannot be written now may be written the next time."""
        try:
            write_bytes(self._file, pickle.dumps(self._state.get_state()))
        except OSError as error:
            logging.getLogger("luigi").warning("The scheduler's state cannot be written: %s", error)

    def add_task(self, task_id: str, batch_id: str | None = None, **kwargs: Any) -> Any:
        """Take what a run says of a task. Luigi has the page of a batch overwrite those of its members."""
        known = self._state.get_task(task_id)
        batch = batch_id or (known.batch_id if known else None)
        members = self._state.get_batch_running_tasks(batch) if batch else []
        pages = [member.tracking_url for member in members]
        answer = super().add_task(task_id=task_id, batch_id=batch_id, **kwargs)
        for member, page in zip(members, pages, strict=True):
            member.tracking_url = page
        return answer

    def fetch_error(self, task_id: str, **kwargs: Any) -> dict[str, Any]:
        """Return what the dialog shows: Luigi's own command would lack the run's settings and its scheduler.

        The dialog puts the command together from module, family and parameters. Where a variable must come before it,
        it cannot be shown there.
        """
        shown: dict[str, Any] = super().fetch_error(task_id, **kwargs)
        _, found, command = _text(shown["error"]).rpartition(AGAIN)
        before, _, rest = command.partition(_LUIGI)
        if before:
            rest = f"... (whole in the line above that begins with {AGAIN.strip()})"
        if found:
            shown |= {"taskModule": "tasks", "taskFamily": rest, "taskParams": None}
        elif "taskFamily" in shown:
            shown["taskFamily"] = shown["taskFamily"].removeprefix(NAMESPACE)
        return shown


def _text(error: str | None) -> str:
    """Return the text of what a run has told the scheduler, which is JSON; empty where it is no text."""
    try:
        told = json.loads(error or "null")
    except ValueError:
        return ""
    return told if isinstance(told, str) else ""


def _luigid(folder: Path, port: int) -> None:
    """Be luigid: its state under the data folder, every few seconds, so that a restart knows what there was."""
    die_with_parent()
    import luigi.server
    from tornado.ioloop import PeriodicCallback

    config = get_config()
    for name, amount in resources_of_machine().items():
        config.set("resources", name, str(amount))
    scheduler = _Scheduler(folder / "luigid-state.pickle")
    PeriodicCallback(scheduler.dump, _STATE_SECONDS * 1000).start()
    luigi.server.run(api_port=port, address=_HOST, scheduler=scheduler)


def _pages(report: Report, port: int, scheduler_port: int) -> None:
    die_with_parent()
    get_config().set("core", "scheduler_port", str(scheduler_port))  # for the commands that they show
    from tasks.pages.server import serve as serve_pages

    serve_pages(report, port)


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Yield a list that SIGINT and SIGTERM add themselves to."""
    got: list[int] = []

    def note(number: int, _: object) -> None:
        got.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield got
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _wait_for(servers: list[multiprocessing.context.ForkProcess], ports: tuple[int, int], stopping: list[int]) -> None:
    """Wait until both answer, or until they are to stop.

    Raises:
        InputError: one of them ended, or does not answer.
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
    """Ask the servers to end (luigid writes its state then), and end those that do not."""
    for server in servers:
        if server.is_alive() and server.pid:
            os.kill(server.pid, signal.SIGTERM)
    deadline = time.monotonic() + _STOP_SECONDS
    for server in servers:
        server.join(max(0.1, deadline - time.monotonic()))
        if server.is_alive():
            server.kill()
            server.join()
