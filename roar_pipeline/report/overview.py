"""All results of a grid, read once and summarized."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.datasets.images import Info, Split, read_splits
from roar_pipeline.evaluation import one_label
from roar_pipeline.evaluation.prediction_metrics import f1_samples
from roar_pipeline.methods import RANDOM
from roar_pipeline.report.grid import Cell, Curve, Grid, ModelRun, group_cells
from roar_pipeline.report.inputs import CellInput, ReportInputs
from roar_pipeline.report.labels import Scoring, scoring_of
from roar_pipeline.report.results import read_cells, read_localizations, read_models
from roar_pipeline.report.statistics.contrasts import Resampled
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization import Localization, PairScores, summarize_localization
from roar_pipeline.report.statistics.summaries import Summary, summarize

__all__ = ["Overview", "gather"]

_MIN_SIGNAL = 0.1
"""Least gain of the clean network over a blank one: below it, there is nothing that removal could take away."""


@dataclass(frozen=True)
class Overview:
    """All results of a grid. Missing ones are left out.

    Attributes:
        models: every trained model.
        localizations: averages over the pairs of images and classes.
        pair_scores: localization pair by pair.
        cells: every retrained network.
        probes: the networks that saw the masks alone.
        longer: the cells that were trained twice as long.
        grid: the cells as curves.
        summaries: for each metric a list parallel to ``grid.curves``.
        resampled: metrics in resamples of the test images; None: no intervals.
        classes: names by class index.
        scoring: the scores that the report has.
        majority: with one label per image, the accuracy on test images of always predicting the training split's most
            frequent class; None with several.
        expected_models: number of seeds that the grid has of each model, finished or missing.
        expected_localizations: likewise for each (model, method).
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
    scoring: Scoring
    majority: float | None
    expected_models: Mapping[str, int]
    expected_localizations: Mapping[tuple[str | None, str], int]

    @property
    def seeds(self) -> int:
        """The largest number of seeds at any point."""
        return max(len({cell.seed for cell in point}) for curve in self.grid.curves for point in curve.cells)

    @property
    def directions(self) -> list[str]:
        """Directions of the grid: remove, keep or both."""
        return list(dict.fromkeys(curve.direction for curve in self.grid.curves))

    @property
    def methods(self) -> list[str]:
        """The attribution methods, without the controls."""
        return list(dict.fromkeys(curve.method for curve in self.grid.curves if not curve.is_control))

    @property
    def drawn_metrics(self) -> tuple[str, ...]:
        """The metrics that have curves: all, but for a balanced accuracy that is the accuracy of every cell."""
        pairs = [[cell.test.get(metric) for metric in ("accuracy", "balanced_accuracy")] for cell in self.cells]
        is_twice = all(a is not None and b is not None and math.isclose(a, b, abs_tol=1e-9) for a, b in pairs)
        return tuple(m for m in self.scoring.metrics if m != "balanced_accuracy" or not is_twice)

    def has_signal(self, metric: str) -> bool:
        """Return whether the clean network scores well above a blank one; otherwise there is nothing to remove."""
        clean, blank = self.spread_of(self.grid.clean, metric)[0], self.unseeing(metric)
        return clean is None or blank is None or clean - blank >= _MIN_SIGNAL

    def unseeing(self, metric: str) -> float | None:
        """Return a metric's value without seeing: accuracy of the most frequent class, else the mean blank network."""
        if metric == "accuracy" and self.majority is not None:
            return self.majority
        return self.spread_of(self.grid.blank, metric)[0]

    def spread_of(self, cells: Sequence[Cell], metric: str) -> tuple[float | None, float | None]:
        """Return the mean and standard deviation of a metric over cells, such as the clean ones."""
        return mean_std([cell.test[metric] for cell in cells])

    def summarized_curves(self, direction: str, metric: str) -> list[tuple[Curve, Summary]]:
        """Return the curves of a direction with their summaries of a metric."""
        pairs = zip(self.grid.curves, self.summaries[metric], strict=True)
        return [(curve, summary) for curve, summary in pairs if curve.direction == direction]

    def panels(self, direction: str, metric: str) -> dict[str, list[tuple[Curve, Summary]]]:
        """Return each method's panel in a direction: the curves of the controls, then of the models."""
        pairs = self.summarized_curves(direction, metric)
        controls = [pair for pair in pairs if pair[0].model is None]
        panels = {}
        for method in dict.fromkeys(curve.panel for curve, _ in pairs if curve.model is not None):
            of_method = [pair for pair in pairs if pair[0].model is not None and pair[0].panel == method]
            panels[method] = controls + sorted(of_method, key=lambda pair: not pair[0].is_control)
        return panels or {RANDOM: controls}


def gather(inputs: ReportInputs, test: Split, info: Info) -> Overview:
    """Read and summarize every result.

    Args:
        inputs: of the report.
        test: the test split.
        info: of the images.

    Raises:
        ValueError: a cell, or a direction's random control, is neither a result nor a missing one.
    """
    f1_threshold = inputs.settings.metrics.f1_threshold
    scoring = scoring_of(is_single_label=info.is_single_label, classes=len(info.classes))

    def f1_at_threshold(scores: NDArray[np.float32]) -> float | None:
        return f1_samples(test.labels, scores, f1_threshold)

    f1 = None if info.is_single_label else f1_at_threshold

    def finished(cells: Sequence[Cell | CellInput]) -> list[Cell]:
        return [cell for cell in cells if isinstance(cell, Cell)]

    cells = read_cells(inputs.cells, f1, scoring)
    grid = group_cells(cells)
    directions = {curve.direction for curve in grid.curves}
    if missing := directions - {curve.direction for curve in grid.curves if curve.method == RANDOM}:
        raise ValueError(f"cells of the random control are missing: direction {', '.join(sorted(missing))}")
    resamples = inputs.settings.report.bootstrap if _has_seeds(inputs) else 0
    resampled = (
        Resampled(test.labels, resamples, f1_threshold, is_single_label=info.is_single_label) if resamples else None
    )
    pair_scores = PairScores(inputs.localizations, read_localizations(inputs.localizations), test.ids)
    return Overview(
        models=read_models(inputs.models, f1, scoring),
        localizations=summarize_localization(pair_scores),
        pair_scores=pair_scores,
        cells=finished(cells),
        probes=finished(read_cells(inputs.probes, f1, scoring)),
        longer=finished(read_cells(inputs.longer, f1, scoring)),
        grid=grid,
        summaries={m: [summarize(curve, grid, m, resampled) for curve in grid.curves] for m in scoring.metrics},
        resampled=resampled,
        classes=info.classes,
        scoring=scoring,
        majority=_majority(inputs, test) if info.is_single_label else None,
        expected_models=Counter(model.model for model in inputs.models),
        expected_localizations=Counter((maps.model, maps.method) for maps in inputs.localizations),
    )


def _majority(inputs: ReportInputs, test: Split) -> float | None:
    train = read_splits(inputs.images_path, ("train",), pixels=False)["train"]
    return one_label.majority_accuracy(train.labels, test.labels)


def _has_seeds(inputs: ReportInputs) -> bool:
    """Return whether the grid has more than one seed; intervals need several."""
    return len({cell.seed for cell in inputs.cells}) > 1 or len({model.seed for model in inputs.models}) > 1
