"""Contrasts: functions of several networks' scores, such as a difference, with their uncertainty.

A contrast is computed run by run, from networks that share their seeds, so that an effect of the seed on all of them
cancels. Its interval covers the choice of seeds and the choice of test images (``inference``).

Shapes: R runs, N test images, B resamples.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from roar_pipeline.evaluation import bootstrap
from roar_pipeline.report.inputs import Run
from roar_pipeline.report.statistics import inference
from roar_pipeline.report.statistics.inference import Estimate

__all__ = ["UNDEFINED", "Resampled", "Scored", "contrast"]

Floats = npt.NDArray[np.float64]
Combine = Callable[[Sequence[Floats]], Floats]
"""Computes the contrast from the scores of a run's networks; all are numbers, or all (B,)."""

UNDEFINED = Estimate(mean=None, std=None, interval=None, p=None, runs=0)


class Scored(Protocol):
    """A network with its test scores: a cell, a probe, a teacher or a student."""

    @property
    def directory(self) -> Path:
        """The result's directory, which has ``scores.npy``."""
        ...

    @property
    def test(self) -> Mapping[str, float | None]:
        """Its metrics on the test images."""
        ...

    @property
    def tuned_threshold(self) -> float | None:
        """Probability threshold of ``f1_tuned``; None without it."""
        ...


class Resampled:
    """Every network's metrics in the same resamples of the test images; computed once, on first use.

    ``f1_threshold`` is not used if every image has exactly one label.
    """

    def __init__(
        self, labels: npt.NDArray[np.uint8], count: int, f1_threshold: float, *, is_single_label: bool = False
    ) -> None:
        self.images = len(labels)
        self.counts = bootstrap.image_counts(len(labels), count)
        self._labels, self._threshold, self._is_single_label = labels, f1_threshold, is_single_label
        self._metrics: dict[Path, Mapping[str, Floats]] = {}

    def of(self, network: Scored, metric: str) -> Floats:
        """Return a network's metric in every resample, (B,)."""
        if network.directory not in self._metrics:
            self._metrics[network.directory] = self._resample(network)
        return self._metrics[network.directory][metric]

    def _resample(self, network: Scored) -> Mapping[str, Floats]:
        scores = np.load(network.directory / "scores.npy")
        if self._is_single_label:
            return bootstrap.resampled_accuracies(self._labels, scores, self.counts)
        return bootstrap.resampled_metrics(
            self._labels,
            scores,
            self.counts,
            f1_threshold=self._threshold,
            tuned_threshold=network.tuned_threshold,
        )


def contrast(
    runs: Mapping[Run, Sequence[Scored]],
    metric: str,
    combine: Combine,
    resampled: Resampled | None,
    *,
    is_complete: bool,
) -> Estimate:
    """Estimate a contrast over runs.

    Args:
        runs: the networks of each run, in the order that ``combine`` takes them.
        metric: a key of ``METRICS``.
        combine: computes the contrast of one run.
        resampled: metrics in resamples of the test images; None: no intervals.
        is_complete: whether no run of the grid is missing; otherwise there is no interval, since networks that failed
            need not be like the others.
    """
    if not runs:
        return UNDEFINED
    values: dict[Run, float | None] = {}
    for run, networks in runs.items():
        scores = [network.test[metric] for network in networks]
        defined = [np.asarray(score, dtype=np.float64) for score in scores if score is not None]
        values[run] = float(combine(defined)) if len(defined) == len(scores) else None
    resampled_mean = None
    if resampled is not None and is_complete and None not in values.values():
        of_runs = [combine([resampled.of(n, metric) for n in networks]) for networks in runs.values()]
        resampled_mean = np.sum(of_runs, axis=0) / len(of_runs)
    estimate = inference.estimate(values, resampled_mean, resampled.images if resampled is not None else 0)
    return estimate if resampled_mean is not None else Estimate(estimate.mean, estimate.std, None, None, estimate.runs)
