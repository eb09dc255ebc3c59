"""Training photographs of different sizes in ``images.h5``, for random crops.

Legend: N photographs of the training split, K classes, h x w pixels of one photograph.

Layout: ``photographs/sizes`` (N, 2), their h and w, and ``photograph_pixels/values``, the RGB bytes (h, w, 3) of
all photographs one after the other.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roar_pipeline.cache.hdf5 import allocate
from roar_pipeline.datasets import voc
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.progress import notify

__all__ = [
    "Photographs",
    "allocate_photographs",
    "byte_offsets",
    "photograph_sizes",
    "read_photographs",
    "store_photographs",
]

_PHOTOGRAPHS_PER_REPORT = 256

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
    """Return the first byte of every photograph of ``sizes`` (N, 2), and the end of the last one: (N + 1,)."""
    return np.concatenate([[0], np.cumsum(3 * sizes[:, 0] * sizes[:, 1])]).astype(np.int64)


def allocate_photographs(file: Any, sizes: Sequence[tuple[int, int]]) -> None:
    """Allocate photographs of ``sizes`` (height, width) in ``images.h5``."""
    table = np.array(sizes, dtype=np.int64)
    file[_SIZES] = table
    group, _, name = _VALUES.partition("/")
    allocate(file.create_group(group), name, (int(byte_offsets(table)[-1]),), np.uint8)


def photograph_sizes(ids: Sequence[str], short_side: int, faults: Faults) -> list[tuple[int, int]]:
    """Return height and width of every photograph as stored, (0, 0) if it cannot be read.

    Args:
        ids: of the training split.
        short_side: pixels, as of ``read_photograph``; 0 stores no photographs: the list is empty.
        faults: records the reasons.
    """
    if not short_side:
        return []
    return [faults.read(voc.read_photograph_size, image_id, short_side) or (0, 0) for image_id in ids]


def store_photographs(
    file: Any, ids: Sequence[str], sizes: Sequence[tuple[int, int]], short_side: int, faults: Faults
) -> None:
    """Read the photographs and store them where ``allocate_photographs`` allocated their ``sizes``."""
    offsets = byte_offsets(np.array(sizes, dtype=np.int64)).tolist()
    for row, image_id in enumerate(ids):
        is_readable = all(sizes[row])
        pixels = faults.read(voc.read_photograph, image_id, short_side) if is_readable else None
        if pixels is not None:
            file[_VALUES][offsets[row] : offsets[row + 1]] = pixels.ravel()
        if row % _PHOTOGRAPHS_PER_REPORT == 0:
            notify(row / len(ids), f"photographs: {row} of {len(ids)} images")


def read_photographs(file: Any) -> Photographs | None:
    """Read the photographs of an open ``images.h5``; None if it has none."""
    if _SIZES not in file:
        return None
    return Photographs(file[_SIZES][:], file[_VALUES][:], file["train/labels"][:])
