"""How predictions and maps are scored (PROTOCOL 8), by scikit-learn wherever it has the metric.

Numpy in, numbers out; None (or NaN in arrays) where nothing is defined.

Legend: N images, K classes, H x W pixels, P pairs of (image, class present in it). Scores are logits (N, K), labels
multi-hot (N, K).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score

from roar_pipeline.errors import InputError

__all__ = [
    "average_precision_per_class",
    "evaluate",
    "f1_samples",
    "localization_auc",
    "map_classes",
    "map_samples",
    "per_image_f1",
    "pointing",
    "predicted",
    "summarize_pairs",
]

_VOID = 255


def average_precision_per_class(labels: NDArray[Any], scores: NDArray[Any]) -> list[float | None]:
    """Return each class's average precision over the images, None for a class without positives.

    Without interpolation, as VOC since 2010; equal scores are taken in together, so order never matters.
    """
    positive, scores = _checked(labels, scores)
    return [
        float(average_precision_score(p, s)) if p.any() else None for p, s in zip(positive.T, scores.T, strict=True)
    ]


def map_classes(labels: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Return the mean of the classes' average precision, over classes that have a positive (VOC); None without any."""
    return _mean_of_defined(average_precision_per_class(labels, scores))


def map_samples(labels: NDArray[Any], scores: NDArray[Any]) -> float | None:
    """Return the mean of the images' average precision, over images that have a label; None without any.

    What the official code of Park et al. 2020 calls mAP.
    """
    positive, scores = _checked(labels, scores)
    labeled = positive.any(axis=1)
    if not labeled.any():
        return None
    return float(average_precision_score(positive[labeled], scores[labeled], average="samples"))


def predicted(scores: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Tell which classes are predicted: those with sigmoid(score) >= ``threshold``, a probability.

    Compared as scores, where nothing saturates: at threshold 0 all are predicted, at 1 none.
    """
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold must be a probability, 0..1, got {threshold}")
    with np.errstate(divide="ignore"):
        return np.asarray(scores >= np.log(threshold) - np.log1p(-threshold))


def per_image_f1(labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> NDArray[np.float64]:
    """Return each image's F1 of its predicted classes (N,); 0 without labels and predictions.

    That 0 is scikit-learn's ``zero_division=0``.
    """
    positive, scores = _checked(labels, scores)
    chosen = predicted(scores, threshold)
    hits = (positive & chosen).sum(axis=1)
    total = positive.sum(axis=1) + chosen.sum(axis=1)
    return np.asarray(2 * hits / np.maximum(total, 1), dtype=np.float64)


def f1_samples(labels: NDArray[Any], scores: NDArray[Any], threshold: float) -> float | None:
    """Return the mean of the images' F1; None without images."""
    positive, scores = _checked(labels, scores)
    if not len(positive):
        return None
    return float(f1_score(positive, predicted(scores, threshold), average="samples", zero_division=0))


def evaluate(labels: NDArray[Any], scores: NDArray[Any], f1_threshold: float = 0.5) -> dict[str, Any]:
    """Return all prediction metrics, plain: map_classes, map_samples, f1_samples, per_class (K entries).

    What is stored beside a model or a cell has F1 at 0.5; the report takes it from the scores, at the threshold that is
    set, so that setting another one trains nothing again.
    """
    per_class = average_precision_per_class(labels, scores)
    return {
        "map_classes": _mean_of_defined(per_class),
        "map_samples": map_samples(labels, scores),
        "f1_samples": f1_samples(labels, scores, f1_threshold),
        "per_class": per_class,
    }


def localization_auc(
    map_: NDArray[np.floating], segmentation: NDArray[np.uint8], class_value: int, void: str
) -> float | None:
    """Return the probability that a pixel of the class has a higher value than another, ties counted half.

    The area under the ROC curve of the map against the class's mask. A constant map has 0.5.

    Args:
        map_: (H, W), finite.
        segmentation: (H, W), the class in every pixel, 255 = void.
        class_value: the value of the class in ``segmentation``: class_index + 1.
        void: whether void pixels are left out or count as outside.

    Returns:
        None where the class has no pixel or no pixel is outside it.
    """
    split = _inside_outside(map_, segmentation, class_value, void)
    if split is None:
        return None
    inside, outside = split
    is_inside = np.repeat([True, False], [inside.size, outside.size])
    return float(roc_auc_score(is_inside, np.concatenate([inside, outside]).astype(np.float64)))


def pointing(map_: NDArray[np.floating], segmentation: NDArray[np.uint8], class_value: int, void: str) -> float | None:
    """Return 1 if the map's maximum lies inside the class's mask, else 0; if tied, the share of it inside.

    Arguments and the cases without a value are those of ``localization_auc``. With void ignored, the maximum
    is looked for among the other pixels.
    """
    split = _inside_outside(map_, segmentation, class_value, void)
    if split is None:
        return None
    inside, outside = split
    maximum = max(inside.max(), outside.max())
    hits = np.count_nonzero(inside == maximum)
    return float(hits / (hits + np.count_nonzero(outside == maximum)))


def summarize_pairs(
    auc: Sequence[Any] | NDArray[np.float64], point: Sequence[Any] | NDArray[np.float64], chosen: ArrayLike
) -> dict[str, Any]:
    """Return the means of AUC and pointing accuracy over the chosen pairs, with their count.

    Args:
        auc: P values, None or NaN where undefined.
        point: P values, undefined for the same pairs.
        chosen: (P,) bool.

    Returns:
        auc and pointing (None without pairs), pairs: how many went into them, undefined: how many chosen
        pairs have no value because their class covers nothing or everything.
    """
    taken = np.asarray(chosen, dtype=bool)
    aucs = np.asarray(auc, dtype=np.float64)[taken]
    points = np.asarray(point, dtype=np.float64)[taken]
    if not np.array_equal(np.isnan(aucs), np.isnan(points)):
        raise ValueError("auc and point must be undefined for the same pairs")
    undefined = int(np.isnan(aucs).sum())
    return {
        "auc": _mean_of_defined(aucs),
        "pointing": _mean_of_defined(points),
        "pairs": aucs.size - undefined,
        "undefined": undefined,
    }


def _inside_outside(
    map_: NDArray[np.floating], segmentation: NDArray[np.uint8], class_value: int, void: str
) -> tuple[NDArray[np.floating], NDArray[np.floating]] | None:
    if map_.shape != segmentation.shape:
        raise ValueError(f"map {map_.shape} and segmentation {segmentation.shape} must have one shape")
    if void not in ("ignore", "background"):
        raise ValueError(f"void must be ignore or background, got '{void}'")
    if not np.isfinite(map_).all():
        raise InputError(
            "A map to be localized has values that are not finite: its model's training probably diverged."
        )
    is_inside = segmentation == class_value
    is_outside = ~is_inside if void == "background" else ~is_inside & (segmentation != _VOID)
    inside, outside = map_[is_inside], map_[is_outside]
    return (inside, outside) if inside.size and outside.size else None


def _checked(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Return labels as booleans and scores in double precision, whose differences never overflow, once checked."""
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (N, K)")
    bad = np.count_nonzero(~np.isfinite(scores).all(axis=1))
    if bad:
        raise InputError(
            f"The scores of {bad} of {len(scores)} images are not finite: training diverged. "
            "Lower the lr of its section."
        )
    return labels.astype(bool), scores.astype(np.float64)


def _mean_of_defined(values: Sequence[float | None] | NDArray[np.float64]) -> float | None:
    """Return the mean of what is neither None nor NaN, None if nothing is."""
    numbers = np.asarray(values, dtype=np.float64)
    defined = numbers[~np.isnan(numbers)]
    return float(defined.mean()) if defined.size else None
