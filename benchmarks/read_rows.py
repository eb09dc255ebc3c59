"""How fast are the random rows of a batch read from a contiguous HDF5 dataset, and by which way?

Milliseconds per batch of 64 images, sorted by row, the median of batches: from the page cache, and after the file was
dropped from it (cold). ``rows`` is ``roar_pipeline.cache.rows``, without its hint of what is read next, and with it.
The memory map is made anew for every batch, as what it has touched counts as the process's memory.

``python -m benchmarks.read_rows``
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import h5py
import numpy as np
from numpy.typing import NDArray

from benchmarks.from_disk import drop
from roar_pipeline.cache import hdf5
from roar_pipeline.cache.rows import StoredRows

_BATCH = 64
_BATCHES = 20
_SETS = ((32, 60_000), (48, 30_000), (224, 2_000))
"""Sides in pixels, and numbers of images."""

Read = Callable[[NDArray[np.int64]], NDArray[np.uint8]]


def write(path: Path, side: int, images: int) -> None:
    """Write random images."""
    rng = np.random.default_rng(0)
    with hdf5.created(path) as file:
        dataset = hdf5.allocate(file, "images", (images, side, side, 3), np.uint8)
        hdf5.reserve(file)
        for start in range(0, images, 500):
            dataset[start : start + 500] = rng.integers(0, 256, (min(500, images - start), side, side, 3), np.uint8)


def ways(path: Path, file: Any) -> dict[str, Read]:
    """Return the ways to read rows of ``images``, by name."""
    dataset, rows = file["images"], StoredRows(file["images"])

    def without_hint(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        with mock.patch.object(os, "posix_fadvise", lambda *_: None):
            return rows[index]

    def one_by_one(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        array = np.empty((len(index), *dataset.shape[1:]), np.uint8)
        for target, row in enumerate(index.tolist()):
            dataset.read_direct(array, np.s_[row], np.s_[target])
        return array

    def mapped(index: NDArray[np.int64]) -> NDArray[np.uint8]:
        offset = dataset.id.get_offset()
        return np.asarray(np.memmap(path, np.uint8, "r", offset=offset, shape=dataset.shape)[index])

    names = ("h5py, all rows at once", "h5py, read_direct", "memory map", "rows, no hint", "rows")
    return dict(zip(names, (dataset.__getitem__, one_by_one, mapped, without_hint, rows.__getitem__), strict=True))


def milliseconds(read: Read, images: int, *, cold: Path | None) -> float:
    """Return the median time of a batch; ``cold`` is dropped from the page cache before each."""
    rng = np.random.default_rng(1)
    times = []
    for _ in range(_BATCHES):
        index = np.sort(rng.permutation(images)[:_BATCH])
        if cold:
            drop(cold)
        else:
            read(index)
        started = time.perf_counter()
        read(index)
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times)


def main() -> None:
    """Print a row per size and way."""
    with tempfile.TemporaryDirectory() as folder:
        for side, images in _SETS:
            path = Path(folder) / f"{side}.h5"
            write(path, side, images)
            with h5py.File(path, "r") as file:
                for name, read in ways(path, file).items():
                    warm, cold = (milliseconds(read, images, cold=dropped) for dropped in (None, path))
                    print(f"| {side} | {name} | {warm:.2f} | {cold:.1f} |", flush=True)


if __name__ == "__main__":
    main()
