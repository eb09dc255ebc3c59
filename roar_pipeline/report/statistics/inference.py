"""Intervals, tests and verdicts for scores of a few training runs on one test split.

There are two sources of chance. Another seed trains another network: the few runs themselves estimate this variance.
Other test images score otherwise: resampling the images, with the runs fixed, estimates this variance
(``evaluation.bootstrap``). The variances add up, and each has its own degrees of freedom.

``estimate``'s interval is that of Banerjee 1960 (Sankhya 22, 357): mean ± sqrt(sum of t_i^2 v_i), where v_i is the
estimated variance of the mean from source i and t_i the quantile of Student's t with that source's degrees of freedom.
For normal errors it holds its level whatever the true variances V_i are, from two seeds on: with F the distribution
function of chi-square with one degree of freedom, which is concave, and w_i = v_i / V_i, its coverage is the mean of
F(sum of V_i t_i^2 w_i / sum of V_i) >= sum of V_i mean(F(t_i^2 w_i)) / sum of V_i = level. With one source it is
Student's interval. The usual approximation, Satterthwaite's degrees of freedom for the summed variance (1946), takes
them from the same few variances: with three seeds it covers 93 % at a level of 95 %, and misses 2 to 3 % at 99.5 %,
which corrected tests need. With skewed effects of seeds (scores near 0), no interval from a few seeds quite holds its
level. ``benchmarks/coverage.py`` simulates all this.

Shapes: R runs, B resamples.
"""

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from roar_pipeline.report.inputs import Run
from roar_pipeline.report.statistics.curves import mean_std

__all__ = [
    "Estimate",
    "Verdict",
    "estimate",
    "holm",
    "verdict_above",
    "verdict_below",
    "verdict_not_on_par",
    "verdict_on_par",
]

Floats = NDArray[np.float64]
Verdict = Literal["held", "not held", "undecided"]

_ROUNDING = 1e-12
"""Standard errors and means of scores (order 1) below this are 0: differences of equal numbers, but for rounding."""

_SMALLEST = 1e-300
"""Lower bound of the search for a p-value."""


@dataclass(frozen=True)
class Estimate:
    """A mean over runs and its uncertainty.

    Attributes:
        mean: over all runs; None if a run has no value.
        std: sample standard deviation over runs (divisor R - 1); None with one run.
        interval: of the mean over all possible seeds and images; None where ``estimate`` has none.
        p: two-sided, of the hypothesis that this mean is 0: 1 - the level of the interval that ends at 0.
        runs: their number.
    """

    mean: float | None
    std: float | None
    interval: tuple[float, float] | None
    p: float | None
    runs: int


class _Source(NamedTuple):
    """A source of chance: its share in the variance of the mean, and the degrees of freedom of that estimate."""

    variance: float
    df: int


def estimate(
    values: Mapping[Run, float | None], resampled: Floats | None, images: int, level: float = 0.95
) -> Estimate:
    """Estimate a statistic's mean over seeds and images from its value in every run.

    All runs weigh the same: one per seed (seed, None), or one per pair of seed and model seed. Paired seeds, where run
    s explains the models of seed s, are one source. Crossed seeds are two sources, estimated by the means over the runs
    of a seed and over those of a model seed; this counts their interaction twice, on the safe side. With a single model
    seed for all seeds, the interval is for the networks of that model seed.

    Interval and p are None with one seed, and if a value is undefined in a run or in a resample.

    Args:
        values: (seed, model seed) of a run to the statistic on the whole test split, None or NaN where undefined. For a
            difference, that of the same run: then seeds are paired.
        resampled: the mean over the runs in every resample of the images (B,), the runs fixed; None if images are not
            resampled: then the interval is for these very images.
        images: number of resampled images.
        level: of the interval.
    """
    runs = {run: value for run, value in values.items() if value is not None and not math.isnan(value)}
    if not runs or len(runs) < len(values):
        return Estimate(None, None, None, None, len(values))
    mean, std = mean_std(list(runs.values()))
    sources = _sources(runs, resampled, images)
    if mean is None or sources is None:
        return Estimate(mean, std, None, None, len(runs))
    margin = _margin(sources, 1 - level)
    return Estimate(mean, std, (mean - margin, mean + margin), _p_value(mean, sources), len(runs))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p-values for their number (Holm 1979, Scandinavian Journal of Statistics 6), in their order.

    The chance that any true hypothesis is rejected is then at most the level, whatever their dependence. None stays
    None and is not counted.
    """
    defined = [p for p in p_values if p is not None]
    order = np.argsort(defined, kind="stable")
    factors = np.arange(len(defined), 0, -1)
    corrected = np.empty(len(defined))
    corrected[order] = np.minimum(np.maximum.accumulate(factors * np.asarray(defined)[order]), 1) if defined else []
    remaining = iter(corrected.tolist())
    return [None if p is None else next(remaining) for p in p_values]


def verdict_below(difference: Estimate, corrected_p: float | None, level: float = 0.05) -> Verdict:
    """Judge the claim that A - B is below 0.

    Held or not held by the sign of the mean if ``corrected_p`` (``holm``) is below ``level``; otherwise, or without an
    interval, undecided.
    """
    if difference.mean is None or difference.interval is None or corrected_p is None or corrected_p >= level:
        return "undecided"
    return "held" if difference.mean < 0 else "not held"


def verdict_above(difference: Estimate, corrected_p: float | None, level: float = 0.05) -> Verdict:
    """Judge the claim that A - B is above 0: the opposite of ``verdict_below``."""
    return _opposite(verdict_below(difference, corrected_p, level))


def verdict_on_par(difference: Estimate, margin: float) -> Verdict:
    """Judge the claim that A and B differ by less than ``margin``.

    Held if the interval of A - B lies within ±margin (equivalence: Schuirmann 1987, Journal of Pharmacokinetics and
    Biopharmaceutics 15; with the 95 % interval, each of its two one-sided tests is at 2.5 %), not held if it lies
    outside as a whole; otherwise, or without an interval, undecided.
    """
    if margin <= 0:
        raise ValueError(f"margin must be above 0, got {margin}")
    if difference.interval is None:
        return "undecided"
    low, high = difference.interval
    if -margin < low and high < margin:
        return "held"
    return "not held" if low >= margin or high <= -margin else "undecided"


def verdict_not_on_par(difference: Estimate, margin: float) -> Verdict:
    """Judge the claim that A and B differ by ``margin`` or more: the opposite of ``verdict_on_par``."""
    return _opposite(verdict_on_par(difference, margin))


def _opposite(verdict: Verdict) -> Verdict:
    opposites: dict[Verdict, Verdict] = {"held": "not held", "not held": "held"}
    return opposites.get(verdict, verdict)


def _sources(runs: Mapping[Run, float], resampled: Floats | None, images: int) -> list[_Source] | None:
    """Return the sources of chance with a variance above 0; None if a variance cannot be estimated."""
    seeds, models = {seed for seed, _ in runs}, {model for _, model in runs}
    groups = [_means(runs, (seed for seed, _ in runs))]
    if len(models) > 1 and min(len(seeds), len(models)) < len(runs):
        groups.append(_means(runs, (model for _, model in runs)))
    sources = [_Source(float(np.var(g, ddof=1)) / len(g), len(g) - 1) for g in groups if len(g) > 1]
    if len(sources) < len(groups):
        return None
    if resampled is not None:
        if resampled.size < 2 or images < 2 or np.isnan(resampled).any():
            return None
        sources.append(_Source(float(np.var(resampled, ddof=1)), min(images, resampled.size) - 1))
    return [source for source in sources if math.sqrt(source.variance) > _ROUNDING]


def _means(runs: Mapping[Run, float], factor: Iterable[Hashable]) -> list[float]:
    """Return the mean over the runs of every level of a factor; ``factor`` has the level of every run."""
    groups = defaultdict(list)
    for level, value in zip(factor, runs.values(), strict=True):
        groups[level].append(value)
    return [float(np.mean(group)) for group in groups.values()]


def _margin(sources: Sequence[_Source], alpha: float) -> float:
    """Return half the width of the interval at level 1 - ``alpha``; 0 if nothing varies."""
    return math.sqrt(sum(stdtrit(source.df, alpha / 2) ** 2 * source.variance for source in sources))


def _p_value(mean: float, sources: Sequence[_Source]) -> float:
    """Return the alpha at which the interval ends at 0; where nothing varies, 1 for a mean of 0 and 0 for another."""
    if abs(mean) <= _ROUNDING:
        return 1.0
    if not sources:
        return 0.0
    t = abs(mean) / math.sqrt(sum(source.variance for source in sources))
    # It lies between the p-values of t at the most and at the fewest degrees of freedom of any source.
    low, high = (2 * float(stdtr(pick(source.df for source in sources), -t)) for pick in (max, min))
    low = min(max(low, _SMALLEST), high)
    for _ in range(64):
        middle = math.sqrt(low) * math.sqrt(high)
        low, high = (middle, high) if _margin(sources, middle) > abs(mean) else (low, middle)
    return high
