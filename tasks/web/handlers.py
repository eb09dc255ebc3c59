"""The request handlers and their addresses."""

import contextlib
import http.client
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import tornado.web
from tornado.iostream import StreamClosedError
from tornado.web import HTTPError

from roar_pipeline.cache.manifests import MANIFEST
from tasks.chain.survey import FAMILIES
from tasks.web import details, grid
from tasks.web.curves import HEIGHT, WIDTH
from tasks.web.drawing import ROW_PREFIXES
from tasks.web.pages import Pages
from tasks.web.safety import is_below, is_own_host, open_below
from tasks.web.templates import STATIC
from tasks.web.watch import DIGITS, Snapshot

__all__ = ["ROUTES", "NotFound"]

_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "frame-src 'self'; frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
_POLICY_OF_RESULTS = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; frame-ancestors 'self'; base-uri 'none'; "
    "form-action 'none'; sandbox allow-downloads"
)
"""For HTML files of results, which contain their styles and pictures: no scripts."""
_TYPES = {
    ".png": "image/png",
    ".json": "application/json",
    ".csv": "text/plain; charset=utf-8",
    ".txt": "text/plain; charset=utf-8",
    ".log": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""Content types of the files that a browser shows; it saves all others."""
_BLOCK = 1 << 18
"""Bytes of a file that are sent at once."""
_REPORT_FILE = "report.html"
T = TypeVar("T")


class _Handler(tornado.web.RequestHandler):
    """Answers GET and HEAD from this machine, with headers that restrict what a browser may do with the answer."""

    SUPPORTED_METHODS = ("GET", "HEAD")

    def initialize(self, pages: Pages) -> None:
        self.pages = pages

    def set_default_headers(self) -> None:
        self.clear_header("Server")
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("X-Frame-Options", "SAMEORIGIN")
        self.set_header("Referrer-Policy", "no-referrer")
        self.set_header("Cross-Origin-Resource-Policy", "same-origin")
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Allow", "GET, HEAD")

    def prepare(self) -> None:
        """Refuse foreign host names: another site could have led a browser here (DNS rebinding)."""
        if not is_own_host(self.request.headers.get("Host")):
            raise HTTPError(403)

    async def head(self, *arguments: str) -> None:
        await self.get(*arguments)  # type: ignore[misc]

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        if not isinstance(value, HTTPError):
            super().log_exception(typ, value, tb)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        reason = http.client.responses.get(status_code, "")
        self.finish(self.pages.templates.render("message", status=status_code, reason=reason))

    async def render_page(self, name: str, **values: Any) -> None:
        """Answer with a page."""
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.write(await self.pages.run_in_thread(lambda: self.pages.templates.render(name, **values)))

    async def read(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread; a FileNotFoundError becomes 404."""
        try:
            return await self.pages.run_in_thread(function, *arguments)
        except FileNotFoundError:
            raise HTTPError(404) from None

    async def item(self, address: str) -> tuple[Snapshot, details.Item]:
        """Return the grid's state, and the result that an address names."""
        snapshot = await self.pages.snapshot()
        item = await self.read(details.find_item, self.pages.watch.runs, snapshot, address)
        if item is None:
            raise HTTPError(404)
        return snapshot, item

    async def send(self, path: Path, kind: str | None = None) -> None:
        """Answer with a file, block by block."""
        file: BinaryIO = await self.read(open_below, self.pages.watch.runs, path)
        with file:
            self.set_header("Content-Type", kind or "application/octet-stream")
            if kind is None:
                self.set_header("Content-Disposition", "attachment")
            remaining = os.fstat(file.fileno()).st_size
            self.set_header("Content-Length", remaining)
            if self.request.method == "HEAD":
                return
            # The client may disconnect; a log may grow, and is sent up to its length at the start.
            with contextlib.suppress(StreamClosedError):
                while remaining and (block := await self.pages.run_in_thread(file.read, min(remaining, _BLOCK))):
                    remaining -= len(block)
                    self.write(block)
                    await self.flush()


class NotFound(_Handler):
    """Every other address."""

    async def get(self) -> None:
        """Answer with 404."""
        raise HTTPError(404)


class _GridHandler(_Handler):
    async def render_parts(self, name: str, parts: Mapping[str, str], revision: int, **values: Any) -> None:
        """Answer with parts of the grid's page, and the address at which a browser asks for later changes."""
        watch = self.pages.watch
        source, layout = f"/changes?since={watch.boot}-{revision}", grid.layout_digest(watch.cells)
        await self.render_page(name, parts=parts, source=source, layout=layout, **values)


class Index(_GridHandler):
    """The grid."""

    async def get(self) -> None:
        """Show every result of the grid with its state."""
        drawing = await self.pages.drawing()
        await self.render_parts(
            "index", drawing.parts, drawing.revision, blocks=self.pages.painter.blocks, data=self.pages.watch.data
        )


class Changes(_GridHandler):
    """The changes of the grid's page, for a browser that shows it."""

    async def get(self) -> None:
        """Answer with the parts that changed after a revision; with all parts if it is no revision of this server."""
        boot, _, number = self.get_query_argument("since", "").partition("-")
        since = int(number) if boot == self.pages.watch.boot and re.fullmatch(r"[0-9]{1,12}", number) else -1
        drawing = await self.pages.drawing()
        await self.render_parts("changes", drawing.since(since), drawing.revision, row_prefixes=ROW_PREFIXES)


class Task(_Handler):
    """A result."""

    async def get(self, address: str) -> None:
        """Show the result, and the end of its newest log, or of the log of ``?attempt=<number>``."""
        attempt = self.get_query_argument("attempt", None)
        if attempt is not None and not re.fullmatch(r"[0-9]{1,9}", attempt):
            raise HTTPError(404)
        number = None if attempt is None else int(attempt)
        snapshot, item = await self.item(address)
        contents = await self.read(details.read_details, self.pages.watch.runs, snapshot, item, number)
        await self.render_page("task", details=contents, attempt=number, W=WIDTH, H=HEIGHT)


class Log(_Handler):
    """The log of one attempt."""

    async def get(self, address: str, number: str) -> None:
        """Answer with the whole log."""
        _, item = await self.item(address)
        path = (await self.read(item.logs)).get(int(number))
        if path is None:
            raise HTTPError(404)
        await self.send(path, _TYPES[".log"])


class File(_Handler):
    """A file of a result."""

    async def get(self, address: str, name: str) -> None:
        """Answer with the file, if the result's manifest names it."""
        _, item = await self.item(address)
        path = item.file(name)
        if path is None:
            raise HTTPError(404)
        if path.suffix == ".html":
            self.set_header("Content-Security-Policy", _POLICY_OF_RESULTS)
        await self.send(path, _TYPES.get(path.suffix))


class ReportPage(_Handler):
    """The report."""

    async def get(self) -> None:
        """Show the grid's report; if it is not done, the newest one of the cache, and say so."""
        snapshot = await self.pages.snapshot()
        (own,) = snapshot.survey.entries_of("Report")
        is_own = own.state.kind == "done"
        family = own.task.directory.parent
        manifests = [own.task.directory / MANIFEST] if is_own else family.glob(f"*/{MANIFEST}")
        directory, finished = await self.read(self._newest, manifests)
        states = [facts["state"] for facts in snapshot.facts.values() if facts["family"] != "Report"]
        await self.render_page(
            "shown_report",
            digits=directory.name[-DIGITS:] if directory else None,
            finished=finished,
            is_own=is_own,
            done=states.count("done"),
            total=len(states),
        )

    def _newest(self, manifests: Iterable[Path]) -> tuple[Path | None, float]:
        """Return the directory of the newest report, and when it was finished (seconds of the epoch)."""
        times = {
            path.parent: path.stat().st_mtime
            for path in manifests
            if is_below(self.pages.watch.runs, path) and (path.parent / _REPORT_FILE).is_file()
        }
        return max(times.items(), key=lambda pair: pair[1], default=(None, 0.0))


class Others(_Handler):
    """Results outside the grid."""

    async def get(self) -> None:
        """List the results of the cache that are not part of the grid."""
        snapshot = await self.pages.snapshot()
        rows: dict[str, list[tuple[str, str]]] = {family: [] for family in FAMILIES}
        for digits, directory in snapshot.others.items():
            rows[directory.parent.name].append((digits, directory.name))
        await self.render_page("others", rows={family: results for family, results in rows.items() if results})


class Static(_Handler):
    """Style, script and icon."""

    async def get(self, name: str) -> None:
        """Answer with the file."""
        if name not in STATIC:
            raise HTTPError(404)
        self.set_header("Content-Type", _TYPES[Path(name).suffix])
        self.set_header("Cache-Control", "no-cache")
        self.write(STATIC[name])


_TASK = r"/task/([0-9a-f]{12}|[0-9a-f]{64})"
ROUTES: list[tuple[str, type[_Handler]]] = [
    (r"/", Index),
    (r"/changes", Changes),
    (_TASK, Task),
    (_TASK + r"/log/([0-9]{1,9})", Log),
    (_TASK + r"/files/([^/]+)", File),
    (r"/report", ReportPage),
    (r"/others", Others),
    (r"/static/([^/]+)", Static),
]
"""Patterns of addresses, with their handlers."""
