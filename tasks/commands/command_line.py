"""What all commands share of the command line: how one is declared, and Luigi's options, which all of them take."""

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
    """A command: a name, what it is for, its own arguments, and what it does."""

    name: str
    help: str
    """One whole sentence."""
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]
    """Takes the arguments, with Luigi's options for the grid as ``options``; returns the exit code."""


class Parser(argparse.ArgumentParser):
    """A parser that ends with the exit code of bad input."""

    def error(self, message: str) -> NoReturn:
        """Print usage and message, and exit."""
        self.print_usage(sys.stderr)
        self.exit(BAD_INPUT, f"{self.prog}: {message}\n")


class _Pass(argparse.Action):
    """Adds one of Luigi's options to ``options``, as a single word."""

    def __call__(self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: Any = None) -> None:
        (name,) = self.option_strings
        namespace.options.append(name if self.nargs == 0 or values is None else f"{name}={values}")


def parse(command: Command, words: Sequence[str]) -> argparse.Namespace:
    """Read the words behind a command's name: its own arguments, and before, between and after them Luigi's options.

    What neither knows is left to Luigi's parser, which names it.
    """
    parser = Parser(prog=f"{program()} {command.name}", description=command.help, epilog=_EPILOG)
    command.add_arguments(parser)
    for name, nargs in _luigi_options():
        try:
            parser.add_argument(name, action=_Pass, nargs=nargs, help=argparse.SUPPRESS, dest="options")
        except argparse.ArgumentError:
            continue  # one of the command's own, such as --workers
    given, unknown = parser.parse_known_args(words, argparse.Namespace(options=[]))
    given.options += unknown
    return given


_EPILOG = (
    f"Options of luigi's {_ROOT} choose the grid, such as --seeds 0,1, and change settings, such as --retrain-lr 0.02."
)


def _luigi_options() -> list[tuple[str, int | str | None]]:
    """Return name and number of values (0, "?" for one at most, or None for one) of every option of Luigi's."""
    found: list[tuple[str, int | str | None]] = []
    for task, is_global, name, parameter in Register.get_all_params():
        kwargs = parameter._parser_kwargs(name)
        nargs = 0 if kwargs["action"] == "store_true" else kwargs.get("nargs")
        names = [name if is_global else f"{task}_{name}", *([name] if task == _ROOT else [])]
        found += [(f"--{each.replace('_', '-')}", nargs) for each in names]
    return found


def program() -> str:
    """Return what people have typed to get here."""
    return "roar" if Path(sys.argv[0]).stem == "roar" else "python -m tasks"


def check_family(family: str | None) -> str | None:
    """Return the name of a stage, or none.

    Raises:
        InputError: there is no such stage.
    """
    if family is not None and family not in FAMILIES:
        raise InputError(f"unknown stage '{family}'. Known: {', '.join(FAMILIES)}.")
    return family


def whole(low: int, high: int = 10**6) -> Callable[[str], int]:
    """Return what reads a whole number from ``low`` to ``high``."""

    def read(text: str) -> int:
        try:
            value = whole_number(text)
        except ValueError:
            value = low - 1
        if not low <= value <= high:
            raise argparse.ArgumentTypeError(f"give a whole number from {low} to {high:,}, not '{shortened(text)}'.")
        return value

    return read


def add_yes(parser: argparse.ArgumentParser) -> None:
    """Add ``--yes``."""
    parser.add_argument("--yes", action="store_true", help="do not ask")
