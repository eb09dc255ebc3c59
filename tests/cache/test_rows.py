"""Rows that are read from the file of an array, against the array."""

import gc
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from roar_pipeline.cache import hdf5
from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.errors import InputError

N, H, W = 41, 3, 5
ARRAY = np.random.default_rng(0).integers(0, 256, (N, H, W, 3), np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file with other arrays before and after."""
    with hdf5.created(tmp_path / "some.h5") as file:
        group = file.create_group("train")
        hdf5.write_column(group, "ids", ["a", "b"])
        hdf5.allocate(group, "before", (7, 3), np.uint8)[...] = 1
        hdf5.allocate(group, "images", ARRAY.shape, np.uint8)[...] = ARRAY
        hdf5.allocate(group, "after", (7, 3), np.float32)[...] = 2
        hdf5.allocate(group, "nothing", (0, 3), np.uint8)
        group.create_dataset("packed", data=ARRAY, chunks=True)
    return tmp_path / "some.h5"


@pytest.fixture
def rows(path: Path) -> Iterator[StoredRows]:
    with h5py.File(path, "r") as file:
        stored = StoredRows(file["train/images"])
    yield stored


@pytest.mark.parametrize(
    "index",
    [
        np.array([5]),
        np.array([40, 0, 7, 7, 8, 39]),
        np.random.default_rng(1).permutation(N),
        np.array([], np.int64),
        slice(None),
        slice(3, 9),
        slice(35, 99),
        slice(4, 4),
        slice(30, 2, -3),
        7,
        np.int64(40),
    ],
)
def test_rows_are_those_of_the_array(rows: StoredRows, index: object) -> None:
    got = rows[index]  # type: ignore[index]
    np.testing.assert_array_equal(got, ARRAY[index])  # type: ignore[call-overload]
    assert got.dtype == np.uint8
    assert got.flags.writeable
    assert (len(rows), rows.shape, rows.nbytes) == (N, ARRAY.shape, ARRAY.nbytes)


def test_pieces_are_those_of_the_flat_array(rows: StoredRows) -> None:
    pieces = [(10, 3), (0, 5), (5, 5), (600, 1), (3, 0), (ARRAY.size - 2, 2)]
    expected = np.concatenate([ARRAY.ravel()[first : first + size] for first, size in pieces])
    np.testing.assert_array_equal(rows.read_pieces(pieces), expected)


def test_threads_read_at_once(rows: StoredRows) -> None:
    orders = [np.random.default_rng(seed).permutation(N) for seed in range(40)]
    with ThreadPoolExecutor(8) as pool:
        for order, got in zip(orders, pool.map(rows.__getitem__, orders), strict=True):
            np.testing.assert_array_equal(got, ARRAY[order])


def test_rows_that_follow_each_other_are_one_read(rows: StoredRows, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes, read = [], os.preadv

    def note(file: int, buffers: list[memoryview], position: int) -> int:
        sizes.append(buffers[0].nbytes)
        return read(file, [buffers[0][:50]], position)

    monkeypatch.setattr(os, "preadv", note)
    np.testing.assert_array_equal(rows[np.array([3, 4, 9])], ARRAY[[3, 4, 9]])
    assert sizes == [90, 40, 45], "a read may return less than it was asked for"


@pytest.mark.parametrize("index", [np.array([N]), np.array([-1, 3])])
def test_rows_out_of_range(rows: StoredRows, index: np.ndarray) -> None:
    with pytest.raises(IndexError, match=f"of {N} in"):
        rows[index]


def test_only_contiguous_bytes(path: Path) -> None:
    with h5py.File(path, "r") as file:
        assert StoredRows(file["train/nothing"])[:].shape == (0, 3)
        for name in ("packed", "after"):
            with pytest.raises(ValueError, match="no contiguous dataset of uint8"):
                StoredRows(file[f"train/{name}"])


def test_a_file_that_was_cut_off(rows: StoredRows) -> None:
    os.truncate(rows.path, rows.path.stat().st_size // 4)
    with pytest.raises(InputError, match="it was cut off"):
        rows[:]


def test_the_file_is_closed_with_the_last_reference(path: Path) -> None:
    with h5py.File(path, "r") as file:
        stored = StoredRows(file["train/images"])
    number = stored._file
    os.fstat(number)
    del stored
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
