"""What the pages share: the watch over the grid, the templates, and the threads that read and draw."""

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
"""A snapshot is this old at most when somebody gets it, but for the time it takes to make one."""

T = TypeVar("T")


class Pages:
    """What the handlers share. Files are read and pages written in threads: the loop never waits."""

    def __init__(self, report: Report) -> None:
        self.watch = Watch(report)
        self.templates = Templates()
        self.painter = Painter(self.templates, self.watch)
        self._looking = ThreadPoolExecutor(1, "pages-look")
        self._working = ThreadPoolExecutor(2, "pages-work")
        self._latest: tuple[float, Snapshot, Drawing] | None = None
        self._coming: asyncio.Future[tuple[Snapshot, Drawing]] | None = None

    async def snapshot(self) -> Snapshot:
        """Return the state of the grid."""
        return (await self._now())[0]

    async def drawing(self) -> Drawing:
        """Return the page of the grid in parts."""
        return (await self._now())[1]

    async def _now(self) -> tuple[Snapshot, Drawing]:
        """Look, unless that was done a moment ago; nothing is looked at while nobody asks."""
        if self._latest and asyncio.get_running_loop().time() - self._latest[0] < _FRESH_SECONDS:
            return self._latest[1:]
        if self._coming is None:
            self._coming = asyncio.ensure_future(self._look())
        return await asyncio.shield(self._coming)

    async def _look(self) -> tuple[Snapshot, Drawing]:
        loop = asyncio.get_running_loop()
        try:
            snapshot, drawing = await loop.run_in_executor(self._looking, self._look_and_draw)
            self._latest = (loop.time(), snapshot, drawing)
            return snapshot, drawing
        finally:
            self._coming = None

    def _look_and_draw(self) -> tuple[Snapshot, Drawing]:
        snapshot = self.watch.look()
        return snapshot, self.painter.draw(snapshot)

    async def work(self, function: Callable[..., T], *arguments: Any) -> T:
        """Call a function in a thread."""
        return await asyncio.get_running_loop().run_in_executor(self._working, function, *arguments)

    def close(self) -> None:
        """Let the threads end."""
        self._looking.shutdown(wait=False, cancel_futures=True)
        self._working.shutdown(wait=False, cancel_futures=True)
