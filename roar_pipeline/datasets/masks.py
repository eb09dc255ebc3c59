"""Values of a mask: 0 is background, 1..K a class (its index in ``classes`` plus one), 255 void."""

import numpy as np
import numpy.typing as npt

__all__ = ["BACKGROUND", "VOID", "is_object"]

BACKGROUND = 0

VOID = 255
"""Value of pixels that are neither background nor object, such as outlines."""


def is_object(segmentation: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which pixels belong to an object of any class, so are neither background nor void."""
    inside: npt.NDArray[np.bool_] = (segmentation != BACKGROUND) & (segmentation != VOID)
    return inside
