"""The state that all request handlers share: the grid's watch, the templates, and the threads that read and draw."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from tasks.chain.report import Report
from tasks.web.drawing import Drawing, Painter
from tasks.web.templates import Templates
from tasks.web.watch import Snapshot, Watch

__all__ = ["Pages"]

_FRESH_SECONDS = 2.0
"""Age up to which a snapshot answers another request."""

T = TypeVar("T")


class Pages:
    """The shared state. Files are read and pages drawn in threads, so that the event loop never blocks."""

    def __init__(self, report: Report) -> None:
        self.watch = Watch(report)
        self.templates = Templates()
        self.painter = Painter(self.templates, self.watch)
        self._watch_thread = ThreadPoolExecutor(1, "pages-watch")
        self._threads = ThreadPoolExecutor(2, "pages-work")
        self._latest: tuple[float, Snapshot, Drawing] | None = None
        self._pending: asyncio.Future[tuple[Snapshot, Drawing]] | None = None

    async def snapshot(self) -> Snapshot:
        """Return the state of the grid."""
        return (await self._current())[0]

    async def drawing(self) -> Drawing:
        """Return the page of the grid in parts."""
        return (await self._current())[1]

    async def _current(self) -> tuple[Snapshot, Drawing]:
        """Return the latest snapshot if it is fresh, else a new one; simultaneous requests share it."""
        if self._latest and asyncio.get_running_loop().time() - self._latest[0] < _FRESH_SECONDS:
            return self._latest[1:]
        if self._pending is None:
            self._pending = asyncio.ensure_future(self._update())
        return await asyncio.shield(self._pending)

    async def _update(self) -> tuple[Snapshot, Drawing]:
        loop = asyncio.get_running_loop()
        try:
            snapshot, drawing = await loop.run_in_executor(self._watch_thread, self._snapshot_and_drawing)
            self._latest = (loop.time(), snapshot, drawing)
            return snapshot, drawing
        finally:
            self._pending = None

    def _snapshot_and_drawing(self) -> tuple[Snapshot, Drawing]:
        snapshot = self.watch.snapshot()
        return snapshot, self.painter.draw(snapshot)

    async def run_in_thread(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function, *arguments)

    def close(self) -> None:
        """Stop the threads after their present calls."""
        self._watch_thread.shutdown(wait=False, cancel_futures=True)
        self._threads.shutdown(wait=False, cancel_futures=True)
