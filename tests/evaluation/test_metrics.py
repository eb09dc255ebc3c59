"""Metrics against scikit-learn, slow loops and closed forms."""

import itertools
import time

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from roar_pipeline.errors import InputError
from roar_pipeline.evaluation.metrics import (
    average_precision_per_class,
    best_f1_threshold,
    evaluate,
    f1_samples,
    localization_auc,
    map_classes,
    map_samples,
    map_voc,
    per_image_average_precision,
    per_image_f1,
    pointing,
    predicted,
    summarize_pairs,
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
    wanted = [average_precision_score(y, s) for y, s in zip(labels[some], scores[some], strict=True)]
    assert per_image_average_precision(labels, scores)[some] == pytest.approx(wanted, abs=1e-12)
    assert np.isnan(per_image_average_precision(labels, scores)[~some]).all()
    assert map_samples(labels, scores) == pytest.approx(np.mean(wanted), abs=1e-12)


@pytest.mark.parametrize("positives", ["some", "all", "none"])
def test_a_single_class_has_every_metric(positives):
    """An image's F1 is 1 where its class is present and predicted, else 0; its average precision is 1."""
    rng = np.random.default_rng(0)
    present = {"some": rng.random(40) < 0.5, "all": np.ones(40, bool), "none": np.zeros(40, bool)}[positives]
    scores = (rng.normal(size=(40, 1)) + present[:, None]).astype(np.float32)
    labels = present[:, None].astype(np.uint8)
    threshold = best_f1_threshold(labels, scores)
    found = evaluate(labels, scores, tuned_threshold=threshold)
    average = average_precision_score(present, scores[:, 0]) if present.any() else None
    assert found["per_class"] == [pytest.approx(average) if present.any() else None]
    assert found["map_classes"] == found["per_class"][0]
    assert found["map_samples"] == (1 if present.any() else None)
    assert found["f1_samples"] == pytest.approx((present & (scores[:, 0] >= 0)).mean())
    assert found["f1_tuned"] == pytest.approx(present.mean()), "a low enough threshold predicts all"
    two = np.concatenate([labels, np.zeros_like(labels)], axis=1), np.concatenate([scores, scores * 0 - 9], axis=1)
    assert found["f1_samples"] == pytest.approx(f1_samples(*two, 0.5)), "a class that is never there adds nothing"


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
    """Ours, of a single class."""
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


def test_what_an_image_without_labels_does_to_each_metric():
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
    """The highest mean F1 over all thresholds that differ, by trying every one."""
    probabilities = sorted({0.0, 1.0, *(1 / (1 + np.exp(-scores.astype(float)))).ravel()})
    candidates = [0.5, *((a + b) / 2 for a, b in itertools.pairwise(probabilities))]
    values = [per_image_f1(labels, scores, threshold).mean() for threshold in candidates]
    good = [t for t, value in zip(candidates, values, strict=True) if value >= max(values) - 1e-9]
    return min(good, key=lambda t: (abs(t - 0.5), t)), max(values)


@pytest.mark.parametrize(("labels", "scores"), PREDICTIONS)
@pytest.mark.parametrize("shift", [-3, 0, 2])
def test_the_best_threshold_equals_the_slow_reference(labels, scores, shift):
    wanted, highest = best_threshold_reference(labels, scores + shift)
    threshold = best_f1_threshold(labels, scores + shift)
    assert threshold == pytest.approx(wanted, abs=1e-12)
    assert f1_samples(labels, scores + shift, threshold) == pytest.approx(highest, abs=1e-12)


def test_the_best_threshold_of_hand_cases():
    labels, scores = np.array([[1, 0, 0]]), np.log([[0.2 / 0.8, 0.1 / 0.9, 0.05 / 0.95]])
    assert best_f1_threshold(labels, scores) == pytest.approx((0.2 + 0.1) / 2)
    assert best_f1_threshold(np.array([[1, 1, 1]]), scores) == pytest.approx(0.05 / 2)
    assert best_f1_threshold(labels, -scores) == 0.5
    # Nothing is gained by leaving 0.5: it stays, however wide the gap around it.
    assert best_f1_threshold(labels, np.array([[9.0, -1.0, -2.0]])) == 0.5


@pytest.mark.parametrize(
    ("probabilities", "wanted"),
    [([0.9, 0.7, 0.65, 0.3], 0.8), ([0.98, 0.96, 0.6, 0.4], 0.2), ([0.9, 0.4, 0.3, 0.2], 0.5)],
)
def test_of_equally_good_thresholds_the_closest_to_half_is_taken(probabilities, wanted):
    """The first class and the last are there: F1 is 2/3 with one prediction or four, and less between."""
    scores = np.log([[p / (1 - p) for p in probabilities]])
    assert best_f1_threshold(np.array([[1, 0, 0, 1]]), scores) == pytest.approx(wanted)


@pytest.mark.parametrize(("wanted", "second", "last"), [(0.8, 0.7, 0.3), (0.2, 0.68, 0.4)])
def test_rounding_does_not_choose_among_equally_good_thresholds(wanted, second, last):
    """The case above in sixty images with scores a little apart: sums of sixty F1s that are equal but for rounding."""
    first = 2 * 0.8 - 0.7 if wanted == 0.8 else 0.999
    probabilities = np.repeat([[first, second, second - 0.05, last]], 60, axis=0)
    apart = np.random.default_rng(0).permuted(np.linspace(0, 1e-5, 240)).reshape(60, 4)
    scores = np.log(probabilities / (1 - probabilities)) + apart
    assert best_f1_threshold(np.repeat([[1, 0, 0, 1]], 60, axis=0), scores) == pytest.approx(wanted, abs=1e-3)


def test_the_best_threshold_where_none_is_better():
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


def test_evaluate_names_what_it_measured_in_plain_numbers():
    labels, scores = some_predictions()
    labels[:, 4] = 0
    found = evaluate(labels, scores, 0.5)
    assert list(found) == ["map_classes", "map_voc", "map_samples", "f1_samples", "f1_tuned", "per_class"]
    assert found["f1_tuned"] is None
    assert evaluate(labels, scores, 0.5, 0.25)["f1_tuned"] == f1_samples(labels, scores, 0.25)
    assert found["map_classes"] == map_classes(labels, scores)
    assert found["map_voc"] == map_voc(labels, scores)
    assert found["map_samples"] == map_samples(labels, scores)
    assert found["f1_samples"] == f1_samples(labels, scores, 0.5)
    assert found["per_class"] == average_precision_per_class(labels, scores)
    assert found["per_class"][4] is None
    assert {type(v) for v in [*found["per_class"], *list(found.values())[:4]]} == {float, type(None)}


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
