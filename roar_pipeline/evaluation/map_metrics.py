"""Metrics of maps against the objects' masks: AUC and pointing accuracy.

Numpy in, numbers out; None where a metric is undefined.

Legend: H x W pixels, P pairs of (image, class present in it).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_auc_score

from roar_pipeline.datasets.masks import VOID
from roar_pipeline.errors import InputError
from roar_pipeline.evaluation.prediction_metrics import mean_of_defined

__all__ = ["localization_auc", "pointing", "summarize_pairs"]


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
        None if no pixel is inside the class, or none outside.
    """
    split = _inside_outside(map_, segmentation, class_value, void)
    if split is None:
        return None
    inside, outside = split
    is_inside = np.repeat([True, False], [inside.size, outside.size])
    return float(roc_auc_score(is_inside, np.concatenate([inside, outside]).astype(np.float64)))


def pointing(map_: NDArray[np.floating], segmentation: NDArray[np.uint8], class_value: int, void: str) -> float | None:
    """Return 1 if the map's maximum lies inside the class's mask, else 0; if tied, the share of it inside.

    Arguments and undefined cases are those of ``localization_auc``. With void ignored, the maximum is that of the other
    pixels.
    """
    split = _inside_outside(map_, segmentation, class_value, void)
    if split is None:
        return None
    inside, outside = split
    maximum = max(inside.max(), outside.max())
    hits = np.count_nonzero(inside == maximum)
    return float(hits / (hits + np.count_nonzero(outside == maximum)))


def summarize_pairs(
    auc: Sequence[Any] | NDArray[np.float64], point: Sequence[Any] | NDArray[np.float64], is_counted: ArrayLike
) -> dict[str, Any]:
    """Return the means of AUC and pointing accuracy over some pairs, with their count.

    Args:
        auc: P values, None or NaN where undefined.
        point: P values, undefined for the same pairs.
        is_counted: (P,) bool, the pairs to average over.

    Returns:
        auc and pointing (None without pairs); pairs: the number of values in the means; undefined: the number of pairs
        without a value, as their class covers nothing or everything.
    """
    rows = np.asarray(is_counted, dtype=bool)
    aucs = np.asarray(auc, dtype=np.float64)[rows]
    points = np.asarray(point, dtype=np.float64)[rows]
    if not np.array_equal(np.isnan(aucs), np.isnan(points)):
        raise ValueError("auc and point must be undefined for the same pairs")
    undefined = int(np.isnan(aucs).sum())
    return {
        "auc": mean_of_defined(aucs),
        "pointing": mean_of_defined(points),
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
    is_outside = ~is_inside if void == "background" else ~is_inside & (segmentation != VOID)
    inside, outside = map_[is_inside], map_[is_outside]
    return (inside, outside) if inside.size and outside.size else None
