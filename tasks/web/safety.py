"""Answering strangers: by the machine's own name alone, and with nothing outside one folder, wherever links lead."""

import json
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

__all__ = ["is_below", "is_own_host", "is_own_page", "open_below", "read_end", "read_json_below"]

_END = 1 << 14
"""Bytes of a log that a page shows."""

_HOSTS = re.compile(r"(localhost|127\.0\.0\.1|\[::1\])(:[0-9]{1,5})?", re.IGNORECASE)


def is_own_host(host: str | None) -> bool:
    """Tell whether a request's Host header names this machine's loopback; a request without one comes from no browser.

    Under any other name another site could have led a browser here (DNS rebinding).
    """
    return host is None or _HOSTS.fullmatch(host) is not None


def is_own_page(method: str, path: str, headers: Mapping[str, str]) -> bool:
    """Tell whether a request comes from a page of the server that it is for, or from no page at all.

    A page of any other origin can have a browser send requests here, and luigid takes commands by GET, too. Browsers
    name the origin in ``Origin``, or in ``Sec-Fetch-Site`` how it relates to the server (W3C, Fetch Metadata Request
    Headers). Other clients send neither. A link on another page may open what only shows something: ``/`` and
    ``/static/``.
    """
    origin = headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != headers.get("Host", "").lower():
        return False
    if headers.get("Sec-Fetch-Site", "none").lower() in ("none", "same-origin"):
        return True
    opens_page = headers.get("Sec-Fetch-Mode") == "navigate" and headers.get("Sec-Fetch-Dest") == "document"
    return opens_page and method in ("GET", "HEAD") and (path == "/" or path.startswith("/static/"))


def is_below(root: Path, path: Path) -> bool:
    """Tell whether a path, links followed, is below a folder (itself without links) or is that folder."""
    try:
        return path.resolve().is_relative_to(root)
    except (OSError, RuntimeError, ValueError):
        return False


def open_below(root: Path, path: Path) -> BinaryIO:
    """Open a plain file for reading.

    Raises:
        FileNotFoundError: there is none, or it is not below the folder, links followed.
    """
    refusal = FileNotFoundError(f"{path} is no plain file below {root}.")
    if not is_below(root, path):
        raise refusal
    try:
        # A pipe would wait for its writer for good; a link at this place now was none a moment ago.
        descriptor = os.open(path.resolve(), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        raise refusal from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise refusal
    return os.fdopen(descriptor, "rb")


def read_json_below(root: Path, path: Path) -> Any:
    """Read a JSON file; None where there is none below the folder, or half of one."""
    try:
        with open_below(root, path) as file:
            return json.loads(file.read())
    except (OSError, ValueError, RecursionError):
        return None


def read_end(file: BinaryIO) -> str:
    """Return the last whole lines of a text, up to 16 KiB, and say where others come before them."""
    start = max(0, os.fstat(file.fileno()).st_size - _END)
    file.seek(start)
    content = file.read(_END)
    if not start:
        return content.decode(errors="replace")
    _, newline, lines = content.partition(b"\n")
    return "… the beginning is in the whole log\n" + (lines if newline else content).decode(errors="replace")
