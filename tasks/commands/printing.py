"""How commands write to the terminal, or to a file or pipe."""

import sys

from rich.console import Console
from rich.markup import escape

__all__ = ["console", "note", "say"]

_PIPE_WIDTH = 200
"""Characters of a line where the output is no terminal."""


def console() -> Console:
    """Return where to write: a terminal with its width and colors, or plain lines."""
    return Console() if sys.stdout.isatty() else Console(width=_PIPE_WIDTH, no_color=True, highlight=False)


def note(out: Console, text: str) -> None:
    """Write plain text as it is, however long its lines are."""
    out.print(escape(text), soft_wrap=True, highlight=False)


def say(text: str) -> None:
    """Write a line to standard output at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
