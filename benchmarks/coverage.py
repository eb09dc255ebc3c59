"""How often does an interval contain the truth, with a few seeds and 800 test images?

Experiments are simulated, so their truth is known: a network's score of an image is the sum of an effect of its seed,
an effect of the image, and an effect of both together. The reported interval
(``roar_pipeline.report.statistics.inference``) is compared with Student's t with Satterthwaite's degrees of freedom for
the summed variance, and with the percentile bootstrap that draws seeds and images with replacement.

``python -m benchmarks.coverage [--experiments 4000] [--resamples 1000] [--images 800] [--level 0.95] [--only F1]``
"""

import argparse
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from roar_pipeline.evaluation.bootstrap import image_counts
from roar_pipeline.report.statistics.inference import estimate

Floats = NDArray[np.float64]
Run = tuple[int, int | None]
Interval = tuple[float, float] | None
Draw = Callable[[np.random.Generator, Sequence[Run], int], Floats]

SEEDS = (1, 2, 3, 5, 10)


class Scenario(NamedTuple):
    """A simulated experiment.

    Attributes:
        truth: the statistic's mean over all possible seeds and images.
        draw: from a generator, R runs and a number of images, the scores (C, R, N) of C quantities.
        statistic: from the quantities' means over images (C, ...) to the statistic (...).
        crossed: whether every seed is run with as many model seeds; otherwise there is one run per seed.
    """

    truth: float
    draw: Draw
    statistic: Callable[[Floats], Floats]
    crossed: bool = False


def effects(rng: np.random.Generator, levels: Sequence[int | None], sd: float) -> Floats:
    """Return a normal effect of every run's level (R, 1)."""
    index = np.unique([str(level) for level in levels], return_inverse=True)[1]
    return np.asarray(rng.normal(0, sd, len(levels))[index])[:, None]


def mid_range(seed_sd: float, model_sd: float = 0.0) -> Draw:
    """Mean 0.5; images between 0 and 1, most at either end, and as much again that changes with every training."""

    def draw(rng: np.random.Generator, runs: Sequence[Run], images: int) -> Floats:
        of_runs = 0.5 + effects(rng, [seed for seed, _ in runs], seed_sd)
        if model_sd:
            of_runs = of_runs + effects(rng, [model for _, model in runs], model_sd)
        of_both = rng.normal(0, 0.25, (len(runs), images))
        return np.asarray(of_runs + (rng.beta(0.6, 0.6, images) - 0.5) * 0.75 + of_both)[None]

    return draw


def near_zero(mean: float, seed_sd: float) -> Draw:
    """A skewed (beta) effect of the seed; 9 of 10 images are at 0, half of them by the training."""

    def draw(rng: np.random.Generator, runs: Sequence[Run], images: int) -> Floats:
        total = mean * (1 - mean) / seed_sd**2 - 1
        of_seeds = rng.beta(mean * total, (1 - mean) * total, (len(runs), 1))
        of_images = (rng.random(images) < 0.2) / 0.2
        of_both = (rng.random((len(runs), images)) < 0.5) / 0.5
        return np.asarray(of_seeds * of_images * of_both)[None]

    return draw


def paired(mean: float, seed_sd: float) -> Draw:
    """Two curves' points that share the effects of seed and image in part; their difference varies by ``seed_sd``."""

    def draw(rng: np.random.Generator, runs: Sequence[Run], images: int) -> Floats:
        shared = 0.5 + rng.normal(0, 0.05, (len(runs), 1)) + rng.normal(0, 0.25, images)
        apart = (rng.normal(0, seed_sd / math.sqrt(2), (2, len(runs), 1)) + rng.normal(0, 0.07, (2, 1, images))) + (
            rng.normal(0, 0.2, (2, len(runs), images))
        )
        return np.asarray(shared + apart + np.array([mean, 0.0])[:, None, None])

    return draw


def areas(seed_sd: float) -> Draw:
    """Areas under a method's curve and random's, and the score from the classes' frequencies alone."""

    def draw(rng: np.random.Generator, runs: Sequence[Run], images: int) -> Floats:
        levels = np.array([0.35, 0.75, 0.2])[:, None, None]
        of_seeds = rng.normal(0, seed_sd, (3, len(runs), 1)) * np.array([1, 1, 0])[:, None, None]
        of_images = rng.normal(0, 0.2, images) + rng.normal(0, 0.1, (3, 1, images))
        of_both = rng.normal(0, 0.15, (3, len(runs), images)) * np.array([1, 1, 0])[:, None, None]
        return np.asarray(levels + of_seeds + of_images + of_both)

    return draw


def relative_area(means: Floats) -> Floats:
    """RACU of areas (method, random, blank)."""
    return np.asarray((means[1] - means[0]) / (means[1] - means[2]))


def mean_relative_area(seed_sd: float) -> float:
    """Return the mean over seeds of ``relative_area`` at infinitely many images, by quadrature over random's effect."""
    points, weights = np.polynomial.hermite_e.hermegauss(60)
    return float(np.average(1 - 0.15 / (0.55 + seed_sd * points), weights=weights))


SCENARIOS = {
    "mean F1, .5, seeds .03": Scenario(0.5, mid_range(0.03), lambda means: means[0]),
    "mean F1, .5, seeds .08": Scenario(0.5, mid_range(0.08), lambda means: means[0]),
    "the same, seeds .03 crossed with as many model seeds .05": Scenario(
        0.5, mid_range(0.03, 0.05), lambda means: means[0], crossed=True
    ),
    "mean F1, .05, seeds .02, skewed": Scenario(0.05, near_zero(0.05, 0.02), lambda means: means[0]),
    "mean F1, .02, seeds .015, more skewed": Scenario(0.02, near_zero(0.02, 0.015), lambda means: means[0]),
    "paired difference, -.05, seeds .01": Scenario(-0.05, paired(-0.05, 0.01), lambda means: means[0] - means[1]),
    "paired difference, 0, seeds .05": Scenario(0.0, paired(0.0, 0.05), lambda means: means[0] - means[1]),
    "RACU, .73, seeds .03": Scenario(mean_relative_area(0.03), areas(0.03), relative_area),
    "RACU, .72, seeds .08": Scenario(mean_relative_area(0.08), areas(0.08), relative_area),
}


def reported(values: Mapping[Run, float], drawn: Floats, images: int, level: float, _: np.random.Generator) -> Interval:
    """Return the interval that reports show."""
    return estimate(values, drawn.mean(axis=0), images, level).interval


def satterthwaite(
    values: Mapping[Run, float], drawn: Floats, images: int, level: float, _: np.random.Generator
) -> Interval:
    """Return Student's interval with Satterthwaite's degrees of freedom (1946)."""
    crossed = len({model for _, model in values}) > 1
    groups = [_means(values, factor) for factor in ((0, 1) if crossed else (0,))]
    if len(groups[0]) < 2:
        return None
    sources = [(float(np.var(group, ddof=1)) / len(group), len(group) - 1) for group in groups]
    sources.append((float(drawn.mean(axis=0).var(ddof=1)), images - 1))
    variance = sum(v for v, _ in sources)
    df = variance**2 / sum(v**2 / df for v, df in sources)
    half = -float(stdtrit(df, (1 - level) / 2)) * math.sqrt(variance)
    mean = float(np.mean(list(values.values())))
    return mean - half, mean + half


def _means(values: Mapping[Run, float], factor: int) -> list[float]:
    """Return the mean over the runs of every seed (factor 0) or model seed (1)."""
    levels = {run[factor] for run in values}
    return [float(np.mean([v for run, v in values.items() if run[factor] == level])) for level in levels]


def percentile(values: Mapping[Run, float], drawn: Floats, _: int, level: float, rng: np.random.Generator) -> Interval:
    """Return the quantiles of the mean over resampled runs and images: seeds (and model seeds) drawn independently."""
    weights = np.ones_like(drawn)
    for factor in (0, 1):
        levels = sorted({run[factor] for run in values}, key=str)
        counts = rng.multinomial(len(levels), np.full(len(levels), 1 / len(levels)), drawn.shape[1]).T
        weights *= counts[[levels.index(run[factor]) for run in values]]
    low, high = np.quantile((weights * drawn).sum(axis=0) / weights.sum(axis=0), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


METHODS = {"reported": reported, "Satterthwaite": satterthwaite, "percentile": percentile}


def coverage(
    scenario: Scenario, seeds: int, experiments: int, counts: Floats, level: float, rng: np.random.Generator
) -> dict[str, tuple[float, float] | None]:
    """Return, by method, the share of experiments whose interval holds the truth, and the interval's median width."""
    models: Sequence[int | None] = range(seeds) if scenario.crossed else (None,)
    runs: list[Run] = list(itertools.product(range(seeds), models))
    intervals: dict[str, list[Interval]] = {name: [] for name in METHODS}
    for _ in range(experiments):
        scores = scenario.draw(rng, runs, len(counts))
        values = dict(zip(runs, scenario.statistic(scores.mean(axis=2)).tolist(), strict=True))
        drawn = scenario.statistic(scores @ counts / len(counts))
        for name, method in METHODS.items():
            intervals[name].append(method(values, drawn, len(counts), level, rng))
    return {name: _summary(of_method, scenario.truth) for name, of_method in intervals.items()}


def _summary(intervals: Sequence[Interval], truth: float) -> tuple[float, float] | None:
    defined = [interval for interval in intervals if interval is not None]
    if not defined:
        return None
    covered = np.mean([low <= truth <= high for low, high in defined])
    return float(covered), float(np.median([high - low for low, high in defined]))


def _cell(summary: tuple[float, float] | None) -> str:
    return "none" if summary is None else f"{100 * summary[0]:.1f} ({summary[1]:.3f})"


def main() -> None:
    """Print the table of the README."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiments", type=int, default=4000)
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--level", type=float, default=0.95)
    parser.add_argument("--only", default="", help="only statistics whose title contains this text")
    arguments = parser.parse_args()
    counts = image_counts(arguments.images, arguments.resamples)
    print("| statistic | interval | " + " | ".join(f"R = {seeds}" for seeds in SEEDS) + " |")
    print("|---" * (len(SEEDS) + 2) + "|")
    for title, scenario in SCENARIOS.items():
        if arguments.only not in title:
            continue
        rows = [
            coverage(scenario, seeds, arguments.experiments, counts, arguments.level, np.random.default_rng(seeds))
            for seeds in SEEDS
        ]
        for name in METHODS:
            print(f"| {title} | {name} | " + " | ".join(_cell(row[name]) for row in rows) + " |", flush=True)


if __name__ == "__main__":
    main()
