"""Standard output and error that may be closed, ASCII only, on a full disk, or a pipe whose reader has ended."""

import errno
import functools
import io
import logging
import os
import sys
from typing import TYPE_CHECKING, Any

from roar_pipeline.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["finish_output", "open_closed", "protect", "renew_after_forks"]


class _Output(io.FileIO):
    """Writes to a descriptor; stores the first error in ``error``, and drops all later output.

    With ``is_strict`` an error is raised as InputError, because argparse drops an OSError; a broken pipe never is.
    """

    def __init__(self, descriptor: int, *, is_strict: bool = False) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None
        self._is_strict = is_strict

    def write(self, data: "Buffer") -> int:
        if self.error is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.error = error
                if self._is_strict and error.errno != errno.EPIPE:
                    raise InputError(_error_message(error)) from None
        return memoryview(data).nbytes


_protected: dict[str, _Output] = {}
_inherited: list[Any] = []
"""Streams of a forked process's parent. They are never closed: closing one would wait for its lock."""


def open_closed() -> None:
    """Open closed standard streams (``>&-``) on /dev/null; otherwise the next opened file would get their output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            devnull = os.open(os.devnull, os.O_RDWR)
            os.dup2(devnull, descriptor)
            if devnull != descriptor:
                os.close(devnull)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def protect(*, is_strict: bool = False) -> None:
    """Make standard output and error never raise: they escape letters that they cannot encode, and store errors.

    Args:
        is_strict: raise errors of standard output, except a broken pipe; for commands without ``finish_output``.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        output = _protected[name] = _Output(descriptor, is_strict=is_strict and name == "stdout")
        setattr(sys, name, _text(output, stream.encoding, name == "stderr" or is_strict or output.isatty()))


def _text(output: _Output, encoding: str, is_line_buffered: bool) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.BufferedWriter(output), encoding, "backslashreplace", line_buffering=is_line_buffered)


@functools.cache
def renew_after_forks() -> None:
    """Give every process that is forked from now on standard streams of its own, and the loggers these.

    A stream has a lock. If a thread of the parent writes at the moment of the fork, such as the one that shows the
    progress, the child inherits the lock as taken, and its first flush would wait forever. The bars of the terminal,
    with a lock and a thread of their own, stay the parent's likewise.
    """
    os.register_at_fork(after_in_child=_renew)


def _renew() -> None:
    renewed: dict[int, io.TextIOWrapper] = {}
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        inherited = getattr(sys, name)
        _inherited.append(inherited)
        stream = getattr(inherited, "rich_proxied_file", inherited)
        text = _text(_Output(descriptor), getattr(stream, "encoding", None) or "utf-8", is_line_buffered=True)
        renewed |= {id(inherited): text, id(stream): text}
        setattr(sys, name, text)
    for handler in _handlers():
        if id(handler.stream) in renewed:
            handler.stream = renewed[id(handler.stream)]  # setStream would flush the inherited one


def _handlers() -> list[logging.StreamHandler[Any]]:
    """Return the handlers of all loggers that write to a stream."""
    loggers = [logging.getLogger(), *logging.Logger.manager.loggerDict.values()]
    handlers = [handler for logger in loggers for handler in getattr(logger, "handlers", ())]
    return [handler for handler in handlers if isinstance(handler, logging.StreamHandler)]


def finish_output(code: int, error_code: int) -> int:
    """Flush standard output, report its error, and return the command's exit code.

    A broken pipe (``| head -1``) is no error: its reader needs no more output.

    Args:
        code: exit code of the command's work.
        error_code: exit code if the work succeeded but its output is lost.
    """
    sys.stdout.flush()
    error = _protected["stdout"].error
    if error is None or error.errno == errno.EPIPE:
        return code
    sys.stderr.write(f"{_error_message(error)}\n")
    return code or error_code


def _error_message(error: OSError) -> str:
    return f"Standard output cannot be written: {error.strerror}. What was computed is kept. Have it written elsewhere."
