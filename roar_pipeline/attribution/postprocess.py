"""Sum channels into one map, and filter maps as controls.

Legend: P pairs of (image, class), C channels, H x W pixels.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["REDUCTIONS", "VARIANTS", "blur", "maximum", "reduce", "vary"]


def blur(maps: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return each map (P, H, W) after a Gaussian of sigma 1 pixel, cut off at 4, mirrored at the border.

    It carries no more information than the map, so a score that improves is a warning about the score [Pitfalls,
    2304.13836].
    """
    result: NDArray[np.float32] = ndimage.gaussian_filter(maps, (0, 1, 1), mode="reflect", output=np.float32)
    return result


def maximum(maps: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Return at each pixel of each map (P, H, W) the maximum of its 3 x 3 neighborhood; a control like ``blur``."""
    result: NDArray[np.float32] = ndimage.maximum_filter(maps, (1, 3, 3), mode="reflect", output=np.float32)
    return result


VARIANTS: dict[str, Callable[[NDArray[Any]], NDArray[np.float32]]] = {"blur": blur, "max": maximum}
"""Filters by their suffix of a method's name, after a plus."""


def vary(maps: NDArray[Any], variant: str | None) -> NDArray[Any]:
    """Return the variant of maps (P, H, W), or the maps themselves for None."""
    return maps if variant is None else VARIANTS[variant](maps)


def _signed(attributions: "Tensor") -> "Tensor":
    return attributions.sum(dim=1)


def _abs(attributions: "Tensor") -> "Tensor":
    return attributions.abs().sum(dim=1)


REDUCTIONS: dict[str, Callable[["Tensor"], "Tensor"]] = {"signed": _signed, "abs": _abs}


def reduce(attributions: "Tensor", how: str) -> "Tensor":
    """Sum attributions (P, C, H, W) over their channels, (P, H, W): as they are (signed), or their magnitudes (abs)."""
    if how not in REDUCTIONS:
        raise ValueError(f"how must be one of {', '.join(REDUCTIONS)}, got '{how}'")
    return REDUCTIONS[how](attributions)
