"""Intervals and p-values against Student's t and simulation, Holm's correction against its definition, verdicts."""

import itertools
import math

import numpy as np
import pytest
from scipy import special, stats

from roar_pipeline.evaluation.bootstrap import image_counts
from roar_pipeline.report.statistics.inference import (
    Estimate,
    estimate,
    holm,
    verdict_above,
    verdict_below,
    verdict_not_on_par,
    verdict_on_par,
)

UNDEFINED = [None, math.nan]


def runs(values):
    """One run per seed."""
    return {(seed, None): value for seed, value in enumerate(values)}


def spread(variance, count=1000):
    """Resampled means (B,) whose sample variance is exactly this."""
    standard = np.random.default_rng(0).normal(size=count)
    return (standard - standard.mean()) / standard.std(ddof=1) * math.sqrt(variance)


def test_without_images_it_is_students_interval_and_test(rng):
    values = rng.normal(0.3, 0.2, 6)
    result = estimate(runs(values), None, 800)
    expected = stats.ttest_1samp(values, 0)
    assert result.mean == pytest.approx(values.mean())
    assert result.std == pytest.approx(values.std(ddof=1))
    assert result.interval == pytest.approx(tuple(expected.confidence_interval(0.95)))
    assert result.p == pytest.approx(expected.pvalue)
    assert result.runs == 6
    assert estimate(runs(values), None, 800, level=0.8).interval == pytest.approx(
        tuple(expected.confidence_interval(0.8))
    )


def test_with_images_alone_it_is_students_interval_of_their_variance():
    """Equal runs: only the images vary, with N - 1 degrees of freedom."""
    result = estimate(runs([0.5, 0.5, 0.5]), spread(0.01), 41)
    quantile = stats.t.ppf(0.975, 40)
    assert result.interval == pytest.approx((0.5 - 0.1 * quantile, 0.5 + 0.1 * quantile))
    assert result.p == pytest.approx(2 * stats.t.sf(5, 40))


def test_variances_of_seeds_and_images_add_up_each_with_its_own_quantile():
    """Banerjee 1960: seeds 0 and 2, standard error 1 with 1 degree of freedom; images, standard error 2 with 99."""
    result = estimate(runs([0.0, 2.0]), spread(4.0), 100)
    half = math.sqrt(stats.t.ppf(0.975, 1) ** 2 * 1 + stats.t.ppf(0.975, 99) ** 2 * 4)
    assert result.interval == pytest.approx((1 - half, 1 + half))


def test_as_many_degrees_of_freedom_as_resamples_allow():
    half = stats.t.ppf(0.975, 9) * 0.1
    assert estimate(runs([0.5, 0.5]), spread(0.01, 10), 800).interval == pytest.approx((0.5 - half, 0.5 + half))


@pytest.mark.parametrize(
    ("values", "variance"), [([0.1, 0.2, 0.4], 0.002), ([0.01, -0.02, 0.03], 1e-4), ([3, 3.1], 1e-9)]
)
def test_p_is_one_minus_the_level_whose_interval_ends_at_zero(values, variance):
    p = estimate(runs(values), spread(variance), 200).p
    result = estimate(runs(values), spread(variance), 200, level=1 - p)
    assert 0 < p < 1
    assert min(result.interval, key=abs) == pytest.approx(0, abs=1e-9)
    assert p == estimate(runs([-value for value in values]), spread(variance), 200).p


def test_p_of_a_clear_difference_is_small_and_not_zero():
    values = 1 + np.arange(20) * 1e-9
    assert 0 < estimate(runs(values), spread(1e-10), 6000).p < 1e-90


def test_crossed_model_seeds_are_a_source_of_their_own():
    """Effects of seeds and of model seeds that add up: each mean over the others is the effect itself."""
    of_seed, of_model = [0.0, 0.1, 0.5], [0.2, 0.6]
    values = {(s, m): of_seed[s] + of_model[m] for s, m in itertools.product(range(3), range(2))}
    result = estimate(values, None, 800)
    variances = np.var(of_seed, ddof=1) / 3, np.var(of_model, ddof=1) / 2
    half = math.sqrt(sum(stats.t.ppf(0.975, df) ** 2 * v for df, v in zip((2, 1), variances, strict=True)))
    assert result.mean == pytest.approx(0.6)
    assert result.interval == pytest.approx((0.6 - half, 0.6 + half))
    assert result.std == pytest.approx(np.std(list(values.values()), ddof=1))
    assert result.runs == 6


def test_a_seed_with_a_model_seed_of_its_own_is_one_run():
    values = [0.1, 0.4, 0.2]
    paired = {(seed, seed): value for seed, value in enumerate(values)}
    fixed = {(seed, 7): value for seed, value in enumerate(values)}
    assert estimate(paired, None, 9) == estimate(fixed, None, 9) == estimate(runs(values), None, 9)


def test_models_that_seeds_share_are_a_source_though_every_seed_is_one_run():
    shared = {(0, 0): 0.0, (1, 0): 0.0, (2, 1): 1.0, (3, 1): 1.0}
    half = math.sqrt(stats.t.ppf(0.975, 3) ** 2 / 12 + stats.t.ppf(0.975, 1) ** 2 / 4)
    assert estimate(shared, None, 9).interval == pytest.approx((0.5 - half, 0.5 + half))


@pytest.mark.parametrize("values", [{(0, None): 0.5}, {(0, 0): 0.5}, {(0, 0): 0.5, (0, 1): 0.6}])
def test_one_seed_has_no_interval(values):
    result = estimate(values, spread(0.01), 800)
    assert (result.interval, result.p) == (None, None)
    assert result.mean == pytest.approx(np.mean(list(values.values())))
    assert (result.std is None) == (len(values) == 1)


@pytest.mark.parametrize("undefined", UNDEFINED)
def test_an_undefined_run_leaves_nothing(undefined):
    assert estimate(runs([0.5, undefined, 0.7]), None, 800) == Estimate(None, None, None, None, 3)
    assert estimate({}, None, 800) == Estimate(None, None, None, None, 0)


@pytest.mark.parametrize(
    ("resampled", "images"), [(np.array([0.5, math.nan, 0.4]), 9), (np.array([0.5]), 9), (np.array([0.5, 0.5]), 1)]
)
def test_without_the_images_variance_there_is_no_interval(resampled, images):
    result = estimate(runs([0.4, 0.6]), resampled, images)
    assert result == Estimate(pytest.approx(0.5), pytest.approx(np.std([0.4, 0.6], ddof=1)), None, None, 2)


def test_where_nothing_varies_the_interval_is_a_point():
    constant = np.full(100, 0.1 + 0.2)
    assert estimate(runs([0.3] * 3), constant, 50) == Estimate(0.3, 0.0, (0.3, 0.3), 0.0, 3)
    assert estimate(runs([0.0] * 3), 0 * constant, 50) == Estimate(0.0, 0.0, (0.0, 0.0), 1.0, 3)
    rounding = estimate(runs([1e-17, 3e-17]), constant - 0.3, 50)
    assert rounding.p == 1
    assert rounding.interval == pytest.approx((0, 0), abs=1e-15)


def test_estimates_are_plain_numbers():
    result = estimate(runs(np.array([0.2, 0.4])), spread(0.01), 800)
    assert [type(v) for v in (result.mean, result.std, *result.interval, result.p, result.runs)] == [float] * 5 + [int]


def covered(count, seed_sd, experiments=2000, images=100):
    """Share of simulated experiments of ``count`` seeds whose 95 % interval holds the truth, 0.

    Effects of seed, of image and of both, each normal; images are resampled as in the report.
    """
    rng = np.random.default_rng(count)
    counts = image_counts(images, 200)
    hits = 0
    for _ in range(experiments):
        scores = rng.normal(0, seed_sd, (count, 1)) + rng.normal(0, 0.1, images) + rng.normal(0, 0.1, (count, images))
        low, high = estimate(runs(scores.mean(axis=1)), scores.mean(axis=0) @ counts / images, images).interval
        hits += low <= 0 <= high
    return hits / experiments


@pytest.mark.parametrize("count", [2, 3, 5])
@pytest.mark.parametrize("seed_sd", [0.03, 0.08])
def test_the_interval_holds_its_level(count, seed_sd):
    """95 % or a little more; three standard errors of 2,000 experiments are 1.5 %."""
    assert 0.935 <= covered(count, seed_sd) <= 0.985


@pytest.mark.parametrize("quantile", [lambda _, p: special.ndtri(p), lambda df, p: special.stdtrit(df + 1, p)])
def test_other_quantiles_would_not_hold_it(quantile, monkeypatch):
    monkeypatch.setattr("roar_pipeline.report.statistics.inference.stdtrit", quantile)
    assert covered(3, 0.08) < 0.93


def holm_reference(p_values):
    """Step down: reject the smallest of m at level / m, the next at level / (m - 1), until one is not rejected."""

    def rejected(level):
        out = set()
        order = sorted(range(len(p_values)), key=lambda i: p_values[i])
        for rank, i in enumerate(order):
            if p_values[i] > level / (len(p_values) - rank):
                break
            out.add(i)
        return out

    levels = sorted({min(1.0, p * k) for p in p_values for k in range(1, len(p_values) + 1)} | {1.0})
    return [next((level for level in levels if i in rejected(level * (1 + 1e-12))), 1.0) for i in range(len(p_values))]


@pytest.mark.parametrize("seed", range(5))
def test_holm_equals_its_steps(seed):
    p_values = (np.random.default_rng(seed).random(7) ** 3).tolist()
    assert holm(p_values) == pytest.approx(holm_reference(p_values))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []


def test_holm_neither_counts_nor_changes_what_is_undefined():
    assert holm([None, 0.01, None, 0.04]) == [None, pytest.approx(0.02), None, pytest.approx(0.04)]
    assert holm([None, None]) == [None, None]


def difference(mean, low, high):
    return Estimate(mean, 0.1, (low, high), 0.01, 3)


UNKNOWN = [Estimate(-0.1, 0.1, None, None, 1), Estimate(None, None, None, None, 3)]


@pytest.mark.parametrize(
    ("mean", "p", "below", "above"),
    [
        (-0.1, 0.049, "held", "not held"),
        (0.1, 0.049, "not held", "held"),
        (-0.1, 0.05, "undecided", "undecided"),
        (0.1, 0.2, "undecided", "undecided"),
        (-0.1, None, "undecided", "undecided"),
    ],
)
def test_verdicts_on_the_sign_of_a_difference(mean, p, below, above):
    result = difference(mean, mean - 0.05, mean + 0.05)
    assert verdict_below(result, p) == below
    assert verdict_above(result, p) == above


def test_the_level_of_a_verdict_can_be_set():
    assert verdict_below(difference(-0.1, -0.2, -0.05), 0.02, level=0.01) == "undecided"
    assert verdict_above(difference(-0.1, -0.2, -0.05), 0.06, level=0.1) == "not held"


@pytest.mark.parametrize(
    ("low", "high", "verdict", "opposite"),
    [
        (-0.04, 0.049, "held", "not held"),
        (0.01, 0.02, "held", "not held"),
        (0.06, 0.2, "not held", "held"),
        (-0.2, -0.05, "not held", "held"),
        (0.04, 0.06, "undecided", "undecided"),
        (-0.06, 0.0, "undecided", "undecided"),
        (-0.2, 0.2, "undecided", "undecided"),
    ],
)
def test_verdicts_on_equivalence(low, high, verdict, opposite):
    result = difference((low + high) / 2, low, high)
    assert verdict_on_par(result, 0.05) == verdict
    assert verdict_not_on_par(result, 0.05) == opposite


@pytest.mark.parametrize("unknown", UNKNOWN)
def test_without_an_interval_nothing_is_decided(unknown):
    assert verdict_below(unknown, 0.01) == verdict_above(unknown, 0.01) == "undecided"
    assert verdict_on_par(unknown, 0.05) == verdict_not_on_par(unknown, 0.05) == "undecided"


def test_a_margin_of_nothing_is_refused():
    with pytest.raises(ValueError, match="margin must be above 0, got 0"):
        verdict_on_par(UNKNOWN[0], 0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
