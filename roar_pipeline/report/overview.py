"""Everything a grid measured, read from the results' folders and summed up: what the report is made from."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.datasets.images import Split
from roar_pipeline.evaluation import metrics
from roar_pipeline.methods import RANDOM
from roar_pipeline.report.results import METRICS, Cell, Curve, Grid, ModelRun, group, read_cells, read_models
from roar_pipeline.report.statistics.contrasts import Resampled
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization_summaries import Localization, localization
from roar_pipeline.report.statistics.summaries import Summary, summarize

__all__ = ["Overview", "gather"]

_SIGNAL = 0.1
"""Score above that of nothing visible, from which a network has learned anything that could be taken away."""


@dataclass(frozen=True)
class Overview:
    """Everything measured.

    ``summaries`` has for each metric a list parallel to ``grid.curves``. ``models``, ``localizations``, ``cells``,
    ``probes`` and ``longer`` are those that are there; ``asked_models`` counts the seeds of each model, and
    ``asked_localizations`` those of each (model, method), with the missing ones.
    """

    models: list[ModelRun]
    localizations: list[Localization]
    cells: list[Cell]
    probes: list[Cell]
    longer: list[Cell]
    grid: Grid
    summaries: dict[str, list[Summary]]
    resampled: Resampled | None
    classes: tuple[str, ...]
    asked_models: Mapping[str, int]
    asked_localizations: Mapping[tuple[str | None, str], int]

    @property
    def seeds(self) -> int:
        """How many seeds the point with the most has."""
        return max(len({cell.seed for cell in point}) for curve in self.grid.curves for point in curve.cells)

    @property
    def directions(self) -> list[str]:
        """Directions of the grid: remove, keep or both."""
        return list(dict.fromkeys(curve.direction for curve in self.grid.curves))

    @property
    def methods(self) -> list[str]:
        """The methods whose maps of models are compared."""
        return list(dict.fromkeys(curve.method for curve in self.grid.curves if not curve.is_control))

    def has_signal(self, metric: str) -> bool:
        """Tell whether the clean network scores well above one that sees nothing: else there is nothing to remove."""
        clean, blank = (self.spread_of(cells, metric)[0] for cells in (self.grid.clean, self.grid.blank))
        return clean is None or blank is None or clean - blank >= _SIGNAL

    def spread_of(self, cells: Sequence[Cell], metric: str) -> tuple[float | None, float | None]:
        """Return the mean and standard deviation of a metric over cells, such as the clean ones."""
        return mean_std([cell.test[metric] for cell in cells])

    def pairs(self, direction: str, metric: str) -> list[tuple[Curve, Summary]]:
        """Return the curves of a direction with their summaries of a metric."""
        pairs = zip(self.grid.curves, self.summaries[metric], strict=True)
        return [(curve, summary) for curve, summary in pairs if curve.direction == direction]

    def panels(self, direction: str, metric: str) -> dict[str, list[tuple[Curve, Summary]]]:
        """Return, by method, the curves of a direction that are shown together: controls first, then the models."""
        pairs = self.pairs(direction, metric)
        free = [pair for pair in pairs if pair[0].model is None]
        panels = {}
        for method in dict.fromkeys(curve.panel for curve, _ in pairs if curve.model is not None):
            own = [pair for pair in pairs if pair[0].model is not None and pair[0].panel == method]
            panels[method] = free + sorted(own, key=lambda pair: not pair[0].is_control)
        return panels or {RANDOM: free}


def gather(
    models: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    probes: Sequence[Mapping[str, Any]],
    longer: Sequence[Mapping[str, Any]],
    localizations: Sequence[Mapping[str, Any]],
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
    grid = group(read)
    directions = {curve.direction for curve in grid.curves}
    if missing := directions - {curve.direction for curve in grid.curves if curve.method == RANDOM}:
        raise ValueError(f"cells of the random control are missing: direction {', '.join(sorted(missing))}")
    resampled = Resampled(test.labels, resamples, f1_threshold) if resamples else None
    return Overview(
        models=read_models(models, f1),
        localizations=localization(localizations),
        cells=[cell for cell in read if isinstance(cell, Cell)],
        probes=[cell for cell in read_cells(probes, f1) if isinstance(cell, Cell)],
        longer=[cell for cell in read_cells(longer, f1) if isinstance(cell, Cell)],
        grid=grid,
        summaries={m: [summarize(curve, grid, m, resampled) for curve in grid.curves] for m in METRICS},
        resampled=resampled,
        classes=classes,
        asked_models=Counter(model["model"] for model in models),
        asked_localizations=Counter((each["model"], each["method"]) for each in localizations),
    )
