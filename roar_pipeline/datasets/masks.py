"""What the values of a mask mean: 0 is background, 1..K a class (its place in ``classes`` plus one), 255 void."""

import numpy as np
import numpy.typing as npt

__all__ = ["BACKGROUND", "VOID", "is_object"]

BACKGROUND = 0

VOID = 255
"""Of pixels that belong to nothing, such as outlines."""


def is_object(segmentation: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Tell which pixels belong to an object of any class; neither background nor void does."""
    inside: npt.NDArray[np.bool_] = (segmentation != BACKGROUND) & (segmentation != VOID)
    return inside
