"""Curve statistics against closed forms and slow references."""

import itertools
import math

import numpy as np
import pytest

from roar_pipeline.curves import (
    area_between,
    bootstrap_means,
    interval,
    mean_std,
    racu,
    resample,
    with_ends,
)

PERCENTS = (0, 10, 30, 50, 70, 90, 100)


def test_mean_and_sample_deviation():
    assert mean_std([1, 3]) == (2, pytest.approx(math.sqrt(2)))
    mean, std = mean_std([0.2, 0.5, 0.9])
    assert mean == pytest.approx(np.mean([0.2, 0.5, 0.9]))
    assert std == pytest.approx(np.std([0.2, 0.5, 0.9], ddof=1))


def test_one_run_has_no_deviation():
    assert mean_std([0.5]) == (0.5, None)


@pytest.mark.parametrize("values", [[], [None], [0.5, None]])
def test_an_undefined_run_is_not_skipped(values):
    assert mean_std(values) == (None, None)


def test_area_of_a_constant_gap_is_the_gap():
    assert area_between(PERCENTS, np.full(7, 0.75), np.full(7, 0.5)) == pytest.approx(0.25)


def test_area_of_straight_lines_does_not_depend_on_the_points():
    line = np.array(PERCENTS) / 100
    assert area_between(PERCENTS, line, np.zeros(7)) == pytest.approx(1 / 2)
    assert area_between((0, 100), [0, 1], [0, 0]) == pytest.approx(1 / 2)


def test_area_against_a_loop(rng):
    upper, lower = rng.random(7), rng.random(7)
    total = sum(
        (PERCENTS[i + 1] - PERCENTS[i]) * (upper[i + 1] - lower[i + 1] + upper[i] - lower[i]) / 2 for i in range(6)
    )
    assert area_between(PERCENTS, upper, lower) == pytest.approx(total / 100)


def test_racu_of_random_itself_is_zero(rng):
    random = rng.random(7) + 0.5
    assert racu(PERCENTS, random, random, 0.1) == pytest.approx(0)


def test_racu_of_a_curve_at_chance_is_one(rng):
    random = rng.random(7) + 0.5
    assert racu(PERCENTS, random, np.full(7, 0.1), 0.1) == pytest.approx(1)


def test_racu_closed_form():
    """Random falls straight from 1 to 0: area 1/2. The curve falls twice as fast: area 1/4."""
    points = (0, 25, 50, 75, 100)
    assert racu(points, [1, 0.75, 0.5, 0.25, 0], [1, 0.5, 0, 0, 0], 0) == pytest.approx((1 / 2 - 1 / 4) / (1 / 2))


def test_racu_does_not_depend_on_the_scale(rng):
    random, curve = rng.random(7) + 1, rng.random(7)
    assert racu(PERCENTS, 3 * random + 2, 3 * curve + 2, 2) == pytest.approx(racu(PERCENTS, random, curve, 0))


def test_racu_is_undefined_where_random_is_not_above_blank():
    assert np.isnan(racu(PERCENTS, np.zeros(7), np.zeros(7), 0))


def test_racu_of_resamples_equals_racu_of_each(rng):
    random, curve, blank = rng.random((7, 5)) + 1, rng.random((7, 5)), rng.random(5) / 2
    together = racu(PERCENTS, random, curve, blank)
    assert together == pytest.approx([float(racu(PERCENTS, random[:, b], curve[:, b], blank[b])) for b in range(5)])


def test_ends_are_put_around_points_of_any_shape():
    assert with_ends(1, [0.5, 0.25], 0).tolist() == [1, 0.5, 0.25, 0]
    assert with_ends([1, 2], [[3, 4]], 0).tolist() == [[1, 2], [3, 4], [0, 0]]


def test_every_resample_draws_as_many_as_there_are():
    drawn = resample([0, 1, 2], [7, 8], 20, 50)
    assert drawn.images.shape == (20, 50)
    assert (drawn.images.sum(0) == 20).all()
    assert (sum(drawn.seeds.values()) == 3).all()
    assert (sum(drawn.model_seeds.values()) == 2).all()
    assert not resample([0], [], 5, 3).model_seeds


def test_resamples_depend_on_the_seed_alone():
    a, b, c = (resample([0, 1], [], 9, 30, seed=seed) for seed in (0, 0, 1))
    assert (a.images == b.images).all()
    assert (a.images != c.images).any()


def test_bootstrap_means_against_a_loop(rng):
    runs = list(itertools.product((3, 5), (0, 1, 2)))
    values = rng.random((len(runs), 8))
    drawn = resample([3, 5], [0, 1, 2], 8, 10)
    means = bootstrap_means(values, runs, drawn)
    for b in range(10):
        taken = []
        for row, (seed, model_seed) in enumerate(runs):
            for image in range(8):
                times = drawn.seeds[seed][b] * drawn.model_seeds[model_seed][b] * drawn.images[image, b]
                taken += [values[row, image]] * int(times)
        assert means[b] == pytest.approx(np.mean(taken))


def test_paired_runs_are_drawn_by_seed_alone(rng):
    values, drawn = rng.random((2, 8)), resample([0, 1], [], 8, 10)
    paired = bootstrap_means(values, [(0, 0), (1, 1)], drawn)
    assert paired == pytest.approx(bootstrap_means(values, [(0, None), (1, None)], drawn))


def test_equal_draws_pair_the_difference(rng):
    """A shift of every image is a shift of every resample: the difference has no spread at all."""
    values, drawn = rng.random((3, 30)), resample([0, 1, 2], [], 30, 100)
    runs = [(0, None), (1, None), (2, None)]
    gap = bootstrap_means(values - 0.25, runs, drawn) - bootstrap_means(values, runs, drawn)
    assert interval(gap) == pytest.approx((-0.25, -0.25))


def test_interval_of_a_mean_has_the_width_of_theory(rng):
    """One seed, N images: mean ± 1.96 standard errors, up to the noise of 4,000 resamples."""
    values = rng.normal(size=(1, 400))
    low, high = interval(bootstrap_means(values, [(0, None)], resample([0], [], 400, 4000)))
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_interval_is_a_pair_of_quantiles():
    assert interval(np.arange(101), level=0.9) == pytest.approx((5, 95))


@pytest.mark.parametrize("samples", [[], [0.5, math.nan]])
def test_no_interval_of_nothing_or_of_something_undefined(samples):
    assert interval(samples) is None


@pytest.fixture
def rng():
    return np.random.default_rng(0)
