"""Fills of removed pixels: a function per name of ``[removal] fill``.

Every fill is a function ``fill(pixels, removed) -> pixels``, which may work in place. It runs on every batch, so that a
cell needs no second copy of the images.

Legend: B images of a batch, H x W pixels. ``pixels`` are float32 (B, H, W, 3), normalized by mean and standard
deviation of the training split's channels; ``removed`` is bool (B, H, W), True = removed.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["FILLS", "mean"]


def mean(pixels: "Tensor", removed: "Tensor") -> "Tensor":
    """Set removed pixels to the training split's channel means (Hooker et al. 2019, 3): exactly 0 once normalized."""
    return pixels.mul_(removed.logical_not_()[..., None])


FILLS: dict[str, Callable[["Tensor", "Tensor"], "Tensor"]] = {"mean": mean}
"""Functions by the name of a fill in ``config.Removal``."""
