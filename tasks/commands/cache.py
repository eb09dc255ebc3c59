"""``python -m tasks invalidate``, ``restore``, ``gc`` and ``verify``: the cache's repair and cleaning."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from roar_pipeline.cache import inventory, trash
from roar_pipeline.cache.inventory import Stored
from roar_pipeline.cache.ownership import FAMILIES, foreign, obstacle
from roar_pipeline.errors import InputError
from tasks.chain.report import Report
from tasks.commands.status import check_family
from tasks.configuration.settings import data_folder
from tasks.runtime.terminal import closure

__all__ = ["clean", "invalidate", "reached", "restore", "verify"]

_SHOWN = 40


def invalidate(report: Report, family: str, where: Sequence[str], *, downstream: bool, dry_run: bool, yes: bool) -> int:
    """Move results of a stage to the trash, with all that was built on them unless told otherwise."""
    check_family(family)
    everything = inventory.scan(data_folder())
    chosen = inventory.find([s for s in everything if s.family == family], _conditions(where))
    if not chosen:
        raise InputError(f"No result of {family} is like that. What there is: python -m tasks status {family}.")
    built = inventory.downstream(everything, chosen) if downstream else []
    chosen, built = _without_left(chosen), _without_left(built)
    own = _names_of(report)
    _list("Sets aside", chosen, own)
    if built:
        _list("and what was built on it", built, own)
    if not (chosen or built):
        return 1
    if dry_run or not _agreed("Set them aside?", yes):
        return 0
    reason = " ".join(["invalidate", family, *where])
    name, busy = inventory.put_aside(data_folder(), [*chosen, *built], reason)
    return _moved(name, len(chosen) + len(built), busy)


def _names_of(report: Report) -> set[str]:
    """Return the names of the directories of a grid."""
    return {task.directory.name for task in closure(report).values()}


def _without_left(stored: Sequence[Stored], *, deleting: bool = False) -> list[Stored]:
    """Return what may be moved or deleted; say of the rest why it stays."""
    reasons = {each.directory: obstacle(each.directory, deleting=deleting) for each in stored}
    for each in stored:
        if why := reasons[each.directory]:
            _say(f"Left alone: {each.name}: {why}")
    return [each for each in stored if not reasons[each.directory]]


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


def restore(name: str | None) -> int:
    """Bring back what was set aside, by name or the latest; without anything in the trash, say so."""
    entries = trash.trashed(data_folder())
    if name == "list":
        for entry in entries:
            _say(f"{entry.name}  {len(entry.results):5} results  {entry.reason}")
        return 0
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if not chosen:
        known = ", ".join(entry.name for entry in entries) or "none"
        raise InputError(f"There is nothing set aside{f' as {name}' if name else ''}. Known: {known}.")
    back, left = trash.restore(data_folder(), chosen[-1])
    _say(f"Brought back {len(back)} results ({chosen[-1].reason}).")
    for each, why in left.items():
        _say(f"  left in the trash: {each}: {why}")
    return 0


def clean(report: Report, configs: Sequence[str], *, with_trash: bool, remove: bool, yes: bool) -> int:
    """List what no settings reach, with sizes; remove it for good on request.

    Args:
        report: of the settings in force.
        configs: further configuration files whose grids are kept.
        with_trash: what is set aside goes too.
        remove: do it.
        yes: without asking.
    """
    kept = _names_of(report)
    for config in [*configs, *([None] if os.environ.get("LUIGI_CONFIG_PATH") else [])]:
        kept |= _reached_by(config)
    for path, why in foreign(data_folder() / inventory.RUNS):
        if path.name not in kept:
            _say(f"Left alone: {path.relative_to(data_folder())}: {why}")
    stray = [stored for stored in inventory.scan(data_folder()) if stored.directory.name not in kept]
    stray = [stored for stored in stray if not obstacle(stored.directory, deleting=True)]
    aside = trash.trashed(data_folder())
    _show_garbage(stray, aside)
    files = ["luigi.cfg", os.environ.get("LUIGI_CONFIG_PATH"), *configs]
    grids = " or ".join(file for file in files if file)
    size = sum(inventory.size_of(stored.directory) for stored in stray)
    _say(f"{len(stray)} results, {size / 1e6:.1f} MB, that the grid of {grids} does not reach.")
    dropped = aside if with_trash else []
    if not (stray or aside):
        return 0
    if not remove or not (stray or dropped):
        _say("Keep the grids of other files with --config FILE; remove with --remove, and the trash with --trash too.")
        return 0
    if not _agreed(f"Delete {len(stray)} results of other grids{' and the trash' if dropped else ''} for good?", yes):
        return 0
    gone = list(inventory.remove(stray))
    for entry in dropped:
        trash.delete(entry)
    _say(f"Deleted {len(gone)} results.")
    for stored in stray:
        if stored not in gone:
            _say(f"  left, as somebody is making it: {stored.name}")
    return 0


def _show_garbage(stray: Sequence[Stored], aside: Sequence[trash.Trashed]) -> None:
    """List what no settings reach, the largest first, and what is in the trash."""
    sizes = {stored.directory: inventory.size_of(stored.directory) for stored in stray}
    for stored in sorted(stray, key=lambda s: -sizes[s.directory]):
        state = "of another grid" if stored.manifest else "of another grid, unfinished"
        _say(f"{sizes[stored.directory] / 1e6:10.1f} MB  {stored.name}  ({state})")
    for entry in aside:
        _say(f"{inventory.size_of(entry.place) / 1e6:10.1f} MB  set aside {entry.name}: {entry.reason}")


def reached(report: Report) -> int:
    """Print the directories of a grid, as JSON: ``gc`` asks other configurations so."""
    sys.stdout.write(json.dumps(sorted(_names_of(report))))
    return 0


def _reached_by(config: str | None) -> set[str]:
    """Return the directories that the grid of another configuration file reaches; None: that of luigi.cfg alone.

    Raises:
        InputError: it cannot be told; nothing is taken for garbage then.
    """
    if config is not None and not Path(config).is_file():
        raise InputError(f"--config {config}: there is no such file.")
    environment = {k: v for k, v in os.environ.items() if k != "LUIGI_CONFIG_PATH"}
    if config is not None:
        environment["LUIGI_CONFIG_PATH"] = config
    command = [sys.executable, "-m", "tasks", "reached"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise InputError(f"The grid of {config or 'luigi.cfg'} cannot be told: {done.stderr.strip()}")
    return set(json.loads(done.stdout))


def verify(report: Report, *, full: bool, repair: bool, yes: bool) -> int:
    """Compare every result with its manifest; name what is damaged, and set just that aside on request.

    Returns:
        0 if all is whole or mended, 1 if something is damaged.
    """
    stored = inventory.scan(data_folder())
    finished = sum(each.manifest is not None for each in stored)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("verifying", total=len(stored))
        workers = os.cpu_count() or 1
        faults = inventory.verify(stored, full=full, workers=workers, advance=lambda: progress.advance(bar))
    what = "contents and sizes" if full else "sizes and shapes"
    if not faults:
        _say(f"{finished} results are whole ({what}). {len(stored) - finished} are unfinished.")
        return 0
    damaged = [each for each in stored if each.directory in faults]
    own = _names_of(report)
    for each in damaged:
        _say(f"{each.name}: {'; '.join(faults[each.directory])}{_of_whom(each, own)}")
    _say(f"{len(damaged)} of {finished} results are damaged ({what}).")
    if not repair:
        _say("Set just these aside with --repair, and run again: they will be made anew.")
        return 1
    damaged = _without_left(damaged)
    if not damaged or not _agreed("Set them aside?", yes):
        return 1
    name, busy = inventory.put_aside(data_folder(), damaged, "verify --repair", damaged=True)
    return _moved(name, len(damaged), busy)


def _moved(name: str, count: int, busy: Sequence[Stored]) -> int:
    if count > len(busy):
        _say(f"Set aside {count - len(busy)} results. Bring them back with: python -m tasks restore {name}")
    for each in busy:
        _say(f"  left, as somebody is making it or has made it anew: {each.name}")
    return 1 if busy else 0


def _list(title: str, chosen: Sequence[Stored], own: set[str]) -> None:
    """Name results: the first of the grid, and all that are another grid's."""
    counts: Mapping[str, list[Stored]] = {f: [s for s in chosen if s.family == f] for f in FAMILIES}
    told = ", ".join(f"{len(of_family)} {family}" for family, of_family in counts.items() if of_family)
    _say(f"{title}: {told or 'nothing'}")
    of_grid = [each for each in chosen if each.directory.name in own]
    others = [each for each in chosen if each.directory.name not in own]
    for each in [*of_grid[:_SHOWN], *others]:
        _say(f"  {each.name}{'' if each.manifest else '  (unfinished)'}{_of_whom(each, own)}")
    if len(of_grid) > _SHOWN:
        _say(f"  ... and {len(of_grid) - _SHOWN} more of this grid")


def _of_whom(stored: Stored, own: set[str]) -> str:
    return "" if stored.directory.name in own else "  (of another grid)"


def _agreed(question: str, yes: bool) -> bool:
    """Ask, unless told to go ahead.

    Raises:
        InputError: there is nobody to ask.
    """
    if yes:
        return True
    if not sys.stdin.isatty():
        raise InputError(f"{question} There is no terminal to ask on: add --yes.")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
