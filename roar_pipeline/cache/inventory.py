"""All results on disk: what there is, what is built on what, setting results aside and bringing them back.

The cache is ``runs/<family>/<label>__<12 digits>/`` under the data folder; what is set aside lies in
``trash/<time>/<family>/...`` beside it. Results are moved and removed only while nobody is making them, and nothing
that this project has not made is (``ownership``).
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
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import MANIFEST, faults, read_manifest
from roar_pipeline.cache.ownership import FAMILIES, READY, is_result_name, obstacle
from roar_pipeline.errors import InputError

__all__ = [
    "RECORD",
    "RUNS",
    "TRASH",
    "Stored",
    "downstream",
    "find",
    "put_aside",
    "remove",
    "scan",
    "size_of",
    "verify",
]

RUNS = "runs"
TRASH = "trash"
RECORD = "record.json"
"""What a folder of the trash holds, and why."""


@dataclass(frozen=True)
class Stored:
    """A directory of the cache."""

    directory: Path
    manifest: Mapping[str, Any] | None
    """None where there is no result (yet, or any more)."""
    identity: Mapping[str, Any]
    """Of the result, or of the attempt at it; empty where neither tells."""

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
        """Of the result, or of what is being tried; None where nothing tells."""
        if self.manifest is not None:
            return str(self.manifest["fingerprint"])
        return fingerprint(self.identity) if self.identity else None


def scan(data: Path, family: str | None = None, known: Mapping[Path, Mapping[str, Any]] | None = None) -> list[Stored]:
    """Return every directory of the cache that has the name of a result, sorted by name.

    Args:
        data: folder of the cache.
        family: only the directories of this stage.
        known: manifests by directory that have just been read.
    """
    read = {directory: Stored(directory, each, each["identity"]) for directory, each in (known or {}).items()}
    found = [path for each in ([family] if family else FAMILIES) for path in (data / RUNS / each).glob("*")]
    return [read.get(path) or _read(path) for path in sorted(found) if is_result_name(path.name) and path.is_dir()]


def _read(directory: Path) -> Stored:
    """Return what a directory holds; what cannot be read tells nothing, and ``verify`` says why."""
    try:
        manifest = read_manifest(directory)
    except OSError:
        manifest = None
    if manifest is not None:
        return Stored(directory, manifest, manifest["identity"])
    identity = (attempts.read_note(directory, attempts.ATTEMPT) or {}).get("identity")
    return Stored(directory, None, identity if isinstance(identity, dict) else {})


def find(stored: Iterable[Stored], conditions: Mapping[str, Collection[str]]) -> list[Stored]:
    """Return the results whose parameters and settings are as the conditions say.

    Args:
        stored: to choose from.
        conditions: parameter (``percent``) or setting (``retrain.lr``) to values, of which it has one; all of them
            hold. ``model = sswa`` also stands for ``sswa/4``.

    Raises:
        InputError: no result knows one of the keys.
    """
    known = [(each, _facts(each.identity)) for each in stored]
    for key in conditions:
        keys = {k for _, facts in known for k in facts}
        if known and key not in keys:
            raise InputError(f"--where {key}: no such parameter or setting. Known: {', '.join(sorted(keys))}.")
    return [each for each, facts in known if all(_is_any(facts.get(k), v) for k, v in conditions.items())]


def _facts(identity: Mapping[str, Any]) -> dict[str, Any]:
    facts = dict(identity.get("parameters", {}))
    for section, values in identity.get("settings", {}).items():
        if isinstance(values, dict):
            facts |= {f"{section}.{key}": value for key, value in values.items()}
        else:
            facts[section] = values
    return facts


def _is_any(value: Any, wanted: Collection[str]) -> bool:
    text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
    return text in wanted or text.partition("/")[0] in wanted


def downstream(stored: Sequence[Stored], roots: Iterable[Stored]) -> list[Stored]:
    """Return everything that is built, directly or not, on the results ``roots``, without these."""
    users: dict[str, list[Stored]] = {}
    for each in stored:
        for used in each.identity.get("inputs", ()):
            users.setdefault(used, []).append(each)
    taken = {each.directory for each in roots}
    found: list[Stored] = []
    waiting = [each for each in stored if each.directory in taken]
    while waiting:
        for user in users.get(waiting.pop().fingerprint or "", ()):
            if user.directory not in taken:
                taken.add(user.directory)
                found.append(user)
                waiting.append(user)
    return sorted(found, key=lambda each: each.name)


def size_of(directory: Path) -> int:
    """Return the bytes of all files below a directory."""
    return sum(path.lstat().st_size for path in directory.rglob("*") if not path.is_dir())


def verify(
    stored: Sequence[Stored], *, full: bool, workers: int, advance: Callable[[], None] = lambda: None
) -> dict[Path, list[str]]:
    """Compare results with their manifests; return what is wrong, by directory.

    Sizes and the shape of HDF5 files always, contents if ``full``. What is unfinished is not damaged, but for a
    manifest that cannot be read.

    Args:
        stored: directories of the cache.
        full: hash every file.
        workers: threads.
        advance: called after every directory.
    """

    def check(each: Stored) -> tuple[Stored, list[str]]:
        return _check(each.directory, full)

    damaged: dict[Path, list[str]] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        for current, problems in pool.map(check, stored):
            # HDF5 files are opened in this thread alone: h5py lets one thread at a time in, and can hang with several.
            problems = problems or _shape_faults(current)
            if problems:
                damaged[current.directory] = problems
            advance()
    return damaged


def _check(directory: Path, full: bool) -> tuple[Stored, list[str]]:
    """Return a directory as it is now, and what is wrong with it; nothing if it has gone."""
    current = _read(directory)
    try:
        read_manifest(directory)
        return current, _faults(current, full)
    except OSError as error:
        gone = Stored(directory, None, {})
        return gone, [f"cannot be read: {error}"] if directory.is_dir() else []


def _faults(stored: Stored, full: bool) -> list[str]:
    if stored.manifest is None:
        problems = misplaced(stored.directory)
        if not problems and (stored.directory / MANIFEST).exists():
            problems.append("the manifest cannot be read")
        return problems
    problems = faults(stored.directory, stored.manifest, full=full)
    if not stored.directory.name.endswith(stored.manifest["fingerprint"][:12]):
        problems.append("the folder's name does not belong to the manifest's fingerprint")
    return problems


def _is_damaged(directory: Path) -> bool:
    current, problems = _check(directory, True)
    return bool(problems or _shape_faults(current))


def _shape_faults(stored: Stored) -> list[str]:
    from roar_pipeline.cache.hdf5 import shape_faults

    names = [name for name in (stored.manifest or {}).get("files", ()) if name.endswith(".h5")]
    problems = [fault for name in names for fault in shape_faults(stored.directory / name)]
    return problems if stored.directory.is_dir() else []


def put_aside(data: Path, chosen: Sequence[Stored], reason: str, *, damaged: bool = False) -> tuple[str, list[Stored]]:
    """Move results to the trash; return its name there, and what was left, as somebody is making it.

    Args:
        data: the data folder.
        chosen: what to move, all of which may be (``obstacle``); what has gone meanwhile is passed over.
        reason: for people.
        damaged: look again, with the lock held, and leave what is whole by now.

    Raises:
        InputError: the trash is a link.
    """
    if (data / TRASH).is_symlink():
        raise InputError(f"{data / TRASH} is a link: nothing is set aside through it. Remove it and try again.")
    name = f"{datetime.datetime.now():%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    place = data / TRASH / name
    place.mkdir(parents=True)
    write_json(place / RECORD, {"reason": reason, "results": [each.name for each in chosen]})
    busy, moved = [], 0
    for each in chosen:
        if not each.directory.is_dir():
            continue
        with _alone(each.directory) as free:
            if not free or (damaged and not _is_damaged(each.directory)):
                busy.append(each)
                continue
            (place / each.family).mkdir(exist_ok=True)
            each.directory.rename(place / each.name)
            moved += 1
    if not moved:
        shutil.rmtree(place)
    return name, busy


@contextlib.contextmanager
def _alone(directory: Path, *, deleting: bool = False) -> Iterator[bool]:
    """Hold a directory's lock if nobody else does and it may (still) be moved, or deleted; yield whether."""
    with contextlib.ExitStack() as held:
        free = not obstacle(directory, deleting=deleting)
        if free:
            # Where a folder or a pipe lies in the lock file's place nobody can be at work.
            with contextlib.suppress(IsADirectoryError, SpecialFileError):
                free = held.enter_context(try_lock(directory))
        yield free


def remove(chosen: Iterable[Stored]) -> Iterator[Stored]:
    """Delete directories for good, and yield each that is gone; those that somebody is making stay."""
    for each in chosen:
        with _alone(each.directory, deleting=True) as free:
            if free:
                _delete(each.directory)
                yield each


def _delete(directory: Path) -> None:
    """Delete a directory so that what a kill leaves of it is unfinished, and known for what it is, until the end.

    The manifest becomes the note on an attempt: that takes no room, which a full disk has not.
    """
    for name in (MANIFEST, READY):
        if (directory / name).exists():
            (directory / name).replace(directory / attempts.ATTEMPT)
    for path in directory.iterdir():
        if path.name != attempts.ATTEMPT:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(directory)
