"""Faults of a data set's files, collected so that one message lists several."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from roar_pipeline.datasets import voc
from roar_pipeline.errors import InputError

__all__ = ["Faults"]

_MOST = 10


class Faults:
    """Distinct faults of the files under ``root``, at most ten."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._messages: dict[str, str] = {}
        """Fault to its first message: an undeclared class is one fault, in however many files it occurs."""

    def read(self, read: Callable[..., Any], *where: Any) -> Any:
        """Return ``read(root, *where)``, or None and record the reason.

        Raises:
            InputError: this is the tenth fault.
        """
        try:
            return read(self._root, *where)
        except voc.UndeclaredClassError as error:
            self._messages.setdefault(error.name, str(error))
        except InputError as error:
            self._messages[str(error)] = str(error)
        if len(self._messages) == _MOST:
            self.check()
        return None

    def check(self) -> None:
        """Raise InputError with all faults, if there are any."""
        if len(self._messages) == 1:
            raise InputError(*self._messages.values())
        if self._messages:
            count = f"The first {len(self._messages)}" if len(self._messages) == _MOST else str(len(self._messages))
            listed = "\n".join(f"  - {message}" for message in self._messages.values())
            raise InputError(f"{count} mistakes in {self._root}:\n{listed}")
