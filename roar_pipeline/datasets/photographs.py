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
from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.datasets.source import PhotographReader
from roar_pipeline.progress import notify

__all__ = [
    "Photographs",
    "allocate_photographs",
    "byte_offsets",
    "photograph_bytes",
    "photograph_sizes",
    "read_photographs",
    "store_photographs",
]

_PHOTOGRAPHS_PER_REPORT = 256

_SIZES, _VALUES = "photographs/sizes", "photograph_pixels/values"


@dataclass(frozen=True)
class Photographs:
    """The training split's photographs, whose pixels may stay in the file.

    Attributes:
        sizes: (N, 2), height and width. pixels: uint8, RGB 0..255, the (h, w, 3) of all photographs one after the
        other. labels: (N, K), 1 where the photograph shows the class.
    """

    sizes: npt.NDArray[np.int64]
    pixels: npt.NDArray[np.uint8] | StoredRows
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


def photograph_sizes(reader: PhotographReader | None, count: int, faults: Faults) -> list[tuple[int, int]]:
    """Return height and width of all ``count`` photographs as stored, (0, 0) if one cannot be read.

    Args:
        reader: of the training photographs; None stores none: the list is empty.
        count: of the training images.
        faults: records the reasons.
    """
    return [faults.read(reader.size, row) or (0, 0) for row in range(count)] if reader else []


def store_photographs(file: Any, reader: PhotographReader, sizes: Sequence[tuple[int, int]], faults: Faults) -> None:
    """Read the photographs and store them where ``allocate_photographs`` allocated their ``sizes``."""
    offsets = byte_offsets(np.array(sizes, dtype=np.int64)).tolist()
    for row, size in enumerate(sizes):
        pixels = faults.read(reader.pixels, row) if all(size) else None
        if pixels is not None:
            file[_VALUES][offsets[row] : offsets[row + 1]] = pixels.ravel()
        if row % _PHOTOGRAPHS_PER_REPORT == 0:
            notify(row / len(sizes), f"photographs: {row} of {len(sizes)} images")


def read_photographs(file: Any, *, pixels: bool) -> Photographs | None:
    """Read the photographs of an open ``images.h5``, with or without their pixels; None if it has none."""
    if _SIZES not in file:
        return None
    values = file[_VALUES][:] if pixels else StoredRows(file[_VALUES])
    return Photographs(file[_SIZES][:], values, file["train/labels"][:])


def photograph_bytes(file: Any) -> int:
    """Return the bytes of the photographs of an open ``images.h5``; 0 if it has none."""
    return int(file[_VALUES].nbytes) if _SIZES in file else 0
