"""Everything a grid measured, read from the results' folders and summed up: what the report is made from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline import metrics
from roar_pipeline.curves import mean_std
from roar_pipeline.images import Split, read_split
from roar_pipeline.results import METRICS, Cell, Curve, ModelRun, group, read_cells, read_models
from roar_pipeline.summaries import Localization, Summary, blank_scores, draw, localization, summarize

__all__ = ["LEADING", "RANDOM", "Overview", "gather"]

LEADING = next(iter(METRICS))
"""The metric that leads the report and has intervals: F1, which is a mean over images that can be resampled."""

RANDOM = "random"
"""The control that curves are compared with."""


@dataclass(frozen=True)
class Overview:
    """Everything measured.

    ``summaries`` has for each metric a list parallel to ``grid``; ``blank`` is what each metric is when nothing can be
    seen. ``models``, ``localizations``, ``cells`` and ``clean`` are those that are there; ``asked_models`` counts the
    seeds of each model, and ``asked_localizations`` those of each (model, method), with the missing ones.
    """

    models: list[ModelRun]
    localizations: list[Localization]
    cells: list[Cell]
    clean: tuple[Cell, ...]
    grid: list[Curve]
    summaries: dict[str, list[Summary]]
    blank: dict[str, float | None]
    classes: tuple[str, ...]
    asked_models: Mapping[str, int]
    asked_localizations: Mapping[tuple[str | None, str], int]

    @property
    def seeds(self) -> int:
        """How many seeds the point with the most has."""
        return max(len({cell.seed for cell in point}) for curve in self.grid for point in curve.cells)

    @property
    def directions(self) -> list[str]:
        """Directions of the grid: remove, keep or both."""
        return list(dict.fromkeys(curve.direction for curve in self.grid))

    def spread_of_clean(self, metric: str) -> tuple[float | None, float | None]:
        """Return the mean and standard deviation of a metric over the clean cells."""
        return mean_std([cell.test[metric] for cell in self.clean])

    def panels(self, direction: str) -> dict[str, list[tuple[Curve, dict[str, Summary]]]]:
        """Return, by method, the curves of a direction that are shown together: controls first, then the models."""
        pairs = [
            (curve, {metric: self.summaries[metric][place] for metric in METRICS})
            for place, curve in enumerate(self.grid)
            if curve.direction == direction
        ]
        controls = [pair for pair in pairs if pair[0].model is None]
        methods = dict.fromkeys(curve.method for curve, _ in pairs if curve.model is not None)
        return {
            method: controls + [(c, s) for c, s in pairs if c.model is not None and c.method == method]
            for method in methods
        } or {RANDOM: controls}


def gather(
    models: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    localizations: Sequence[Mapping[str, Any]],
    images: Path,
    test: Split,
    resamples: int,
    f1_threshold: float,
    classes: tuple[str, ...],
) -> Overview:
    """Read every result and sum it up.

    Arguments are those of ``report.build``; ``test`` is the test split, ``resamples`` the count of the bootstrap (0: no
    intervals).

    Raises:
        ValueError: the grid lacks a cell, or a direction its random control.
    """

    def f1(scores: NDArray[np.float32]) -> float | None:
        return metrics.f1_samples(test.labels, scores, f1_threshold)

    read = read_cells(cells, f1)
    clean, grid = group(read)
    randoms = {curve.direction: curve for curve in grid if curve.method == RANDOM}
    if missing := {curve.direction for curve in grid} - randoms.keys():
        raise ValueError(f"cells of the random control are missing: direction {', '.join(sorted(missing))}")
    scores = blank_scores(read_split(images, "train").labels, len(test.ids))
    blank = metrics.evaluate(test.labels, scores, f1_threshold)
    drawn = draw(clean, grid, test.labels, scores, f1_threshold, resamples) if resamples else None
    summaries: dict[str, list[Summary]] = {}
    for metric in METRICS:
        intervals = drawn if metric == LEADING else None
        summaries[metric] = [summarize(c, randoms[c.direction], clean, blank[metric], metric, intervals) for c in grid]
    return Overview(
        models=read_models(models, f1),
        localizations=localization(localizations),
        cells=[cell for cell in read if isinstance(cell, Cell)],
        clean=clean,
        grid=grid,
        summaries=summaries,
        blank={metric: blank[metric] for metric in METRICS},
        classes=classes,
        asked_models=Counter(model["model"] for model in models),
        asked_localizations=Counter((each["model"], each["method"]) for each in localizations),
    )
