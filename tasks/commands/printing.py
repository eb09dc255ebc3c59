"""Output of commands to a terminal, a file or a pipe."""

import sys

from rich.console import Console
from rich.markup import escape

__all__ = ["console", "note", "say"]

_PIPE_WIDTH = 200
"""Width of a line in characters where the output is no terminal."""


def console() -> Console:
    """Return the console of standard output: a terminal's width and colors, or plain lines."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, no_color=True, highlight=False)


def note(out: Console, text: str) -> None:
    """Write plain text without wrapping its lines."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
