"""Atomic writes, and an exclusive lock per directory.

A result is a directory. While it is made it may hold scratch files (checkpoints, half-filled stores, notes on the
attempt), whose names start with ``partial-``.
"""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import logging
import os
import shutil
import socket
import stat
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

__all__ = [
    "LOGS",
    "SCRATCH",
    "SpecialFileError",
    "check_is_file",
    "files_below",
    "holder",
    "lock",
    "misplaced",
    "read_json",
    "read_sealed",
    "require_space",
    "sha256_of",
    "sync_directory",
    "try_lock",
    "whole_file",
    "write_array",
    "write_bytes",
    "write_json",
    "write_sealed",
]

SCRATCH = "partial-"
"""Prefix of files that may be incomplete, and that are deleted once the result is done."""

LOGS = "log"
"""Folder of the attempts' logs in a result's directory; no part of the result."""

_log = logging.getLogger("roar")

_LOCK = ".lock"
_SEAL = "roar-pipeline sealed 1"
_SLACK = 1 << 20
"""Bytes that must be free beside what is about to be written."""


class SpecialFileError(OSError):
    """A pipe, a socket or a device lies where a file belongs: opening it may block forever."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENXIO, "It is a pipe, socket or device", str(path))


def check_is_file(path: Path) -> None:
    """Check that opening a path for reading cannot block; a folder or a missing file passes.

    Raises:
        SpecialFileError: it can.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SpecialFileError(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; on success flush it to disk and rename it, on error remove it.

    The scratch path keeps the file's extension, from which some writers infer the format. Its name is fixed, as only
    the holder of the directory's lock may write: the next writer overwrites the scratch file of a killed one.

    Raises:
        IsADirectoryError: a folder lies at ``path``; nothing is written.
    """
    scratch = path.with_name(SCRATCH + path.name)
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    try:
        yield scratch
        with scratch.open("rb") as written:
            os.fsync(written.fileno())
        scratch.replace(path)
        sync_directory(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def sync_directory(directory: Path) -> None:
    """Flush a directory's entries to disk, so that a rename survives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes | io.BytesIO) -> None:
    """Write a file atomically. Libraries write to memory and this to disk, so that a full disk is one clear OSError."""
    with whole_file(path) as scratch, scratch.open("wb") as file:
        file.write(content.getbuffer() if isinstance(content, io.BytesIO) else content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, atomically."""
    content = io.BytesIO()
    np.save(content, array)
    write_bytes(path, content)


def write_json(path: Path, value: Any) -> None:
    """Write a plain value as indented JSON, atomically. Not-a-number is an error: write None for undefined values."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Read a file of ``write_json``.

    Raises:
        OSError: the file is missing or cannot be read.
        ValueError, RecursionError: it is not JSON.
    """
    check_is_file(path)
    return json.loads(path.read_text(encoding="utf-8"))


def write_sealed(path: Path, content: io.BytesIO, fingerprint: str) -> None:
    """Write a scratch file that starts with its result's fingerprint and the sha256 of its content."""
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    head = f"{_SEAL}\n{fingerprint}\n{digest}\n".encode()
    write_bytes(path, io.BytesIO(head + content.getbuffer()))


def read_sealed(path: Path, fingerprint: str) -> io.BytesIO | None:
    """Return the content of a file of ``write_sealed``; None if it is missing, damaged or of another fingerprint."""
    check_is_file(path)
    try:
        with path.open("rb") as file:
            head = [file.readline().decode(errors="replace").rstrip("\n") for _ in range(3)]
            content = file.read()
    except FileNotFoundError:
        return None
    if head != [_SEAL, fingerprint, hashlib.sha256(content).hexdigest()]:
        _log.warning("%s is damaged or belongs to something else: work starts anew.", path)
        return None
    return io.BytesIO(content)


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file's content, or for a folder of the names and contents of all files below it."""
    digest = hashlib.sha256()
    if path.is_dir():
        for file in files_below(path):
            digest.update(f"{file.relative_to(path).as_posix()}\0{sha256_of(file)}\n".encode())
        return digest.hexdigest()
    check_is_file(path)
    with path.open("rb") as opened:
        while block := opened.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def files_below(path: Path) -> list[Path]:
    """Return every file below a folder, sorted.

    Raises:
        OSError: a folder cannot be read; ``Path.rglob`` would leave it out.
    """
    return sorted(Path(folder, name) for folder, _, names in os.walk(path, onerror=_raise) for name in names)


def misplaced(directory: Path) -> list[str]:
    """Return the entries of a result's directory that are of the wrong kind, one phrase per entry.

    Files of results have an extension, or are the lock file; folders have no extension. A pipe, a socket or a device
    (or a link to one) is always wrong.
    """
    problems = [
        f"{Path(entry.path).relative_to(directory)} {kind}"
        for entry in _entries_below(directory)
        if (kind := _wrong_kind(entry))
    ]
    return [*problems, *([f"{LOGS} is a file where a folder belongs"] if (directory / LOGS).is_file() else [])]


def _entries_below(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    """Yield all entries below a folder, sorted, a folder before its entries; unreadable folders are skipped."""
    try:
        with os.scandir(folder) as opened:
            entries = sorted(opened, key=lambda entry: entry.name)
    except OSError:
        return
    yield from entries
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _entries_below(entry.path)


def _wrong_kind(entry: "os.DirEntry[str]") -> str:
    if entry.is_dir():
        has_name_of_file = entry.name == _LOCK or Path(entry.name).suffix
        return "is a folder where a file belongs" if has_name_of_file else ""
    return "" if entry.is_file() or not Path(entry.path).exists() else "is a pipe, socket or device, and no file"


def _raise(error: OSError) -> None:
    raise error


def require_space(directory: Path, size: int = 0) -> None:
    """Raise the OSError of a full disk unless ``size`` bytes and a little more are free.

    HDF5 crashes the process when a write fails, so its writers check first.
    """
    free = shutil.disk_usage(directory).free
    if free < size + _SLACK:
        raise OSError(errno.ENOSPC, f"{size + _SLACK:,} bytes are needed and {free:,} are free", str(directory))


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Acquire the directory's exclusive lock; wait while another process holds it.

    The kernel releases the lock when its holder dies.
    """
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(try_lock(directory, timeout=0.1)):
            _log.info("Waiting for another process that is making %s", directory)
            stack.enter_context(try_lock(directory, timeout=None))
        yield


@contextlib.contextmanager
def try_lock(directory: Path, timeout: float | None = 0.1) -> Iterator[bool]:
    """Acquire the directory's lock within ``timeout`` seconds (None waits forever); yield whether it was acquired.

    Another process may move the directory while this one waits: then the lock of the new directory is acquired.
    """
    deadline = time.monotonic() + (timeout or 0)
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        check_is_file(directory / _LOCK)
        with (directory / _LOCK).open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if timeout is None else fcntl.LOCK_NB))
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                yield False
                return
            if not _is_same_file(handle.fileno(), directory / _LOCK):
                continue
            _write_holder(handle)
            try:
                yield True
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
            return


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _write_holder(handle: Any) -> None:
    """Write the holder's process into the lock file, for people."""
    process = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": sys.argv}
    handle.truncate(0)
    handle.write(json.dumps(process))
    handle.flush()


def holder(directory: Path) -> dict[str, Any] | None:
    """Return the process that holds the directory's lock (pid, host, since in seconds of the epoch), or None."""
    try:
        check_is_file(directory / _LOCK)
        with (directory / _LOCK).open("r", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _read_holder(handle)
            # Closing is not enough: a process forked right now has a copy of the descriptor, and so keeps the lock.
            fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError:
        pass
    return None


def _read_holder(handle: Any) -> dict[str, Any]:
    try:
        process = json.loads(handle.read())
    except ValueError:
        process = None
    return process if isinstance(process, dict) else {}
