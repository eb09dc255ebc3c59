"""Files that are whole when they exist, one writer per directory, and the manifest that says a result is done.

A result is a directory. While it is made it may hold scratch files (checkpoints, half-filled stores), whose names
start with ``partial-``; its ``manifest.json`` is written last and turns it into a result.
"""

import contextlib
import datetime
import fcntl
import functools
import hashlib
import importlib.metadata
import json
import logging
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.config import fingerprint
from roar_pipeline.errors import InputError

__all__ = [
    "MANIFEST",
    "SCRATCH",
    "SomeFailedError",
    "is_done",
    "lock",
    "produce",
    "produce_together",
    "read_json",
    "read_manifest",
    "whole_file",
    "write_json",
]

MANIFEST = "manifest.json"
SCRATCH = "partial-"
"""Prefix of files that may be incomplete, and that are gone once the result is done."""

_log = logging.getLogger("roar")

_LOCK = ".lock"
_READY = SCRATCH + "ready.json"
_PACKAGES = ("torch", "torchvision", "numpy", "h5py", "scikit-learn", "pillow", "matplotlib", "luigi")


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; on success flush it to disk and rename it, on error remove it.

    The scratch path keeps the file's extension, so that writers which go by it do the right thing. Only the holder of
    the directory's lock may write, hence one fixed scratch name: what a killed writer leaves is overwritten.
    """
    scratch = path.with_name(SCRATCH + path.name)
    try:
        yield scratch
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(path)
        _sync_directory(path.parent)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(path: Path, value: Any) -> None:
    """Write a plain value as readable JSON, whole. Not-a-number is an error: write None where nothing is defined."""
    with whole_file(path) as scratch:
        text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
        scratch.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read what ``write_json`` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the directory's only writer's place; wait for it as long as another process has it.

    The kernel frees the place when its holder dies, however it dies.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / _LOCK).open("a") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _log.info("Waiting for another process that is making %s", directory)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the directory's manifest, or None where there is no readable one."""
    try:
        manifest = read_json(directory / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    return manifest if isinstance(manifest, dict) else None


def is_done(directory: Path, expected: str) -> bool:
    """Tell whether the directory holds the finished result of this fingerprint, every file there in its full size."""
    manifest = read_manifest(directory)
    if manifest is None or manifest.get("fingerprint") != expected:
        return False
    return all(_has_size(directory / name, entry) for name, entry in manifest["files"].items())


def _has_size(path: Path, entry: Mapping[str, Any]) -> bool:
    if "count" in entry:
        sizes = [file.stat().st_size for file in _files_below(path)]
        return bool(len(sizes) == entry["count"] and sum(sizes) == entry["bytes"])
    try:
        return bool(path.stat().st_size == entry["bytes"])
    except FileNotFoundError:
        return False


def _files_below(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file())


def produce(
    directory: Path,
    identity: Mapping[str, Any],
    function: Callable[..., Mapping[str, Any] | None],
    arguments: Mapping[str, Any],
) -> None:
    """Make the result of ``identity`` in ``directory`` by ``function(directory, **arguments)``, unless it is done.

    The function may be killed at any moment and is then called again on the directory as it was left. What it returns
    (the device it ran on, say) goes into the manifest.
    """

    def alone(directories: Mapping[str, Path], **kwargs: Any) -> Mapping[str, Any] | None:
        return function(directories[""], **kwargs)

    produce_together({"": (directory, identity)}, alone, arguments)


def produce_together(
    results: Mapping[str, tuple[Path, Mapping[str, Any]]],
    function: Callable[..., Mapping[str, Any] | None],
    arguments: Mapping[str, Any],
) -> None:
    """Make several results by one call, ``function(directories, **arguments)`` with the directories still to fill.

    The manifest of each is written in three steps so that a kill between them loses neither the work nor the tidying:
    the manifest as scratch, the other scratch files away, the rename. Should the function make some and not others, it
    raises ``SomeFailedError``: those that it does not name are results.

    Args:
        results: name to directory and identity.
        function: as above.
        arguments: of the function.
    """
    with contextlib.ExitStack() as locks:
        for directory in sorted(directory for directory, _ in results.values()):
            locks.enter_context(lock(directory))
        waiting = {
            name: (directory, identity)
            for name, (directory, identity) in results.items()
            if not is_done(directory, fingerprint(identity))
        }
        unmade = {name: d for name, (d, i) in waiting.items() if not _is_ready(d / _READY, fingerprint(i))}
        failure: SomeFailedError | None = None
        if unmade:
            for directory in unmade.values():
                (directory / MANIFEST).unlink(missing_ok=True)
            started = time.monotonic()
            facts: Mapping[str, Any] | None = None
            try:
                facts = function(unmade, **arguments)
            except SomeFailedError as error:
                failure = error
            made = [name for name in unmade if failure is None or name not in failure.reasons]
            seconds = (time.monotonic() - started) / max(1, len(made))
            for name in made:
                directory, identity = waiting[name]
                write_json(directory / _READY, _manifest(directory, identity, seconds, facts or {}))
        for name, (directory, _) in waiting.items():
            if failure is None or name not in failure.reasons:
                _finish(directory)
        if failure is not None:
            raise failure


class SomeFailedError(InputError):
    """Some of several results could not be made; ``reasons`` has them by name."""

    def __init__(self, reasons: Mapping[str, Exception]) -> None:
        super().__init__("\n".join(dict.fromkeys(map(str, reasons.values()))))
        self.reasons = dict(reasons)


def _finish(directory: Path) -> None:
    """Take the scratch files away, and turn the manifest that is ready into the manifest."""
    for scratch in directory.glob(SCRATCH + "*"):
        if scratch.name != _READY:
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
    (directory / _READY).replace(directory / MANIFEST)
    _sync_directory(directory)


def _is_ready(ready: Path, wanted: str) -> bool:
    return ready.exists() and read_json(ready).get("fingerprint") == wanted


def _manifest(directory: Path, identity: Mapping[str, Any], seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    outputs = sorted(p for p in directory.iterdir() if not p.name.startswith((SCRATCH, ".")))
    return {
        "fingerprint": fingerprint(identity),
        "identity": identity,
        "files": {p.name: _describe(p) for p in outputs},
        "seconds": round(seconds, 2),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        "python": sys.version.split()[0],
        "versions": _versions(),
        "commit": _commit(),
        **facts,
    }


def _describe(path: Path) -> dict[str, Any]:
    if path.is_dir():
        files = _files_below(path)
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n".encode())
        return {
            "count": len(files),
            "bytes": sum(f.stat().st_size for f in files),
            "sha256": digest.hexdigest(),
        }
    return {"bytes": path.stat().st_size, "sha256": _sha256(path)}


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


@functools.cache
def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


@functools.cache
def _commit() -> str | None:
    """Return the commit this code stands at, with ``-dirty`` for uncommitted changes; None outside a checkout."""
    command = [
        "git",
        "-C",
        str(Path(__file__).parent),
        "describe",
        "--always",
        "--dirty",
        "--abbrev=40",
        "--exclude=*",
    ]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
