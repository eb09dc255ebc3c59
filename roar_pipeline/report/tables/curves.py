"""Tables of the curves: scores by percentage, and differences from the controls."""

from collections.abc import Sequence

from roar_pipeline.report.grid import Cell, Curve
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.summaries import Summary, beyond_chance
from roar_pipeline.report.tables.estimates import estimate_texts
from roar_pipeline.report.tables.table import MISSING, Table, fewer, marked, of_columns, of_groups, signed, spread_texts

__all__ = ["gap_table", "roar_table"]

FLAG = "†"
"""Marks scores above the clean cells'."""


def roar_table(
    grid: Sequence[Curve],
    summaries: Sequence[Summary],
    ends: tuple[Sequence[Cell], Sequence[Cell]],
    metric: str,
    title: str,
    labels: Sequence[str] | None = None,
) -> Table:
    """Tabulate a metric by percentage, one row per curve, with both ends and RACU.

    ``ends`` are the cells of all curves, clean and with nothing visible. The rows are named by model (one method's
    curves), unless ``labels`` name them otherwise.
    """
    columns: dict[str, list[str]] = {}
    seeds = len(grid[0].seeds)

    def of_end(cells: Sequence[Cell]) -> list[str]:
        whole = mean_std([cell.test[metric] for cell in cells])
        return spread_texts([whole] * len(grid), [fewer(len(cells), seeds)] * len(grid))

    columns["clean"] = of_end(ends[0])
    flagged = False
    above = [beyond_chance(summary.above_clean, 1) for summary in summaries]
    for point, percent in enumerate(grid[0].percents):
        flags = [
            FLAG if curve.is_informed and is_above[point] else "" for curve, is_above in zip(grid, above, strict=True)
        ]
        flagged |= any(flags)
        marks = [fewer(s.points[point].runs, len(curve.runs)) for curve, s in zip(grid, summaries, strict=True)]
        spread = [(s.points[point].mean, s.points[point].std) for s in summaries]
        columns[f"{percent} %"] = spread_texts(spread, [flag + n for flag, n in zip(flags, marks, strict=True)])
    columns["nothing"] = of_end(ends[1])
    shown = [s.racu.mean if not curve.is_control else None for curve, s in zip(grid, summaries, strict=True)]
    columns["RACU"] = marked(
        [MISSING if racu is None else signed(racu, 2) for racu in shown],
        [
            "" if racu is None else fewer(s.racu.runs, len(curve.runs))
            for racu, curve, s in zip(shown, grid, summaries, strict=True)
        ],
    )
    note = f"{FLAG} above the clean cells by more than chance." if flagged else ""
    return of_columns(title, list(labels or [curve.label for curve in grid]), columns, note)


def gap_table(grid: Sequence[Curve], summaries: Sequence[Summary], title: str) -> Table:
    """Tabulate the paired differences to random and to the best other control with 95 % intervals, in points."""
    rows = [(c, s) for c, s in zip(grid, summaries, strict=True) if not c.is_control]
    random: dict[str, list[str]] = {}
    best: dict[str, list[str]] = {}
    for point, percent in enumerate(grid[0].percents):
        random[f"{percent} %"] = estimate_texts([s.gaps[point] for _, s in rows], [len(c.runs) for c, _ in rows])
        named = [s.best[point] for _, s in rows]
        if all(named):
            others = [pair for pair in named if pair is not None]
            best[f"{percent} %, {others[0][0]}"] = estimate_texts(
                [e for _, e in others], [len(c.runs) for c, _ in rows]
            )
    racu = {"": estimate_texts([s.racu for _, s in rows], [len(c.runs) for c, _ in rows], scale=1, decimals=2)}
    groups = {"minus random": random, **({"minus the best other control": best} if best else {}), "RACU": racu}
    return of_groups(title, [c.label for c, _ in rows], groups)
