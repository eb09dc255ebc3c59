"""Errors that end a command before any task starts, as one message that says what to do.

Luigi parses the command line before our code runs, and no handler of ours sees some of its errors: Python's hook for
uncaught exceptions does.
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
from tasks.configuration.settings import BAD_INPUT, settings, task_classes

__all__ = ["install", "no_task", "refusal"]

_SIMILARITY = 0.5
"""Similarity (1: equal) from which another name is suggested."""


def refusal(error: BaseException) -> InputError | None:
    """Return an error as an InputError, if the user can mend it; None for other errors."""
    chain = _chain(error)
    for link in chain:
        if isinstance(link, InputError):
            return link
    for link in chain:
        if isinstance(link, (TaskClassException, argparse.ArgumentError)):
            return no_task(next((word for word in _words() if word not in task_classes()), ""))
    is_of_value = any(isinstance(link, (ValueError, AssertionError, TypeError)) for link in chain)
    if is_of_value and (mistakes := _mistakes()):
        return mistakes
    return next((InputError(str(link)) for link in chain if isinstance(link, ParameterException)), None)


def _chain(error: BaseException) -> list[BaseException]:
    """Return the error with its causes and contexts, the latest first."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain:
        chain.append(following)
        following = following.__cause__ or following.__context__
    return chain


def _mistakes() -> InputError | None:
    """Return the mistakes in the settings of the files, and of the command line if this is Luigi's process."""
    line = CmdlineParser.global_instance(sys.argv[1:], allow_override=True) if "--module" in sys.argv else None
    try:
        with line or contextlib.nullcontext():
            settings()
    except InputError as mistakes:
        return mistakes
    return None


def no_task(word: str) -> InputError:
    """Return the error for an unknown task, with the most similar name."""
    names = list(task_classes())
    matches = difflib.get_close_matches(word.lower(), [name.lower() for name in names], 1, _SIMILARITY)
    suggestion = "".join(f" Did you mean {name}?" for name in names if name.lower() in matches)
    return InputError(f"There is no task '{shortened(word)}'.{suggestion} Tasks: {', '.join(names)}.")


def _words() -> list[str]:
    """Return the words of ``luigi --module tasks ...`` that may name a task."""
    words = sys.argv[1:]
    values = {i + 1 for i, word in enumerate(words) if word == "--module"}
    return [word for i, word in enumerate(words) if not word.startswith("-") and i not in values]


def install() -> None:
    """Install a hook for uncaught exceptions: those of ``refusal`` end with their message and exit code 40."""
    previous_hook = sys.excepthook

    def hook(kind: type[BaseException], error: BaseException, traceback: TracebackType | None) -> None:
        if isinstance(error, Exception) and (refused := refusal(error)):
            sys.stderr.write(f"{refused}\n")
            raise SystemExit(BAD_INPUT)
        previous_hook(kind, error, traceback)

    sys.excepthook = hook
