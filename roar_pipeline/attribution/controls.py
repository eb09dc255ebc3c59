"""Controls: maps that no model has seen (PROTOCOL 5).

Legend: N images, H x W pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.removal import tie_order

__all__ = ["random"]

_EXACT = 2**23
"""Pixels up to which float32 tells 1 - place / pixels apart."""


def random(ids: Sequence[str], height: int, width: int, seed: int) -> NDArray[np.float32]:
    """Return a map (N, H, W) per image that ranks its pixels at random, fixed by the image's id and the seed.

    The values fall evenly from 1 to 1 / (H * W) along ``removal.tie_order``, so ranking this map is ranking a
    constant one under the same seed (PROTOCOL 9, identity 3).
    """
    pixels = height * width
    if pixels > _EXACT:
        raise ValueError(f"random maps have at most {_EXACT} pixels in float32, got {height} x {width}")
    maps = np.empty((len(ids), pixels), dtype=np.float32)
    falling = 1 - np.arange(pixels) / pixels
    for row, image_id in zip(maps, ids, strict=True):
        row[tie_order(image_id, seed, pixels)] = falling
    return maps.reshape(len(ids), height, width)
