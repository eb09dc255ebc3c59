"""Files that are whole when they exist, and one writer per directory.

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
"""Prefix of files that may be incomplete, and that are gone once the result is done."""

LOGS = "log"
"""Folder of the attempts' logs in a result's directory; no part of the result."""

_log = logging.getLogger("roar")

_LOCK = ".lock"
_SEAL = "roar-pipeline sealed 1"
_SLACK = 1 << 20
"""Bytes that must be free beside what is about to be written."""


class SpecialFileError(OSError):
    """A pipe, a socket or a device lies where a file belongs: whoever opens it may wait for ever."""

    def __init__(self, path: Path) -> None:
        super().__init__(errno.ENXIO, "It is a pipe, socket or device", str(path))


def check_is_file(path: Path) -> None:
    """Make sure that opening a path for reading does not wait for anybody; a folder, or nothing there, is no matter.

    Raises:
        SpecialFileError: it does, or could.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        mode = path.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
            raise SpecialFileError(path)


@contextlib.contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Yield a scratch path beside ``path``; on success flush it to disk and rename it, on error remove it.

    The scratch path keeps the file's extension, so that writers which go by it do the right thing. Only the holder of
    the directory's lock may write, hence one fixed scratch name: what a killed writer leaves is overwritten.

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
    """Put a directory's entries on disk, so that a rename outlives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, content: bytes | io.BytesIO) -> None:
    """Write a file, whole. Libraries write to memory and this to disk: here a full disk is one clear OSError."""
    with whole_file(path) as scratch, scratch.open("wb") as file:
        file.write(content.getbuffer() if isinstance(content, io.BytesIO) else content)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write an array as ``.npy``, whole."""
    content = io.BytesIO()
    np.save(content, array)
    write_bytes(path, content)


def write_json(path: Path, value: Any) -> None:
    """Write a plain value as readable JSON, whole. Not-a-number is an error: write None where nothing is defined."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """Read what ``write_json`` wrote.

    Raises:
        OSError: there is no file, or it cannot be read.
        ValueError, RecursionError: it is no JSON.
    """
    check_is_file(path)
    return json.loads(path.read_text(encoding="utf-8"))


def write_sealed(path: Path, content: io.BytesIO, owner: str) -> None:
    """Write a scratch file that says whose it is (a fingerprint), and that shows any damage when it is read."""
    digest = hashlib.sha256(content.getbuffer()).hexdigest()
    head = f"{_SEAL}\n{owner}\n{digest}\n".encode()
    write_bytes(path, io.BytesIO(head + content.getbuffer()))


def read_sealed(path: Path, owner: str) -> io.BytesIO | None:
    """Return what ``write_sealed`` wrote for this owner; None where there is no such file, whole and unchanged."""
    check_is_file(path)
    try:
        with path.open("rb") as file:
            head = [file.readline().decode(errors="replace").rstrip("\n") for _ in range(3)]
            content = file.read()
    except FileNotFoundError:
        return None
    if head != [_SEAL, owner, hashlib.sha256(content).hexdigest()]:
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
    """Return what lies in a result's directory where it cannot be, one phrase each.

    Files of results have an extension, or are the lock file, and folders have none: no file can be written where a
    folder has its name. A pipe, a socket or a device (or a link to one) is never right.
    """
    wrong = [
        f"{Path(entry.path).relative_to(directory)} {kind}"
        for entry in _entries_below(directory)
        if (kind := _wrong_kind(entry))
    ]
    return [*wrong, *([f"{LOGS} is a file where a folder belongs"] if (directory / LOGS).is_file() else [])]


def _entries_below(folder: Path | str) -> Iterator["os.DirEntry[str]"]:
    """Yield everything below a folder, sorted, a folder before what it holds; what cannot be read is left out."""
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

    HDF5 does not survive a write that fails (it ends the process), so its writers ask first.
    """
    free = shutil.disk_usage(directory).free
    if free < size + _SLACK:
        raise OSError(errno.ENOSPC, f"{size + _SLACK:,} bytes are needed and {free:,} are free", str(directory))


@contextlib.contextmanager
def lock(directory: Path) -> Iterator[None]:
    """Hold the directory's only writer's place; wait for it as long as another process has it.

    The kernel frees the place when its holder dies, however it dies.
    """
    with contextlib.ExitStack() as stack:
        if not stack.enter_context(try_lock(directory, patience=0.1)):
            _log.info("Waiting for another process that is making %s", directory)
            stack.enter_context(try_lock(directory, patience=None))
        yield


@contextlib.contextmanager
def try_lock(directory: Path, patience: float | None = 0.1) -> Iterator[bool]:
    """Hold the directory's place if it is free within ``patience`` seconds (None: whenever), and yield whether.

    A directory may be moved away while somebody waits for it: the place counts only if it is still there.
    """
    deadline = time.monotonic() + (patience or 0)
    while True:
        directory.mkdir(parents=True, exist_ok=True)
        check_is_file(directory / _LOCK)
        with (directory / _LOCK).open("a+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | (0 if patience is None else fcntl.LOCK_NB))
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(0.01)
                    continue
                yield False
                return
            if not _is_still_there(handle.fileno(), directory / _LOCK):
                continue
            _sign(handle)
            try:
                yield True
            finally:
                fcntl.flock(handle, fcntl.LOCK_UN)
            return


def _is_still_there(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _sign(handle: Any) -> None:
    """Write into the lock who holds it, for people."""
    who = {"pid": os.getpid(), "host": socket.gethostname(), "since": time.time(), "command": sys.argv}
    handle.truncate(0)
    handle.write(json.dumps(who))
    handle.flush()


def holder(directory: Path) -> dict[str, Any] | None:
    """Return who is making the directory's result now: pid, host, since (seconds of the epoch); None if nobody is."""
    try:
        check_is_file(directory / _LOCK)
        with (directory / _LOCK).open("r", encoding="utf-8") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return _signature(handle)
            # Not left to closing: a process forked this moment holds a copy, and with it the lock.
            fcntl.flock(handle, fcntl.LOCK_UN)
    except OSError:
        pass
    return None


def _signature(handle: Any) -> dict[str, Any]:
    try:
        who = json.loads(handle.read())
    except ValueError:
        who = None
    return who if isinstance(who, dict) else {}
