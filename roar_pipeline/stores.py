"""A resumable HDF5 store: groups of columns, filled batch by batch, killed at any moment, the same bytes in the end.

Every dataset is contiguous and allocated when the file is created, so filling it changes no metadata: a
killed run's file stays readable, and what is done stands in a journal beside it, written only when the rows
are on disk.
"""

import os
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from roar_pipeline.errors import InputError
from roar_pipeline.files import SCRATCH, read_json, write_json

__all__ = ["Group", "answer", "dump", "requests", "write_column"]

_COMMIT_SECONDS = 5.0
"""At most this much work is lost by a kill; a commit waits for the disk."""

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Group:
    """What a group of a map store will hold."""

    rows: int
    fixed: Mapping[str, Sequence[str] | NDArray[Any]]
    """Columns known beforehand."""
    computed: Mapping[str, tuple[tuple[int, ...], str]]
    """Columns to compute: name to the shape and dtype of one row. ``maps`` must be one of them."""


def dump(
    path: Path,
    fingerprint: str,
    groups: Mapping[str, Group],
    batch: int,
    compute: Callable[[str, slice], Columns],
    attributes: Mapping[str, Any],
) -> None:
    """Fill one map store: ``requests``, answered by ``compute``.

    Raises:
        InputError: a map is not finite.
    """
    steps = requests(path, fingerprint, groups, batch, attributes)
    if failures := answer({path.name: steps}, lambda group, rows, names: {path.name: compute(group, rows)}):
        raise failures[path.name]


Requests = Generator[tuple[int, str, slice], Columns, None]


def requests(
    path: Path, fingerprint: str, groups: Mapping[str, Group], batch: int, attributes: Mapping[str, Any]
) -> Requests:
    """Fill a map store batch by batch, going on where a killed run of the same fingerprint stopped.

    The rows live in a scratch file beside ``path``, what is done in a journal: rows are on disk before the journal
    says so. The last step is the rename to ``path``.

    Args:
        path: of the store.
        fingerprint: of everything that decides its content.
        groups: name to description, in the order of computing.
        batch: rows per request.
        attributes: of the file, such as method and explain.

    Yields:
        What is wanted next: the place of its group in that order, the group, its rows; to be sent their columns.

    Raises:
        InputError: a map that was sent is not finite.
    """
    scratch = path.with_name(SCRATCH + path.name)
    journal = path.with_name(f"{SCRATCH}{path.stem}.json")
    plan = _plan(fingerprint, groups, batch)
    zero_maps = _journaled(journal, plan)
    if zero_maps and _is_complete(zero_maps, groups, batch) and path.exists() and not scratch.exists():
        return
    if zero_maps is None or not _belongs(scratch, fingerprint):
        journal.unlink(missing_ok=True)
        _create(scratch, fingerprint, groups, attributes)
        zero_maps = {name: [] for name in groups}
    with h5py.File(scratch, "r+") as file:
        yield from _fill(file, groups, batch, zero_maps, lambda: _commit(file, journal, plan, zero_maps))
        for name in groups:
            file[name].attrs.modify("zero_maps", np.int64(sum(zero_maps[name])))
        _commit(file, journal, plan, zero_maps)
    scratch.replace(path)


def answer(
    stores: Mapping[str, Requests], compute: Callable[[str, slice, list[str]], Mapping[str, Columns]]
) -> dict[str, InputError]:
    """Fill several stores side by side, those that want the same rows by one call of ``compute``.

    Stores of killed runs may stand at different rows; the one furthest behind comes first.

    Args:
        stores: by name.
        compute: (group, rows, names of the stores that want them) to each one's columns.

    Returns:
        The stores that could not be filled, with the reason; the others are whole.
    """
    failures: dict[str, InputError] = {}
    wanted = {name: request for name, steps in stores.items() if (request := next(steps, None)) is not None}
    while wanted:
        _, group, rows = first = min(wanted.values(), key=lambda request: (request[0], request[2].start))
        names = [name for name, request in wanted.items() if request == first]
        for name, columns in compute(group, rows, names).items():
            try:
                wanted[name] = stores[name].send(columns)
            except StopIteration:
                del wanted[name]
            except InputError as error:
                failures[name] = error
                del wanted[name]
    return failures


def _fill(
    file: h5py.File,
    groups: Mapping[str, Group],
    batch: int,
    zero_maps: dict[str, list[int]],
    commit: Callable[[], None],
) -> Requests:
    """Ask for what is missing. ``zero_maps`` has an entry per finished batch and group, and grows."""
    committed = time.monotonic()
    for place, (name, group) in enumerate(groups.items()):
        for start in range(len(zero_maps[name]) * batch, group.rows, batch):
            rows = slice(start, min(start + batch, group.rows))
            columns = yield place, name, rows
            _check(name, rows, group, columns)
            for column, values in columns.items():
                file[name][column][rows] = values
            zero_maps[name].append(int((columns["maps"] <= 0).all(axis=(1, 2)).sum()))
            if time.monotonic() - committed >= _COMMIT_SECONDS:
                commit()
                committed = time.monotonic()


def _check(name: str, rows: slice, group: Group, columns: Columns) -> None:
    got = {column: values.shape for column, values in columns.items()}
    wanted = {column: (rows.stop - rows.start, *shape) for column, (shape, _) in group.computed.items()}
    if got != wanted:
        raise ValueError(f"columns of {name} must be {wanted}, got {got}")
    bad = np.flatnonzero(~np.isfinite(columns["maps"]).all(axis=(1, 2)))
    if bad.size:
        raise InputError(
            f"{bad.size} maps of {name} rows {rows.start}..{rows.stop - 1} are not finite (first: row "
            f"{rows.start + bad[0]}). The model's training probably diverged: lower its lr."
        )


def _commit(file: h5py.File, journal: Path, plan: Any, zero_maps: Mapping[str, list[int]]) -> None:
    """Put the rows on disk, then say so."""
    file.flush()
    with Path(file.filename).open("rb") as written:
        os.fsync(written.fileno())
    write_json(journal, {"plan": plan, "zero_maps": zero_maps})


def _plan(fingerprint: str, groups: Mapping[str, Group], batch: int) -> dict[str, Any]:
    layout = {n: [[c, *s, dtype] for c, (s, dtype) in g.computed.items()] for n, g in groups.items()}
    return {
        "fingerprint": fingerprint,
        "batch": batch,
        "rows": {n: g.rows for n, g in groups.items()},
        **layout,
    }


def _journaled(journal: Path, plan: Any) -> dict[str, list[int]] | None:
    """Return what an earlier run of the same plan has done, None if there was none."""
    try:
        content = read_json(journal)
        return content["zero_maps"] if content["plan"] == plan else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def _is_complete(zero_maps: Mapping[str, list[int]], groups: Mapping[str, Group], batch: int) -> bool:
    return all(len(zero_maps[name]) * batch >= group.rows for name, group in groups.items())


def _belongs(scratch: Path, fingerprint: str) -> bool:
    try:
        with h5py.File(scratch, "r") as file:
            return bool(file.attrs.get("fingerprint") == fingerprint)
    except OSError:
        return False


def _create(scratch: Path, fingerprint: str, groups: Mapping[str, Group], attributes: Mapping[str, Any]) -> None:
    """Write the store with everything but its computed values."""
    with h5py.File(scratch, "w") as file:
        file.attrs["fingerprint"] = fingerprint
        for key, value in attributes.items():
            file.attrs[key] = value
        for name, group in groups.items():
            held = file.create_group(name)
            held.attrs["zero_maps"] = np.int64(-1)
            for column, values in group.fixed.items():
                write_column(held, column, values)
            for column, (shape, dtype) in group.computed.items():
                held.create_dataset(column, (group.rows, *shape), dtype, dcpl=_allocated_early())


def _allocated_early() -> h5py.h5p.PropDCID:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    properties.set_layout(h5py.h5d.CONTIGUOUS)
    properties.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    return properties


def write_column(group: h5py.Group, name: str, values: Sequence[str] | NDArray[Any]) -> None:
    """Write a whole column; text takes a fixed length in UTF-8, so that it lies in the dataset itself."""
    if isinstance(values, np.ndarray):
        group.create_dataset(name, data=values)
        return
    encoded = [value.encode() for value in values]
    longest = max(map(len, encoded), default=1)
    group.create_dataset(name, data=np.array(encoded, h5py.string_dtype("utf-8", longest)))
