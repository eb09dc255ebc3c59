"""Curves of a retrained network's score against the removed percentage: spread and areas.

Shapes: P points of a curve, R runs (one per seed, or per seed and model seed).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["area_between", "mean_std", "racu", "with_ends"]

Floats = npt.NDArray[np.float64]


def mean_std(values: Sequence[float | None]) -> tuple[float | None, float | None]:
    """Return the mean and the sample standard deviation (divisor R - 1) over runs.

    One run has no deviation: None. One undefined value (None) makes both undefined; it is not skipped.
    """
    defined = [value for value in values if value is not None]
    if not defined or len(defined) < len(values):
        return None, None
    return float(np.mean(defined)), float(np.std(defined, ddof=1)) if len(defined) > 1 else None


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
        blank: score with nothing visible, broadcast to the points.

    Returns:
        (...), NaN where random's curve is not above ``blank``: there is nothing to compare with.
    """
    possible = area_between(percents, random, np.broadcast_to(blank, np.shape(random)))
    gained = area_between(percents, random, curve)
    ratio: Floats = np.divide(gained, possible, out=np.full_like(possible, math.nan), where=possible > 0)
    return ratio


def with_ends(first: npt.ArrayLike, points: npt.ArrayLike, last: npt.ArrayLike) -> Floats:
    """Return the points (P, ...) of a curve between a first and a last one (...): (P + 2, ...)."""
    inner = np.asarray(points, dtype=float)
    ends = [np.broadcast_to(np.asarray(end, dtype=float), inner.shape[1:])[None] for end in (first, last)]
    return np.concatenate([ends[0], inner, ends[1]])
