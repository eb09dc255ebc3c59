"""The interface of a task that the runtime uses, so that it need not import the chain."""

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
        """The fingerprint of its result."""

    @property
    def directory(self) -> Path:
        """The folder of its result."""

    @property
    def title(self) -> str:
        """Name for people."""

    def single_tasks(self) -> Sequence[Any]:
        """Return the tasks of this batch, one per result; a single task returns itself."""

    def deps(self) -> Sequence[Any]:
        """Return the tasks that this one requires."""

    def demand(self) -> Demand:
        """Return the memory and GPU that the stage needs."""


Task = TypeVar("Task", bound=ResultTask)
