"""Controls: maps that depend on no model.

Every control is a function ``control(ids, images, seed) -> maps`` (N, H, W) float32. Row n depends on its own id and
image and the seed alone, or on fewer of them where a docstring says so.

Legend: N images, H x W pixels. ``images`` are uint8 (N, H, W, 3).
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from roar_pipeline.removal.ranking import tie_order

__all__ = ["CONTROLS", "center", "random", "sobel"]

_EXACT = 2**23
"""Number of pixels up to which all 1 - index / pixels differ in float32."""

_LUMINANCE = np.array([299.0, 587.0, 114.0])
"""Weights of red, green and blue in thousandths (ITU-R BT.601): whole numbers, so that equal edges tie exactly."""


def random(ids: Sequence[str], images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """Return maps that rank pixels at random, by the image's id and the seed alone.

    The values fall evenly from 1 to 1 / (H * W) along ``removal.tie_order``, so this map ranks pixels as a constant one
    does under the same seed.
    """
    height, width = images.shape[1:3]
    pixels = height * width
    if pixels > _EXACT:
        raise ValueError(f"random maps have at most {_EXACT} pixels in float32, got {height} x {width}")
    maps = np.empty((len(ids), pixels), dtype=np.float32)
    falling = 1 - np.arange(pixels) / pixels
    for row, image_id in zip(maps, ids, strict=True):
        row[tie_order(image_id, seed, pixels)] = falling
    return maps.reshape(len(ids), height, width)


def sobel(ids: Sequence[str], images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """Return the gradient magnitude of the luminance, by Sobel's filters, mirrored at the border; of the image alone.

    An edge of one gray level has the value 4, the sum of a filter's positive weights.
    """
    maps = np.empty(images.shape[:3], dtype=np.float32)
    for map_, image in zip(maps, images, strict=True):  # one by one: scipy's filter smooths along every other axis
        luminance = image @ _LUMINANCE
        down, right = (ndimage.sobel(luminance, axis=axis, mode="reflect") for axis in (0, 1))
        map_[:] = np.hypot(down, right) / _LUMINANCE.sum()
    return maps


def center(ids: Sequence[str], images: NDArray[np.uint8], seed: int) -> NDArray[np.float32]:
    """Return a Gaussian about the center, sigma a quarter of each side, 1 at its peak: the same map for all images."""
    height, width = images.shape[1:3]
    map_ = np.outer(_bell(height), _bell(width)).astype(np.float32)
    return np.repeat(map_[None], len(images), axis=0)


CONTROLS: dict[str, Callable[[Sequence[str], NDArray[np.uint8], int], NDArray[np.float32]]] = {
    "random": random,
    "sobel": sobel,
    "center": center,
}
"""Functions by the name of a control; ``methods.CONTROLS`` has their titles."""


def _bell(side: int) -> NDArray[np.float64]:
    """Return the profile (side,) about the image's center, which may lie between two pixels."""
    distance = (np.arange(side) + 0.5 - side / 2) / (side / 4)
    return np.exp(-(distance**2) / 2)
