"""``roar forecast``: the time and disk space that a grid still needs."""

import argparse
import os
import shutil
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from rich.table import Table

from roar_pipeline.cache.states import duration
from roar_pipeline.estimates.forecasting import Estimate, Need, Scope, estimate, wall_seconds
from tasks.chain.data import PrepareImages
from tasks.chain.report import Report
from tasks.chain.survey import FAMILIES, Entry, Survey, grid_of
from tasks.commands.command_line import Command, whole
from tasks.commands.printing import console
from tasks.configuration.settings import data_folder
from tasks.runtime.resources import MEMORY, data_size, explained_cost, network_device, resources_of_machine, shortages

__all__ = ["COMMAND", "show_forecast"]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    cores = os.cpu_count() or 1
    parser.add_argument("--workers", type=whole(1), default=cores, help="tasks at a time (default: one per core)")


def _run(arguments: argparse.Namespace) -> int:
    with grid_of(arguments.options) as report:
        return show_forecast(report, arguments.workers)


def show_forecast(report: Report, workers: int) -> int:
    """Print finished and missing results per stage, the cost of the missing ones, and the sum."""
    survey = Survey(report)
    waiting = [entry for entry in survey.entries if entry.state.kind != "done"]
    estimates = _estimates(survey, waiting)
    out = console()
    out.print(_table(survey, estimates))
    if not waiting:
        out.print("\nNothing to do: everything is there.")
        return 0
    seconds = {key: estimate.seconds for key, estimate in estimates.items()}
    inputs = {e.task.fingerprint: [t.fingerprint for t in e.task.deps()] for e in waiting}
    usable = resources_of_machine()[MEMORY]
    wall = wall_seconds(seconds, inputs, {e.task.fingerprint: _share(e, workers, usable) for e in waiting})
    need = sum(estimate.size for estimate in estimates.values())
    free = shutil.disk_usage(_existing(data_folder())).free
    out.print(
        f"\nAbout {duration(wall)} with --workers {workers} ({duration(sum(seconds.values()))} of work), "
        f"{_size(need)} of disk ({_size(free)} free).",
        highlight=False,
    )
    if guessed := sorted({e.family for e in waiting if not estimates[e.task.fingerprint].similar}, key=FAMILIES.index):
        out.print(
            f"Guessed, as no similar results exist yet: {', '.join(guessed)}. A guess is the stage's work (of a "
            "network: its multiply-adds) at the measured speed of one CPU core; a GPU is many times faster. Estimates "
            "improve as results are made.",
            soft_wrap=True,
        )
    for warning in shortages(entry.task for entry in waiting):
        out.print(warning, style="red", soft_wrap=True, markup=False)
    if need > free:
        out.print("The disk will not hold it: free some space first (roar gc).", style="red")
    return 0


def _share(entry: Entry, workers: int, usable_mb: int) -> float:
    """Return the larger of a result's shares: of the workers, and of this machine's memory while it is made."""
    return max(1 / max(1, workers), min(1.0, entry.task.demand().memory_mb / usable_mb))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.is_dir())


def _estimates(survey: Survey, waiting: list[Entry]) -> dict[str, Estimate]:
    manifests = defaultdict(list)
    for cached in survey.cache_entries:
        if cached.manifest is not None:
            manifests[cached.family].append(cached.manifest)
    for group in manifests.values():
        group.sort(key=lambda manifest: str(manifest.get("finished")))
    images = PrepareImages()
    scope = Scope(data_size(), explained_cost)
    by_kind: dict[str, Estimate] = {}
    estimates = {}
    for entry in waiting:
        need = Need(entry.family, entry.task.identity, images.fingerprint)
        kind = f"{entry.family} {need.identity['settings']} {_work_of(need)}"
        if kind not in by_kind:
            by_kind[kind] = estimate(need, manifests, scope, network_device())
        estimates[entry.task.fingerprint] = by_kind[kind]
    return estimates


def _work_of(need: Need) -> list[str]:
    """Return the parameters that, besides the settings, determine how much work a result is."""
    return [str(need.identity["parameters"].get(name)) for name in ("model", "method", "loss")]


def _table(survey: Survey, estimates: Mapping[str, Estimate]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("stage")
    for name in ("done", "to make", "each, about", "together", "disk"):
        table.add_column(name, justify="right")
    table.add_column("estimated from")
    for family in FAMILIES:
        entries = survey.entries_of(family)
        missing = [estimates[e.task.fingerprint] for e in entries if e.state.kind != "done"]
        done = str(len(entries) - len(missing))
        if not entries:
            continue
        if not missing:
            table.add_row(family, done, "0")
            continue
        total = sum(e.seconds for e in missing)
        texts = duration(total / len(missing)), duration(total), _size(sum(e.size for e in missing))
        table.add_row(family, done, str(len(missing)), *texts, _source(missing))
    return table


def _source(estimates: list[Estimate]) -> str:
    """Say what the estimates of a stage are taken from."""
    most = max(e.similar for e in estimates)
    if any(e.similar == 0 for e in estimates):
        return "a guess"
    if any(e.from_others for e in estimates):
        return f"{most} results of other stages, scaled"
    return f"{most} similar results{', scaled' if any(e.scaled for e in estimates) else ''}"


def _size(count: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


COMMAND = Command("forecast", "Estimate what the grid still needs: results, time and disk space.", _add_arguments, _run)
