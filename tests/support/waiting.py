"""Waits for named conditions."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

__all__ = ["until", "waits_for_lock"]


def until(what: str, condition: Callable[[], Any], seconds: float = 120, *, interval: float = 0.05) -> Any:
    """Call ``condition`` every ``interval`` seconds until its value is true, and return the value.

    Fails with ``what`` after ``seconds``.
    """
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain until {what}"
        time.sleep(interval)
    return value


def waits_for_lock(pid: int) -> bool:
    """Return whether a process is blocked in ``flock``, by the kernel's list of locks (Linux)."""
    return re.search(rf"-> FLOCK .* {pid} ", Path("/proc/locks").read_text(encoding="utf-8")) is not None
