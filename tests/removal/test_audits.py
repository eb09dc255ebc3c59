"""Audits of what is removed, against slow references and in closed form."""

import json
import math

import numpy as np
import pytest
from support.maps import CASES, some_maps
from support.stores import dump_some, some_masks, splits

from roar_pipeline.errors import InputError
from roar_pipeline.removal.audits import object_shares, removal_audits, tied_shares, total_variation
from roar_pipeline.removal.level_store import read_all_levels, write_levels
from roar_pipeline.removal.ranking import removal_levels, removed, removed_count


def tied_share_reference(map_, percent, direction):
    """A removed pixel is decided by ties if a pixel of its value stays."""
    values = sorted(map_.ravel().tolist(), reverse=True)
    count = removed_count(percent, len(values))
    first, rest = values[:count], values[count:]
    gone = first if direction == "remove" else rest
    divided = set(first) & set(rest)
    return sum(value in divided for value in gone) / len(gone) if gone else 0.0


@pytest.mark.parametrize(("shape", "name"), CASES)
@pytest.mark.parametrize("direction", ["remove", "keep"])
def test_tied_shares_equal_the_slow_reference(shape, name, direction):
    map_ = some_maps(shape)[name]
    shares = tied_shares(map_, direction)
    assert shares.shape == (101,)
    for percent in range(101):
        assert shares[percent] == pytest.approx(tied_share_reference(map_, percent, direction), abs=1e-15)


def test_tied_shares_in_closed_form():
    constant = np.zeros((10, 10), np.float32)
    np.testing.assert_array_equal(tied_shares(constant), [0] + [1] * 99 + [0])
    half = np.zeros((10, 10), np.float32)
    half.flat[:40] = np.arange(40, 0, -1)
    shares = tied_shares(half)
    assert not shares[:41].any()
    assert shares[90] == pytest.approx(50 / 90)
    assert shares[100] == 0


def total_variation_reference(map_):
    rows, columns = map_.shape
    values = map_.astype(np.float64)
    scaled = (values - values.min()) / (values.max() - values.min())
    steps = [abs(scaled[i, j] - scaled[i + 1, j]) for i in range(rows - 1) for j in range(columns)]
    steps += [abs(scaled[i, j] - scaled[i, j + 1]) for i in range(rows) for j in range(columns - 1)]
    return sum(steps) / len(steps)


@pytest.mark.parametrize(("shape", "name"), CASES)
def test_total_variation_equals_the_slow_reference(shape, name):
    map_ = some_maps(shape)[name]
    wanted = 0.0 if map_.min() == map_.max() else total_variation_reference(map_)
    assert total_variation(map_) == pytest.approx(wanted, abs=1e-12)


def test_total_variation_in_closed_form():
    checkers = np.indices((6, 6)).sum(0) % 2
    assert total_variation(checkers.astype(np.float32)) == 1.0
    ramp = np.tile(np.linspace(-3, 5, 11), (11, 1))
    assert total_variation(ramp) == pytest.approx(0.1 / 2)
    assert total_variation(ramp * 1e-3 + 7) == pytest.approx(0.1 / 2)
    assert total_variation(np.full((4, 4), 3.0)) == 0.0
    assert total_variation(np.float32([[-3e38, 3e38]])) == 1.0


def object_share_reference(levels, segmentation, percent, direction):
    gone = total = 0
    for level, value in zip(levels.ravel().tolist(), segmentation.ravel().tolist(), strict=True):
        if value not in (0, 255):
            total += 1
            gone += level <= percent if direction == "remove" else level > percent
    return gone / total if total else math.nan


@pytest.mark.parametrize("direction", ["remove", "keep"])
def test_object_shares_equal_the_slow_reference(direction):
    rng = np.random.default_rng(0)
    levels = np.stack([removal_levels(m, "x", 0) for m in list(some_maps((12, 12)).values())[:3]])
    segmentation = rng.choice(np.array([0, 0, 1, 7, 255], np.uint8), levels.shape)
    shares = object_shares(levels, segmentation, direction)
    assert shares.shape == (101,)
    for percent in range(101):
        wanted = object_share_reference(levels, segmentation, percent, direction)
        assert shares[percent] == pytest.approx(wanted, abs=1e-12)


def test_object_shares_of_degenerate_cases():
    levels = removal_levels(some_maps((10, 10))["distinct"], "x", 0)[None]
    everything = object_shares(levels, np.full_like(levels, 3))
    np.testing.assert_allclose(everything, np.arange(101) / 100, atol=1e-12)
    assert np.isnan(object_shares(levels, np.zeros_like(levels))).all()
    assert np.isnan(object_shares(levels, np.full_like(levels, 255))).all()
    assert np.isnan(object_shares(levels[:0], levels[:0])).all()
    with pytest.raises(ValueError, match=r"levels \(1, 10, 10\) and segmentation \(2, 10, 10\)"):
        object_shares(levels, np.zeros((2, 10, 10), np.uint8))


def test_a_map_that_is_not_finite_is_refused():
    with pytest.raises(InputError, match="not finite"):
        tied_shares(np.full((4, 4), np.nan, np.float32))


def test_an_unknown_direction_is_refused():
    levels = np.ones((1, 2, 2), np.uint8)
    with pytest.raises(ValueError, match="got 'drop'"):
        object_shares(levels, levels, "drop")
    with pytest.raises(ValueError, match="got 'drop'"):
        tied_shares(levels[0], "drop")


@pytest.mark.parametrize(
    ("percent", "direction", "asked"), [(30, "remove", 30), (30, "keep", 70), (70, "keep", 30), (99, "remove", 99)]
)
def test_audits_of_a_cell(levels_path, percent, direction, asked):
    splits = read_all_levels(levels_path)
    audits = removal_audits(splits, percent, direction)
    segmentation, rows = some_masks()
    inside = np.isin(segmentation, [1, 2])
    gone = removed(splits["test"].levels[rows], percent, direction)
    assert audits == {
        "asked_percent": asked,
        "actual_percent_train": pytest.approx(100 * round(asked * 99 / 100) / 99),
        "actual_percent_test": pytest.approx(100 * round(asked * 99 / 100) / 99),
        "tied_share_train": splits["train"].tied_shares[direction][percent],
        "tied_share_test": splits["test"].tied_shares[direction][percent],
        "object_share": pytest.approx(gone[inside].mean()),
        "empty_maps_train": splits["train"].empty_maps,
        "empty_maps_test": splits["test"].empty_maps,
        "explained_as_labels_train": 0.5,
        "explained_as_labels_test": 0.6,
        "total_variation": pytest.approx(splits["test"].total_variation.mean()),
    }
    assert json.loads(json.dumps(audits)) == audits


def test_without_masks_no_object_share(tmp_path):
    write_levels(tmp_path / "levels.h5", dump_some(tmp_path), 0, splits())
    assert removal_audits(read_all_levels(tmp_path / "levels.h5"), 50, "remove")["object_share"] is None
