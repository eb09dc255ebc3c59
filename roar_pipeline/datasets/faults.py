"""Faults of a data set's files, collected so that one message lists several."""

from collections.abc import Callable
from typing import Any

from roar_pipeline.errors import InputError

__all__ = ["Faults", "UndeclaredClassError"]

_MOST = 10


class UndeclaredClassError(InputError):
    """An image is of a class, ``name``, that the settings do not declare."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


class Faults:
    """Distinct faults of the data set ``where``, at most ten."""

    def __init__(self, where: Any) -> None:
        self._where = where
        self._messages: dict[str, str] = {}
        """Fault to its first message: an undeclared class is one fault, in however many files it occurs."""

    def read(self, read: Callable[..., Any], *arguments: Any) -> Any:
        """Return ``read(*arguments)``, or None and record the reason.

        Raises:
            InputError: this is the tenth fault.
        """
        try:
            return read(*arguments)
        except UndeclaredClassError as error:
            self._messages.setdefault(error.name, str(error))
        except InputError as error:
            self._messages[str(error)] = str(error)
        if len(self._messages) == _MOST:
            self.check()
        return None

    def add(self, message: str) -> None:
        """Record a fault.

        Raises:
            InputError: this is the tenth fault.
        """

        def fail() -> None:
            raise InputError(message)

        self.read(fail)

    def check(self) -> None:
        """Raise InputError with all faults, if there are any."""
        if len(self._messages) == 1:
            raise InputError(*self._messages.values())
        if self._messages:
            count = f"The first {len(self._messages)}" if len(self._messages) == _MOST else str(len(self._messages))
            listed = "\n".join(f"  - {message}" for message in self._messages.values())
            raise InputError(f"{count} mistakes in {self._where}:\n{listed}")
