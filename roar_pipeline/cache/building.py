"""Make results: acquire the locks, check the inputs, call the stage, write the manifests, rename them."""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache.attempts import Log, record_failure, recording_attempt, spent_seconds
from roar_pipeline.cache.files import SCRATCH, lock, misplaced, read_json, require_space, sync_directory, write_json
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import MANIFEST, DamagedError, check_intact, describe, is_done
from roar_pipeline.cache.ownership import READY
from roar_pipeline.errors import InputError, explain
from roar_pipeline.progress import listening

__all__ = ["ResultSpec", "SomeFailedError", "produce", "produce_together"]

_log = logging.getLogger("roar")

Stage = Callable[..., Mapping[str, Any] | None]


@dataclass(frozen=True)
class ResultSpec:
    """A result to make, in plain data."""

    directory: Path
    identity: Mapping[str, Any]
    inputs: tuple[tuple[Path, str], ...] = ()
    """Directory and fingerprint of the results that the stage reads."""
    title: str = ""
    """The result's name for people."""
    command: str = ""
    """The shell command that makes this result alone."""
    is_end_product: bool = False
    """Whether no stage reads the result. Then ``is_done`` compares its contents, as no reader does."""

    @property
    def fingerprint(self) -> str:
        """The identity's sha256."""
        return fingerprint(self.identity)

    def is_done(self) -> bool:
        """Return whether the result is finished."""
        return is_done(self.directory, self.fingerprint, full=self.is_end_product)


class SomeFailedError(InputError):
    """Some of several results failed: ``reasons`` by name, and ``facts`` for the manifests of the others."""

    def __init__(self, reasons: Mapping[str, Exception]) -> None:
        super().__init__("\n".join(dict.fromkeys(map(str, reasons.values()))))
        self.reasons = dict(reasons)
        self.facts: Mapping[str, Any] = {}


def produce(spec: ResultSpec, function: Stage, arguments: Mapping[str, Any]) -> None:
    """Make a result by ``function(directory, **arguments)``, unless it is done.

    The function may be killed at any moment, and is then called again on the same directory. The values that it returns
    (such as the device) go into the manifest.

    Raises:
        DamagedError: an input differs from its manifest.
        InputError: disk or memory are exhausted; or the function's own.
    """

    def single(directories: Mapping[str, Path], **kwargs: Any) -> Mapping[str, Any] | None:
        return function(directories[""], **kwargs)

    produce_together({"": spec}, single, arguments)


def produce_together(specs: Mapping[str, ResultSpec], function: Stage, arguments: Mapping[str, Any]) -> None:
    """Make several results by one call, ``function(directories, **arguments)``, with the unfinished directories.

    A kill loses no finished work: the manifest is written as a scratch file, the other scratch files are deleted, and
    the manifest is renamed. If the function makes only some of the results, it raises ``SomeFailedError``: the results
    that the error does not name are finished.

    Args:
        specs: of the results, by name.
        function: as above.
        arguments: of the function.
    """
    directories = sorted(spec.directory for spec in specs.values())
    try:
        with contextlib.ExitStack() as locks:
            for directory in directories:
                locks.enter_context(lock(directory))
            _make(specs, function, arguments)
    except (OSError, RuntimeError, MemoryError) as error:
        if explained := explain(error, directories[0]):
            raise explained from error
        raise


def _make(specs: Mapping[str, ResultSpec], function: Stage, arguments: Mapping[str, Any]) -> None:
    unfinished = {name: spec for name, spec in specs.items() if not spec.is_done()}
    unusable = {name: error for name, spec in unfinished.items() if (error := _check_usable(spec.directory))}
    unfinished = {name: spec for name, spec in unfinished.items() if name not in unusable}
    unmade = {n: spec for n, spec in unfinished.items() if not _is_ready(spec.directory / READY, spec.fingerprint)}
    failure = _attempt(unmade, function, arguments) if unmade else None
    reasons: dict[str, Exception] = {**unusable, **(failure.reasons if failure else {})}
    for name, spec in unfinished.items():
        if name not in reasons:
            _finish(spec.directory)
    if unusable and len(specs) == 1:
        raise next(iter(unusable.values()))
    if reasons:
        raise SomeFailedError(reasons)


def _check_usable(directory: Path) -> DamagedError | None:
    """Return, and record, why no result can be made in a directory; deletes nothing."""
    problems = misplaced(directory)
    if not problems:
        return None
    error = DamagedError(
        f"{directory} is damaged: {'; '.join(problems)}. Set it aside with `roar verify --repair`, then run "
        "again: it will be made anew."
    )
    record_failure(directory, str(error))
    return error


def _attempt(unmade: Mapping[str, ResultSpec], function: Stage, arguments: Mapping[str, Any]) -> SomeFailedError | None:
    """Call the function and write the manifests of the results made; return its error if it made only some."""
    spent = {name: spent_seconds(spec.directory) for name, spec in unmade.items()}
    for spec in unmade.values():
        require_space(spec.directory)
        (spec.directory / MANIFEST).unlink(missing_ok=True)
    identities = {spec.directory: spec.identity for spec in unmade.values()}
    commands = {spec.directory: spec.command for spec in unmade.values()}
    with recording_attempt(identities, commands) as (log, listener), listening(listener):
        started = time.monotonic()
        failure: SomeFailedError | None = None
        facts: Mapping[str, Any] | None = None
        try:
            for directory, upstream in dict.fromkeys(result for spec in unmade.values() for result in spec.inputs):
                check_intact(directory, upstream)
            facts = function({name: spec.directory for name, spec in unmade.items()}, **arguments)
        except SomeFailedError as error:
            failure, facts = error, error.facts
        except BaseException as error:
            _record(error, unmade, log)
            raise
        made = {n: spec for n, spec in unmade.items() if failure is None or n not in failure.reasons}
        share = (time.monotonic() - started) / max(1, len(made))
        for name, spec in made.items():
            manifest = describe(spec.directory, spec.identity, spent[name] + share, facts or {})
            write_json(spec.directory / READY, manifest)
        for name, reason in (failure.reasons if failure else {}).items():
            log.trace(reason)
            record_failure(unmade[name].directory, str(reason))
        log.line(f"made {len(made)} of {len(unmade)} in {time.monotonic() - started:.1f} s")
    return failure


def _record(error: BaseException, unmade: Mapping[str, ResultSpec], log: Log) -> None:
    """Log an error, and record the failure unless it is the user's interruption."""
    log.trace(error)
    if not isinstance(error, Exception):
        return
    for spec in unmade.values():
        explained = explain(error, spec.directory)
        record_failure(spec.directory, str(explained) if explained else f"{type(error).__name__}: {error}")


def _finish(directory: Path) -> None:
    """Delete the scratch files, and rename the scratch manifest to its final name."""
    for scratch in directory.glob(SCRATCH + "*"):
        if scratch.name != READY:
            shutil.rmtree(scratch) if scratch.is_dir() else scratch.unlink()
    (directory / READY).replace(directory / MANIFEST)
    sync_directory(directory)


def _is_ready(ready: Path, fingerprint: str) -> bool:
    try:
        return bool(read_json(ready).get("fingerprint") == fingerprint)
    except (FileNotFoundError, ValueError, AttributeError):
        return False
