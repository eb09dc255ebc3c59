"""``roar invalidate``: results set aside, so that they are made anew."""

import argparse
from collections.abc import Sequence

from roar_pipeline.cache import inventory
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, grid_of
from tasks.commands.command_line import Command, add_yes, check_family
from tasks.commands.moving import agreed, list_results, moved, names_of, without_left
from tasks.configuration.settings import data_folder

__all__ = ["COMMAND", "invalidate"]


def _arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("family", help=f"stage: {', '.join(FAMILIES)}")
    parser.add_argument(
        "--where",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="percent=50, model=sswa, retrain.lr=0.01; of one key's values any, of several keys all",
    )
    parser.add_argument(
        "--downstream", action=argparse.BooleanOptionalAction, default=True, help="with all that was built on them"
    )
    parser.add_argument("--dry-run", action="store_true", help="only show them")
    add_yes(parser)


def _run(given: argparse.Namespace) -> int:
    with grid_of(given.options) as report:
        return invalidate(
            report, given.family, given.where, downstream=given.downstream, dry_run=given.dry_run, yes=given.yes
        )


def invalidate(report: Report, family: str, where: Sequence[str], *, downstream: bool, dry_run: bool, yes: bool) -> int:
    """Move results of a stage to the trash, with all that was built on them unless told otherwise."""
    check_family(family)
    everything = inventory.scan(data_folder())
    chosen = inventory.find([s for s in everything if s.family == family], _conditions(where))
    if not chosen:
        raise InputError(f"No result of {family} is like that. What there is: roar status {family}.")
    built = inventory.downstream(everything, chosen) if downstream else []
    chosen, built = without_left(chosen), without_left(built)
    own = names_of(report)
    list_results("Sets aside", chosen, own)
    if built:
        list_results("and what was built on it", built, own)
    if not (chosen or built):
        return 1
    if dry_run or not agreed("Set them aside?", yes):
        return 0
    reason = " ".join(["invalidate", family, *where])
    name, busy = inventory.move_to_trash(data_folder(), [*chosen, *built], reason)
    return moved(name, len(chosen) + len(built), busy)


def _conditions(where: Sequence[str]) -> dict[str, list[str]]:
    """Read ``key=value`` words; several values of one key are alternatives.

    Raises:
        InputError: one is not of that form.
    """
    if wrong := [word for word in where if "=" not in word]:
        raise InputError(f"--where {wrong[0]}: give key=value, such as percent=50 or retrain.lr=0.01.")
    conditions: dict[str, list[str]] = {}
    for key, _, value in (word.partition("=") for word in where):
        conditions.setdefault(key, []).append(value)
    return conditions


COMMAND = Command(
    "invalidate", "Set results aside, with all that was built on them, so that they are made anew.", _arguments, _run
)
