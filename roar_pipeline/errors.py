"""Errors that users can fix, and explanations of the operating system's errors."""

import errno
import re
from pathlib import Path

__all__ = ["InputError", "explain", "is_transient"]


class InputError(ValueError):
    """Bad input or settings. The message states what, where, the value, and what to do.

    The command line prints the message alone, without a traceback.
    """


_FULL = "Free some space (`roar gc` lists what no settings reach) and run again"
_DISK = "Check the disk and its mount, and run again"
_STORAGE = {
    errno.ENOSPC: f"no space is left on the disk. {_FULL}",
    errno.EDQUOT: f"your disk quota is used up. {_FULL}",
    errno.EFBIG: "a file would grow beyond what the file system, or `ulimit -f`, allows. Raise the limit, or name "
    "another folder in [paths] data",
    errno.EROFS: "the file system is read-only. Name another folder in [paths] data, or have it mounted for writing",
    errno.EACCES: "permission is denied. Give yourself the right to read and write there, or name another folder in "
    "[paths] data",
    errno.EPERM: "the operation is not permitted. Name another folder in [paths] data",
    errno.EIO: f"the disk reports an input/output error. {_DISK}",
    errno.ESTALE: f"the network file system has lost it. {_DISK}",
    errno.ENOTCONN: f"the file system is not connected. {_DISK}",
    errno.ENODEV: f"the device is gone. {_DISK}",
    errno.EISDIR: "a folder lies where a file should be. Set the result aside with `roar verify --repair`, "
    "and run again",
    errno.ENXIO: "a pipe, socket or device lies where a file should be. Set the result aside with "
    "`roar verify --repair`, and run again",
    errno.ENOTDIR: "a file lies where a folder should be. Move it away",
    errno.EEXIST: "a file lies where a folder should be. Move it away",
}
_TRANSIENT = {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EAGAIN}
_KEPT = "What is done is kept."


def explain(error: BaseException, directory: Path) -> InputError | None:
    """Explain an error of the machine (disk, memory) in work on ``directory``; None for other errors."""
    if isinstance(error, InputError):
        return error
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or _is_torch_without_memory(error):
        return InputError(
            f"Out of memory: {_first_line(error)}. Lower the batch of this stage's section, run fewer --workers at a "
            f"time, or put fewer places on a GPU ([resources] gpu). {_KEPT}"
        )
    number = _number_of(error)
    if number is None:
        return None
    if number == errno.ENOENT:
        if directory.exists():
            return None
        return InputError(f"{directory} has vanished: was it removed, or its disk unmounted? {_DISK}. {_KEPT}")
    if number not in _STORAGE:
        return None
    path = getattr(error, "filename", None) or directory
    return InputError(f"{path} cannot be used: {_STORAGE[number]}. {_KEPT}")


def is_transient(error: BaseException | None) -> bool:
    """Tell whether an error, or a cause of it, is transient, so that a retry may succeed."""
    while error is not None:
        if type(error).__name__ == "OutOfMemoryError" or _number_of(error) in _TRANSIENT:
            return True
        if isinstance(error, RuntimeError) and "CUDA error" in str(error):
            return True
        error = error.__cause__
    return False


def _is_torch_without_memory(error: BaseException) -> bool:
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")


def _number_of(error: BaseException) -> int | None:
    """Return the error's errno; HDF5 hides it in the text."""
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno
    if isinstance(error, (OSError, RuntimeError)) and (hidden := re.search(r"errno = (\d+)", str(error))):
        return int(hidden[1])
    return None
