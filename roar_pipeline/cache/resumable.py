"""A resumable HDF5 store: groups of columns, filled batch by batch. A run killed at any moment resumes to equal bytes.

A journal beside the store has a line per finished batch with the sha256 of its rows, written after the rows: a resumed
run verifies all rows that it keeps.
"""

import hashlib
import json
import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

import h5py
import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import SCRATCH, sync_directory
from roar_pipeline.cache.hdf5 import allocate, created, encoded, reserve, write_column
from roar_pipeline.errors import InputError
from roar_pipeline.progress import notify

__all__ = ["Answers", "Columns", "Group", "answer", "dump", "requests"]

Columns = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Group:
    """The rows and columns of a group of a store."""

    rows: int
    fixed: Mapping[str, Sequence[str] | NDArray[Any]]
    """Columns that are not computed: name to values."""
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
    """Fill one map store: ``compute`` answers its ``requests``.

    Raises:
        InputError: a map is not finite.
    """
    steps = requests(path, fingerprint, groups, batch, attributes)
    if failures := answer({path.name: steps}, lambda group, rows, names: {path.name: compute(group, rows)}):
        raise failures[path.name]


Requests = Generator[tuple[int, str, slice], Columns, None]

Answers = Mapping[str, Columns | InputError]
"""Name of a store to its computed columns, or to the error."""


def requests(
    path: Path, fingerprint: str, groups: Mapping[str, Group], batch: int, attributes: Mapping[str, Any]
) -> Requests:
    """Fill a map store batch by batch, resuming a killed run of the same fingerprint.

    Rows are written to a scratch file beside ``path`` first, then to the journal. The last step is the rename to
    ``path``.

    Args:
        path: of the store.
        fingerprint: of its content.
        groups: name to description, in the order of computing.
        batch: rows per request.
        attributes: of the file, such as method and explain.

    Yields:
        The next request: index of the group in that order, group, rows. The caller sends their columns.

    Raises:
        InputError: a sent map is not finite.
    """
    scratch = path.with_name(SCRATCH + path.name)
    journal = path.with_name(f"{SCRATCH}{path.stem}.jsonl")
    plan = _plan(fingerprint, groups, batch)
    entries = _read_journal(journal, plan)
    if entries is not None and not scratch.exists() and path.exists():
        path.replace(scratch)  # killed between the rename and the manifest: verified like any scratch file
    if entries is None or not _is_resumable(scratch, fingerprint, groups):
        journal.unlink(missing_ok=True)
        _create(scratch, fingerprint, groups, attributes)
        entries = []
    with h5py.File(scratch, "r+") as file:
        entries = _verify(file, groups, batch, entries)
        _write_journal(journal, plan, entries)
        with journal.open("a", encoding="utf-8") as lines:
            yield from _fill(file, groups, batch, entries, lines)
        for name in groups:
            zero_maps = sum(entry["zero_maps"] for entry in entries if entry["group"] == name)
            file[name].attrs.modify("zero_maps", np.int64(zero_maps))
        file.flush()
    with scratch.open("rb") as written:
        os.fsync(written.fileno())
    scratch.replace(path)
    sync_directory(path.parent)


def answer(
    stores: Mapping[str, Requests], compute: Callable[[str, slice, list[str]], Answers]
) -> dict[str, InputError]:
    """Fill several stores side by side: one call of ``compute`` answers all that request the same rows.

    Stores of killed runs may continue at different rows; the earliest rows come first.

    Args:
        stores: by name.
        compute: (group, rows, names of the stores that request them) to the columns, or the error, of each store.

    Returns:
        The errors of the stores that failed; the others are complete.
    """
    failures: dict[str, InputError] = {}
    pending = {name: request for name, steps in stores.items() if (request := next(steps, None)) is not None}
    while pending:
        _, group, rows = first = min(pending.values(), key=lambda request: (request[0], request[2].start))
        names = [name for name, request in pending.items() if request == first]
        for name, columns in compute(group, rows, names).items():
            try:
                steps = stores[name]
                pending[name] = steps.throw(columns) if isinstance(columns, InputError) else steps.send(columns)
            except StopIteration:
                del pending[name]
            except InputError as error:
                failures[name] = error
                del pending[name]
    return failures


def _batches(groups: Mapping[str, Group], batch: int) -> list[tuple[int, str, slice]]:
    """Return index of the group, group and rows of every batch, in the order of computing."""
    return [
        (index, name, slice(start, min(start + batch, group.rows)))
        for index, (name, group) in enumerate(groups.items())
        for start in range(0, group.rows, batch)
    ]


def _fill(
    file: h5py.File, groups: Mapping[str, Group], batch: int, entries: list[dict[str, Any]], lines: TextIO
) -> Requests:
    """Request the missing batches; append an entry per batch to ``entries`` and to the journal ``lines``."""
    batches = _batches(groups, batch)
    for index, name, rows in batches[len(entries) :]:
        columns = yield index, name, rows
        _check(name, rows, groups[name], columns)
        for column, values in columns.items():
            file[name][column][rows] = values
        file.flush()
        entries.append(_entry(file, groups, name, rows))
        lines.write(json.dumps(entries[-1]) + "\n")
        lines.flush()
        notify(len(entries) / len(batches), f"{name}: {rows.stop} of {groups[name].rows} maps")


def _entry(file: h5py.File, groups: Mapping[str, Group], name: str, rows: slice) -> dict[str, Any]:
    """Return the journal entry of a batch, computed from the rows in the file."""
    digest = hashlib.sha256()
    for column in groups[name].computed:
        digest.update(np.ascontiguousarray(file[name][column][rows]).tobytes())
    zero_maps = int((file[name]["maps"][rows] <= 0).all(axis=(1, 2)).sum())
    return {"group": name, "zero_maps": zero_maps, "sha256": digest.hexdigest()}


def _verify(file: h5py.File, groups: Mapping[str, Group], batch: int, entries: list[Any]) -> list[dict[str, Any]]:
    """Return the entries before the first that does not match the file's rows."""
    batches = _batches(groups, batch)
    for number, (entry, (_, name, rows)) in enumerate(zip(entries, batches, strict=False)):
        if entry != _entry(file, groups, name, rows):
            return entries[:number]
    return entries[: len(batches)]


def _check(name: str, rows: slice, group: Group, columns: Columns) -> None:
    got = {column: values.shape for column, values in columns.items()}
    shapes = {column: (rows.stop - rows.start, *shape) for column, (shape, _) in group.computed.items()}
    if got != shapes:
        raise ValueError(f"columns of {name} must be {shapes}, got {got}")
    bad = np.flatnonzero(~np.isfinite(columns["maps"]).all(axis=(1, 2)))
    if bad.size:
        raise InputError(
            f"{bad.size} maps of {name} rows {rows.start}..{rows.stop - 1} are not finite (first: row "
            f"{rows.start + bad[0]}). Where the model's training diverged, lower its lr."
        )


def _plan(fingerprint: str, groups: Mapping[str, Group], batch: int) -> dict[str, Any]:
    layout = {n: [[c, *s, dtype] for c, (s, dtype) in g.computed.items()] for n, g in groups.items()}
    return {"fingerprint": fingerprint, "batch": batch, "rows": {n: g.rows for n, g in groups.items()}, **layout}


def _read_journal(journal: Path, plan: Any) -> list[Any] | None:
    """Return the entries of an earlier run of the same plan, up to a torn line; None without such a run."""
    try:
        lines = journal.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return None
    values: list[Any] = []
    for line in lines:
        try:
            values.append(json.loads(line))
        except ValueError:
            break
    return values[1:] if values and values[0] == plan else None


def _write_journal(journal: Path, plan: Any, entries: Sequence[Any]) -> None:
    """Replace the journal by the plan and the verified entries, atomically."""
    scratch = journal.with_name(journal.name + ".new")
    scratch.write_text("".join(json.dumps(line) + "\n" for line in (plan, *entries)), encoding="utf-8")
    scratch.replace(journal)


def _is_resumable(scratch: Path, fingerprint: str, groups: Mapping[str, Group]) -> bool:
    """Return whether the file has this fingerprint, and the given values in its fixed columns."""
    try:
        with h5py.File(scratch, "r") as file:
            return file.attrs.get("fingerprint") == fingerprint and all(
                np.array_equal(file[name][column][()], encoded(values))
                for name, group in groups.items()
                for column, values in group.fixed.items()
            )
    except (OSError, KeyError, RuntimeError, ValueError, TypeError):
        return False


def _create(scratch: Path, fingerprint: str, groups: Mapping[str, Group], attributes: Mapping[str, Any]) -> None:
    """Write the store without its computed values."""
    with created(scratch) as file:
        file.attrs["fingerprint"] = fingerprint
        for key, value in attributes.items():
            file.attrs[key] = value
        for name, group in groups.items():
            created_group = file.create_group(name)
            created_group.attrs["zero_maps"] = np.int64(-1)
            for column, values in group.fixed.items():
                write_column(created_group, column, values)
            for column, (shape, dtype) in group.computed.items():
                allocate(created_group, column, (group.rows, *shape), dtype)
        reserve(file)
