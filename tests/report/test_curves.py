"""Curve statistics against closed forms and slow references."""

import math

import numpy as np
import pytest

from roar_pipeline.report.statistics.curves import area_between, mean_std, racu, with_ends

PERCENTS = (0, 10, 30, 50, 70, 90, 100)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


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
