"""Everything that a grid measured, read once from the results' files and summed up."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.datasets.images import Split
from roar_pipeline.evaluation import metrics
from roar_pipeline.methods import RANDOM
from roar_pipeline.report.grid import Cell, Curve, Grid, ModelRun, group
from roar_pipeline.report.inputs import CellInput, ReportInputs
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.results import read_cells, read_localizations, read_models
from roar_pipeline.report.statistics.contrasts import Resampled
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization import Localization, PairScores, summarize_localization
from roar_pipeline.report.statistics.summaries import Summary, summarize

__all__ = ["Overview", "gather"]

_SIGNAL = 0.1
"""Score above that of nothing visible, from which a network has learned anything that could be taken away."""


@dataclass(frozen=True)
class Overview:
    """Everything measured.

    Attributes:
        models: those that are done, like all results below.
        localizations: averages over the pairs of images and classes.
        pair_scores: the pairs themselves.
        cells: every retrained network.
        probes: the networks that saw the masks alone.
        longer: the cells that were trained twice as long.
        grid: the cells in order.
        summaries: for each metric a list parallel to ``grid.curves``.
        resampled: metrics in resamples of the test images; None: no intervals.
        classes: names by class index.
        expected_models: how many seeds of each model the grid has, done or missing.
        expected_localizations: likewise of each (model, method).
    """

    models: list[ModelRun]
    localizations: list[Localization]
    pair_scores: PairScores
    cells: list[Cell]
    probes: list[Cell]
    longer: list[Cell]
    grid: Grid
    summaries: dict[str, list[Summary]]
    resampled: Resampled | None
    classes: tuple[str, ...]
    expected_models: Mapping[str, int]
    expected_localizations: Mapping[tuple[str | None, str], int]

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


def gather(inputs: ReportInputs, test: Split, classes: tuple[str, ...]) -> Overview:
    """Read every result and sum it up.

    Args:
        inputs: of the report.
        test: the test split.
        classes: names by class index.

    Raises:
        ValueError: the grid lacks a cell, or a direction its random control, that is not even named as missing.
    """
    f1_threshold = inputs.settings.metrics.f1_threshold

    def f1(scores: NDArray[np.float32]) -> float | None:
        return metrics.f1_samples(test.labels, scores, f1_threshold)

    def cells_of(read: Sequence[Cell | CellInput]) -> list[Cell]:
        return [cell for cell in read if isinstance(cell, Cell)]

    read = read_cells(inputs.cells, f1)
    grid = group(read)
    directions = {curve.direction for curve in grid.curves}
    if missing := directions - {curve.direction for curve in grid.curves if curve.method == RANDOM}:
        raise ValueError(f"cells of the random control are missing: direction {', '.join(sorted(missing))}")
    resamples = inputs.settings.report.bootstrap if _has_seeds(inputs) else 0
    resampled = Resampled(test.labels, resamples, f1_threshold) if resamples else None
    pair_scores = PairScores(inputs.localizations, read_localizations(inputs.localizations), test.ids)
    return Overview(
        models=read_models(inputs.models, f1),
        localizations=summarize_localization(pair_scores),
        pair_scores=pair_scores,
        cells=cells_of(read),
        probes=cells_of(read_cells(inputs.probes, f1)),
        longer=cells_of(read_cells(inputs.longer, f1)),
        grid=grid,
        summaries={m: [summarize(curve, grid, m, resampled) for curve in grid.curves] for m in METRICS},
        resampled=resampled,
        classes=classes,
        expected_models=Counter(model.model for model in inputs.models),
        expected_localizations=Counter((maps.model, maps.method) for maps in inputs.localizations),
    )


def _has_seeds(inputs: ReportInputs) -> bool:
    """Tell whether there is more than one seed, without which there are no intervals."""
    return len({cell.seed for cell in inputs.cells}) > 1 or len({model.seed for model in inputs.models}) > 1
