"""Errors that end a command before anything is started, as one message that says what to do.

Luigi reads the command line before our code sees it, and some of its errors pass all handlers: for those there is
Python's hook for uncaught exceptions.
"""

import argparse
import contextlib
import difflib
import sys
from types import TracebackType

from luigi.cmdline_parser import CmdlineParser
from luigi.parameter import ParameterException
from luigi.task_register import TaskClassException

from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened
from tasks.configuration.settings import BAD_INPUT, families, settings

__all__ = ["install", "no_task", "refusal"]

_LIKE = 0.5
"""How much of a name must be right (1: all) for another to be suggested."""


def refusal(error: BaseException) -> InputError | None:
    """Return what an error means to the user, if it is theirs to mend; None for others."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, InputError):
            return link
    for link in chain:
        if isinstance(link, (TaskClassException, argparse.ArgumentError)):
            return no_task(next((word for word in _words() if word not in families()), ""))
    is_of_value = any(isinstance(link, (ValueError, AssertionError, TypeError)) for link in chain)
    if is_of_value and (mistakes := _mistakes()):
        return mistakes
    return next((InputError(str(link)) for link in chain if isinstance(link, ParameterException)), None)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error and those that it came from or followed, the latest first."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _mistakes() -> InputError | None:
    """Return what is wrong with the settings of the files and of Luigi's command line, if this is its process."""
    line = CmdlineParser.global_instance(sys.argv[1:], allow_override=True) if "--module" in sys.argv else None
    try:
        with line or contextlib.nullcontext():
            settings()
    except InputError as mistakes:
        return mistakes
    return None


def no_task(word: str) -> InputError:
    """Return the error of who asks for a task that there is not, with the name that was meant, perhaps."""
    known = list(families())
    near = difflib.get_close_matches(word.lower(), [name.lower() for name in known], 1, _LIKE)
    meant = "".join(f" Did you mean {name}?" for name in known if name.lower() in near)
    return InputError(f"There is no task '{shortened(word)}'.{meant} Tasks: {', '.join(known)}.")


def _words() -> list[str]:
    """Return the words of ``luigi --module tasks ...`` that may name a task."""
    words = sys.argv[1:]
    values = {i + 1 for i, word in enumerate(words) if word == "--module"}
    return [word for i, word in enumerate(words) if not word.startswith("-") and i not in values]


def install() -> None:
    """Have a refused command of Luigi's end with its message and exit code 40, where nobody catches the error."""
    before = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception) and (refused := refusal(error)):
            sys.stderr.write(f"{refused}\n")
            raise SystemExit(BAD_INPUT)
        before(kind, error, traceback)

    sys.excepthook = hook
