"""Metrics of one label per image: against scikit-learn, and by hand where that has none or treats ties otherwise."""

import math

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, balanced_accuracy_score, log_loss, recall_score, top_k_accuracy_score

from roar_pipeline.errors import InputError
from roar_pipeline.evaluation import one_label, scoring
from roar_pipeline.evaluation.one_label import (
    evaluate,
    is_among_top,
    majority_accuracy,
    negative_log_likelihood,
    recall_per_class,
)

NAMES = ["accuracy", "top5", "balanced_accuracy", "nll", "per_class"]


def some_predictions(classes=12, images=200, seed=0, without=()):
    """Class indices, their labels (N, K) and scores that lean to them; no image of the classes ``without``."""
    rng = np.random.default_rng(seed)
    truth = rng.choice(np.setdiff1d(np.arange(classes), without), images)
    labels = np.eye(classes, dtype=np.uint8)[truth]
    return truth, labels, (1.5 * labels + rng.normal(size=labels.shape)).astype(np.float32)


def softmax(scores):
    powers = np.exp(scores.astype(np.float64))
    return powers / powers.sum(axis=1, keepdims=True)


@pytest.mark.parametrize(("classes", "without"), [(2, ()), (10, ()), (11, ()), (12, (0, 5)), (30, (29,))])
def test_every_metric_equals_scikit_learns(classes, without):
    truth, labels, scores = some_predictions(classes, without=without)
    found, best, every = evaluate(labels, scores), scores.argmax(axis=1), np.arange(classes)
    assert list(found) == NAMES
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, best), rel=1e-12)
    assert found["nll"] == pytest.approx(log_loss(truth, softmax(scores), labels=every), rel=1e-6)
    if classes > 10:
        assert found["top5"] == pytest.approx(top_k_accuracy_score(truth, scores, k=5, labels=every), rel=1e-12)
    else:
        assert found["top5"] is None
    recalls = recall_score(truth, best, labels=every, average=None, zero_division=0)
    assert [k for k in every if found["per_class"][k] is None] == list(without)
    assert [r for r in found["per_class"] if r is not None] == pytest.approx(np.delete(recalls, without))
    if not without:  # with an absent class that is predicted scikit-learn warns
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(truth, best), rel=1e-12)
    assert found["balanced_accuracy"] == pytest.approx(np.mean(np.delete(recalls, without)))


def test_by_hand():
    labels = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [0, 0, 1]])
    scores = np.array([[2.0, 0, 0], [0, 2.0, 0], [0, 0, 0], [0, 3.0, 3.0]])
    assert is_among_top(labels, scores).tolist() == [True, False, True, False]
    assert is_among_top(labels, scores, 2).tolist() == [True, True, True, True]
    assert recall_per_class(labels, scores) == [2 / 3, None, 0.0]
    likely, unlikely = math.exp(2) / (math.exp(2) + 2), 1 / (math.exp(2) + 2)
    halves = math.exp(3) / (2 * math.exp(3) + 1)
    wanted = [-math.log(p) for p in (likely, unlikely, 1 / 3, halves)]
    np.testing.assert_allclose(negative_log_likelihood(labels, scores), wanted, rtol=1e-12)
    assert evaluate(labels, scores) == {
        "accuracy": 0.5,
        "top5": None,
        "balanced_accuracy": 1 / 3,
        "nll": pytest.approx(np.mean(wanted)),
        "per_class": [2 / 3, None, 0.0],
    }
    assert {type(v) for v in evaluate(labels, scores).values()} == {float, type(None), list}


def test_of_equal_scores_the_first_class_ranks_higher_whatever_the_rank():
    """So top-5 accuracy is never below top-1."""
    labels, scores = np.eye(12), np.zeros((12, 12))
    for top in (1, 2, 5):
        assert is_among_top(labels, scores, top).tolist() == [True] * top + [False] * (12 - top)
    found = evaluate(labels, scores)
    assert (found["accuracy"], found["top5"]) == (1 / 12, 5 / 12)


def test_neither_softmax_nor_threshold_overflows():
    labels = np.array([[1, 0], [0, 1]])
    scores = np.array([[3e38, -3e38], [900, -900]], np.float32)
    np.testing.assert_array_equal(negative_log_likelihood(labels, scores), [0, 1800])
    assert evaluate(labels, scores)["accuracy"] == 0.5
    assert evaluate(labels, scores - 500)["accuracy"] == 0.5, "scores have no meaning but beside each other"


def test_without_images_there_is_no_metric():
    found = evaluate(np.zeros((0, 11)), np.zeros((0, 11)))
    assert found == dict.fromkeys(NAMES) | {"per_class": [None] * 11}
    assert evaluate(np.ones((3, 1)), np.zeros((3, 1)))["accuracy"] == 1


def test_the_majority_class_is_that_of_the_training_images():
    train = np.eye(3)[[2, 2, 1, 1, 0]]
    assert majority_accuracy(train, np.eye(3)[[1, 1, 1, 2]]) == 0.75, "of equally frequent classes the first"
    assert majority_accuracy(np.eye(3)[[2, 2, 0]], np.eye(3)[[0, 0, 0, 2]]) == 0.25
    assert majority_accuracy(train, np.zeros((0, 3))) is None
    assert majority_accuracy(np.zeros((0, 3)), train) is None


@pytest.mark.parametrize("function", [evaluate, is_among_top, negative_log_likelihood, recall_per_class])
def test_bad_predictions_are_refused(function):
    _, labels, scores = some_predictions()
    with pytest.raises(ValueError, match=r"labels \(200, 12\) and scores \(199, 12\) must both be \(N, K\)"):
        function(labels, scores[1:])
    for bad in (labels * 0, labels * 0 + 1):
        with pytest.raises(ValueError, match=r"must be \(N, K\) with exactly one label in every row"):
            function(bad, scores)
    scores[3, 4] = np.nan
    with pytest.raises(InputError, match="The scores of 1 of 200 images are not finite: training diverged"):
        function(labels, scores)


def test_the_number_of_labels_chooses_the_metrics():
    _, labels, scores = some_predictions()
    several = {"map_classes", "map_voc", "map_samples", "f1_samples", "f1_tuned", "per_class"}
    assert scoring.evaluate(labels, scores, is_single_label=True) == one_label.evaluate(labels, scores)
    assert set(scoring.evaluate(labels, scores, is_single_label=False)) == several
    for is_single_label in (True, False):
        name = scoring.selecting_metric(is_single_label=is_single_label)
        assert name in scoring.evaluate(labels, scores, is_single_label=is_single_label)


def test_a_threshold_is_tuned_for_several_labels_alone():
    _, labels, scores = some_predictions()

    def validation():
        return labels[:50], scores[:50]

    found = scoring.measure((labels, scores), validation, is_single_label=False)
    assert list(found) == ["test", "tuned_threshold"]
    assert found["test"]["f1_tuned"] is not None

    def never():
        raise ValueError("nothing is validated")

    found = scoring.measure((labels, scores), never, is_single_label=True)
    assert found == {"test": one_label.evaluate(labels, scores)}
