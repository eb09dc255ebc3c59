"""Statistics over the runs of a curve: alone, against random removal, against the best control, against clean images.

Shapes: P percentages of a curve, R runs (seeds, or seeds x model seeds).

Missing cells (partial report) are not filled in. A point's mean and deviation are over its finished runs, and their
number is given. A comparison is over the runs that have both cells, areas and RACU over the runs that have every cell
from 0 to 100 %; without such runs they are undefined. Only a statistic of every run has an interval.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roar_pipeline.methods import RANDOM
from roar_pipeline.report.grid import Cell, Curve, Grid
from roar_pipeline.report.inputs import Run
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.statistics import curves, inference
from roar_pipeline.report.statistics.contrasts import UNDEFINED, Resampled, contrast
from roar_pipeline.report.statistics.inference import Estimate

__all__ = [
    "WIDE_MARGIN",
    "Summary",
    "area_difference",
    "best_control",
    "beyond_chance",
    "longer_training_change",
    "lower_is_better",
    "other_controls",
    "point_difference",
    "probes_of",
    "random_curve",
    "summarize",
]

Floats = npt.NDArray[np.float64]

WIDE_MARGIN = 0.1
"""Seeds move a cell by .03 to .08: a larger difference than this is more than one seed's chance."""
_LEVEL = 0.05


@dataclass(frozen=True)
class Summary:
    """A curve's statistics of one metric; tuples have one entry per percentage.

    ``minus_random``, ``minus_clean`` and ``minus_best`` are the curve minus random's, minus the clean cells, and minus
    the best control other than random at that percentage, with its label (None without such a control).
    ``area_minus_random`` is the mean of the curve minus random's from 0 to 100 %.
    """

    points: tuple[Estimate, ...]
    minus_random: tuple[Estimate, ...]
    minus_clean: tuple[Estimate, ...]
    minus_best: tuple[tuple[str, Estimate] | None, ...]
    area_minus_random: Estimate
    racu: Estimate


def lower_is_better(direction: str, metric: str | None = None) -> bool:
    """Return whether a good map's curve lies low: in ROAR it does, in KAR it lies high; of an error, conversely."""
    return (direction == "remove") != (metric is not None and METRICS[metric].is_error)


def beyond_chance(differences: Sequence[Estimate], sign: int) -> list[bool]:
    """Return which differences lie on one side of 0 by more than chance.

    The p-value corrected for their number (Holm) decides, or the uncorrected one for a difference above a wide margin:
    many comparisons must not hide a large leak. Without a p-value, as with one seed, the margin alone decides.

    Args:
        differences: the family of the correction.
        sign: 1 for above 0, -1 for below.
    """
    corrected = inference.holm([difference.p for difference in differences])
    return [
        difference.mean is not None and sign * difference.mean > 0 and _is_beyond_chance(difference, p)
        for difference, p in zip(differences, corrected, strict=True)
    ]


def _is_beyond_chance(difference: Estimate, corrected_p: float | None) -> bool:
    is_wide = abs(difference.mean or 0.0) > WIDE_MARGIN
    if difference.p is None or corrected_p is None:
        return is_wide
    return corrected_p < _LEVEL or (is_wide and difference.p < _LEVEL)


def probes_of(probes: Sequence[Cell], curve: Curve, percent: int) -> list[Cell]:
    """Return the probes of a curve at a percentage: networks that saw the masks of its cells alone."""
    return [p for p in probes if (p.direction, p.method, p.model) == curve.key and p.percent == percent]


def longer_training_change(
    longer: Sequence[Cell], curve: Curve, point: int, percent: int, metric: str
) -> tuple[float | None, float | None]:
    """Return the mean change of a cell by twice the epochs, over the runs that have both, and the cell's spread."""
    twice = {c.run: c for c in longer if (c.direction, c.method, c.model) == curve.key and c.percent == percent}
    pairs = [(cell, twice[cell.run]) for cell in curve.cells[point] if cell.run in twice]
    scores = [(cell.test[metric], longer_cell.test[metric]) for cell, longer_cell in pairs]
    changes = [None if before is None or after is None else after - before for before, after in scores]
    return curves.mean_std(changes)[0], curves.mean_std([cell.test[metric] for cell, _ in pairs])[1]


def summarize(curve: Curve, grid: Grid, metric: str, resampled: Resampled | None) -> Summary:
    """Summarize one metric of a curve over its runs, alone and against the controls of its direction.

    Args:
        curve: of ``grid``.
        grid: with the random control of the curve's direction.
        metric: a key of ``METRICS``.
        resampled: of the test images; None: no intervals.
    """
    random = random_curve(grid, curve.direction)
    points = range(len(curve.percents))
    return Summary(
        points=tuple(_mean(curve, point, metric, resampled) for point in points),
        minus_random=tuple(point_difference(curve, random, point, metric, resampled) for point in points),
        minus_clean=tuple(_minus_shared(curve, grid.clean, point, metric, resampled) for point in points),
        minus_best=tuple(_minus_best(curve, grid, point, metric, resampled) for point in points),
        area_minus_random=area_difference(curve, random, metric, resampled),
        racu=_racu(curve, random, grid, metric, resampled),
    )


def point_difference(a: Curve, b: Curve, point: int, metric: str, resampled: Resampled | None) -> Estimate:
    """Estimate curve ``a`` minus curve ``b`` at one percentage, over the runs that have both."""
    runs = {cell.run: (cell, other) for cell in a.cells[point] if (other := _partner(cell.run, b.cells[point]))}
    return contrast(runs, metric, lambda scores: scores[0] - scores[1], resampled, is_complete=len(runs) == len(a.runs))


def area_difference(a: Curve, b: Curve, metric: str, resampled: Resampled | None) -> Estimate:
    """Estimate the mean of curve ``a`` minus curve ``b`` from 0 to 100 %, where both have the same cells.

    This is the trapezoidal area over the measured percentages. Only runs that have every cell of both count.
    """
    runs: dict[Run, Sequence[Cell]] = {}
    for run in a.runs:
        cells = [_partner(run, curve.cells[point]) for curve in (a, b) for point in range(len(a.percents))]
        if finished := [cell for cell in cells if cell is not None]:
            runs |= {run: finished} if len(finished) == len(cells) else {}
    percents = (0, *a.percents, 100)

    def combine(scores: Sequence[Floats]) -> Floats:
        upper, lower = scores[: len(a.percents)], scores[len(a.percents) :]
        zero = np.zeros_like(scores[0])
        return curves.area_between(percents, curves.with_ends(zero, upper, zero), curves.with_ends(zero, lower, zero))

    return contrast(runs, metric, combine, resampled, is_complete=len(runs) == len(a.runs))


def best_control(curve: Curve, grid: Grid, point: int, metric: str) -> Curve | None:
    """Return the control other than random with the best mean at a percentage; None without such a control.

    Choice and comparison use the same numbers, which favors the control.
    """
    others = [
        (mean, other)
        for other in other_controls(grid, curve.direction, curve.method)
        if (mean := curves.mean_std(other.values(metric)[point])[0]) is not None
    ]
    if not others:
        return None
    choose = min if lower_is_better(curve.direction, metric) else max
    return choose(others, key=lambda pair: pair[0])[1]


def other_controls(grid: Grid, direction: str, method: str) -> list[Curve]:
    """Return the controls other than random that a method's curves are compared with.

    These are the controls without a model, and the method's own maps given to other images.
    """
    controls = [c for c in grid.curves if c.is_control and c.direction == direction and c.method != RANDOM]
    return [curve for curve in controls if curve.model is None or curve.panel == method]


def random_curve(grid: Grid, direction: str) -> Curve:
    """Return the curve of random removal, or of random keeping."""
    return _control(grid, direction, RANDOM)


def _control(grid: Grid, direction: str, method: str) -> Curve:
    return next(curve for curve in grid.curves if (curve.direction, curve.method) == (direction, method))


def _mean(curve: Curve, point: int, metric: str, resampled: Resampled | None) -> Estimate:
    runs = {cell.run: (cell,) for cell in curve.cells[point]}
    return contrast(runs, metric, lambda scores: scores[0], resampled, is_complete=len(runs) == len(curve.runs))


def _minus_shared(
    curve: Curve, shared: Sequence[Cell], point: int, metric: str, resampled: Resampled | None
) -> Estimate:
    runs = {cell.run: (cell, other) for cell in curve.cells[point] if (other := _partner(cell.run, shared))}
    return contrast(
        runs, metric, lambda scores: scores[0] - scores[1], resampled, is_complete=len(runs) == len(curve.runs)
    )


def _minus_best(
    curve: Curve, grid: Grid, point: int, metric: str, resampled: Resampled | None
) -> tuple[str, Estimate] | None:
    if curve.is_control or (control := best_control(curve, grid, point, metric)) is None:
        return None
    return control.label, point_difference(curve, control, point, metric, resampled)


def _racu(curve: Curve, random: Curve, grid: Grid, metric: str, resampled: Resampled | None) -> Estimate:
    """Estimate RACU run by run; clean and blank networks, trained like the others, are both ends of the curve.

    A KAR curve runs from blank to clean, and a good method lies above random: the possible gain is the area between
    random's curve and the clean score. Of an error, all curves are taken with the other sign.
    """
    sign = -1 if METRICS[metric].is_error else 1
    runs: dict[Run, Sequence[Cell]] = {}
    for run in curve.runs:
        ends = [_partner(run, grid.clean), _partner(run, grid.blank)]
        inner = [_partner(run, c.cells[point]) for c in (curve, random) for point in range(len(curve.percents))]
        finished = [cell for cell in (*ends, *inner) if cell is not None]
        runs |= {run: finished} if len(finished) == len(ends) + len(inner) else {}
    percents, count = (0, *curve.percents, 100), len(curve.percents)

    def combine(scores: Sequence[Floats]) -> Floats:
        clean, blank, points, baseline = scores[0], scores[1], scores[2 : 2 + count], scores[2 + count :]
        if lower_is_better(curve.direction):
            random_line, line = (curves.with_ends(clean, inner, blank) for inner in (baseline, points))
            return curves.racu(percents, sign * random_line, sign * line, sign * blank)
        random_line, line = (curves.with_ends(blank, inner, clean) for inner in (baseline, points))
        return curves.racu(percents, -sign * random_line, -sign * line, -sign * clean)

    estimate = contrast(runs, metric, combine, resampled, is_complete=len(runs) == len(curve.runs))
    return UNDEFINED if estimate.mean is None else estimate


def _partner(run: Run, cells: Sequence[Cell]) -> Cell | None:
    """Return the cell of a run: that of the same seeds or, among cells without a model, of the same seed."""
    by_run = {cell.run: cell for cell in cells}
    return by_run.get(run) or by_run.get((run[0], None))
