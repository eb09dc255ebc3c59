"""How far a stage is: it reports, and whoever listens (the notes on the attempt, the scheduler's page) is told."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["History", "Listener", "listening", "report"]

History = Sequence[Mapping[str, Any]]
"""Of a training, a row per finished epoch: ``epoch``, ``loss``, ``validation`` (None where it was not measured)."""

Listener = Callable[[float, str, History | None], None]
"""(share done in 0..1, one line for people, the history of a training where there is something new in it)."""

_listeners: list[Listener] = []


def report(share: float, text: str, history: History | None = None) -> None:
    """Say how far the work of this process is; costs nothing where nobody listens."""
    for listener in _listeners:
        listener(min(max(share, 0.0), 1.0), text, history)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Have every report of this process told to ``listener`` within the body."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
