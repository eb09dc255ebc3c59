"""What all commands share: the declaration of a command, and Luigi's options, which every command takes."""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from luigi.task_register import Register

from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened, whole_number
from tasks.chain.survey import FAMILIES
from tasks.configuration.settings import BAD_INPUT

__all__ = ["Command", "Parser", "add_yes", "check_family", "parse", "program", "whole"]

_ROOT = "Report"
"""The task whose own options need no prefix."""


@dataclass(frozen=True)
class Command:
    """A command: its name, its help, its own arguments, and its function."""

    name: str
    help: str
    """One sentence."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """From arguments, with Luigi's options for the grid as ``options``, to the exit code."""


class Parser(argparse.ArgumentParser):
    """A parser that exits with the code of bad input."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


class _PassOn(argparse.Action):
    """Adds an option of Luigi's to ``options``, as a single word."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        (name,) = self.option_strings
        namespace.options.append(name if self.nargs == 0 or values is None else f"{name}={values}")


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Parse the words after a command's name: its own arguments, mixed with Luigi's options.

    Options that neither has go to Luigi's parser, which refuses them by name.
    """
    parser = Parser(prog=f"{program()} {command.name}", description=command.help, epilog=_EPILOG)
    command.add_arguments(parser)
    for name, nargs in _luigi_options():
        try:
            parser.add_argument(name, action=_PassOn, nargs=nargs, help=argparse.SUPPRESS, dest="options")
        except argparse.ArgumentError:
            continue  # an option of the command, such as --workers
    arguments, unknown = parser.parse_known_args(words, argparse.Namespace(options=[]))
    arguments.options += unknown
    return arguments


_EPILOG = (
    f"Options of luigi's {_ROOT} choose the grid, such as --seeds 0,1, and change settings, such as --retrain-lr 0.02."
)


def _luigi_options() -> list[tuple[str, int | str | None]]:
    """Return name and number of values (0, "?" for at most one, None for one) of every option of Luigi's."""
    options: list[tuple[str, int | str | None]] = []
    for task, is_global, name, parameter in Register.get_all_params():
        kwargs = parameter._parser_kwargs(name)
        nargs = 0 if kwargs["action"] == "store_true" else kwargs.get("nargs")
        spellings = [name if is_global else f"{task}_{name}", *([name] if task == _ROOT else [])]
        options += [(f"--{spelling.replace('_', '-')}", nargs) for spelling in spellings]
    return options


def program() -> str:
    """Return the program as the user typed it."""
    return "roar" if Path(sys.argv[0]).stem == "roar" else "python -m tasks"


def check_family(family: str | None) -> str | None:
    """Return the name of a stage, or None for none.

    Raises:
        InputError: no stage has this name.
    """
    if family is not None and family not in FAMILIES:
        raise InputError(f"unknown stage '{family}'. Known: {', '.join(FAMILIES)}.")
    return family


def whole(low: int, high: int = 10**6) -> Callable[[str], int]:
    """Return a parser of whole numbers from ``low`` to ``high``."""

    def parse_whole(text: str) -> int:
        try:
            value = whole_number(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"give a whole number from {low} to {high:,}, not '{shortened(text)}'.")
        return value

    return parse_whole


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
