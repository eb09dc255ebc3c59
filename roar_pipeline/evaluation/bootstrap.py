"""The image bootstrap: every prediction metric in every resample of the test images (Efron and Tibshirani 1993, ch. 6).

A resample is a column of counts: how often it holds each image. Every cell of a grid is evaluated on the same
resamples, so that differences between cells are paired. Networks are not resampled: their variance is measured over
seeds (``inference``).

Legend: N images, K classes, B resamples, P positives of a class. Scores are logits (N, K), labels multi-hot (N, K),
with a single 1 per row where every image has exactly one label.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.evaluation import one_label, prediction_metrics

__all__ = ["image_counts", "resampled_accuracies", "resampled_metrics"]

Floats = NDArray[np.float64]
Counts = NDArray[np.int32]

_CHUNK = 1_000_000
"""Counts per pass, which bounds memory."""


def image_counts(images: int, count: int, *, seed: int = 0) -> Floats:
    """Draw B = ``count`` resamples of N = ``images`` with replacement: how often they hold each image, (N, B)."""
    generator = np.random.default_rng(seed)
    counts = generator.multinomial(images, np.full(images, 1 / images), size=count)
    return np.ascontiguousarray(counts.T, dtype=np.float64)


def resampled_metrics(
    labels: NDArray[Any],
    scores: NDArray[Any],
    counts: Floats,
    *,
    f1_threshold: float,
    tuned_threshold: float | None = None,
) -> dict[str, Floats]:
    """Return every metric of ``prediction_metrics.evaluate`` but per_class in every resample, (B,) each.

    Equal to ``evaluate`` of the images, repeated by their counts: classes without a positive in a resample are left out
    of its mean, and NaN replaces None. Bytes do not depend on the number of threads.

    Args:
        labels: (N, K).
        scores: (N, K).
        counts: whole numbers (N, B), of ``image_counts``.
        f1_threshold: probability, for ``f1_samples``.
        tuned_threshold: probability, for ``f1_tuned``; None leaves that out.
    """
    _check_counts(labels, counts)
    width = max(1, _CHUNK // max(len(counts), 1))
    over_classes = [
        _over_classes(labels, scores, counts[:, start : start + width].astype(np.int32))
        for start in range(0, counts.shape[1], width)
    ]
    thresholds = {"f1_samples": f1_threshold, "f1_tuned": tuned_threshold}
    return {
        "map_classes": np.concatenate([plain for plain, _ in over_classes]),
        "map_voc": np.concatenate([voc for _, voc in over_classes]),
        "map_samples": _weighted_means(prediction_metrics.per_image_average_precision(labels, scores), counts),
        **{
            key: _weighted_means(prediction_metrics.per_image_f1(labels, scores, threshold), counts)
            for key, threshold in thresholds.items()
            if threshold is not None
        },
    }


def resampled_accuracies(labels: NDArray[Any], scores: NDArray[Any], counts: Floats) -> dict[str, Floats]:
    """Return every metric of ``one_label.evaluate`` but per_class in every resample, (B,) each; top5 if it is defined.

    Equal to ``evaluate`` of the images, repeated by their counts: a class without an image in a resample is left out of
    its balanced accuracy. Bytes do not depend on the number of threads.

    Args:
        labels: (N, K), a single 1 per row.
        scores: (N, K).
        counts: whole numbers (N, B), of ``image_counts``.
    """
    _check_counts(labels, counts)
    hits = one_label.is_among_top(labels, scores).astype(np.float64)
    resampled = {
        "accuracy": _weighted_means(hits, counts),
        "balanced_accuracy": _mean_recalls(one_label.true_classes(labels), hits, counts),
        "nll": _weighted_means(one_label.negative_log_likelihood(labels, scores), counts),
    }
    if labels.shape[1] > 2 * one_label.TOP:
        of_top = one_label.is_among_top(labels, scores, one_label.TOP).astype(np.float64)
        resampled["top5"] = _weighted_means(of_top, counts)
    return resampled


def _mean_recalls(classes: NDArray[np.int64], hits: Floats, counts: Floats) -> Floats:
    """Return the mean recall over the classes that have an image, in every resample (B,).

    Args:
        classes: class index of each image (N,).
        hits: 1 where the predicted class is the image's, else 0 (N,).
        counts: (N, B).
    """
    totals, present = np.zeros((2, counts.shape[1]))
    for index in np.unique(classes):
        of_class = counts[classes == index]
        images = of_class.sum(axis=0)
        totals += _ratio(np.einsum("n,nb->b", hits[classes == index], of_class), images, otherwise=0.0)
        present += images > 0
    return _ratio(totals, present)


def _check_counts(labels: NDArray[Any], counts: Floats) -> None:
    if counts.ndim != 2 or len(counts) != len(labels):
        raise ValueError(f"counts {counts.shape} must be (N, B) for labels {labels.shape}")


def _weighted_means(values: Floats, counts: Floats) -> Floats:
    """Return the mean of the images' values (N,) without NaN in every resample, (B,)."""
    defined = ~np.isnan(values)
    # einsum, not @: it adds in one order, whatever the number of threads, and so gives the same bytes.
    totals = np.einsum("n,nb->b", np.where(defined, values, 0.0), counts)
    weights = np.einsum("n,nb->b", defined.astype(np.float64), counts)
    return _ratio(totals, weights)


def _over_classes(labels: NDArray[Any], scores: NDArray[Any], counts: Counts) -> tuple[Floats, Floats]:
    """Return map_classes and map_voc of every resample, (B,) each."""
    totals, classes = np.zeros((2, counts.shape[1])), np.zeros(counts.shape[1])
    for positive, of_class in zip(labels.T.astype(bool), scores.T.astype(np.float64), strict=True):
        if positive.any():
            averages, present = _average_precisions(positive, of_class, counts)
            totals += averages
            classes += present
    plain, voc = _ratio(totals, classes)
    return plain, voc


def _average_precisions(
    positive: NDArray[np.bool_], scores: Floats, counts: Counts
) -> tuple[Floats, NDArray[np.bool_]]:
    """Return a class's average precision in every resample, scikit-learn's and VOC's (2, B), and whether it is defined.

    Recall rises only at positives, and precision has its maxima there: so images are summed from one positive's score
    to the next.

    Args:
        positive: (N,), not all False.
        scores: (N,).
        counts: (N, B).

    Returns:
        0 and False for a resample without a positive.
    """
    order = np.argsort(-scores, kind="stable")
    ranked, is_positive = scores[order], positive[order]
    starts = np.flatnonzero(np.append(True, ranked[1:] != ranked[:-1]))
    with_positive = np.logical_or.reduceat(is_positive, starts)
    ends = np.append(starts[1:], len(ranked))[with_positive]
    begins = np.append(0, ends[:-1])
    images = np.add.reduceat(counts[order[: ends[-1]]], begins, axis=0)
    positives = np.flatnonzero(is_positive)
    steps = np.add.reduceat(counts[order[positives]], np.searchsorted(positives, begins), axis=0)
    precision = _ratio(np.cumsum(steps, axis=0), np.cumsum(images, axis=0), otherwise=0.0)
    total = steps.sum(axis=0)
    envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
    areas = np.stack([np.einsum("pb,pb->b", steps, values) for values in (precision, envelope)])
    return _ratio(areas, total, otherwise=0.0), total > 0


def _ratio(numerator: NDArray[Any], denominator: NDArray[Any], otherwise: float = np.nan) -> Floats:
    """Divide, with ``otherwise`` where the denominator is 0."""
    out = np.full(np.shape(numerator), otherwise)
    result: Floats = np.divide(numerator, denominator, out=out, where=np.asarray(denominator) > 0)
    return result
