"""Removal against a slow reference; a constant map is the random control, and removed sets are nested."""

import hashlib
from fractions import Fraction

import numpy as np
import pytest
import torch
from support.maps import CASES, some_maps

from roar_pipeline.errors import InputError
from roar_pipeline.removal.ranking import (
    donors,
    removal_levels,
    removal_order,
    removed,
    removed_count,
    tie_order,
)


def order_reference(map_, image_id, seed):
    """Sort plain tuples."""
    ties = tie_order(image_id, seed, map_.size)
    place = {int(pixel): k for k, pixel in enumerate(ties)}
    values = map_.ravel().tolist()
    return sorted(range(map_.size), key=lambda pixel: (-values[pixel], place[pixel]))


def level_reference(map_, image_id, seed):
    """Ask at every percentage, from the top, which pixels are among the first removed."""
    order = order_reference(map_, image_id, seed)
    levels = np.zeros(map_.size, int)
    for percent in range(100, 0, -1):
        levels[order[: removed_count(percent, map_.size)]] = percent
    return levels.reshape(map_.shape)


@pytest.mark.parametrize("pixels", [1, 3, 50, 2304, 51529])
def test_removed_count_is_the_nearest_whole_number(pixels):
    counts = [removed_count(percent, pixels) for percent in range(101)]
    assert counts[0] == 0
    assert counts[100] == pixels
    assert counts == sorted(counts)
    for percent, count in enumerate(counts):
        exact = Fraction(percent * pixels, 100)
        assert abs(count - exact) <= Fraction(1, 2)
        assert abs(count - exact) < Fraction(1, 2) or count % 2 == 0


@pytest.mark.parametrize("percent", [-1, 101])
def test_percent_outside_its_range_is_refused(percent):
    with pytest.raises(ValueError, match=rf"percent must be within 0\.\.100, got {percent}"):
        removed_count(percent, 10)
    with pytest.raises(ValueError, match=rf"percent must be within 0\.\.100, got {percent}"):
        removed(np.ones(3, np.uint8), percent, "remove")


@pytest.mark.parametrize("pixels", [1, 2, 255, 256, 257, 2304])
def test_tie_order_is_a_permutation_of_its_three_arguments_alone(pixels):
    order = tie_order("2007_000033", 3, pixels)
    assert sorted(order.tolist()) == list(range(pixels))
    np.testing.assert_array_equal(order, tie_order("2007_000033", 3, pixels))
    if pixels > 100:
        assert (order != tie_order("2007_000033", 4, pixels)).mean() > 0.9
        assert (order != tie_order("2007_000039", 3, pixels)).mean() > 0.9


def test_tie_order_is_fixed_for_good():
    """A change here silently changes every published tie: bump the version of the stage that ranks."""
    assert tie_order("a", 0, 8).tolist() == [1, 5, 3, 0, 6, 4, 2, 7]
    digest = hashlib.sha256(tie_order("2007_000033", 0, 227 * 227).astype("<i8").tobytes()).hexdigest()
    assert digest[:16] == "e12acdbf5ace054b"


def test_tie_order_is_uniform():
    """Each pixel comes first equally often: chi-square over 4,000 images and 10 pixels (9 degrees of freedom)."""
    first = np.bincount([tie_order(f"{i}", 0, 10)[0] for i in range(4000)], minlength=10)
    assert ((first - 400) ** 2 / 400).sum() < 27.9  # p = 0.001


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_order_and_levels_equal_the_slow_reference(shape, name):
    map_ = some_maps(shape)[name]
    before = map_.copy()
    order = removal_order(map_, "x", 5)
    levels = removal_levels(map_, "x", 5)
    assert order.dtype == np.int64
    assert order.tolist() == order_reference(map_, "x", 5)
    assert levels.dtype == np.uint8
    np.testing.assert_array_equal(levels, level_reference(map_, "x", 5))
    np.testing.assert_array_equal(map_, before)


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_exact_counts_nested_sets_and_the_most_relevant_first(shape, name):
    map_ = some_maps(shape)[name]
    levels = removal_levels(map_, "x", 0)
    assert levels.min() >= 1
    assert levels.max() <= 100
    inner = np.zeros(shape, bool)
    for percent in range(101):
        gone = removed(levels, percent, "remove")
        kept_gone = removed(levels, percent, "keep")
        assert gone.dtype == bool
        assert gone.sum() == removed_count(percent, map_.size)
        assert (gone >= inner).all()
        np.testing.assert_array_equal(kept_gone, ~gone)
        if 0 < gone.sum() < map_.size:
            assert map_[gone].min() >= map_[~gone].max()
        inner = gone


def test_nothing_goes_at_0_and_everything_at_100():
    levels = removal_levels(some_maps((9, 9))["relu"], "x", 0)
    assert not removed(levels, 0, "remove").any()
    assert removed(levels, 0, "keep").all()
    assert removed(levels, 100, "remove").all()
    assert not removed(levels, 100, "keep").any()


def test_a_constant_map_is_ranked_in_tie_order():
    """Identity 3: nothing but the tie order speaks; the random control is another map with that order."""
    for value in (0.0, -1.0, 7.5):
        order = removal_order(np.full((48, 48), value, np.float32), "x", 2)
        np.testing.assert_array_equal(order, tie_order("x", 2, 48 * 48))


def test_the_order_depends_on_ranks_only():
    map_ = some_maps((20, 20))["relu"]
    order = removal_order(map_, "x", 0)
    np.testing.assert_array_equal(order, removal_order(map_.astype(np.float64) * 3 - 8, "x", 0))
    np.testing.assert_array_equal(order, removal_order(np.asfortranarray(map_), "x", 0))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_map_that_is_not_finite_is_refused(bad):
    map_ = np.zeros((4, 4), np.float32)
    map_[1, 2] = bad
    with pytest.raises(InputError, match="image '2007_000033' has 1 of 16 values that are not finite"):
        removal_levels(map_, "2007_000033", 0)


@pytest.mark.parametrize("percent", [0, 1, 37, 50, 99, 100])
@pytest.mark.parametrize("direction", ["remove", "keep"])
def test_removed_is_the_same_for_arrays_and_tensors(percent, direction):
    levels = removal_levels(some_maps((12, 13))["distinct"], "x", 0)
    from_tensor = removed(torch.from_numpy(levels), percent, direction)
    assert from_tensor.dtype == torch.bool
    np.testing.assert_array_equal(from_tensor.numpy(), removed(levels, percent, direction))


def test_an_unknown_direction_is_refused():
    levels = np.ones((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="direction must be one of remove, keep, got 'drop'"):
        removed(levels, 10, "drop")


def test_every_image_gets_another_images_map():
    for count in (2, 3, 10, 401):
        rows = donors(count, 3)
        assert sorted(rows) == list(range(count))
        assert not (rows == np.arange(count)).any()
    assert (donors(50, 3) == donors(50, 3)).all()
    assert (donors(50, 3) != donors(50, 4)).any()
    with pytest.raises(InputError, match="Maps cannot be shuffled over a split of one image"):
        donors(1, 0)
