"""What is known of the attempts at a result: their complete logs, the one under way, how far it is, how it failed.

In a result's directory: ``log/attempt-N.log`` stays for good; the notes are scratch and go when the result is done.
``partial-attempt.json`` says what is made, by whom, since when; ``partial-progress.json`` how far it is, with the
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
    "note_failure",
    "open_log",
    "read_log",
    "read_note",
    "recording_attempt",
    "spent_seconds",
]

ATTEMPT = SCRATCH + "attempt.json"
PROGRESS = SCRATCH + "progress.json"
FAILURE = SCRATCH + "failure.json"

_PROGRESS_SECONDS = 0.5
"""Notes on progress are written this often at most."""

_log = logging.getLogger("roar")


def logs(directory: Path) -> list[Path]:
    """Return the logs of all attempts, oldest first; none where the folder cannot be read."""
    try:
        paths = list((directory / LOGS).iterdir())
    except OSError:
        return []
    found = {int(m[1]): path for path in paths if (m := re.fullmatch(r"attempt-(\d+)\.log", path.name))}
    return [found[number] for number in sorted(found)]


def read_log(log: Path) -> str:
    """Return the text of a log; letters that are none are marked.

    Raises:
        OSError: it cannot be read.
    """
    check_is_file(log)
    return log.read_text(encoding="utf-8", errors="replace")


def newest_log(directory: Path) -> Path | None:
    """Return the log of the latest attempt; None where there was none."""
    return next(iter(reversed(logs(directory))), None)


def read_note(directory: Path, name: str) -> dict[str, Any] | None:
    """Return a note; None where there is none, or half of one."""
    try:
        note = read_json(directory / name)
    except (OSError, ValueError, RecursionError):
        return None
    return note if isinstance(note, dict) else None


def spent_seconds(directory: Path) -> float:
    """Return how long unfinished attempts have worked, as far as their notes tell."""
    attempt = read_note(directory, ATTEMPT)
    if attempt is None:
        return 0.0
    ends = [_seconds(read_note(directory, name), key) for name, key in ((PROGRESS, "updated"), (FAILURE, "failed"))]
    started = _seconds(attempt, "started")
    return _seconds(attempt, "spent") + (max(0.0, max(ends) - started) if started else 0.0)


def _seconds(note: Mapping[str, Any] | None, key: str) -> float:
    """Return a time of a note; 0 where it holds none."""
    value = (note or {}).get(key)
    return float(value) if isinstance(value, (int, float)) else 0.0


def note_failure(directory: Path, message: str) -> None:
    """Leave word why an attempt failed. Never raises: where nothing can be written, the log must do."""
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
    """Keep notes on an attempt at these results, and its log, which all of them get.

    Within the body everything that this process and its children print goes to the log; what is logged to ``roar``
    also goes where it went before.

    Args:
        directories: of the results, with their identities.
        commands: that make each of them alone.

    Yields:
        The log, and the listener that notes progress.
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
        yield log, _note_progress(list(directories), started)


def _note_progress(directories: Sequence[Path], started: float) -> Listener:
    """Return a listener that writes share, text, time left and history, not more often than is useful."""
    first: float | None = None
    last = 0.0
    latest: History = ()

    def note(share: float, text: str, history: History | None) -> None:
        nonlocal first, last, latest
        now = time.time()
        first = share if first is None else first
        latest = latest if history is None else history
        if now - last < _PROGRESS_SECONDS:
            return
        last = now
        pace = (share - first) / (now - started)
        left = (1 - share) / pace if pace > 0 else None
        value = {"share": round(share, 4), "text": text, "seconds_left": left, "updated": now, "history": list(latest)}
        with contextlib.suppress(OSError):
            for directory in directories:
                _write(directory / PROGRESS, value)

    return note


def _write(path: Path, value: Any) -> None:
    """Write a note so that no reader finds half of it; unlike a result it may be lost in a power cut."""
    scratch = path.with_name(path.name + ".new")
    scratch.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    scratch.replace(path)


def open_log(directories: Sequence[Path]) -> "Log":
    """Start the next log of the first directory, and show it in the others as theirs."""
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
        """Send file descriptors 1 and 2 and the ``roar`` logger here; the logger's terminal stays where it was."""
        _flush()
        kept = {number: os.dup(number) for number in (1, 2)}
        terminal = os.fdopen(os.dup(kept[2]), "w", encoding="utf-8", buffering=1)
        moved = [h for h in _log.handlers if isinstance(h, logging.StreamHandler) and h.stream is sys.stderr]
        own = logging.StreamHandler(self._file)
        own.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
        own.handleError = _ignore  # type: ignore[method-assign]
        for handler in moved:
            handler.setStream(terminal)
        _log.addHandler(own)
        for number in kept:
            os.dup2(self._file.fileno(), number)
        try:
            yield
        finally:
            _flush()
            for number, copy in kept.items():
                os.dup2(copy, number)
                os.close(copy)
            _log.removeHandler(own)
            for handler in moved:
                handler.setStream(sys.stderr)
            terminal.close()
            with contextlib.suppress(OSError):
                self._file.close()


def _ignore(record: logging.LogRecord) -> None:
    """Lose a line that cannot be written, for want of space, say."""


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
