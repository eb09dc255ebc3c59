"""Choose the classes of an image to explain, and combine their maps into one.

Legend: N images, K classes, P pairs of (image, class), H x W pixels. Numpy in, numpy out.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.errors import InputError

__all__ = ["RULES", "combine", "explained_classes"]


def _top1(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    return np.asarray(np.arange(scores.shape[1]) == scores.argmax(axis=1)[:, None])


def _predicted(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    return _or_top1(scores >= 0, scores)


def _labels(scores: NDArray[Any], labels: NDArray[Any]) -> NDArray[np.bool_]:
    return _or_top1(labels.astype(bool), scores)


def _or_top1(classes: NDArray[np.bool_], scores: NDArray[Any]) -> NDArray[np.bool_]:
    return np.where(classes.any(axis=1, keepdims=True), classes, _top1(scores, classes))


RULES: dict[str, Callable[[NDArray[Any], NDArray[Any]], NDArray[np.bool_]]] = {
    "predicted": _predicted,
    "top1": _top1,
    "labels": _labels,
}


def explained_classes(
    scores: NDArray[Any], labels: NDArray[Any], rule: str, *, is_single_label: bool = False
) -> NDArray[np.bool_]:
    """Tell which classes of each image are explained, (N, K), at least one per image.

    ``predicted``: those with sigmoid(score) >= 0.5, that is score >= 0; where every image has exactly one label,
    the one with the highest score, as for ``top1``. ``top1``: the one with the highest score, the first of equal
    ones. ``labels``: the true ones, which leaks the label into the map. An image without any class by the rule
    gets its top one.

    Args:
        scores: (N, K), finite.
        labels: (N, K) multi-hot.
        rule: a key of ``RULES``.
        is_single_label: whether every image has exactly one label.
    """
    if rule not in RULES:
        raise InputError(f"Unknown rule explain = '{rule}'. Set [maps] explain to one of {', '.join(RULES)}.")
    if scores.shape != labels.shape:
        raise ValueError(f"scores {scores.shape} and labels {labels.shape} must both be (N, K)")
    if not np.isfinite(scores).all():
        raise InputError("A model to be explained has scores that are not finite: its training diverged. Lower its lr.")
    return RULES["top1" if is_single_label and rule == "predicted" else rule](scores, labels)


def combine(maps: NDArray[np.float32], image_index: NDArray[np.int64], images: int) -> NDArray[np.float32]:
    """Merge the maps (P, H, W) of each image's explained classes into one map per image, (N, H, W).

    One class: its raw map. Several: at each pixel the maximum over the classes of each map divided by its own
    maximum; a map without a positive value contributes zeros.

    Args:
        maps: one per pair.
        image_index: (P,), the image of each pair; every image has at least one.
        images: N.
    """
    classes = np.bincount(image_index, minlength=images)
    if len(classes) != images or not classes.all():
        raise ValueError(f"every one of {images} images needs a map, and no other; maps per image: {classes.tolist()}")
    combined = np.full((images, *maps.shape[1:]), -np.inf, dtype=np.float32)
    for map_, image in zip(maps, image_index, strict=True):
        scaled = map_ if classes[image] == 1 else _scaled(map_)
        np.maximum(combined[image], scaled, out=combined[image])
    return combined


def _scaled(map_: NDArray[np.float32]) -> NDArray[np.float32]:
    peak = map_.max()
    return map_ / peak if peak > 0 else np.zeros_like(map_)
