"""Tables of the curves: scores by percentage, and differences from the controls."""

from collections.abc import Sequence

from roar_pipeline.report.grid import Cell, Curve
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.summaries import Summary, beyond_chance
from roar_pipeline.report.tables.estimates import estimate_texts
from roar_pipeline.report.tables.table import (
    MISSING,
    Table,
    runs_mark,
    signed_text,
    spread_texts,
    table_of_columns,
    table_of_groups,
    with_marks,
)

__all__ = ["gap_table", "roar_table"]

FLAG = "†"
"""Marks scores above the clean cells'."""


def roar_table(
    curves: Sequence[Curve],
    summaries: Sequence[Summary],
    ends: tuple[Sequence[Cell], Sequence[Cell]],
    metric: str,
    title: str,
    labels: Sequence[str] | None = None,
) -> Table:
    """Tabulate a metric by percentage, one row per curve, with both ends and RACU.

    A score in percent is flagged where it lies above the clean cells'.

    ``ends`` are the clean and the blank cells. ``labels`` name the rows; by default their models do, which suits the
    curves of one method.
    """
    columns: dict[str, list[str]] = {}
    seeds = len(curves[0].seeds)
    scale, decimals = METRICS[metric].scale, METRICS[metric].decimals

    def end_column(cells: Sequence[Cell]) -> list[str]:
        spread = mean_std([cell.test[metric] for cell in cells])
        return spread_texts([spread] * len(curves), [runs_mark(len(cells), seeds)] * len(curves), scale, decimals)

    columns["clean"] = end_column(ends[0])
    has_flags = False
    above = [beyond_chance(summary.minus_clean, 1) for summary in summaries]
    for point, percent in enumerate(curves[0].percents):
        flags = [
            FLAG if curve.masks_depend_on_image and is_above[point] and METRICS[metric].unit == "%" else ""
            for curve, is_above in zip(curves, above, strict=True)
        ]
        has_flags |= any(flags)
        marks = [runs_mark(s.points[point].runs, len(curve.runs)) for curve, s in zip(curves, summaries, strict=True)]
        spread = [(s.points[point].mean, s.points[point].std) for s in summaries]
        columns[f"{percent} %"] = spread_texts(
            spread, [flag + n for flag, n in zip(flags, marks, strict=True)], scale, decimals
        )
    columns["nothing"] = end_column(ends[1])
    racus = [s.racu.mean if not curve.is_control else None for curve, s in zip(curves, summaries, strict=True)]
    columns["RACU"] = with_marks(
        [MISSING if racu is None else signed_text(racu, 2) for racu in racus],
        [
            "" if racu is None else runs_mark(s.racu.runs, len(curve.runs))
            for racu, curve, s in zip(racus, curves, summaries, strict=True)
        ],
    )
    note = f"{FLAG} above the clean cells by more than chance." if has_flags else ""
    return table_of_columns(title, list(labels or [curve.label for curve in curves]), columns, note)


def gap_table(curves: Sequence[Curve], summaries: Sequence[Summary], title: str) -> Table:
    """Tabulate the paired differences from random and from the best other control with 95 % intervals, in points."""
    rows = [(c, s) for c, s in zip(curves, summaries, strict=True) if not c.is_control]
    random: dict[str, list[str]] = {}
    best: dict[str, list[str]] = {}
    for point, percent in enumerate(curves[0].percents):
        random[f"{percent} %"] = estimate_texts(
            [s.minus_random[point] for _, s in rows], [len(c.runs) for c, _ in rows]
        )
        best_controls = [s.minus_best[point] for _, s in rows]
        if all(best_controls):
            others = [pair for pair in best_controls if pair is not None]
            best[f"{percent} %, {others[0][0]}"] = estimate_texts(
                [e for _, e in others], [len(c.runs) for c, _ in rows]
            )
    racu = {"": estimate_texts([s.racu for _, s in rows], [len(c.runs) for c, _ in rows], scale=1, decimals=2)}
    groups = {"minus random": random, **({"minus the best other control": best} if best else {}), "RACU": racu}
    return table_of_groups(title, [c.label for c, _ in rows], groups)
