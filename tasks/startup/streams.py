"""Standard output and error, whatever they are: closed, in ASCII, full, or read by somebody who goes away."""

import errno
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["open_closed", "outcome", "protect"]


class _Output(io.FileIO):
    """Writes to a descriptor; the first error is kept in ``error``, and what comes after it is dropped."""

    def __init__(self, descriptor: int) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self.error: OSError | None = None

    def write(self, data: "Buffer") -> int:
        if self.error is None:
            try:
                return super().write(data) or 0
            except OSError as error:
                self.error = error
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


def protect() -> None:
    """Have standard output and error never raise: letters that they lack are escaped, and errors are kept."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        stream.flush()
        output = _protected[name] = _Output(descriptor)
        is_by_line = name == "stderr" or output.isatty()
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
    sys.stderr.write(
        f"Standard output cannot be written: {error.strerror}. What was computed is kept. Have it written elsewhere.\n"
    )
    return code or lost
