"""The server: GET and HEAD, from this machine alone, of a grid, its results and its report.

Addresses: ``/`` (the grid), ``/task/<digits>`` (a result, by its fingerprint or the first 12 digits; below it
``status.json``, ``log/<number>``, ``log/<number>.json``, ``files/<name>``), ``/report``, ``/others`` (results that are
not of the grid), ``/status.json``.
"""

import asyncio
import errno
import logging
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import tornado.httpserver
import tornado.netutil
import tornado.web

from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.web import handlers
from tasks.web.templates import Templates
from tasks.web.watch import Snapshot, Watch

__all__ = ["Pages", "serve"]

_HOST = "127.0.0.1"
_FRESH_SECONDS = 2.0
"""A snapshot is this old at most when somebody gets it, but for the time it takes to make one."""
_LARGEST_BODY = 1 << 16

_log = logging.getLogger("roar")
T = TypeVar("T")


class Pages:
    """What the handlers share. Files are read and pages written in threads: the loop never waits."""

    def __init__(self, report: Report) -> None:
        self.watch = Watch(report)
        self.templates = Templates()
        self._looking = ThreadPoolExecutor(1, "pages-look")
        self._working = ThreadPoolExecutor(2, "pages-work")
        self._latest: tuple[float, Snapshot] | None = None
        self._coming: asyncio.Future[Snapshot] | None = None

    async def snapshot(self) -> Snapshot:
        """Return the state of the grid; nothing is looked at while nobody asks."""
        if self._latest and asyncio.get_running_loop().time() - self._latest[0] < _FRESH_SECONDS:
            return self._latest[1]
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._coming)

    async def _look(self) -> Snapshot:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._looking, self.watch.look)
            self._latest = (loop.time(), found)
            return found
        finally:
            self._coming = None

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._working, function, *arguments)

    def application(self) -> tornado.web.Application:
        """Return what answers requests."""
        return tornado.web.Application(
            [(pattern, handler, {"pages": self}) for pattern, handler in handlers.ROUTES],
            default_handler_class=handlers.Nothing,
            default_handler_args={"pages": self},
            compress_response=True,
            log_function=_quiet,
        )

    def close(self) -> None:
        """Let the threads end."""
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._working.shutdown(wait=False, cancel_futures=True)


def _quiet(handler: tornado.web.RequestHandler) -> None:
    """Keep requests out of the log; what goes wrong in one is logged by Tornado."""


def serve(report: Report, port: int) -> None:
    """Serve the pages of a report's grid on 127.0.0.1 until SIGINT or SIGTERM; call it in the main thread.

    Args:
        report: whose options are in force (``survey.grid_of``).
        port: to listen at; 0 takes any free one. The address is logged.

    Raises:
        InputError: the port cannot be had.
    """
    asyncio.run(_serve(report, port))


def _listen(port: int) -> list[socket.socket]:
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a whole number in 0..65535, got {port}.")
    try:
        return tornado.netutil.bind_sockets(port, _HOST, socket.AF_INET)
    except OSError as error:
        why = "somebody else has it" if error.errno == errno.EADDRINUSE else str(error)
        raise InputError(f"The pages cannot be at {_HOST}:{port}: {why}. Give another port, or 0 for any.") from None


async def _serve(report: Report, port: int) -> None:
    loop, asked_to_stop = asyncio.get_running_loop(), asyncio.Event()
    # Before anybody can connect: who sees that the port answers may ask for the end.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked_to_stop.set)
    sockets = _listen(port)
    pages = await loop.run_in_executor(None, Pages, report)
    server = tornado.httpserver.HTTPServer(pages.application(), max_body_size=_LARGEST_BODY)
    server.add_sockets(sockets)
    _log.info("Pages: http://%s:%d/", *sockets[0].getsockname())
    try:
        await asked_to_stop.wait()
    finally:
        server.stop()
        await server.close_all_connections()
        pages.close()
