"""The text of a failure for people, and the record of a crashed process."""

import contextlib
import os
import shutil
import signal
from pathlib import Path

from roar_pipeline.cache import attempts
from roar_pipeline.cache.building import ResultSpec
from roar_pipeline.cache.files import try_lock
from roar_pipeline.cache.inventory import RUNS
from roar_pipeline.errors import InputError
from tasks.configuration.settings import data_folder

__all__ = ["AGAIN", "TRANSIENT", "failure_text", "is_worth_another_try", "record_death"]

AGAIN = "  again: "
"""In the text of a failure: what precedes the command that runs it again."""

TRANSIENT = os.EX_TEMPFAIL
"""Exit code of a process that met a transient error and should be retried."""

_FULL_BELOW = 16 << 20
"""With less free disk space (bytes), a crash is attributed to the full disk."""


def failure_text(spec: ResultSpec, error: BaseException | None) -> str:
    """Return the reason of a failure, the log, and the command that makes this result alone.

    Args:
        spec: the result.
        error: the reason; None if only the record of the failure has it.
    """
    record = attempts.read_note(spec.directory, attempts.FAILURE) or {}
    reason = str(error) if isinstance(error, InputError) else record.get("message")
    unexpected = "the reason is unknown" if error is None else f"{type(error).__name__}: {error}"
    lines = [f"{spec.title} failed: {reason or unexpected}"]
    if log := attempts.newest_log(spec.directory):
        lines.append(f"  log:   {log}")
    return "\n".join([*lines, f"{AGAIN}{spec.command}"])


def is_worth_another_try(directory: Path, code: int) -> bool:
    """Return whether a retry may help after a process has ended with this code.

    It may after a transient error, or a kill (a code below 0), unless the disk of the directory is full.
    """
    return code == TRANSIENT or (code < 0 and not _is_full(directory))


def record_death(spec: ResultSpec, code: int) -> None:
    """Record the crash of a process, unless another process is making its result."""
    if not (data_folder() / RUNS).is_dir():
        return
    with contextlib.suppress(OSError), try_lock(spec.directory) as is_free:
        if is_free and not spec.is_done():
            attempts.record_failure(spec.directory, _reason_of_death(spec.directory, code))


def _reason_of_death(directory: Path, code: int) -> str:
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"exit code {code}"
    if _is_full(directory):
        return f"The worker process ended ({name}): no space is left on the disk. Free some and run again."
    if code == -signal.SIGKILL:
        return (
            f"The worker process was killed ({name}): by hand, or for want of memory (the kernel's log tells: dmesg). "
            "Run again; if it was memory, lower this stage's batch or run fewer --workers."
        )
    return f"The worker process ended without a message ({name}). Its log may tell more."


def _is_full(directory: Path) -> bool:
    try:
        return shutil.disk_usage(directory).free < _FULL_BELOW
    except OSError:
        return False
