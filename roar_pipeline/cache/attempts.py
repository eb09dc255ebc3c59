"""The attempts at a result: the log of each attempt, and notes on the latest one, its progress and its failure.

In a result's directory: ``log/attempt-N.log`` stays for good; the notes are scratch and go when the result is done.
``partial-attempt.json`` has the identity, the process and its start; ``partial-progress.json`` the share done and the
history of a training so far; ``partial-failure.json`` why the last attempt failed. Times are seconds of the epoch.
"""

import contextlib
import json
import logging
import os
import re
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from roar_pipeline.cache.files import LOGS, SCRATCH, check_is_file, read_json
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import code_digest
from roar_pipeline.progress import History, Listener

__all__ = [
    "Log",
    "logs",
    "newest_log",
    "open_log",
    "read_log",
    "read_note",
    "record_failure",
    "recording_attempt",
    "spent_seconds",
]

ATTEMPT = SCRATCH + "attempt.json"
PROGRESS = SCRATCH + "progress.json"
FAILURE = SCRATCH + "failure.json"

_PROGRESS_SECONDS = 0.5
"""Shortest interval between two notes on progress."""

_log = logging.getLogger("roar")


def logs(directory: Path) -> list[Path]:
    """Return the logs of all attempts, oldest first; empty if the folder cannot be read."""
    try:
        paths = list((directory / LOGS).iterdir())
    except OSError:
        return []
    by_number = {int(m[1]): path for path in paths if (m := re.fullmatch(r"attempt-(\d+)\.log", path.name))}
    return [by_number[number] for number in sorted(by_number)]


def read_log(log: Path) -> str:
    """Return the text of a log; invalid UTF-8 is marked.

    Raises:
        OSError: it cannot be read.
    """
    check_is_file(log)
    return log.read_text(encoding="utf-8", errors="replace")


def newest_log(directory: Path) -> Path | None:
    """Return the log of the latest attempt; None before the first attempt."""
    return next(iter(reversed(logs(directory))), None)


def read_note(directory: Path, name: str) -> dict[str, Any] | None:
    """Return a note; None if it is missing or not readable as JSON."""
    try:
        note = read_json(directory / name)
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def spent_seconds(directory: Path) -> float:
    """Return the seconds that unfinished attempts have worked, according to their notes."""
    attempt = read_note(directory, ATTEMPT)
    if attempt is None:
        return 0.0
    ends = [_seconds(read_note(directory, name), key) for name, key in ((PROGRESS, "updated"), (FAILURE, "failed"))]
    started = _seconds(attempt, "started")
    return _seconds(attempt, "spent") + (max(0.0, max(ends) - started) if started else 0.0)


def _seconds(note: Mapping[str, Any] | None, key: str) -> float:
    """Return a time of a note; 0 if it is missing."""
    value = (note or {}).get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def record_failure(directory: Path, message: str) -> None:
    """Record the failure of an attempt. Never raises: where the note cannot be written, the log has the error."""
    attempt = read_note(directory, ATTEMPT) or {}
    with contextlib.suppress(OSError):
        newest = newest_log(directory)
        _write(
            directory / FAILURE,
            {
                "message": message,
                "failed": time.time(),
                "log": str(newest.relative_to(directory)) if newest else None,
                "command": attempt.get("command"),
            },
        )


@contextlib.contextmanager
def recording_attempt(
    directories: Mapping[Path, Mapping[str, Any]], commands: Mapping[Path, str]
) -> Iterator[tuple["Log", Listener]]:
    """Keep the notes and the log of an attempt at these results, which share the log.

    Within the body the output of this process and its children goes to the log. Records of the logger ``roar`` go to
    the log and to the terminal.

    Args:
        directories: of the results, to their identities.
        commands: of the results, by directory: the shell command that makes this result alone.

    Yields:
        The log, and the listener that writes the notes on progress.
    """
    log = open_log(list(directories))
    started = time.time()
    for directory, identity in directories.items():
        spent = spent_seconds(directory)
        for name in (PROGRESS, FAILURE):
            (directory / name).unlink(missing_ok=True)
        _write(
            directory / ATTEMPT,
            {
                "fingerprint": fingerprint(identity),
                "identity": identity,
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "started": started,
                "spent": spent,
                "command": commands[directory],
            },
        )
        log.line(f"{directory} ({log.path.name}, pid {os.getpid()} on {socket.gethostname()}, code {code_digest()})")
        log.line(f"again, alone: {commands[directory]}")
    with log.capturing():
        yield log, _progress_writer(list(directories), started)


def _progress_writer(directories: Sequence[Path], started: float) -> Listener:
    """Return a listener that writes share, text, time left and history, at most every ``_PROGRESS_SECONDS``."""
    first: float | None = None
    last = 0.0
    latest: History = ()

    def write(share: float, text: str, history: History | None) -> None:
        nonlocal first, last, latest
        now = time.time()
        first = share if first is None else first
        latest = latest if history is None else history
        if now - last < _PROGRESS_SECONDS:
            return
        last = now
        pace = (share - first) / (now - started)
        seconds = (1 - share) / pace if pace > 0 else None
        note = {
            "share": round(share, 4),
            "text": text,
            "seconds_left": seconds,
            "updated": now,
            "history": list(latest),
        }
        with contextlib.suppress(OSError):
            for directory in directories:
                _write(directory / PROGRESS, note)

    return write


def _write(path: Path, value: Any) -> None:
    """Write a note atomically; unlike a result it is not flushed to disk, and may be lost in a power cut."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    scratch.replace(path)


def open_log(directories: Sequence[Path]) -> "Log":
    """Start the next log of the first directory, and link it into the others."""
    first, *others = (_next_log(directory) for directory in directories)
    log = Log(first)
    for other in others:
        with contextlib.suppress(OSError):
            os.link(first, other)
    return log


def _next_log(directory: Path) -> Path:
    (directory / LOGS).mkdir(exist_ok=True)
    last = newest_log(directory)
    number = 1 if last is None else int(last.stem.removeprefix("attempt-")) + 1
    return directory / LOGS / f"attempt-{number}.log"


class Log:
    """The log of one attempt."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO = path.open("a", encoding="utf-8", buffering=1)

    def line(self, text: str) -> None:
        """Add a line with the time. A full disk loses the line, not the work."""
        with contextlib.suppress(OSError):
            self._file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def trace(self, error: BaseException) -> None:
        """Add an error with its whole traceback."""
        self.line("".join(traceback.format_exception(error)).rstrip())

    @contextlib.contextmanager
    def capturing(self) -> Iterator[None]:
        """Redirect file descriptors 1 and 2 to the log; the logger ``roar`` writes to both log and terminal."""
        _flush()
        saved = {number: os.dup(number) for number in (1, 2)}
        terminal = os.fdopen(os.dup(saved[2]), "w", encoding="utf-8", buffering=1)
        redirected = [h for h in _log.handlers if isinstance(h, logging.StreamHandler) and h.stream is sys.stderr]
        to_file = logging.StreamHandler(self._file)
        to_file.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        to_file.handleError = _ignore  # type: ignore[method-assign]
        for handler in redirected:
            handler.setStream(terminal)
        _log.addHandler(to_file)
        for number in saved:
            os.dup2(self._file.fileno(), number)
        try:
            yield
        finally:
            _flush()
            for number, copy in saved.items():
                os.dup2(copy, number)
                os.close(copy)
            _log.removeHandler(to_file)
            for handler in redirected:
                handler.setStream(sys.stderr)
            terminal.close()
            with contextlib.suppress(OSError):
                self._file.close()


def _ignore(record: logging.LogRecord) -> None:
    """Drop a line that cannot be written, on a full disk for example."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
