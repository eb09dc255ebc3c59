"""Group this project's tasks under its name on the scheduler's page.

Luigi groups families by namespace, which every command would have to name (``luigi roar.Report``). So tasks have no
namespace, and the families are renamed between a run and its scheduler.
"""

from typing import Any

from luigi.rpc import RemoteScheduler

from tasks.configuration.settings import settings

__all__ = ["NAMESPACE", "GroupedScheduler"]

NAMESPACE = "roar."


class GroupedScheduler:
    """A proxy of Luigi's scheduler that prefixes families with ``NAMESPACE``."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    @property
    def is_central(self) -> bool:
        """Whether the scheduler is a luigid, with a page."""
        return isinstance(self._scheduler, RemoteScheduler)

    def page_of(self, fingerprint: str | None = None) -> str | None:
        """Return the address of a result's page, or of the grid's; None without a luigid."""
        if not self.is_central:
            return None
        path = f"task/{fingerprint[:12]}" if fingerprint else ""
        return f"http://127.0.0.1:{settings().execution.page_port}/{path}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def add_task(self, *args: Any, family: str = "", tracking_url: str | None = None, **kwargs: Any) -> Any:
        """Announce a task; one without a page, such as a batch, links to the grid's page."""
        page = tracking_url or self.page_of()
        return self._scheduler.add_task(*args, family=_prefixed(family), tracking_url=page, **kwargs)

    def add_task_batcher(self, *, task_family: str, **kwargs: Any) -> Any:
        """Announce which parameters of a family may be batched."""
        return self._scheduler.add_task_batcher(task_family=_prefixed(task_family), **kwargs)

    def get_work(self, **kwargs: Any) -> dict[str, Any]:
        """Ask for a task to run."""
        response: dict[str, Any] = self._scheduler.get_work(**kwargs)
        if "task_family" in response:
            response["task_family"] = response["task_family"].removeprefix(NAMESPACE)
        return response


def _prefixed(family: str) -> str:
    return f"{NAMESPACE}{family}" if family else family
