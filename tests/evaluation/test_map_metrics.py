"""Metrics of maps against scikit-learn, slow loops and closed forms."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from roar_pipeline.errors import InputError
from roar_pipeline.evaluation.map_metrics import localization_auc, pointing, summarize_pairs


def some_pair(seed, tied):
    rng = np.random.default_rng(seed)
    segmentation = rng.choice(np.array([0, 0, 2, 2, 5, 255], np.uint8), (13, 17))
    map_ = (rng.normal(size=(13, 17)) + (segmentation == 2)).astype(np.float32)
    return np.maximum(map_, 0).round(1) if tied else map_, segmentation


PAIRS = [some_pair(s, t) for s, t in itertools.product(range(3), [False, True])]


@pytest.mark.parametrize(("map_", "segmentation"), PAIRS)
def test_localization_auc_equals_scikit_learn_and_a_slow_loop(map_, segmentation):
    inside = segmentation == 2
    not_void = segmentation != 255
    ignored = localization_auc(map_, segmentation, 2, "ignore")
    assert ignored == pytest.approx(roc_auc_score(inside[not_void], map_[not_void]), abs=1e-12)
    as_background = localization_auc(map_, segmentation, 2, "background")
    assert as_background == pytest.approx(roc_auc_score(inside.ravel(), map_.ravel()), abs=1e-12)
    assert ignored != as_background
    pairs = list(itertools.product(map_[inside].tolist(), map_[not_void & ~inside].tolist()))
    wins = sum((a > b) + (a == b) / 2 for a, b in pairs)
    assert ignored == pytest.approx(wins / len(pairs), abs=1e-12)


def pointing_reference(map_, segmentation, class_value, void):
    best, hits = -np.inf, []
    for value, pixel in zip(map_.ravel().tolist(), segmentation.ravel().tolist(), strict=True):
        if pixel == 255 and void == "ignore":
            continue
        if value > best:
            best, hits = value, []
        if value == best:
            hits.append(pixel == class_value)
    return sum(hits) / len(hits)


@pytest.mark.parametrize(("map_", "segmentation"), PAIRS)
@pytest.mark.parametrize("void", ["ignore", "background"])
@pytest.mark.parametrize("class_value", [2, 5])
def test_pointing_equals_the_slow_reference(map_, segmentation, void, class_value):
    for candidate in (map_, map_.round(), -map_):
        expected = pointing_reference(candidate, segmentation, class_value, void)
        assert pointing(candidate, segmentation, class_value, void) == pytest.approx(expected, abs=1e-15)


def test_localization_of_a_perfect_an_inverted_and_a_constant_map():
    segmentation = np.zeros((6, 6), np.uint8)
    segmentation[:2] = 4
    inside = (segmentation == 4).astype(np.float32)
    assert localization_auc(inside, segmentation, 4, "ignore") == 1.0
    assert localization_auc(-inside, segmentation, 4, "ignore") == 0.0
    assert pointing(inside, segmentation, 4, "ignore") == 1.0
    assert pointing(-inside, segmentation, 4, "ignore") == 0.0
    for value in (0.0, -3.0):
        constant = np.full((6, 6), value, np.float32)
        assert localization_auc(constant, segmentation, 4, "ignore") == 0.5
        assert pointing(constant, segmentation, 4, "ignore") == pytest.approx(12 / 36)


def test_void_is_ignored_or_background():
    """The map peaks on void: no hit and no miss if void is ignored, a miss if it is background."""
    map_ = np.array([[3.0, 2.0, 1.0]], np.float32)
    segmentation = np.array([[255, 1, 0]], np.uint8)
    assert pointing(map_, segmentation, 1, "ignore") == 1.0
    assert pointing(map_, segmentation, 1, "background") == 0.0
    assert localization_auc(map_, segmentation, 1, "ignore") == 1.0
    assert localization_auc(map_, segmentation, 1, "background") == 0.5


@pytest.mark.parametrize(
    "segmentation", [np.zeros((3, 3)), np.ones((3, 3)), np.full((3, 3), 255), np.array([[1, 255, 1]] * 3)]
)
def test_a_class_that_covers_nothing_or_everything_has_no_value(segmentation):
    map_ = np.arange(9, dtype=np.float32).reshape(3, 3)
    assert localization_auc(map_, segmentation.astype(np.uint8), 1, "ignore") is None
    assert pointing(map_, segmentation.astype(np.uint8), 1, "ignore") is None


@pytest.mark.parametrize("function", [localization_auc, pointing])
def test_bad_maps_are_refused(function):
    map_, segmentation = some_pair(0, False)
    with pytest.raises(ValueError, match=r"map \(13, 17\) and segmentation \(12, 17\) must have one shape"):
        function(map_, segmentation[1:], 2, "ignore")
    with pytest.raises(ValueError, match="void must be ignore or background, got 'skip'"):
        function(map_, segmentation, 2, "skip")
    map_[0, 0] = np.nan
    with pytest.raises(InputError, match="values that are not finite"):
        function(map_, segmentation, 2, "ignore")


def test_pairs_are_averaged_with_their_counts():
    auc, point = [0.5, None, 1.0, 0.6], [1.0, None, 0.0, 0.25]
    summary = summarize_pairs(auc, point, [True, True, True, False])
    assert summary == {"auc": 0.75, "pointing": 0.5, "pairs": 2, "undefined": 1}
    assert {type(v) for v in summary.values()} == {float, int}
    assert summarize_pairs(np.array(auc, float), np.array(point, float), np.ones(4, bool)) == {
        "auc": pytest.approx(0.7),
        "pointing": pytest.approx(1.25 / 3),
        "pairs": 3,
        "undefined": 1,
    }


@pytest.mark.parametrize("count", [0, 3])
def test_without_pairs_there_is_no_mean(count):
    no_mean = {"auc": None, "pointing": None, "pairs": 0, "undefined": 0}
    assert summarize_pairs([0.5] * count, [1.0] * count, [False] * count) == no_mean


def test_a_value_missing_from_one_metric_only_is_refused():
    with pytest.raises(ValueError, match="undefined for the same pairs"):
        summarize_pairs([None, 1.0], [0.0, 1.0], [True, True])
