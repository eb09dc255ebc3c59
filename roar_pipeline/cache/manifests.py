"""The manifest of a result, written last: the result is done, what it is, and the size and sha256 of its files.

A result is a directory with ``manifest.json``: fingerprint, identity, files, versions, host, seconds. ``is_done``
compares sizes. Contents are compared before another stage reads the result, in ``is_done`` for end products, which no
stage reads, and on request.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import os
import socket
import stat as stat_module
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.cache.files import LOGS, SCRATCH, SpecialFileError, files_below, misplaced, read_json, sha256_of
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.errors import InputError

__all__ = [
    "MANIFEST",
    "DamagedError",
    "check_intact",
    "code_digest",
    "describe",
    "faults",
    "is_done",
    "library_versions",
    "origin_of",
    "provenance",
    "read_manifest",
]

MANIFEST = "manifest.json"

_PACKAGES = ("torch", "torchvision", "numpy", "h5py", "scikit-learn", "pillow", "matplotlib", "luigi")
_GIT_TRIES = 3


class DamagedError(InputError):
    """A result is not what its manifest says."""


def read_manifest(directory: Path) -> dict[str, Any] | None:
    """Return the directory's manifest; None if it is missing or not in the format of ``describe``.

    Raises:
        OSError: it cannot be read: a permission, a disk.
    """
    try:
        manifest = read_json(directory / MANIFEST)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, SpecialFileError, ValueError, RecursionError):
        return None
    return manifest if _is_manifest(manifest) else None


_KINDS: Mapping[str, Any] = {
    "fingerprint": str,
    "identity": dict,
    "files": dict,
    "seconds": (int, float),
    "finished": str,
    "versions": dict,
    "code": str,
    "commit": (str, type(None)),
}
_KINDS_OF_IDENTITY: Mapping[str, Any] = {"stage": str, "parameters": dict, "settings": dict, "inputs": list}


def _is_manifest(value: Any) -> bool:
    needed = ("fingerprint", "identity", "files")
    return (
        isinstance(value, dict)
        and all(key in value for key in needed)
        and _fits(value, _KINDS)
        and _fits(value["identity"], _KINDS_OF_IDENTITY)
        and all(isinstance(upstream, str) for upstream in value["identity"].get("inputs", ()))
        and all(_is_file_entry(entry) for entry in value["files"].values())
    )


def _is_file_entry(entry: Any) -> bool:
    needed = {"bytes": int, "sha256": str}
    return isinstance(entry, dict) and entry.keys() >= needed.keys() and _fits(entry, {**needed, "count": int})


def _fits(value: Mapping[str, Any], kinds: Mapping[str, Any]) -> bool:
    """Return whether the values of the keys that exist have the right type."""
    return all(isinstance(value[key], kind) for key, kind in kinds.items() if key in value)


def origin_of(directory: Path) -> str:
    """Return the device, processor, threads and torch that a result's last bits depend on; empty if not recorded."""
    manifest = read_manifest(directory) or {}
    torch_version = manifest.get("versions", {}).get("torch", "")
    threads = f"{manifest['threads']} CPU threads" if manifest.get("threads", 1) != 1 else "1 CPU thread"
    facts = (manifest.get("device"), manifest.get("processor"), threads, f"torch {torch_version}")
    return ", ".join(map(str, facts)) if all(facts) and torch_version else ""


def is_done(directory: Path, fingerprint: str, *, full: bool = False) -> bool:
    """Return whether the directory holds the finished result of this fingerprint, with all files in their full size.

    Args:
        directory: of the result.
        fingerprint: of the result.
        full: compare contents (sha256), too; a file is hashed once per process, until it changes.
    """
    manifest = read_manifest(directory)
    if manifest is None or manifest["fingerprint"] != fingerprint or any(_size_faults(directory, manifest)):
        return False
    return not (full and _content_faults(directory, manifest))


def faults(directory: Path, manifest: Mapping[str, Any], *, full: bool) -> list[str]:
    """Return the ways in which a result differs from its manifest, one phrase each.

    Args:
        directory: of the result.
        manifest: its manifest.
        full: compare contents (sha256), not only sizes.
    """
    problems = list(dict.fromkeys([*misplaced(directory), *_size_faults(directory, manifest)]))
    if manifest["fingerprint"] != fingerprint(manifest["identity"]):
        problems.append("the manifest's identity does not belong to its fingerprint")
    if full and not problems:
        problems += _content_faults(directory, manifest)
    return problems


def check_intact(directory: Path, fingerprint: str) -> None:
    """Compare a result's contents with its manifest before another stage reads them, once per process and file.

    Raises:
        DamagedError: names the file that has changed, and the command that repairs it.
    """
    manifest = read_manifest(directory)
    if manifest is None or manifest["fingerprint"] != fingerprint:
        raise DamagedError(f"{directory} does not hold the result that is needed. Run again: it will be made.")
    if problems := [*_size_faults(directory, manifest), *_content_faults(directory, manifest)]:
        raise DamagedError(
            f"{directory} is damaged: {'; '.join(problems)}. Set it aside with `roar verify --full --repair`, "
            "then run again: it will be made anew."
        )


def _size_faults(directory: Path, manifest: Mapping[str, Any]) -> Iterable[str]:
    for name, entry in manifest["files"].items():
        path = directory / name
        try:
            if "count" in entry:
                sizes = [file.stat().st_size for file in files_below(path)]
                count, size = len(sizes), sum(sizes)
            else:
                stat = path.stat()
                if stat_module.S_ISDIR(stat.st_mode):
                    yield f"{name} is a folder where a file belongs"
                    continue
                count, size = 1, stat.st_size
        except (FileNotFoundError, NotADirectoryError):
            yield f"{name} is gone"
            continue
        if count != entry.get("count", 1):
            yield f"{name} has {count} files, not {entry['count']}"
        elif size != entry["bytes"]:
            yield f"{name} has {size:,} bytes, not {entry['bytes']:,}"


def _content_faults(directory: Path, manifest: Mapping[str, Any]) -> list[str]:
    return [
        f"the content of {name} has changed"
        for name, entry in manifest["files"].items()
        if current_sha256(directory / name) != entry["sha256"]
    ]


def current_sha256(path: Path) -> str:
    """Hash a file or folder; a file once per process, until it changes."""
    if path.is_dir():
        return sha256_of(path)
    stat = path.stat()
    return _cached_sha256(path, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


@functools.lru_cache(maxsize=4096)
def _cached_sha256(path: Path, *stamp: int) -> str:
    """Hash a file, unless this process has hashed it since its last change."""
    return sha256_of(path)


def describe(directory: Path, identity: Mapping[str, Any], seconds: float, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest of a directory.

    Args:
        directory: of a result whose files are complete.
        identity: of the result.
        seconds: of work, over all attempts.
        facts: that the stage has returned, such as the device.
    """
    outputs = sorted(p for p in directory.iterdir() if not p.name.startswith((SCRATCH, ".")) and p.name != LOGS)
    return {
        "fingerprint": fingerprint(identity),
        "identity": identity,
        "files": {p.name: _file_entry(p) for p in outputs},
        "seconds": round(seconds, 2),
        "finished": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "host": socket.gethostname(),
        **provenance(),
        **facts,
    }


def _file_entry(path: Path) -> dict[str, Any]:
    if path.is_dir():
        sizes = [file.stat().st_size for file in files_below(path)]
        return {"count": len(sizes), "bytes": sum(sizes), "sha256": sha256_of(path)}
    return {"bytes": path.stat().st_size, "sha256": sha256_of(path)}


@functools.cache
def provenance() -> dict[str, Any]:
    """Return the code and libraries of this process, computed once; forked processes inherit them."""
    return {
        "python": sys.version.split()[0],
        "versions": library_versions(),
        "code": code_digest(),
        "commit": _commit(),
    }


@functools.cache
def library_versions() -> dict[str, str]:
    """Return the versions of the libraries that influence results."""
    versions = {}
    for name in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


@functools.cache
def code_digest() -> str:
    """Return the first 12 digits of the sha256 of this package's source."""
    package = Path(__file__).parent.parent
    digest = hashlib.sha256()
    for file in sorted([*package.rglob("*.py"), *package.rglob("*.jinja")]):
        digest.update(f"{file.relative_to(package).as_posix()}\0".encode() + file.read_bytes())
    return digest.hexdigest()[:12]


@functools.cache
def _commit() -> str | None:
    """Return the commit of this code, with ``-dirty`` for uncommitted changes; None outside a checkout.

    A git that was killed is started again, as a result without its commit would differ from one that was left alone.
    """
    package = str(Path(__file__).parent.parent)
    command = ["git", "-C", package, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    for _ in range(_GIT_TRIES):
        try:
            done = subprocess.run(command, capture_output=True, text=True, env=environment)
        except OSError:
            return None
        if done.returncode >= 0:
            return None if done.returncode else done.stdout.strip()
    return None
