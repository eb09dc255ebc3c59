"""Metrics of predictions: average precision and F1, by scikit-learn wherever it has the metric.

Numpy in, numbers out; None (or NaN in arrays) where a metric is undefined.

Legend: N images, K classes. Scores are logits (N, K), labels multi-hot (N, K).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit
from sklearn.metrics import average_precision_score, f1_score, precision_recall_curve

from roar_pipeline.evaluation.checks import checked

__all__ = [
    "average_precision_per_class",
    "best_f1_threshold",
    "evaluate",
    "f1_samples",
    "map_classes",
    "map_samples",
    "map_voc",
    "mean_of_defined",
    "per_image_average_precision",
    "per_image_f1",
    "predicted",
    "voc_average_precision_per_class",
]

_ROUNDING = 1e-10
"""Relative difference below which two mean F1s are equal."""


def average_precision_per_class(labels: NDArray[Any], scores: NDArray[Any]) -> list[float | None]:
    """Return each class's average precision over the images, None for a class without positives.

    scikit-learn's: the sum of (R_n - R_n-1) P_n, without interpolation. VOC's takes the precision's envelope
    (``voc_average_precision_per_class``) and is never lower. Equal scores enter together, so the order of the images
    never matters. An image without any label is a negative of every class.
    """
    positive, scores = checked(labels, scores)
    return [
        float(average_precision_score(p, s)) if p.any() else None for p, s in zip(positive.T, scores.T, strict=True)
    ]


def voc_average_precision_per_class(labels: NDArray[Any], scores: NDArray[Any]) -> list[float | None]:
    """Return each class's average precision by VOC's rule since 2010, None for a class without positives.

    The area under the envelope of the precision-recall curve: at every recall, the highest precision at that recall or
    a higher one (``VOCap.m`` of the devkit; Everingham et al. 2015, IJCV 111). Equal scores enter together, so the
    order of the images never matters; the devkit ranks equal scores by the order of its lists. An image without any
    label is a negative of every class.
    """
    positive, scores = checked(labels, scores)
    return [_voc_average_precision(p, s) if p.any() else None for p, s in zip(positive.T, scores.T, strict=True)]


def _voc_average_precision(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> float:
    """Return VOC's average precision of one class from the images' labels (N,), not all False, and scores (N,)."""
    precision, recall, _ = precision_recall_curve(positive, scores)
    # From the highest recall to the lowest; the last point is scikit-learn's addition, at recall 0.
    envelope = np.maximum.accumulate(precision[:-1])
    return float(np.sum(-np.diff(recall) * envelope))


def map_classes(labels: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Return the mean of the classes' average precision, scikit-learn's, over classes that have a positive.

    None without any such class. VOC's mAP is ``map_voc``.
    """
    return mean_of_defined(average_precision_per_class(labels, scores))


def map_voc(labels: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Return VOC's mAP: the mean of the classes' average precision by its rule, over classes that have a positive.

    None without any such class.
    """
    return mean_of_defined(voc_average_precision_per_class(labels, scores))


def per_image_average_precision(labels: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
    """Return each image's average precision over its classes (N,), scikit-learn's; NaN for an image without labels."""
    positive, scores = checked(labels, scores)
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked, positive = np.take_along_axis(scores, order, axis=1), np.take_along_axis(positive, order, axis=1)
    last = np.full(positive.shape, positive.shape[1] - 1)
    last[:, :-1] = np.where(ranked[:, :-1] != ranked[:, 1:], np.arange(positive.shape[1] - 1), last[:, :-1])
    # The last of the classes whose score equals this one's: equal scores enter together.
    last = np.minimum.accumulate(last[:, ::-1], axis=1)[:, ::-1]
    precision = np.take_along_axis(positive.cumsum(axis=1), last, axis=1) / (last + 1)
    present = positive.sum(axis=1)
    average: NDArray[np.float64] = (precision * positive).sum(axis=1) / np.where(present, present, np.nan)
    return average


def map_samples(labels: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Return the mean of the images' average precision, over images that have a label; None without any.

    The official code of Park et al. 2020 calls it mAP.
    """
    return mean_of_defined(per_image_average_precision(labels, scores))


def predicted(scores: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Tell which classes are predicted: those with sigmoid(score) >= ``threshold``, a probability.

    Scores are compared, as probabilities saturate: at threshold 0 all are predicted, at 1 none.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a probability, 0..1, got {threshold}")
    return np.asarray(scores >= _as_score(threshold))


def _as_score(probability: ArrayLike) -> NDArray[np.float64]:
    """Return the score whose sigmoid is this probability: -inf for 0, inf for 1."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.log(probability) - np.log1p(np.negative(probability)))


def per_image_f1(labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.float64]:
    """Return each image's F1 of its predicted classes (N,).

    An image without any label has 0, whatever is predicted for it: scikit-learn's ``zero_division=0``.
    """
    positive, scores = checked(labels, scores)
    chosen = predicted(scores, threshold)
    hits = (positive & chosen).sum(axis=1)
    total = positive.sum(axis=1) + chosen.sum(axis=1)
    return np.asarray(2 * hits / np.maximum(total, 1), dtype=np.float64)


def f1_samples(labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> float | None:
    """Return the mean of the images' F1, over all images; None without images.

    An image without any label counts, as 0: it lowers the mean whatever is predicted for it.
    """
    positive, scores = checked(labels, scores)
    if not len(positive):
        return None
    if positive.shape[1] == 1:  # scikit-learn takes a single class for a binary task, and refuses
        return float(per_image_f1(labels, scores, threshold).mean())
    return float(f1_score(positive, predicted(scores, threshold), average="samples", zero_division=0))


def best_f1_threshold(labels: NDArray[Any], scores: NDArray[Any]) -> float:
    """Return the probability threshold that maximizes ``f1_samples`` on these images, which must not be test images.

    Exact: F1 changes only where the threshold crosses a score, so one threshold in the middle of every gap between
    neighboring probabilities (sigmoids of scores, and 0 and 1) is enough. Of equally good thresholds the one closest to
    0.5 is returned, the lower of two; without images or labels that is 0.5. An image without any label changes nothing:
    its F1 is 0 at every threshold.
    """
    positive, scores = checked(labels, scores)
    order = np.argsort(-scores, axis=None, kind="stable")
    falling = scores.ravel()[order]
    totals = np.append(0.0, np.cumsum(_f1_gains(positive, scores).ravel()[order]))
    bounds = np.unique(np.append(expit(falling), [0.0, 1.0]))
    thresholds = np.append((bounds[:-1] + bounds[1:]) / 2, [0.0, 0.5, 1.0])
    # The number of scores that `predicted` accepts at each threshold, which indexes the sums of F1 over the images.
    predictions = np.searchsorted(-falling, -_as_score(thresholds), side="right")
    return _closest_to_half(thresholds, totals[predictions])


def _f1_gains(positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the gain in F1 by each class (N, K) when an image's classes enter by falling score."""
    order = np.argsort(-scores, axis=1, kind="stable")
    hits = np.take_along_axis(positive, order, axis=1).cumsum(axis=1)
    f1 = 2 * hits / (positive.sum(axis=1, keepdims=True) + np.arange(1, positive.shape[1] + 1))
    gains: NDArray[np.float64] = np.empty_like(f1)
    np.put_along_axis(gains, order, np.diff(f1, axis=1, prepend=0), axis=1)
    return gains


def _closest_to_half(thresholds: NDArray[np.float64], values: NDArray[np.float64]) -> float:
    """Return, of the thresholds with the highest value up to rounding, the one closest to 0.5, the lower of two."""
    best = np.sort(thresholds[values >= values.max() * (1 - _ROUNDING)])
    return float(best[np.argmin(np.abs(best - 0.5))])


def evaluate(
    labels: NDArray[Any], scores: NDArray[Any], f1_threshold: float = 0.5, tuned_threshold: float | None = None
) -> dict[str, Any]:
    """Return all prediction metrics: map_classes, map_voc, map_samples, f1_samples, f1_tuned, per_class (K).

    f1_tuned is F1 at ``tuned_threshold``, the best one on validation images; None without it.

    map_classes and per_class are scikit-learn's average precision, map_voc is by VOC's rule. An image without any label
    is a negative of every class in these three, is left out of map_samples, and has 0 in f1_samples.

    Results of models and cells store F1 at 0.5. The report computes it from the scores, at the threshold of its
    settings, so that another threshold needs no training.
    """
    per_class = average_precision_per_class(labels, scores)
    return {
        "map_classes": mean_of_defined(per_class),
        "map_voc": map_voc(labels, scores),
        "map_samples": map_samples(labels, scores),
        "f1_samples": f1_samples(labels, scores, f1_threshold),
        "f1_tuned": None if tuned_threshold is None else f1_samples(labels, scores, tuned_threshold),
        "per_class": per_class,
    }


def mean_of_defined(values: Sequence[float | None] | NDArray[np.float64]) -> float | None:
    """Return the mean of the values without None and NaN; None if there are none."""
    numbers = np.asarray(values, dtype=np.float64)
    defined = numbers[~np.isnan(numbers)]
    return float(defined.mean()) if defined.size else None
