"""What a run needs to know of the tasks that it works on; who they are is the chain's business."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

from tasks.runtime.resources import Demand

__all__ = ["ResultTask", "Task"]


class ResultTask(Protocol):
    """A task of the chain."""

    @property
    def task_family(self) -> str:
        """The stage."""

    @property
    def fingerprint(self) -> str:
        """Which result it makes."""

    @property
    def directory(self) -> Path:
        """Where the result is."""

    @property
    def title(self) -> str:
        """What people call it."""

    def single_tasks(self) -> Sequence[Any]:
        """Return the tasks of one result each that this one stands for."""

    def deps(self) -> Sequence[Any]:
        """Return the tasks that this one requires."""

    def demand(self) -> Demand:
        """Return what the stage takes of a machine."""


Task = TypeVar("Task", bound=ResultTask)
