"""Checks of requests (this machine's own names and pages only) and of paths (one folder only, links resolved)."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["is_below", "is_own_host", "is_own_page", "open_below", "read_end", "read_json_below"]

_LOG_END = 1 << 14
"""Bytes of a log that a page shows."""

_HOSTS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


def is_own_host(host: str | None) -> bool:
    """Return whether a request's Host header names this machine's loopback, or is missing (no browser omits it).

    Under any other name, another site could have led a browser here (DNS rebinding).
    """
    return host is None or _HOSTS.fullmatch(host) is not None


def is_own_page(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Return whether a request comes from a page of this server, or from no page.

    A page of another origin can make a browser send requests here, and luigid accepts commands by GET, too. Browsers
    send the page's origin as ``Origin``, or its relation to the server as ``Sec-Fetch-Site`` (W3C, Fetch Metadata
    Request Headers). Other clients send neither. Links on other pages may open ``/`` and ``/static/``, which change
    nothing.
    """
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower():
        return False
    if headers.get("Sec-Fetch-Site", "none").lower() in ("none", "same-origin"):
        return True
    opens_page = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return opens_page and method in ("GET", "HEAD") and (path == "/" or path.startswith("/static/"))


def is_below(root: Path, path: Path) -> bool:
    """Return whether a path with its links resolved is in a folder, or is that folder; ``root`` is resolved already."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def open_below(root: Path, path: Path) -> BinaryIO:
    """Open a plain file for reading.

    Raises:
        FileNotFoundError: there is no such file, or its path with links resolved is not in the folder.
    """
    refusal = FileNotFoundError(f"{path} is no plain file below {root}.")
    if not is_below(root, path):
        raise refusal
    try:
        # O_NONBLOCK: a pipe blocks until it has a writer. O_NOFOLLOW: a link may have replaced the file since.
        descriptor = os.open(path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise refusal from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refusal
    return os.fdopen(descriptor, "rb")


def read_json_below(root: Path, path: Path) -> Any:
    """Read a JSON file; None if there is none below the folder, or it is incomplete."""
    try:
        with open_below(root, path) as file:
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def read_end(file: BinaryIO) -> str:
    """Return the last whole lines of a text, up to 16 KiB, below a note if the text is longer."""
    start = max(0, os.fstat(file.fileno()).st_size - _LOG_END)
    file.seek(start)
    content = file.read(_LOG_END)
    if not start:
        return content.decode(errors="replace")
    _, newline, lines = content.partition(b"\n")
    return "… the beginning is in the whole log\n" + (lines if newline else content).decode(errors="replace")
