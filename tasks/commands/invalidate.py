"""``roar invalidate``: set results aside, so that they are made anew."""

import argparse
from collections.abc import Sequence

from roar_pipeline.cache import inventory
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, grid_of
from tasks.commands.command_line import Command, add_yes, check_family
from tasks.commands.moving import confirm, directory_names, movable, print_results, report_moved
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "invalidate"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", help=f"stage: {', '.join(FAMILIES)}")
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="percent=50, model=sswa, retrain.lr=0.01; any of a key's values, and all keys",
    )
    parser.add_argument(
        "--downstream", action=argparse.BooleanOptionalAction, default=True, help="with everything built on them"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show them")
    add_yes(parser)


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return invalidate(
            report,
            arguments.family,
            arguments.where,
            downstream=arguments.downstream,
            dry_run=arguments.dry_run,
            yes=arguments.yes,
        )


def invalidate(report: Report, family: str, where: Sequence[str], *, downstream: bool, dry_run: bool, yes: bool) -> int:
    """Move results of a stage to the trash, and with ``downstream`` everything that was built on them."""
    check_family(family)
    entries = inventory.scan(data_folder())
    chosen = inventory.find([entry for entry in entries if entry.family == family], _conditions(where))
    if not chosen:
        raise InputError(f"No result of {family} meets these conditions. To list its results: roar status {family}.")
    built = inventory.downstream(entries, chosen) if downstream else []
    chosen, built = movable(chosen), movable(built)
    in_grid = directory_names(report)
    print_results("Sets aside", chosen, in_grid)
    if built:
        print_results("and what was built on it", built, in_grid)
    if not (chosen or built):
        return 1
    if dry_run or not confirm("Set them aside?", yes):
        return 0
    reason = " ".join(["invalidate", family, *where])
    name, busy = inventory.move_to_trash(data_folder(), [*chosen, *built], reason)
    return report_moved(name, len(chosen) + len(built), busy)


def _conditions(where: Sequence[str]) -> dict[str, list[str]]:
    """Parse ``key=value`` words; several values of one key are alternatives.

    Raises:
        InputError: a word is not of that form.
    """
    if wrong := [word for word in where if "=" not in word]:
        raise InputError(f"--where {wrong[0]}: give key=value, such as percent=50 or retrain.lr=0.01.")
    conditions: dict[str, list[str]] = {}
    for key, _, value in (word.partition("=") for word in where):
        conditions.setdefault(key, []).append(value)
    return conditions


COMMAND = Command(
    "invalidate", "Set results aside, with everything built on them, so that they are made anew.", _add_arguments, _run
)
