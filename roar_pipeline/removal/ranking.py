"""Which pixels go at which percentage: exact counts, seeded ties, nested sets.

Legend: N images, H x W pixels, ``pixels`` = H * W. A map is raw attribution, larger = more relevant. A
removal level is the smallest whole percentage, 1..100, at which a pixel is removed; one uint8 holds every
percentage.
"""

import hashlib
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.errors import InputError

if TYPE_CHECKING:
    import torch

__all__ = [
    "BACKGROUND",
    "DIRECTIONS",
    "VOID",
    "donors",
    "object_shares",
    "removal_levels",
    "removal_order",
    "removed",
    "removed_count",
    "tie_order",
    "tied_shares",
    "total_variation",
]

BACKGROUND = 0
VOID = 255
"""Values of a segmentation pixel that belong to no object."""

DIRECTIONS = ("remove", "keep")
"""remove takes the most relevant pixels away (ROAR), keep leaves only them (KAR)."""

Levels = TypeVar("Levels", NDArray[Any], "torch.Tensor")


def removed_count(percent: int, pixels: int) -> int:
    """Return how many of ``pixels`` are removed at ``percent`` (0..100); an exact half rounds to even."""
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0..100, got {percent}")
    return round(percent * pixels / 100)


def donors(count: int, seed: int) -> NDArray[np.int64]:
    """Return, for each of ``count`` images, the row of the image whose map it gets: (count,), none its own.

    All images form one random cycle, so that no image keeps its map and every map is used once. It depends on the
    arguments alone, as ``tie_order`` does.

    Raises:
        InputError: there is one image only, which has no other to get a map from.
    """
    if count == 1:
        raise InputError("Maps cannot be shuffled over a split of one image. Set [grid] shuffled = none.")
    cycle = tie_order(f"{count} images", seed, count)
    rows = np.empty(count, dtype=np.int64)
    rows[cycle] = np.roll(cycle, 1)
    return rows


def tie_order(image_id: str, seed: int, pixels: int) -> NDArray[np.int64]:
    """Return the order in which equal pixels of an image are removed: a permutation of 0..pixels-1.

    It depends on the three arguments alone, never on batch, worker or numpy version: only the raw stream of
    PCG64 is used, which numpy promises to keep, and the pixel's index in the low bits makes every sort key
    unique.
    """
    digest = hashlib.sha256(f"{seed}\0{image_id}".encode()).digest()
    keys = np.random.PCG64(int.from_bytes(digest, "little")).random_raw(pixels)
    low_bits = np.uint64((1 << pixels.bit_length()) - 1)
    keys = (keys & ~low_bits) | np.arange(pixels, dtype=np.uint64)
    keys.sort()
    order: NDArray[np.int64] = (keys & low_bits).astype(np.int64)
    return order


def removal_order(map_: NDArray[np.floating], image_id: str, seed: int) -> NDArray[np.int64]:
    """Return the flat pixel indices (H*W,), first removed first: falling values, equal ones in ``tie_order``.

    Args:
        map_: (H, W), finite.
        image_id: names the image in the seed of its ties, and in the error.
        seed: of the ties.

    Raises:
        InputError: the map is not finite.
    """
    values = _finite(map_, image_id)
    ties = tie_order(image_id, seed, values.size)
    _, rank = np.unique(values, return_inverse=True)
    falling = (rank.max(initial=0) - rank)[ties].astype(np.uint64)
    # One sort of unique numbers: the rank of the value above the place in the tie order.
    keys = (falling << np.uint64(32)) | np.arange(values.size, dtype=np.uint64)
    keys.sort()
    order: NDArray[np.int64] = ties[(keys & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    return order


def removal_levels(map_: NDArray[np.floating], image_id: str, seed: int) -> NDArray[np.uint8]:
    """Return a map's removal levels (H, W): the smallest percentage, 1..100, at which each pixel goes."""
    levels = np.empty(map_.size, dtype=np.uint8)
    gone = np.diff(_counts(map_.size))
    levels[removal_order(map_, image_id, seed)] = np.repeat(np.arange(1, 101, dtype=np.uint8), gone)
    return levels.reshape(map_.shape)


def tied_shares(map_: NDArray[np.floating], direction: str = "remove") -> NDArray[np.float64]:
    """Return, at every percentage 0..100, the share of removed pixels that ties decide, (101,).

    That is: of the removed pixels, those of the group of equal values which the cut divides. Where the cut
    falls between two values, and where nothing or everything is removed, it is 0. ``direction`` is as in
    ``removed``.
    """
    _check_direction(direction)
    values = np.sort(_finite(map_, "of this map"))
    counts = _counts(values.size)
    shares = np.zeros(101)
    cuts = (counts > 0) & (counts < values.size)
    above = counts[cuts]
    lowest = values[values.size - above]
    first = values.size - np.searchsorted(values, lowest, side="right")
    end = values.size - np.searchsorted(values, lowest, side="left")
    tied, gone = (above - first, above) if direction == "remove" else (end - above, values.size - above)
    shares[cuts] = np.where(end > above, tied / gone, 0.0)
    return shares


def removed(levels: Levels, percent: int, direction: str) -> Levels:
    """Tell which pixels are removed at ``percent`` (0..100): bool in the shape of ``levels``, True = removed.

    ``remove`` takes the most relevant pixels away (ROAR): nothing at 0, everything at 100. ``keep`` leaves
    only them (KAR): everything is removed at 0, nothing at 100. Array or tensor in, the same out.
    """
    _check_direction(direction)
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0..100, got {percent}")
    return levels <= percent if direction == "remove" else levels > percent


def total_variation(map_: NDArray[np.floating]) -> float:
    """Return the mean absolute difference of neighbors, horizontal and vertical, of a map scaled to 0..1.

    The scaling makes blurriness show and not magnitude [Pitfalls, 2304.13836]. A
    constant map has 0, and so has a single pixel.
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

    Without any object pixel there is no share: all NaN.
    """
    if levels.shape != segmentation.shape:
        raise ValueError(f"levels {levels.shape} and segmentation {segmentation.shape} must have one shape")
    _check_direction(direction)
    inside = (segmentation != BACKGROUND) & (segmentation != VOID)
    counts = np.bincount(levels[inside], minlength=101).astype(np.float64)
    if not inside.any():
        return np.full(101, np.nan)
    shares = np.cumsum(counts) / counts.sum()
    return np.asarray(shares if direction == "remove" else 1 - shares)


def _check_direction(direction: str) -> None:
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got '{direction}'")


def _counts(pixels: int) -> NDArray[np.int64]:
    return np.array([removed_count(percent, pixels) for percent in range(101)], dtype=np.int64)


def _finite(map_: NDArray[np.floating], image_id: str) -> NDArray[np.floating]:
    values = np.ravel(map_)
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise InputError(
            f"The map of image '{image_id}' has {bad} of {values.size} values that are not finite. "
            "It cannot be ranked: the model's training probably diverged; lower its lr."
        )
    return values
