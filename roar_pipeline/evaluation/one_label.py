"""Metrics of predictions where every image has exactly one label.

Numpy in, numbers out; None where a metric is undefined. The predicted class is the one with the highest score, the
first of equal ones; no threshold is involved.

Legend: N images, K classes. Scores are logits (N, K), whose softmax are the probabilities; labels (N, K) have a single
1 per row.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax
from sklearn.metrics import recall_score

from roar_pipeline.evaluation.checks import checked

__all__ = [
    "TOP",
    "evaluate",
    "is_among_top",
    "majority_accuracy",
    "negative_log_likelihood",
    "recall_per_class",
    "true_classes",
]

TOP = 5
"""Classes that ``top5`` considers; it has a value from 2 * TOP + 1 classes on."""


def true_classes(labels: NDArray[Any]) -> NDArray[np.int64]:
    """Return the class index of each image, (N,).

    Raises:
        ValueError: ``labels`` is not (N, K), or a row has not exactly one label.
    """
    if labels.ndim != 2 or not (np.count_nonzero(labels, axis=1) == 1).all():
        raise ValueError(f"labels {labels.shape} must be (N, K) with exactly one label in every row")
    return np.asarray(labels.argmax(axis=1), dtype=np.int64)


def is_among_top(labels: NDArray[Any], scores: NDArray[Any], top: int = 1) -> NDArray[np.bool_]:
    """Tell of each image whether its class is among the ``top`` classes with the highest scores, (N,).

    Of equal scores the first class ranks higher, as in ``argmax``.
    """
    positive, scores = checked(labels, scores)
    truth = true_classes(positive)[:, None]
    own = np.take_along_axis(scores, truth, axis=1)
    is_ahead = (scores > own) | ((scores == own) & (np.arange(scores.shape[1]) < truth))
    return np.asarray(np.count_nonzero(is_ahead, axis=1) < top)


def negative_log_likelihood(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return each image's negative log-likelihood, -log softmax(scores) of its class, in nats (N,).

    Taken from the scores: scikit-learn's ``log_loss`` takes probabilities, and clips those that round to 0.
    """
    positive, scores = checked(labels, scores)
    chosen = np.take_along_axis(log_softmax(scores, axis=1), true_classes(positive)[:, None], axis=1)
    return np.asarray(-chosen[:, 0], dtype=np.float64)


def recall_per_class(labels: NDArray[Any], scores: NDArray[Any]) -> list[float | None]:
    """Return each class's recall, the share of its images that are predicted to be of it; None without an image."""
    positive, scores = checked(labels, scores)
    truth = true_classes(positive)
    if not len(truth):
        return [None] * positive.shape[1]
    classes = np.arange(positive.shape[1])
    recalls = recall_score(truth, scores.argmax(axis=1), labels=classes, average=None, zero_division=np.nan)
    return [None if np.isnan(recall) else float(recall) for recall in recalls]


def majority_accuracy(train_labels: NDArray[Any], labels: NDArray[Any]) -> float | None:
    """Return the accuracy on ``labels`` of always predicting the training split's most frequent class, without seeing.

    Of equally frequent classes the first is taken. None without images in either.
    """
    if not len(train_labels) or not len(labels):
        return None
    constant = np.bincount(true_classes(train_labels)).argmax()
    return float((true_classes(labels) == constant).mean())


def evaluate(labels: NDArray[Any], scores: NDArray[Any]) -> dict[str, Any]:
    """Return all prediction metrics: accuracy, top5, balanced_accuracy, nll, per_class (K).

    accuracy is top-1. top5 is None unless there are more than 2 * TOP classes. balanced_accuracy is the mean of
    per_class, the classes' recalls, over the classes that have an image. nll is the mean negative log-likelihood in
    nats. All are None without images.
    """
    per_class = recall_per_class(labels, scores)
    has_top = labels.shape[1] > 2 * TOP
    return {
        "accuracy": _mean(is_among_top(labels, scores)),
        "top5": _mean(is_among_top(labels, scores, TOP)) if has_top else None,
        "balanced_accuracy": _mean([recall for recall in per_class if recall is not None]),
        "nll": _mean(negative_log_likelihood(labels, scores)),
        "per_class": per_class,
    }


def _mean(values: Any) -> float | None:
    return float(np.mean(values)) if len(values) else None
