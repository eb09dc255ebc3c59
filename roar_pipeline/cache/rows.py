"""Rows of an array in an HDF5 file, read when they are due: for arrays that do not fit in memory.

Every dataset of this project is contiguous (``hdf5.allocate``), so that a row is a range of bytes of the file. The rows
are read from there, without HDF5, whose library lets one thread in at a time. Nothing stays mapped or in memory; what
the kernel keeps in its page cache, it gives back when memory is short.
"""

import math
import operator
import os
import weakref
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.errors import InputError

if TYPE_CHECKING:
    import h5py

__all__ = ["Index", "Rows", "StoredRows"]

Index: TypeAlias = "slice | NDArray[np.integer[Any]]"


class Rows(Protocol):
    """Rows of bytes, in memory or in a file: an array (N, ...) of uint8 that gives copies of its rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """N, and the shape of a row."""
        ...

    def __getitem__(self, rows: Index, /) -> NDArray[np.uint8]:
        """Return the rows at an index, in its order."""
        ...


class StoredRows:
    """An array of uint8 in a file, of which rows are read; several threads may read at once."""

    def __init__(self, dataset: "h5py.Dataset") -> None:
        """Look up where a contiguous dataset of uint8 (N, ...) lies in its file; the HDF5 file may be closed then."""
        self.path = Path(dataset.file.filename)
        self.shape: tuple[int, ...] = dataset.shape
        offset = dataset.id.get_offset()
        if dataset.dtype != np.uint8 or (offset is None and dataset.size):
            raise ValueError(f"{dataset.name} of {self.path} is no contiguous dataset of uint8")
        self._offset = offset or 0
        self._file = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._file)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def nbytes(self) -> int:
        """Size in bytes."""
        return math.prod(self.shape)

    def __getitem__(self, rows: "Index | int") -> NDArray[np.uint8]:
        """Read the rows at an index, or one row; an index out of range is an IndexError.

        Raises:
            InputError: the file is shorter than it was.
        """
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        index = np.asarray(rows)
        if index.ndim == 0:
            return cast("NDArray[np.uint8]", self[index[None]][0])
        if index.size and not 0 <= index.min() <= index.max() < len(self):
            raise IndexError(f"rows {index.min()}..{index.max()} of {len(self)} in {self.path}")
        array = np.empty((len(index), *self.shape[1:]), np.uint8)
        self.read_into(array, index)
        return array

    def read_into(self, array: NDArray[np.uint8], index: NDArray[np.integer[Any]]) -> None:
        """Read the rows at ``index`` (B,), in its order, into a C-contiguous array (B, ...)."""
        size = math.prod(self.shape[1:])
        self._read(array, [(int(row) * size, size) for row in index])

    def read_pieces(self, pieces: Iterable[tuple[int, int]]) -> NDArray[np.uint8]:
        """Read pieces (first value, number of values) of the flat array, and return them one after the other."""
        pieces = list(pieces)
        array = np.empty(sum(map(operator.itemgetter(1), pieces)), np.uint8)
        self._read(array, pieces)
        return array

    def _read(self, array: NDArray[np.uint8], pieces: list[tuple[int, int]]) -> None:
        """Read pieces in the order of the file, after a hint that lets the disk work on all of them at once."""
        target = memoryview(cast("Any", array.reshape(-1)))
        starts = np.cumsum([0, *(size for _, size in pieces)]).tolist()
        joined = _joined(sorted((first, size, start) for (first, size), start in zip(pieces, starts, strict=False)))
        if hasattr(os, "posix_fadvise"):
            for first, size, _ in joined:
                os.posix_fadvise(self._file, self._offset + first, size, os.POSIX_FADV_WILLNEED)
        for first, size, start in joined:
            self._read_piece(target[start : start + size], self._offset + first)

    def _read_piece(self, target: memoryview, position: int) -> None:
        while target:
            count = os.preadv(self._file, [target], position)
            if not count:
                raise InputError(f"{self.path} ends at byte {position}: it was cut off. Remove its folder and rerun.")
            target, position = target[count:], position + count


def _joined(pieces: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """Join pieces (first, size, start of the target) that follow each other in the file and in the target."""
    joined: list[tuple[int, int, int]] = []
    for first, size, start in pieces:
        if joined and (last := joined[-1])[0] + last[1] == first and last[2] + last[1] == start:
            joined[-1] = (last[0], last[1] + size, last[2])
        else:
            joined.append((first, size, start))
    return joined
