"""The results that a partial report lacks: as records, and in sentences."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from roar_pipeline.report.inputs import CellInput, ReportInputs
from roar_pipeline.report.labels import method_label, model_label
from roar_pipeline.report.wording import join_names

__all__ = ["PARTIAL", "RequestedResult", "missing_lines", "requested_results"]

PARTIAL = (
    "The report is partial. A dash is undefined, because a result is missing. n=2: over 2 runs, as the others are "
    "missing; beside a number over other runs it compares unlike seeds. Differences and RACU are over the runs of "
    "which both curves are there, for RACU at every percentage, clean and with nothing visible. Intervals stand only "
    "where no run is missing. Cells that failed need not be like those that did not."
)
"""How to read a partial report."""

_MAX_LINES = 24
"""Most curves whose missing cells are listed."""


@dataclass(frozen=True)
class RequestedResult:
    """A result that the grid asks for; a key that its kind of result lacks is None."""

    kind: str
    is_missing: bool
    direction: str | None = None
    method: str | None = None
    model: str | None = None
    percent: int | None = None
    seed: int | None = None
    model_seed: int | None = None


def requested_results(inputs: ReportInputs) -> list[RequestedResult]:
    """Return every result that the grid asks for, grouped by kind."""
    return [
        *_requested_cells("cells", inputs.cells),
        *_requested_cells("probes", inputs.probes),
        *_requested_cells("longer cells", inputs.longer),
        *(RequestedResult("models", m.is_missing, model=m.model, seed=m.seed) for m in inputs.models),
        *(
            RequestedResult("localizations", maps.is_missing, method=maps.method, model=maps.model, seed=maps.seed)
            for maps in inputs.localizations
        ),
        *(
            RequestedResult("example maps", row.is_missing, method=row.method, model=row.model)
            for row in inputs.examples
        ),
    ]


def _requested_cells(kind: str, cells: Sequence[CellInput]) -> Iterator[RequestedResult]:
    for c in cells:
        direction = c.direction if c.method else None
        yield RequestedResult(kind, c.is_missing, direction, c.method, c.model, c.percent, c.seed, c.model_seed)


def missing_lines(results: Sequence[RequestedResult]) -> list[str]:
    """Return a line that counts the missing results, then a line per curve and per other kind of result.

    There are no lines if nothing is missing.
    """
    missing = [result for result in results if result.is_missing]
    if not missing:
        return []
    by_kind = {
        kind: kind_results for (kind,), kind_results in _group_by(missing, lambda result: (result.kind,)).items()
    }
    counts = [
        f"{len(kind_results)} of {sum(result.kind == kind for result in results)} {kind}"
        for kind, kind_results in by_kind.items()
    ]
    verb = "is" if len(missing) == 1 else "are"
    cells = [result for result in results if result.kind == "cells"]
    curve_lines = [
        _curve_line(curve_cells, cells) for curve_cells in _group_by(by_kind.pop("cells", ()), _curve_key).values()
    ]
    lines = curve_lines[:_MAX_LINES]
    if len(curve_lines) > len(lines):
        lines.append(f"cells of {len(curve_lines) - len(lines)} more curves: see missing.csv")
    other_lines = [
        f"{kind}: " + join_names([_maps_text(maps) for maps in _group_by(kind_results, _maps_key).values()], _MAX_LINES)
        for kind, kind_results in by_kind.items()
    ]
    return [f"Partial report: {', '.join(counts)} {verb} missing", *lines, *other_lines]


Key = tuple[str | int | None, ...]


def _group_by(
    results: Sequence[RequestedResult], key: Callable[[RequestedResult], Key]
) -> dict[Key, list[RequestedResult]]:
    """Group results by key, in order of first appearance."""
    groups: dict[Key, list[RequestedResult]] = {}
    for result in results:
        groups.setdefault(key(result), []).append(result)
    return groups


def _curve_key(cell: RequestedResult) -> Key:
    return cell.direction, cell.method, cell.model


def _maps_key(result: RequestedResult) -> Key:
    return result.method, result.model


def _curve_line(missing: Sequence[RequestedResult], cells: Sequence[RequestedResult]) -> str:
    """List the missing cells of one curve, or of all curves (0 and 100 %); percentages of equal seeds go together."""
    first = missing[0]
    name = f"{'ROAR' if first.direction == 'remove' else 'KAR'}, {_label(first)}"
    if first.method is None:
        name = "all curves"
    if len(missing) == sum(_curve_key(cell) == _curve_key(first) for cell in cells):
        return f"{name}: all {len(missing)} cells"
    percents: dict[str, list[str]] = {}
    for (percent,), point in _group_by(missing, lambda cell: (cell.percent,)).items():
        percents.setdefault(_seeds_text(point), []).append(f"{percent}")
    return f"{name}: " + "; ".join(
        f"{', '.join(percents_of_seeds)} % of {seeds}" for seeds, percents_of_seeds in percents.items()
    )


def _maps_text(results: Sequence[RequestedResult]) -> str:
    """List the missing seeds of a model, or of a method's maps of it; a control's maps have no seed."""
    seeded = [result for result in results if result.seed is not None]
    return _label(results[0]) + (f" ({_seeds_text(seeded)})" if seeded else "")


def _label(result: RequestedResult) -> str:
    method = [method_label(result.method)] if result.method else []
    return " of ".join([*method, *([model_label(result.model)] if result.model else [])])


def _seeds_text(results: Sequence[RequestedResult]) -> str:
    names = [
        f"{result.seed}" + ("" if result.model_seed in (None, result.seed) else f" (models' {result.model_seed})")
        for result in results
    ]
    return f"seed{'s' if len(names) > 1 else ''} {', '.join(names)}"
