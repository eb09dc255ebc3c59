"""Audits of removed pixels: their number, ties, the share of objects, and the noise of the map.

Legend: N images, M of them with a segmentation, H x W pixels.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.datasets.masks import is_object
from roar_pipeline.removal.ranking import check_direction, finite_values, removed, removed_counts

__all__ = ["Levels", "object_shares", "removal_audits", "tied_shares", "total_variation"]

_BLOCK = 256
"""Images per read of levels that are only counted."""


@dataclass(frozen=True)
class Levels:
    """The removal levels of a split and their audits."""

    ids: list[str]
    levels: NDArray[np.uint8] | StoredRows
    """(N, H, W), the percentage at which each pixel is removed, 1..100; they may stay in the file."""
    tied_shares: dict[str, NDArray[np.float64]]
    """By direction: (101,), at each percentage the share of removed pixels decided by ties, mean over images."""
    total_variation: NDArray[np.float64]
    """(N,), total variation of each image's map."""
    object_shares: dict[str, NDArray[np.float64]]
    """By direction: (101,), share of object pixels removed; NaN without segmentations, as for ``train``."""
    empty_maps: int
    """Number of the split's maps without any positive value."""
    explained_as_labels: float
    """Share of images whose explained classes are their labels; NaN where no class is explained."""


def tied_shares(map_: NDArray[np.floating], direction: str = "remove") -> NDArray[np.float64]:
    """Return, at every percentage 0..100, the share of removed pixels decided by ties, (101,).

    Those are the removed pixels of a group of equal values that is removed in part. The share is 0 where no group is,
    and where nothing or everything is removed. ``direction`` is as in ``removed``.
    """
    check_direction(direction)
    values = np.sort(finite_values(map_, "of this map"))
    counts = removed_counts(values.size)
    shares = np.zeros(101)
    cuts = (counts > 0) & (counts < values.size)
    above = counts[cuts]
    lowest = values[values.size - above]
    first = values.size - np.searchsorted(values, lowest, side="right")
    end = values.size - np.searchsorted(values, lowest, side="left")
    tied, total = (above - first, above) if direction == "remove" else (end - above, values.size - above)
    shares[cuts] = np.where(end > above, tied / total, 0.0)
    return shares


def total_variation(map_: NDArray[np.floating]) -> float:
    """Return the mean absolute difference of neighbors, horizontal and vertical, of a map scaled to 0..1.

    With the scaling it measures noise, not magnitude [Pitfalls, 2304.13836]. A constant map has 0, and so has a single
    pixel.
    """
    values = np.asarray(map_, dtype=np.float64)
    low, high = values.min(), values.max()
    if low == high:
        return 0.0
    steps = [np.abs(np.diff(values, axis=axis)) for axis in (0, 1)]
    return float(sum(s.sum() for s in steps) / sum(s.size for s in steps) / (high - low))


def object_shares(
    levels: NDArray[np.uint8], segmentation: NDArray[np.uint8], direction: str = "remove"
) -> NDArray[np.float64]:
    """Return the share of object pixels removed at every percentage 0..100, over all images together, (101,).

    Args:
        levels: (M, H, W) removal levels of the images that have a segmentation.
        segmentation: (M, H, W); everything but background and void is object.
        direction: as in ``removed``.

    Without any object pixel all shares are NaN.
    """
    if levels.shape != segmentation.shape:
        raise ValueError(f"levels {levels.shape} and segmentation {segmentation.shape} must have one shape")
    check_direction(direction)
    inside = is_object(segmentation)
    counts = np.bincount(levels[inside], minlength=101).astype(np.float64)
    if not inside.any():
        return np.full(101, np.nan)
    shares = np.cumsum(counts) / counts.sum()
    return np.asarray(shares if direction == "remove" else 1 - shares)


def removal_audits(splits: Mapping[str, Levels], percent: int, direction: str) -> dict[str, float | int | None]:
    """Return the audits of the pixels removed in a cell, from the levels of ``train`` and ``test``.

    Returns:
        asked_percent and actual_percent_{train,test} of pixels *removed* (in direction keep, asked_percent is
        100 - percent), tied_share_{train,test}, empty_maps_{train,test} (maps without any positive value),
        explained_as_labels_{train,test} (None where no class is explained), object_share (None without
        segmentations) and total_variation (mean over test maps).
    """
    audits: dict[str, float | int | None] = {"asked_percent": percent if direction == "remove" else 100 - percent}
    splits = {name: splits[name] for name in ("train", "test")}
    for name, split_levels in splits.items():
        audits[f"actual_percent_{name}"] = 100 * _removed_share(split_levels.levels, percent, direction)
    for name, split_levels in splits.items():
        audits[f"tied_share_{name}"] = float(split_levels.tied_shares[direction][percent])
    for name, split_levels in splits.items():
        audits[f"empty_maps_{name}"] = split_levels.empty_maps
    for name, split_levels in splits.items():
        audits[f"explained_as_labels_{name}"] = _defined(split_levels.explained_as_labels)
    audits["object_share"] = _defined(float(splits["test"].object_shares[direction][percent]))
    audits["total_variation"] = float(splits["test"].total_variation.mean())
    return audits


def _removed_share(levels: NDArray[np.uint8] | StoredRows, percent: int, direction: str) -> float:
    """Return the share of the pixels that are removed, block by block."""
    starts = range(0, len(levels), _BLOCK)
    counts = [int(removed(levels[start : start + _BLOCK], percent, direction).sum()) for start in starts]
    return sum(counts) / math.prod(levels.shape)


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value
