"""How the scheduler's page shows this project's tasks: under its name.

Luigi groups families by namespace, which would then have to be typed in every command (``luigi roar.Report``). So tasks
have none, and what passes between a run and its scheduler is renamed on the way.
"""

from typing import Any

from luigi.rpc import RemoteScheduler

from tasks.configuration.settings import settings

__all__ = ["NAMESPACE", "GroupedScheduler"]

NAMESPACE = "roar."


class GroupedScheduler:
    """A scheduler to which families are known by their name with ``NAMESPACE`` in front; see Luigi's for the rest."""

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler

    @property
    def is_central(self) -> bool:
        """Whether it is a luigid, with a page."""
        return isinstance(self._scheduler, RemoteScheduler)

    def page_of(self, fingerprint: str | None = None) -> str | None:
        """Return the address of a result's page, or of the grid; None where there is no page."""
        if not self.is_central:
            return None
        place = f"task/{fingerprint[:12]}" if fingerprint else ""
        return f"http://127.0.0.1:{settings().execution.page_port}/{place}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scheduler, name)

    def add_task(self, *args: Any, family: str = "", tracking_url: str | None = None, **kwargs: Any) -> Any:
        """Announce a task; what has no page of its own, such as a batch, has the grid's."""
        page = tracking_url or self.page_of()
        return self._scheduler.add_task(*args, family=_outside(family), tracking_url=page, **kwargs)

    def add_task_batcher(self, *, task_family: str, **kwargs: Any) -> Any:
        """Announce which parameters of a family may be batched."""
        return self._scheduler.add_task_batcher(task_family=_outside(task_family), **kwargs)

    def get_work(self, **kwargs: Any) -> dict[str, Any]:
        """Ask for a task to run."""
        response: dict[str, Any] = self._scheduler.get_work(**kwargs)
        if "task_family" in response:
            response["task_family"] = response["task_family"].removeprefix(NAMESPACE)
        return response


def _outside(family: str) -> str:
    return f"{NAMESPACE}{family}" if family else family
