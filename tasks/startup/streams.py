"""Standard output and error, whatever they are: closed, in ASCII, full, or read by somebody who goes away."""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

from roar_pipeline.errors import InputError

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["open_closed", "outcome", "protect"]


class _Output(io.FileIO):
    """Writes to a descriptor; the first error is kept in ``error``, and what comes after it is dropped.

    With ``is_strict`` an error is raised as InputError, but for a reader that has gone. argparse drops an OSError.
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
                    raise InputError(_named(error)) from None
        return memoryview(data).nbytes


_protected: dict[str, _Output] = {}


def open_closed() -> None:
    """Open what was closed (``>&-``) to nowhere: the next file that is opened would take its number, and its text."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            os.dup2(opened, descriptor)
            if opened != descriptor:
                os.close(opened)
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            setattr(sys, name, open(descriptor, "w", encoding="utf-8", closefd=False))  # noqa: SIM115


def protect(*, is_strict: bool = False) -> None:
    """Have standard output and error never raise: letters that they lack are escaped, and errors are kept.

    Args:
        is_strict: nobody asks for the ``outcome``; errors of standard output are raised, but for a lost reader.
    """
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        output = _protected[name] = _Output(descriptor, is_strict=is_strict and name == "stdout")
        is_by_line = name == "stderr" or is_strict or output.isatty()
        text = io.TextIOWrapper(
            io.BufferedWriter(output), stream.encoding, "backslashreplace", line_buffering=is_by_line
        )
        setattr(sys, name, text)


def outcome(code: int, lost: int) -> int:
    """Return the exit code of a command, once its output is written.

    A reader that has gone (``| head -1``) has what it wanted. Any other error of standard output is named.

    Args:
        code: what the command came to.
        lost: what a command comes to that has succeeded, and whose output is lost.
    """
    sys.stdout.flush()
    error = _protected["stdout"].error
    if error is None or error.errno == errno.EPIPE:
        return code
    sys.stderr.write(f"{_named(error)}\n")
    return code or lost


def _named(error: OSError) -> str:
    return f"Standard output cannot be written: {error.strerror}. What was computed is kept. Have it written elsewhere."
