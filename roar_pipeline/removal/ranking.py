"""Which pixels are removed at which percentage: exact counts, seeded ties, nested sets.

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
    "DIRECTIONS",
    "check_direction",
    "donors",
    "finite_values",
    "removal_levels",
    "removal_order",
    "removed",
    "removed_count",
    "removed_counts",
    "tie_order",
]

DIRECTIONS = ("remove", "keep")
"""``remove`` removes the most relevant pixels (ROAR), ``keep`` all others (KAR)."""

Levels = TypeVar("Levels", NDArray[Any], "torch.Tensor")


def removed_count(percent: int, pixels: int) -> int:
    """Return how many of ``pixels`` are removed at ``percent`` (0..100); an exact half rounds to even."""
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0..100, got {percent}")
    return round(percent * pixels / 100)


def removed_counts(pixels: int) -> NDArray[np.int64]:
    """Return ``removed_count`` at every percentage 0..100, (101,)."""
    return np.array([removed_count(percent, pixels) for percent in range(101)], dtype=np.int64)


def donors(count: int, seed: int) -> NDArray[np.int64]:
    """Return, for each of ``count`` images, the row of the image whose map it gets: (count,), none its own.

    All images form one random cycle, so that no image keeps its map and every map is used once. The cycle depends on
    the arguments alone, as ``tie_order`` does.

    Raises:
        InputError: there is only one image.
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
        image_id: part of the seed of the ties; named in the error.
        seed: of the ties.

    Raises:
        InputError: the map is not finite.
    """
    values = finite_values(map_, image_id)
    ties = tie_order(image_id, seed, values.size)
    _, rank = np.unique(values, return_inverse=True)
    falling = (rank.max(initial=0) - rank)[ties].astype(np.uint64)
    # One sort of unique numbers: the value's rank in the high bits, the index in the tie order in the low bits.
    keys = (falling << np.uint64(32)) | np.arange(values.size, dtype=np.uint64)
    keys.sort()
    order: NDArray[np.int64] = ties[(keys & np.uint64(0xFFFFFFFF)).astype(np.int64)]
    return order


def removal_levels(map_: NDArray[np.floating], image_id: str, seed: int) -> NDArray[np.uint8]:
    """Return a map's removal levels (H, W): the smallest percentage, 1..100, that removes each pixel."""
    levels = np.empty(map_.size, dtype=np.uint8)
    counts = np.diff(removed_counts(map_.size))
    levels[removal_order(map_, image_id, seed)] = np.repeat(np.arange(1, 101, dtype=np.uint8), counts)
    return levels.reshape(map_.shape)


def removed(levels: Levels, percent: int, direction: str) -> Levels:
    """Tell which pixels are removed at ``percent`` (0..100): bool in the shape of ``levels``, True = removed.

    ``remove`` removes the most relevant pixels (ROAR): none at 0, all at 100. ``keep`` removes all others (KAR): all
    at 0, none at 100. Array or tensor in, the same out.
    """
    check_direction(direction)
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be within 0..100, got {percent}")
    return levels <= percent if direction == "remove" else levels > percent


def check_direction(direction: str) -> None:
    """Refuse a direction that is not in ``DIRECTIONS``.

    Raises:
        ValueError: lists them.
    """
    if direction not in DIRECTIONS:
        raise ValueError(f"direction must be one of {', '.join(DIRECTIONS)}, got '{direction}'")


def finite_values(map_: NDArray[np.floating], image_id: str) -> NDArray[np.floating]:
    """Return a map's values (H*W,).

    Raises:
        InputError: some are not finite; names the image.
    """
    values = np.ravel(map_)
    bad = values.size - np.count_nonzero(np.isfinite(values))
    if bad:
        raise InputError(
            f"The map of image '{image_id}' has {bad} of {values.size} values that are not finite. "
            "It cannot be ranked: the model's training probably diverged; lower its lr."
        )
    return values
