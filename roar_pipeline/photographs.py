"""Training photographs of different sizes in ``images.h5``, for an augmentation that cuts boxes out of them.

Legend: N photographs of the training split, K classes, h x w pixels of one photograph.

Layout: ``photographs/sizes`` (N, 2), the h and w of each, and ``photograph_pixels/values``, the RGB bytes (h, w, 3) of
all photographs one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roar_pipeline.stores import allocate

__all__ = ["Photographs", "allocate_photographs", "byte_offsets", "read_photographs", "write_photograph"]

_SIZES, _VALUES = "photographs/sizes", "photograph_pixels/values"


@dataclass(frozen=True)
class Photographs:
    """The training split's photographs in memory.

    Attributes:
        sizes: (N, 2), height and width. pixels: uint8, RGB 0..255, the (h, w, 3) of all photographs one after the
        other. labels: (N, K), 1 where the photograph shows the class.
    """

    sizes: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.uint8]


def byte_offsets(sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return where each photograph of ``sizes`` (N, 2) begins, and where the last one ends: (N + 1,)."""
    return np.concatenate([[0], np.cumsum(3 * sizes[:, 0] * sizes[:, 1])]).astype(np.int64)


def allocate_photographs(file: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Make room in ``images.h5`` for photographs of ``sizes`` (height, width)."""
    table = np.array(sizes, dtype=np.int64)
    file[_SIZES] = table
    groups = file.create_group(_VALUES.partition("/")[0])
    allocate(groups, _VALUES.partition("/")[2], (int(byte_offsets(table)[-1]),), np.uint8)


def write_photograph(file: Any, start: int, pixels: npt.NDArray[np.uint8]) -> None:
    """Write one photograph (h, w, 3) at its byte offset."""
    file[_VALUES][start : start + pixels.size] = pixels.ravel()


def read_photographs(file: Any) -> Photographs | None:
    """Read the photographs of an open ``images.h5``; None where it holds none."""
    if _SIZES not in file:
        return None
    return Photographs(file[_SIZES][:], file[_VALUES][:], file["train/labels"][:])
