"""HDF5 files of this project: created with preallocated disk space, read with explained errors.

Every dataset is contiguous and allocated when the file is created, so filling it changes no metadata: the file of a
killed run stays readable, and a full disk is an error before the first row is written.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import require_space
from roar_pipeline.errors import InputError

__all__ = [
    "allocate",
    "created",
    "encoded",
    "open_group",
    "reserve",
    "shape_faults",
    "text_of",
    "write_column",
]

_BY_PERCENTAGE = ("_remove", "_keep")
"""Suffixes of the names of tables that have a row per percentage."""

_HEAD = 1 << 20
"""Upper bound of the bytes that are written to a file before its space is preallocated."""


@contextlib.contextmanager
def created(path: Path) -> Iterator[h5py.File]:
    """Open a new HDF5 file for writing, if the disk has space for its first bytes.

    Allocate the large datasets and call ``reserve`` before filling them: HDF5 crashes the process when a write fails.

    Raises:
        OSError: the disk is full.
    """
    require_space(path.parent, _HEAD)
    with path.open("wb") as raw:  # only a write detects an exhausted quota
        _preallocate(raw.fileno(), _HEAD)
    with h5py.File(path, "w") as file:
        yield file


def allocate(group: h5py.Group, name: str, shape: tuple[int, ...], dtype: Any) -> h5py.Dataset:
    """Create a contiguous dataset whose space in the file is allocated now."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    properties.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    return group.create_dataset(name, shape, dtype, dcpl=properties)


def reserve(file: h5py.File) -> None:
    """Preallocate disk space for the allocated datasets; add no datasets afterwards.

    Raises:
        OSError: the disk has less.
    """
    file.flush()
    path = Path(file.filename)
    size = file.id.get_filesize()
    require_space(path.parent, max(0, size - path.stat().st_blocks * 512))
    with path.open("r+b") as raw:
        _preallocate(raw.fileno(), size)


def _preallocate(descriptor: int, size: int) -> None:
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(descriptor, 0, size)


def write_column(group: h5py.Group, name: str, values: Sequence[str] | NDArray[Any]) -> None:
    """Write a whole column; text as UTF-8 of a fixed length, so that it is stored in the dataset itself."""
    group.create_dataset(name, data=encoded(values))


def encoded(values: Sequence[str] | NDArray[Any]) -> NDArray[Any]:
    """Return text as UTF-8 of a fixed length, and arrays as they are."""
    if isinstance(values, np.ndarray):
        return values
    encoded = [value.encode() for value in values]
    return np.array(encoded, h5py.string_dtype("utf-8", max(map(len, encoded), default=1) or 1))


@contextlib.contextmanager
def open_group(path: Path, group: str) -> Iterator[h5py.Group]:
    """Open a group of an HDF5 file of this project for reading.

    Raises:
        FileNotFoundError: the file is missing.
        InputError: it is not a file of this project; names the group, and the folder that the user may remove.
    """
    try:
        with h5py.File(path, "r") as file:
            yield file[group]
    except FileNotFoundError:
        raise
    except (OSError, KeyError) as error:
        raise InputError(
            f"{path} does not hold what {path.name} should ({group}: {error}). Remove its folder and rerun."
        ) from error


def text_of(encoded: NDArray[np.bytes_]) -> list[str]:
    """Return the text of a column of ``write_column``."""
    return [value.decode() for value in encoded]


def shape_faults(path: Path) -> list[str]:
    """Return faults of an HDF5 file of this project: it does not open, or the columns of a group differ in length.

    Tables with a row per percentage may have another length.
    """
    try:
        with h5py.File(path, "r") as file:
            return [fault for name, group in file.items() for fault in _group_faults(path, name, group)]
    except (OSError, RuntimeError, KeyError) as error:
        return [f"{path.name} does not open: {str(error).splitlines()[0]}"]


def _group_faults(path: Path, name: str, group: h5py.Group) -> Iterator[str]:
    columns = dict(group.items())
    if unreadable := [column for column, values in columns.items() if values is None]:
        yield f"{path.name}, {name}: columns that cannot be read: {', '.join(unreadable)}"
        return
    lengths = {column: len(values) for column, values in columns.items() if not column.endswith(_BY_PERCENTAGE)}
    if len(set(lengths.values())) > 1:
        yield f"{path.name}, {name}: columns of different lengths: {lengths}"
    if group.attrs.get("zero_maps", 0) < 0:
        yield f"{path.name}, {name}: not filled"
