"""What labels and scores must be before any metric is taken of them."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.errors import InputError

__all__ = ["checked"]


def checked(labels: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Check labels and scores; return them as booleans and in double precision, where differences do not overflow.

    Raises:
        ValueError: they are not both (N, K).
        InputError: a score is not finite.
    """
    if labels.ndim != 2 or labels.shape != scores.shape:
        raise ValueError(f"labels {labels.shape} and scores {scores.shape} must both be (N, K)")
    bad = np.count_nonzero(~np.isfinite(scores).all(axis=1))
    if bad:
        raise InputError(
            f"The scores of {bad} of {len(scores)} images are not finite: training diverged. "
            "Lower the lr of its section."
        )
    return labels.astype(bool), scores.astype(np.float64)
