"""Metrics against scikit-learn (PROTOCOL 9, identity 8), slow loops and closed forms."""

import itertools

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from roar_pipeline.errors import InputError
from roar_pipeline.metrics import (
    average_precision_per_class,
    evaluate,
    f1_samples,
    localization_auc,
    map_classes,
    map_samples,
    per_image_f1,
    pointing,
    predicted,
    summarize_pairs,
)


def some_predictions(images=60, classes=7, seed=0, tied=False):
    """Labels with some empty images and an all-positive class, scores with or without ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((images, classes)) < 0.3).astype(np.uint8)
    labels[:3] = 0
    labels[:, 2] = 1
    labels[0, 2] = 0
    scores = (rng.normal(size=labels.shape) + labels).astype(np.float32)
    return labels, np.round(scores) if tied else scores


PREDICTIONS = [some_predictions(seed=s, tied=t) for s, t in itertools.product(range(3), [False, True])]


@pytest.mark.parametrize(("labels", "scores"), PREDICTIONS)
def test_average_precision_equals_scikit_learn(labels, scores):
    per_class = average_precision_per_class(labels, scores)
    assert per_class == pytest.approx([average_precision_score(y, s) for y, s in zip(labels.T, scores.T, strict=True)])
    assert map_classes(labels, scores) == pytest.approx(average_precision_score(labels, scores, average="macro"))
    some = labels.any(axis=1)
    wanted = [average_precision_score(y, s) for y, s in zip(labels[some], scores[some], strict=True)]
    assert map_samples(labels, scores) == pytest.approx(np.mean(wanted), abs=1e-12)


def average_precision_reference(positive, scores):
    """Walk down the distinct thresholds and add recall steps times precision."""
    found, total = 0.0, sum(positive)
    recall = 0.0
    for threshold in sorted(set(scores), reverse=True):
        hits = sum(p for p, s in zip(positive, scores, strict=True) if s >= threshold)
        taken = sum(s >= threshold for s in scores)
        found += (hits / total - recall) * hits / taken
        recall = hits / total
    return found


def average_precision(positive, scores):
    """Ours, of a single class."""
    return average_precision_per_class(positive[:, None], scores[:, None])[0]


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(25) < 0.4, rng.integers(0, 9, 25)
    wanted = average_precision_reference(positive.tolist(), scores.tolist())
    assert average_precision(positive, scores) == pytest.approx(wanted, abs=1e-12)


def test_average_precision_of_degenerate_cases():
    scores = np.array([0.3, 0.1, 0.2])
    assert average_precision(np.zeros(3, bool), scores) is None
    assert average_precision(np.ones(3, bool), scores) == 1.0
    assert average_precision(np.array([True, False, False]), np.zeros(3)) == pytest.approx(1 / 3)
    assert average_precision(np.array([False, True, False]), scores) == pytest.approx(1 / 3)
    assert average_precision(np.zeros(0, bool), np.zeros(0)) is None
    one_image = np.array([[1, 0]]), np.array([[-1.0, 2.0]])
    assert average_precision_per_class(*one_image) == [1.0, None]
    assert map_classes(*one_image) == 1.0
    assert map_samples(*one_image) == 0.5


def test_classes_and_images_without_labels_are_left_out_of_the_means():
    labels = np.array([[1, 0, 0], [0, 0, 0], [1, 1, 0]])
    scores = np.array([[2.0, 1.0, 0.0], [9.0, 9.0, 9.0], [1.0, 2.0, 3.0]])
    assert average_precision_per_class(labels, scores) == pytest.approx([(1 / 2 + 2 / 3) / 2, 1 / 2, None])
    assert map_classes(labels, scores) == pytest.approx(((1 / 2 + 2 / 3) / 2 + 1 / 2) / 2)
    assert map_samples(labels, scores) == pytest.approx((1 + (1 / 2 + 2 / 3) / 2) / 2)
    assert map_classes(0 * labels, scores) is None
    assert map_samples(0 * labels, scores) is None


@pytest.mark.parametrize(("labels", "scores"), PREDICTIONS)
@pytest.mark.parametrize("threshold", [0.1, 0.5, 0.622])
def test_f1_equals_scikit_learn(labels, scores, threshold):
    chosen = 1 / (1 + np.exp(-scores.astype(np.float64))) >= threshold
    wanted = f1_score(labels, chosen, average="samples", zero_division=0)
    assert f1_samples(labels, scores, threshold) == pytest.approx(wanted, abs=1e-12)
    each = [f1_score(y, c, zero_division=0) for y, c in zip(labels, chosen, strict=True)]
    assert per_image_f1(labels, scores, threshold) == pytest.approx(each, abs=1e-12)


def test_f1_of_degenerate_cases():
    labels = np.array([[0, 0], [0, 0], [1, 0], [1, 1]])
    scores = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    assert per_image_f1(labels, scores, 0.5).tolist() == [0, 0, 0, 1]
    assert f1_samples(labels, scores, 0.5) == 0.25
    assert f1_samples(labels[:0], scores[:0], 0.5) is None


def test_the_threshold_is_a_probability():
    scores = np.array([-np.float32(800), 0.0, 0.49, 0.51, 800])
    assert predicted(scores, 0.5).tolist() == [False, True, True, True, True]
    assert predicted(scores, 1 / (1 + np.exp(-0.5))).tolist() == [False, False, False, True, True]
    assert predicted(scores, 0).all()
    assert not predicted(scores, 1).any()
    for threshold in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"threshold must be a probability, 0\.\.1, got {threshold}"):
            predicted(scores, threshold)


def test_evaluate_names_what_it_measured_in_plain_numbers():
    labels, scores = some_predictions()
    labels[:, 4] = 0
    found = evaluate(labels, scores, 0.5)
    assert list(found) == ["map_classes", "map_samples", "f1_samples", "per_class"]
    assert found["map_classes"] == map_classes(labels, scores)
    assert found["map_samples"] == map_samples(labels, scores)
    assert found["f1_samples"] == f1_samples(labels, scores, 0.5)
    assert found["per_class"] == average_precision_per_class(labels, scores)
    assert found["per_class"][4] is None
    assert {type(v) for v in [*found["per_class"], *list(found.values())[:3]]} == {float, type(None)}


@pytest.mark.parametrize("function", [map_classes, map_samples, average_precision_per_class])
def test_bad_predictions_are_refused(function):
    labels, scores = some_predictions()
    with pytest.raises(ValueError, match=r"labels \(60, 7\) and scores \(59, 7\) must both be \(N, K\)"):
        function(labels, scores[1:])
    scores[4, 1] = np.nan
    scores[9] = np.inf
    with pytest.raises(InputError, match="scores of 2 of 60 images are not finite"):
        function(labels, scores)
    with pytest.raises(InputError, match="scores of 2 of 60 images are not finite"):
        f1_samples(labels, scores, 0.5)


def some_pair(seed, tied):
    rng = np.random.default_rng(seed)
    segmentation = rng.choice(np.array([0, 0, 2, 2, 5, 255], np.uint8), (13, 17))
    map_ = (rng.normal(size=(13, 17)) + (segmentation == 2)).astype(np.float32)
    return np.maximum(map_, 0).round(1) if tied else map_, segmentation


PAIRS = [some_pair(s, t) for s, t in itertools.product(range(3), [False, True])]


@pytest.mark.parametrize(("map_", "segmentation"), PAIRS)
def test_localization_auc_equals_scikit_learn_and_a_slow_loop(map_, segmentation):
    inside = segmentation == 2
    known = segmentation != 255
    ignored = localization_auc(map_, segmentation, 2, "ignore")
    assert ignored == pytest.approx(roc_auc_score(inside[known], map_[known]), abs=1e-12)
    as_background = localization_auc(map_, segmentation, 2, "background")
    assert as_background == pytest.approx(roc_auc_score(inside.ravel(), map_.ravel()), abs=1e-12)
    assert ignored != as_background
    pairs = list(itertools.product(map_[inside].tolist(), map_[known & ~inside].tolist()))
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
        wanted = pointing_reference(candidate, segmentation, class_value, void)
        assert pointing(candidate, segmentation, class_value, void) == pytest.approx(wanted, abs=1e-15)


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


def test_pairs_are_summed_up_with_their_counts():
    auc, point = [0.5, None, 1.0, 0.6], [1.0, None, 0.0, 0.25]
    found = summarize_pairs(auc, point, [True, True, True, False])
    assert found == {"auc": 0.75, "pointing": 0.5, "pairs": 2, "undefined": 1}
    assert {type(v) for v in found.values()} == {float, int}
    assert summarize_pairs(np.array(auc, float), np.array(point, float), np.ones(4, bool)) == {
        "auc": pytest.approx(0.7),
        "pointing": pytest.approx(1.25 / 3),
        "pairs": 3,
        "undefined": 1,
    }


@pytest.mark.parametrize("count", [0, 3])
def test_without_pairs_there_is_no_mean(count):
    nothing = {"auc": None, "pointing": None, "pairs": 0, "undefined": 0}
    assert summarize_pairs([0.5] * count, [1.0] * count, [False] * count) == nothing


def test_a_value_missing_from_one_metric_only_is_refused():
    with pytest.raises(ValueError, match="undefined for the same pairs"):
        summarize_pairs([None, 1.0], [0.0, 1.0], [True, True])


def test_no_warning_on_extreme_scores():
    labels = np.array([[1, 0], [0, 1]])
    scores = np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32)
    assert evaluate(labels, scores, 0.5)["f1_samples"] == 1.0
