"""The web server of a grid, its results and its report: GET and HEAD, from this machine only.

Addresses: ``/`` (the grid), ``/changes?since=<revision>`` (the changed parts of its page), ``/task/<digits>`` (a
result, by its fingerprint or the first 12 digits; below it ``log/<number>``, ``files/<name>``), ``/report``,
``/others`` (results outside the grid).
"""

import asyncio
import errno
import logging
import signal
import socket

import tornado.httpserver
import tornado.netutil
import tornado.web

from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.web import handlers
from tasks.web.pages import Pages

__all__ = ["application", "serve"]

_HOST = "127.0.0.1"
_LARGEST_BODY = 1 << 16

_log = logging.getLogger("roar")


def application(pages: Pages) -> tornado.web.Application:
    """Return the web application."""
    return tornado.web.Application(
        [(pattern, handler, {"pages": pages}) for pattern, handler in handlers.ROUTES],
        default_handler_class=handlers.NotFound,
        default_handler_args={"pages": pages},
        compress_response=True,
        log_function=_log_nothing,
    )


def _log_nothing(handler: tornado.web.RequestHandler) -> None:
    """Keep requests out of the log; Tornado logs their errors elsewhere."""


def serve(report: Report, port: int) -> None:
    """Serve the pages of a report's grid on 127.0.0.1 until SIGINT or SIGTERM; call it in the main thread.

    Args:
        report: the report, with its options in force (``survey.grid_of``).
        port: the port to listen on; 0 takes any free one. The address is logged.

    Raises:
        InputError: the port is not available.
    """
    asyncio.run(_serve(report, port))


def _listen(port: int) -> list[socket.socket]:
    if not 0 <= port <= 65535:
        raise InputError(f"a port is a whole number in 0..65535, got {port}.")
    try:
        return tornado.netutil.bind_sockets(port, _HOST, socket.AF_INET)
    except OSError as error:
        reason = "the port is in use" if error.errno == errno.EADDRINUSE else str(error)
        raise InputError(f"The pages cannot be at {_HOST}:{port}: {reason}. Give another port, or 0 for any.") from None


async def _serve(report: Report, port: int) -> None:
    loop, stop_event = asyncio.get_running_loop(), asyncio.Event()
    # Before the port is open: once it answers, its user may send a signal.
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop_event.set)
    sockets = _listen(port)
    pages = await loop.run_in_executor(None, Pages, report)
    server = tornado.httpserver.HTTPServer(application(pages), max_body_size=_LARGEST_BODY)
    server.add_sockets(sockets)
    _log.info("Pages: http://%s:%d/", *sockets[0].getsockname())
    try:
        await stop_event.wait()
    finally:
        server.stop()
        await server.close_all_connections()
        pages.close()
