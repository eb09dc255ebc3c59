"""Metrics of predictions against scikit-learn, slow loops and closed forms."""

import itertools
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score

from roar_pipeline.errors import InputError
from roar_pipeline.evaluation.prediction_metrics import (
    average_precision_per_class,
    best_f1_threshold,
    evaluate,
    f1_samples,
    map_classes,
    map_samples,
    map_voc,
    per_image_average_precision,
    per_image_f1,
    predicted,
    voc_average_precision_per_class,
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
    expected = [average_precision_score(y, s) for y, s in zip(labels[some], scores[some], strict=True)]
    assert per_image_average_precision(labels, scores)[some] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(per_image_average_precision(labels, scores)[~some]).all()
    assert map_samples(labels, scores) == pytest.approx(np.mean(expected), abs=1e-12)


@pytest.mark.parametrize("positives", ["some", "all", "none"])
def test_a_single_class_has_every_metric(positives):
    """An image's F1 is 1 where its class is present and predicted, else 0; its average precision is 1."""
    rng = np.random.default_rng(0)
    present = {"some": rng.random(40) < 0.5, "all": np.ones(40, bool), "none": np.zeros(40, bool)}[positives]
    scores = (rng.normal(size=(40, 1)) + present[:, None]).astype(np.float32)
    labels = present[:, None].astype(np.uint8)
    threshold = best_f1_threshold(labels, scores)
    values = evaluate(labels, scores, tuned_threshold=threshold)
    average = average_precision_score(present, scores[:, 0]) if present.any() else None
    assert values["per_class"] == [pytest.approx(average) if present.any() else None]
    assert values["map_classes"] == values["per_class"][0]
    assert values["map_samples"] == (1 if present.any() else None)
    assert values["f1_samples"] == pytest.approx((present & (scores[:, 0] >= 0)).mean())
    assert values["f1_tuned"] == pytest.approx(present.mean()), "a low enough threshold predicts all"
    two = np.concatenate([labels, np.zeros_like(labels)], axis=1), np.concatenate([scores, scores * 0 - 9], axis=1)
    assert values["f1_samples"] == pytest.approx(f1_samples(*two, 0.5)), "a class that is never present adds nothing"


def average_precision_reference(positive, scores):
    """Walk down the distinct thresholds and add recall steps times precision."""
    average, total = 0.0, sum(positive)
    recall = 0.0
    for threshold in sorted(set(scores), reverse=True):
        hits = sum(p for p, s in zip(positive, scores, strict=True) if s >= threshold)
        predicted_count = sum(s >= threshold for s in scores)
        average += (hits / total - recall) * hits / predicted_count
        recall = hits / total
    return average


def average_precision(positive, scores):
    """Return our average precision of a single class."""
    return average_precision_per_class(positive[:, None], scores[:, None])[0]


def voc_reference(positive, scores):
    """The devkit's loops over ranked images (VOCap.m), but that images of equal score are ranked as one."""
    recall, precision = [0.0], [0.0]
    for threshold in sorted(set(scores), reverse=True):
        hits = sum(p for p, s in zip(positive, scores, strict=True) if s >= threshold)
        recall.append(hits / sum(positive))
        precision.append(hits / sum(s >= threshold for s in scores))
    recall.append(1.0)
    precision.append(0.0)
    for i in range(len(precision) - 2, -1, -1):
        precision[i] = max(precision[i], precision[i + 1])
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in range(1, len(recall)))


def voc(positive, scores):
    """Return our VOC average precision of a single class."""
    return voc_average_precision_per_class(np.array(positive)[:, None], np.array(scores, float)[:, None])[0]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("levels", [9, 10**6])
def test_voc_average_precision_equals_the_slow_reference(seed, levels):
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(40) < 0.3, rng.integers(0, levels, 40)
    assert voc(positive, scores) == pytest.approx(voc_reference(positive.tolist(), scores.tolist()), abs=1e-12)
    assert voc(positive, scores) > average_precision(positive, scores)
    shuffled = rng.permutation(40)
    assert voc(positive[shuffled], scores[shuffled]) == voc(positive, scores)


def test_voc_average_precision_by_hand():
    """Ranks 2, 3 and 5 are positive: precision 1/2, 2/3, 3/5, and the first step of recall takes the second's."""
    assert voc([0, 1, 1, 0, 1], [5, 4, 3, 2, 1]) == pytest.approx((2 / 3 + 2 / 3 + 3 / 5) / 3)
    assert average_precision(np.array([0, 1, 1, 0, 1]), np.array([5, 4, 3, 2, 1])) == pytest.approx(
        (1 / 2 + 2 / 3 + 3 / 5) / 3
    )
    assert voc([1, 0, 1], [3, 2, 1]) == pytest.approx((1 + 2 / 3) / 2)
    assert voc([1, 1, 0], [3, 2, 1]) == 1.0
    assert voc([0, 0, 1], [3, 2, 1]) == pytest.approx(1 / 3)
    assert voc([1, 0, 0, 1], [2, 2, 1, 0]) == pytest.approx((1 / 2 + 1 / 2) / 2)
    assert voc([1, 0, 0], [0, 0, 0]) == pytest.approx(1 / 3)
    assert voc([0, 0], [1, 2]) is None


@pytest.mark.parametrize(("labels", "scores"), PREDICTIONS)
def test_voc_average_precision_is_never_below_scikit_learns(labels, scores):
    labels[:, 4] = 0
    ours, theirs = voc_average_precision_per_class(labels, scores), average_precision_per_class(labels, scores)
    assert ours[4] is theirs[4] is None
    assert all(a >= b - 1e-12 for a, b in zip(ours, theirs, strict=True) if b is not None)
    assert map_voc(labels, scores) == pytest.approx(np.mean([a for a in ours if a is not None]))
    assert map_voc(labels, scores) > map_classes(labels, scores)


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_equals_the_slow_reference(seed):
    rng = np.random.default_rng(seed)
    positive, scores = rng.random(25) < 0.4, rng.integers(0, 9, 25)
    expected = average_precision_reference(positive.tolist(), scores.tolist())
    assert average_precision(positive, scores) == pytest.approx(expected, abs=1e-12)


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
    expected = f1_score(labels, chosen, average="samples", zero_division=0)
    assert f1_samples(labels, scores, threshold) == pytest.approx(expected, abs=1e-12)
    per_image = [f1_score(y, c, zero_division=0) for y, c in zip(labels, chosen, strict=True)]
    assert per_image_f1(labels, scores, threshold) == pytest.approx(per_image, abs=1e-12)


def test_f1_of_degenerate_cases():
    labels = np.array([[0, 0], [0, 0], [1, 0], [1, 1]])
    scores = np.array([[-1.0, -1.0], [1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])
    assert per_image_f1(labels, scores, 0.5).tolist() == [0, 0, 0, 1]
    assert f1_samples(labels, scores, 0.5) == 0.25
    assert f1_samples(labels[:0], scores[:0], 0.5) is None


def test_the_effect_of_an_image_without_labels_on_every_metric():
    """A negative of every class in the three over classes, left out of map_samples, 0 in F1 either way."""
    labels, scores = some_predictions()
    labels = labels[labels.any(axis=1)]
    scores = scores[-len(labels) :]
    before = evaluate(labels, scores)
    for score in (9.0, -9.0):
        with_one = evaluate(np.vstack([labels, 0 * labels[:1]]), np.vstack([scores, np.full((1, 7), score)]))
        assert with_one["map_samples"] == before["map_samples"]
        assert with_one["f1_samples"] == pytest.approx(before["f1_samples"] * len(labels) / (len(labels) + 1))
        for key in ("map_classes", "map_voc", "per_class"):
            difference = np.subtract(with_one[key], before[key])
            assert (difference < -1e-3).all() if score > 0 else (abs(difference) < 1e-12).all()


def best_threshold_reference(labels, scores):
    """Return the best threshold and its mean F1 by trying all thresholds that differ."""
    probabilities = sorted({0.0, 1.0, *(1 / (1 + np.exp(-scores.astype(float)))).ravel()})
    candidates = [0.5, *((a + b) / 2 for a, b in itertools.pairwise(probabilities))]
    values = [per_image_f1(labels, scores, threshold).mean() for threshold in candidates]
    good = [t for t, value in zip(candidates, values, strict=True) if value >= max(values) - 1e-9]
    return min(good, key=lambda t: (abs(t - 0.5), t)), max(values)


@pytest.mark.parametrize(("labels", "scores"), PREDICTIONS)
@pytest.mark.parametrize("shift", [-3, 0, 2])
def test_the_best_threshold_equals_the_slow_reference(labels, scores, shift):
    expected, highest = best_threshold_reference(labels, scores + shift)
    threshold = best_f1_threshold(labels, scores + shift)
    assert threshold == pytest.approx(expected, abs=1e-12)
    assert f1_samples(labels, scores + shift, threshold) == pytest.approx(highest, abs=1e-12)


def test_the_best_threshold_of_hand_cases():
    labels, scores = np.array([[1, 0, 0]]), np.log([[0.2 / 0.8, 0.1 / 0.9, 0.05 / 0.95]])
    assert best_f1_threshold(labels, scores) == pytest.approx((0.2 + 0.1) / 2)
    assert best_f1_threshold(np.array([[1, 1, 1]]), scores) == pytest.approx(0.05 / 2)
    assert best_f1_threshold(labels, -scores) == 0.5
    # Nothing is gained by leaving 0.5: it stays, however wide the gap around it.
    assert best_f1_threshold(labels, np.array([[9.0, -1.0, -2.0]])) == 0.5


@pytest.mark.parametrize(
    ("probabilities", "expected"),
    [([0.9, 0.7, 0.65, 0.3], 0.8), ([0.98, 0.96, 0.6, 0.4], 0.2), ([0.9, 0.4, 0.3, 0.2], 0.5)],
)
def test_of_equally_good_thresholds_the_closest_to_half_is_chosen(probabilities, expected):
    """The first class and the last are present: F1 is 2/3 with one prediction or four, and less between."""
    scores = np.log([[p / (1 - p) for p in probabilities]])
    assert best_f1_threshold(np.array([[1, 0, 0, 1]]), scores) == pytest.approx(expected)


@pytest.mark.parametrize(("expected", "second", "last"), [(0.8, 0.7, 0.3), (0.2, 0.68, 0.4)])
def test_rounding_does_not_choose_among_equally_good_thresholds(expected, second, last):
    """The case above in sixty images with scores a little apart: sums of sixty F1s that are equal but for rounding."""
    first = 2 * 0.8 - 0.7 if expected == 0.8 else 0.999
    probabilities = np.repeat([[first, second, second - 0.05, last]], 60, axis=0)
    apart = np.random.default_rng(0).permuted(np.linspace(0, 1e-5, 240)).reshape(60, 4)
    scores = np.log(probabilities / (1 - probabilities)) + apart
    assert best_f1_threshold(np.repeat([[1, 0, 0, 1]], 60, axis=0), scores) == pytest.approx(expected, abs=1e-3)


def test_the_best_threshold_of_degenerate_cases():
    labels, scores = some_predictions()
    assert best_f1_threshold(labels[:0], scores[:0]) == 0.5
    assert best_f1_threshold(0 * labels, scores) == 0.5
    assert best_f1_threshold(np.ones((2, 2)), np.array([[800.0, -800], [40, 41]])) == 0.0
    # No probability in double precision lies between these two: predicting both is the best there is.
    assert best_f1_threshold(np.array([[1, 0]]), np.array([[-800.0, -900]])) == 0.0


def test_an_image_without_labels_does_not_move_the_best_threshold():
    labels, scores = some_predictions()
    more = np.vstack([labels, 0 * labels[:2]]), np.vstack([scores, 0 * scores[:2] + 7])
    assert best_f1_threshold(*more) == pytest.approx(best_f1_threshold(labels, scores))


def test_the_best_threshold_is_quick_on_a_validation_split():
    rng = np.random.default_rng(0)
    labels = rng.random((6000, 20)) < 0.1
    started = time.process_time()
    best_f1_threshold(labels, rng.normal(size=labels.shape) + labels)
    assert time.process_time() - started < 0.5


def test_the_threshold_is_a_probability():
    scores = np.array([-np.float32(800), 0.0, 0.49, 0.51, 800])
    assert predicted(scores, 0.5).tolist() == [False, True, True, True, True]
    assert predicted(scores, 1 / (1 + np.exp(-0.5))).tolist() == [False, False, False, True, True]
    assert predicted(scores, 0).all()
    assert not predicted(scores, 1).any()
    for threshold in (-0.1, 1.1):
        with pytest.raises(ValueError, match=rf"threshold must be a probability, 0\.\.1, got {threshold}"):
            predicted(scores, threshold)


def test_evaluate_returns_all_metrics_as_plain_numbers():
    labels, scores = some_predictions()
    labels[:, 4] = 0
    values = evaluate(labels, scores, 0.5)
    assert list(values) == ["map_classes", "map_voc", "map_samples", "f1_samples", "f1_tuned", "per_class"]
    assert values["f1_tuned"] is None
    assert evaluate(labels, scores, 0.5, 0.25)["f1_tuned"] == f1_samples(labels, scores, 0.25)
    assert values["map_classes"] == map_classes(labels, scores)
    assert values["map_voc"] == map_voc(labels, scores)
    assert values["map_samples"] == map_samples(labels, scores)
    assert values["f1_samples"] == f1_samples(labels, scores, 0.5)
    assert values["per_class"] == average_precision_per_class(labels, scores)
    assert values["per_class"][4] is None
    assert {type(v) for v in [*values["per_class"], *list(values.values())[:4]]} == {float, type(None)}


@pytest.mark.parametrize("function", [map_classes, map_voc, map_samples, best_f1_threshold])
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


def test_no_warning_on_extreme_scores():
    labels = np.array([[1, 0], [0, 1]])
    scores = np.array([[3e38, -3e38], [-3e38, 3e38]], np.float32)
    assert evaluate(labels, scores, 0.5)["f1_samples"] == 1.0
