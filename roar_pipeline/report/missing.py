"""What a partial report does without: as records, and in sentences."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from roar_pipeline.report.inputs import CellInput, ReportInputs
from roar_pipeline.report.labels import method_label, model_label
from roar_pipeline.report.wording import listed

__all__ = ["PARTIAL", "Requested", "missing_lines", "requested"]

PARTIAL = (
    "The report is partial. A dash is undefined, because a result is missing. n=2: over 2 runs, as the others are "
    "missing; beside a number over other runs it compares unlike seeds. Differences and RACU are over the runs of "
    "which both curves are there, for RACU at every percentage, clean and with nothing visible. Intervals stand only "
    "where no run is missing. Cells that failed need not be like those that did not."
)
"""How to read a report of which results are missing."""

_MOST_LINES = 24
"""Curves whose missing cells are listed one by one."""


@dataclass(frozen=True)
class Requested:
    """A result that the grid asks for, of any kind; None where its kind has no such key."""

    kind: str
    is_missing: bool
    direction: str | None = None
    method: str | None = None
    model: str | None = None
    percent: int | None = None
    seed: int | None = None
    model_seed: int | None = None


def requested(inputs: ReportInputs) -> list[Requested]:
    """Return every result that the grid asks for, kind by kind."""
    return [
        *_requested_cells("cells", inputs.cells),
        *_requested_cells("probes", inputs.probes),
        *_requested_cells("longer cells", inputs.longer),
        *(Requested("models", m.is_missing, model=m.model, seed=m.seed) for m in inputs.models),
        *(
            Requested("localizations", maps.is_missing, method=maps.method, model=maps.model, seed=maps.seed)
            for maps in inputs.localizations
        ),
        *(Requested("example maps", row.is_missing, method=row.method, model=row.model) for row in inputs.examples),
    ]


def _requested_cells(kind: str, cells: Sequence[CellInput]) -> Iterator[Requested]:
    for c in cells:
        direction = c.direction if c.method else None
        yield Requested(kind, c.is_missing, direction, c.method, c.model, c.percent, c.seed, c.model_seed)


def missing_lines(results: Sequence[Requested]) -> list[str]:
    """Say how much is missing of what the grid asks for, and then what, a line per curve and per kind of result.

    Nothing missing, no lines.
    """
    missing = [result for result in results if result.is_missing]
    if not missing:
        return []
    by_kind = {kind: of_kind for (kind,), of_kind in _grouped(missing, lambda result: (result.kind,)).items()}
    counts = [
        f"{len(of_kind)} of {sum(result.kind == kind for result in results)} {kind}"
        for kind, of_kind in by_kind.items()
    ]
    verb = "is" if len(missing) == 1 else "are"
    cells = [result for result in results if result.kind == "cells"]
    of_curves = [_of_curve(of_curve, cells) for of_curve in _grouped(by_kind.pop("cells", ()), _curve).values()]
    shown = of_curves[:_MOST_LINES]
    if len(of_curves) > len(shown):
        shown.append(f"cells of {len(of_curves) - len(shown)} more curves: see missing.csv")
    rest = [
        f"{kind}: " + listed([_of_maps(maps) for maps in _grouped(of_kind, _maps).values()], _MOST_LINES)
        for kind, of_kind in by_kind.items()
    ]
    return [f"Partial report: {', '.join(counts)} {verb} missing", *shown, *rest]


Key = tuple[str | int | None, ...]


def _grouped(results: Sequence[Requested], key: Callable[[Requested], Key]) -> dict[Key, list[Requested]]:
    """Put together the results of the same key, in order of first appearance."""
    groups: dict[Key, list[Requested]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _curve(cell: Requested) -> Key:
    return cell.direction, cell.method, cell.model


def _maps(result: Requested) -> Key:
    return result.method, result.model


def _of_curve(missing: Sequence[Requested], cells: Sequence[Requested]) -> str:
    """Name the missing cells of one curve, or of all curves (0 and 100 %); percentages with the same seeds together."""
    first = missing[0]
    name = f"{'ROAR' if first.direction == 'remove' else 'KAR'}, {_name(first)}"
    if first.method is None:
        name = "all curves"
    if len(missing) == sum(_curve(cell) == _curve(first) for cell in cells):
        return f"{name}: all {len(missing)} cells"
    percents: dict[str, list[str]] = {}
    for (percent,), point in _grouped(missing, lambda cell: (cell.percent,)).items():
        percents.setdefault(_seeds(point), []).append(f"{percent}")
    return f"{name}: " + "; ".join(f"{', '.join(at)} % of {seeds}" for seeds, at in percents.items())


def _of_maps(results: Sequence[Requested]) -> str:
    """Name the seeds of a model, or of a method's maps of it; controls' maps have none."""
    seeded = [result for result in results if result.seed is not None]
    return _name(results[0]) + (f" ({_seeds(seeded)})" if seeded else "")


def _name(result: Requested) -> str:
    method = [method_label(result.method)] if result.method else []
    return " of ".join([*method, *([model_label(result.model)] if result.model else [])])


def _seeds(results: Sequence[Requested]) -> str:
    names = [
        f"{result.seed}" + ("" if result.model_seed in (None, result.seed) else f" (models' {result.model_seed})")
        for result in results
    ]
    return f"seed{'s' if len(names) > 1 else ''} {', '.join(names)}"
