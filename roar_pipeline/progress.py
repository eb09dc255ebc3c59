"""Progress of a stage: notifications of listeners, such as the record of the attempt and the scheduler's page."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

__all__ = ["History", "Listener", "listening", "notify"]

History = Sequence[Mapping[str, Any]]
"""A training's row per finished epoch: ``epoch``, ``loss``, ``validation`` (None if it was not measured)."""

Listener = Callable[[float, str, History | None], None]
"""Function of the share done in 0..1, one line of text, and the history of a training if it is new."""

_listeners: list[Listener] = []


def notify(share: float, text: str, history: History | None = None) -> None:
    """Notify all listeners of this process's progress."""
    for listener in _listeners:
        listener(min(max(share, 0.0), 1.0), text, history)


@contextlib.contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Notify ``listener`` of this process's progress within the body."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)
