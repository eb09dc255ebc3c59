"""All results on disk: list them, find what is built on what, verify them, move them to the trash, delete them.

The cache is ``runs/<family>/<label>__<12 digits>/`` under the data folder; the trash is ``trash/<time>/<family>/...``
beside it. A result is moved or deleted only under its lock, and only if this project has made it (``ownership``).
"""

import contextlib
import datetime
import shutil
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache import attempts
from roar_pipeline.cache.files import SpecialFileError, misplaced, try_lock, write_json
from roar_pipeline.cache.identity import fingerprint, flattened
from roar_pipeline.cache.manifests import MANIFEST, faults, read_manifest
from roar_pipeline.cache.ownership import FAMILIES, READY, is_result_name, obstacle
from roar_pipeline.errors import InputError

__all__ = [
    "RECORD",
    "RUNS",
    "TRASH",
    "CacheEntry",
    "downstream",
    "find",
    "move_to_trash",
    "remove",
    "scan",
    "size_of",
    "verify",
]

RUNS = "runs"
TRASH = "trash"
RECORD = "record.json"
"""File of a folder of the trash: which results were moved there, and why."""


@dataclass(frozen=True)
class CacheEntry:
    """A directory of the cache."""

    directory: Path
    manifest: Mapping[str, Any] | None
    """Manifest of a finished result; None without one."""
    identity: Mapping[str, Any]
    """Identity from the manifest, else from the note on the attempt; empty without both."""

    @property
    def family(self) -> str:
        """The task family."""
        return self.directory.parent.name

    @property
    def name(self) -> str:
        """``family/label__digits``."""
        return f"{self.family}/{self.directory.name}"

    @property
    def fingerprint(self) -> str | None:
        """The fingerprint of the result, or of the attempt; None where the identity is unknown."""
        if self.manifest is not None:
            return str(self.manifest["fingerprint"])
        return fingerprint(self.identity) if self.identity else None


def scan(
    data: Path, family: str | None = None, manifests: Mapping[Path, Mapping[str, Any]] | None = None
) -> list[CacheEntry]:
    """Return every directory of the cache that has the name of a result, sorted by name.

    Args:
        data: the data folder.
        family: only the directories of this stage.
        manifests: by directory; these are not read again.
    """
    read = {path: CacheEntry(path, manifest, manifest["identity"]) for path, manifest in (manifests or {}).items()}
    families = [family] if family else FAMILIES
    paths = sorted(path for name in families for path in (data / RUNS / name).glob("*"))
    return [read.get(path) or _read(path) for path in paths if is_result_name(path.name) and path.is_dir()]


def _read(directory: Path) -> CacheEntry:
    """Return the entry of a directory; ``verify`` reports what cannot be read."""
    try:
        manifest = read_manifest(directory)
    except OSError:
        manifest = None
    if manifest is not None:
        return CacheEntry(directory, manifest, manifest["identity"])
    identity = (attempts.read_note(directory, attempts.ATTEMPT) or {}).get("identity")
    return CacheEntry(directory, None, identity if isinstance(identity, dict) else {})


def find(entries: Iterable[CacheEntry], conditions: Mapping[str, Collection[str]]) -> list[CacheEntry]:
    """Return the entries that meet all conditions.

    Args:
        entries: to choose from.
        conditions: parameter (``percent``) or setting (``retrain.lr``) to the values that it may have. ``model =
            sswa`` also stands for ``sswa/4``.

    Raises:
        InputError: no entry has one of the keys.
    """
    candidates = [(entry, flattened(entry.identity)) for entry in entries]
    for key in conditions:
        keys = {k for _, values in candidates for k in values}
        if candidates and key not in keys:
            raise InputError(f"--where {key}: no such parameter or setting. Known: {', '.join(sorted(keys))}.")
    return [entry for entry, values in candidates if all(_matches(values.get(k), v) for k, v in conditions.items())]


def _matches(value: Any, allowed: Collection[str]) -> bool:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text in allowed or text.partition("/")[0] in allowed


def downstream(entries: Sequence[CacheEntry], roots: Iterable[CacheEntry]) -> list[CacheEntry]:
    """Return everything that is built, directly or not, on the results ``roots``, without these."""
    users: dict[str, list[CacheEntry]] = {}
    for entry in entries:
        for upstream in entry.identity.get("inputs", ()):
            users.setdefault(upstream, []).append(entry)
    visited = {root.directory for root in roots}
    built: list[CacheEntry] = []
    queue = [entry for entry in entries if entry.directory in visited]
    while queue:
        for user in users.get(queue.pop().fingerprint or "", ()):
            if user.directory not in visited:
                visited.add(user.directory)
                built.append(user)
                queue.append(user)
    return sorted(built, key=lambda entry: entry.name)


def size_of(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def verify(
    entries: Sequence[CacheEntry], *, full: bool, workers: int, advance: Callable[[], None] = lambda: None
) -> dict[Path, list[str]]:
    """Compare results with their manifests; return what is wrong, by directory.

    Sizes and the shape of HDF5 files always, contents if ``full``. An unfinished result is damaged only if its manifest
    cannot be read.

    Args:
        entries: directories of the cache.
        full: hash every file.
        workers: threads.
        advance: called after every directory.
    """

    def check(entry: CacheEntry) -> tuple[CacheEntry, list[str]]:
        return _check(entry.directory, full)

    damaged: dict[Path, list[str]] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for current, problems in pool.map(check, entries):
            # Only this thread opens HDF5 files: h5py serializes its threads, and can hang with several.
            problems = problems or _shape_faults(current)
            if problems:
                damaged[current.directory] = problems
            advance()
    return damaged


def _check(directory: Path, full: bool) -> tuple[CacheEntry, list[str]]:
    """Return a directory as it is now, and what is wrong with it; nothing if it is gone."""
    current = _read(directory)
    try:
        read_manifest(directory)
        return current, _faults(current, full)
    except OSError as error:
        gone = CacheEntry(directory, None, {})
        return gone, [f"cannot be read: {error}"] if directory.is_dir() else []


def _faults(entry: CacheEntry, full: bool) -> list[str]:
    if entry.manifest is None:
        problems = misplaced(entry.directory)
        if not problems and (entry.directory / MANIFEST).exists():
            problems.append("the manifest cannot be read")
        return problems
    problems = faults(entry.directory, entry.manifest, full=full)
    if not entry.directory.name.endswith(entry.manifest["fingerprint"][:12]):
        problems.append("the folder's name does not belong to the manifest's fingerprint")
    return problems


def _is_damaged(directory: Path) -> bool:
    current, problems = _check(directory, True)
    return bool(problems or _shape_faults(current))


def _shape_faults(entry: CacheEntry) -> list[str]:
    from roar_pipeline.cache.hdf5 import shape_faults

    names = [name for name in (entry.manifest or {}).get("files", ()) if name.endswith(".h5")]
    problems = [fault for name in names for fault in shape_faults(entry.directory / name)]
    return problems if entry.directory.is_dir() else []


def move_to_trash(
    data: Path, entries: Sequence[CacheEntry], reason: str, *, damaged: bool = False
) -> tuple[str, list[CacheEntry]]:
    """Move results to the trash; return the name of the trash entry, and the results that another process is making.

    Args:
        data: the data folder.
        entries: to move, all without an ``obstacle``; directories that are gone by now are skipped.
        reason: for people.
        damaged: check again under the lock, and leave results that are intact by now.

    Raises:
        InputError: the trash is a link.
    """
    if (data / TRASH).is_symlink():
        raise InputError(f"{data / TRASH} is a link: nothing is set aside through it. Remove it and try again.")
    name = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    folder = data / TRASH / name
    folder.mkdir(parents=True)
    write_json(folder / RECORD, {"reason": reason, "results": [entry.name for entry in entries]})
    busy, moved = [], 0
    for entry in entries:
        if not entry.directory.is_dir():
            continue
        with _lock_to_move(entry.directory) as is_free:
            if not is_free or (damaged and not _is_damaged(entry.directory)):
                busy.append(entry)
                continue
            (folder / entry.family).mkdir(exist_ok=True)
            entry.directory.rename(folder / entry.name)
            moved += 1
    if not moved:
        shutil.rmtree(folder)
    return name, busy


@contextlib.contextmanager
def _lock_to_move(directory: Path, *, deleting: bool = False) -> Iterator[bool]:
    """Acquire a directory's lock if it is free and no ``obstacle`` has come up; yield whether."""
    with contextlib.ExitStack() as locks:
        is_free = not obstacle(directory, deleting=deleting)
        if is_free:
            # A folder or a pipe instead of the lock file: no process can hold the lock.
            with contextlib.suppress(IsADirectoryError, SpecialFileError):
                is_free = locks.enter_context(try_lock(directory))
        yield is_free


def remove(entries: Iterable[CacheEntry]) -> Iterator[CacheEntry]:
    """Delete directories for good, but for those that another process is making; yield each deleted one."""
    for entry in entries:
        with _lock_to_move(entry.directory, deleting=True) as is_free:
            if is_free:
                _delete(entry.directory)
                yield entry


def _delete(directory: Path) -> None:
    """Delete a directory. After a kill halfway the rest is an unfinished result that still has its identity.

    The manifest is renamed to the note on the attempt: a rename needs no space on a full disk.
    """
    for name in (MANIFEST, READY):
        if (directory / name).exists():
            (directory / name).replace(directory / attempts.ATTEMPT)
    for path in directory.iterdir():
        if path.name != attempts.ATTEMPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(directory)
