"""Curves of a retrained network's score against the removed percentage: spread, intervals, areas (PROTOCOL 8).

Shapes: P points of a curve, R runs (one per seed, or per seed and model seed), N images, B resamples. Plain numpy; no
randomness but that of ``resample``, whose seed is an argument.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Resamples", "area_between", "bootstrap_means", "interval", "mean_std", "racu", "resample", "with_ends"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Resamples:
    """How often each seed, model seed and image is drawn in each resample.

    Attributes:
        seeds: retraining seed to counts (B,).
        model_seeds: model seed to counts (B,); empty if model seeds are not a factor of their own.
        images: counts (N, B).
    """

    seeds: Mapping[int, Floats]
    model_seeds: Mapping[int, Floats]
    images: Floats


def mean_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean and the sample standard deviation (divisor R - 1) over runs.

    One run has no deviation: None. An undefined value (None) makes both undefined, rather than being skipped.
    """
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return None, None
    return float(np.mean(known)), float(np.std(known, ddof=1)) if len(known) > 1 else None


def area_between(percents: Sequence[int], upper: npt.ArrayLike, lower: npt.ArrayLike) -> Floats:
    """Return the trapezoidal area between curves (P, ...), divided by the width of ``percents``: the mean gap."""
    x = np.asarray(percents, dtype=float)
    gap = np.asarray(upper, dtype=float) - np.asarray(lower, dtype=float)
    widths = np.diff(x).reshape(-1, *[1] * (gap.ndim - 1))
    area: Floats = np.sum(widths * (gap[1:] + gap[:-1]) / 2, axis=0) / (x[-1] - x[0])
    return area


def racu(percents: Sequence[int], random: npt.ArrayLike, curve: npt.ArrayLike, blank: npt.ArrayLike) -> Floats:
    """Return the relative area between the curves (RACU; Madsen et al. 2022, arXiv 2110.08412).

    The area by which the method's curve lies below random's, divided by the area between random's curve and its value
    when everything is removed. 0: no better than random removal; 1: the first removal already leaves only chance.

    Args:
        percents: of the points, from 0 to 100.
        random: curve of random removal (P, ...).
        curve: curve of the method (P, ...).
        blank: score when nothing can be seen, broadcast to the points.

    Returns:
        (...), NaN where random removal is not above ``blank``: there is nothing to compare with.
    """
    possible = area_between(percents, random, np.broadcast_to(blank, np.shape(random)))
    gained = area_between(percents, random, curve)
    ratio: Floats = np.divide(gained, possible, out=np.full_like(possible, math.nan), where=possible > 0)
    return ratio


def with_ends(first: npt.ArrayLike, points: npt.ArrayLike, last: npt.ArrayLike) -> Floats:
    """Put a first and a last point (...) around the points (P, ...) of a curve."""
    inner = np.asarray(points, dtype=float)
    ends = [np.broadcast_to(np.asarray(end, dtype=float), inner.shape[1:])[None] for end in (first, last)]
    return np.concatenate([ends[0], inner, ends[1]])


def resample(seeds: Sequence[int], model_seeds: Sequence[int], images: int, count: int, *, seed: int = 0) -> Resamples:
    """Draw ``count`` resamples with replacement of seeds, of model seeds and of images, independently.

    Every cell of the grid is weighted by the same draws, so that differences between curves are paired. Give no
    ``model_seeds`` where run s explains the models of seed s: the pair is then drawn as one.
    """
    generator = np.random.default_rng(seed)

    def counts(items: int) -> Floats:
        drawn = generator.multinomial(items, [1 / items] * items, size=count)
        return np.asarray(drawn.T, dtype=np.float64)

    of_seeds, of_models = (counts(len(items)) if items else np.empty((0, count)) for items in (seeds, model_seeds))
    return Resamples(
        seeds=dict(zip(seeds, of_seeds, strict=True)),
        model_seeds=dict(zip(model_seeds, of_models, strict=True)),
        images=counts(images),
    )


def bootstrap_means(
    values: npt.ArrayLike, runs: Sequence[tuple[int | None, int | None]], resamples: Resamples
) -> Floats:
    """Return the mean over runs and images in every resample (B,).

    Args:
        values: per-image score of every run (R, N).
        runs: (seed, model seed) of every run; None where a run does not depend on it.
        resamples: draws that cover these seeds and images.
    """
    # einsum and not @: one order of adding, whatever the number of threads, hence the same bytes.
    per_run = np.einsum("rn,nb->rb", np.asarray(values, dtype=float), resamples.images) / len(resamples.images)
    weights = np.ones_like(per_run)
    for row, (seed, model_seed) in enumerate(runs):
        if seed is not None:
            weights[row] *= resamples.seeds[seed]
        if model_seed is not None and resamples.model_seeds:
            weights[row] *= resamples.model_seeds[model_seed]
    means: Floats = (weights * per_run).sum(0) / weights.sum(0)
    return means


def interval(samples: npt.ArrayLike, level: float = 0.95) -> tuple[float, float] | None:
    """Return the percentile interval of resampled values (B,); None if there are none or one is undefined."""
    drawn = np.asarray(samples, dtype=float)
    if drawn.size == 0 or np.isnan(drawn).any():
        return None
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)
