"""Make results: lock, check what they are made from, call the stage, describe, rename."""

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache.attempts import Log, note_failure, recording_attempt, spent_seconds
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
    """A result that is to be made, in plain data."""

    directory: Path
    identity: Mapping[str, Any]
    inputs: tuple[tuple[Path, str], ...] = ()
    """Directory and fingerprint of the results that the stage reads."""
    title: str = ""
    """What people call it."""
    command: str = ""
    """The shell command that makes this result alone."""
    is_end_product: bool = False
    """Whether no stage reads the result and compares its contents: then that is done before it counts as done."""

    @property
    def fingerprint(self) -> str:
        """The identity's sha256."""
        return fingerprint(self.identity)

    def is_done(self) -> bool:
        """Tell whether the result is there."""
        return is_done(self.directory, self.fingerprint, full=self.is_end_product)


class SomeFailedError(InputError):
    """Some of several results could not be made: ``reasons`` by name, and ``facts`` for the others' manifests."""

    def __init__(self, reasons: Mapping[str, Exception]) -> None:
        super().__init__("\n".join(dict.fromkeys(map(str, reasons.values()))))
        self.reasons = dict(reasons)
        self.facts: Mapping[str, Any] = {}


def produce(spec: ResultSpec, function: Stage, arguments: Mapping[str, Any]) -> None:
    """Make a result by ``function(directory, **arguments)``, unless it is done.

    The function may be killed at any moment and is then called again on the directory as it was left. What it returns
    (the device it ran on, say) goes into the manifest.

    Raises:
        DamagedError: an input is not what its manifest says.
        InputError: the disk or the memory does not allow it; or the function's own.
    """

    def alone(directories: Mapping[str, Path], **kwargs: Any) -> Mapping[str, Any] | None:
        return function(directories[""], **kwargs)

    produce_together({"": spec}, alone, arguments)


def produce_together(specs: Mapping[str, ResultSpec], function: Stage, arguments: Mapping[str, Any]) -> None:
    """Make several results by one call, ``function(directories, **arguments)`` with the directories still to fill.

    The manifest of each is written in three steps so that a kill between them loses neither the work nor the tidying:
    the manifest as scratch, the other scratch files away, the rename. Should the function make some and not others, it
    raises ``SomeFailedError``: those that it does not name are results.

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
    waiting = {name: spec for name, spec in specs.items() if not spec.is_done()}
    unusable = {name: error for name, spec in waiting.items() if (error := _unusable(spec.directory))}
    waiting = {name: spec for name, spec in waiting.items() if name not in unusable}
    unmade = {n: spec for n, spec in waiting.items() if not _is_ready(spec.directory / READY, spec.fingerprint)}
    failure = _attempt(unmade, function, arguments) if unmade else None
    reasons: dict[str, Exception] = {**unusable, **(failure.reasons if failure else {})}
    for name, spec in waiting.items():
        if name not in reasons:
            _finish(spec.directory)
    if unusable and len(specs) == 1:
        raise next(iter(unusable.values()))
    if reasons:
        raise SomeFailedError(reasons)


def _unusable(directory: Path) -> DamagedError | None:
    """Return why nothing can be made in a directory as it is; what is there stays, for who is to repair it."""
    found = misplaced(directory)
    if not found:
        return None
    error = DamagedError(
        f"{directory} is damaged: {'; '.join(found)}. Set it aside with `roar verify --repair`, then run "
        "again: it will be made anew."
    )
    note_failure(directory, str(error))
    return error


def _attempt(unmade: Mapping[str, ResultSpec], function: Stage, arguments: Mapping[str, Any]) -> SomeFailedError | None:
    """Call the function and write the manifests of what it has made; return what it has not, if it made the rest."""
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
            for directory, expected in dict.fromkeys(used for spec in unmade.values() for used in spec.inputs):
                check_intact(directory, expected)
            facts = function({name: spec.directory for name, spec in unmade.items()}, **arguments)
        except SomeFailedError as error:
            failure, facts = error, error.facts
        except BaseException as error:
            _note(error, unmade, log)
            raise
        made = {n: spec for n, spec in unmade.items() if failure is None or n not in failure.reasons}
        share = (time.monotonic() - started) / max(1, len(made))
        for name, spec in made.items():
            manifest = describe(spec.directory, spec.identity, spent[name] + share, facts or {})
            write_json(spec.directory / READY, manifest)
        for name, reason in (failure.reasons if failure else {}).items():
            log.trace(reason)
            note_failure(unmade[name].directory, str(reason))
        log.line(f"made {len(made)} of {len(unmade)} in {time.monotonic() - started:.1f} s")
    return failure


def _note(error: BaseException, unmade: Mapping[str, ResultSpec], log: Log) -> None:
    """Log an error, and record the failure unless it is the user's interruption."""
    log.trace(error)
    if not isinstance(error, Exception):
        return
    for spec in unmade.values():
        explained = explain(error, spec.directory)
        note_failure(spec.directory, str(explained) if explained else f"{type(error).__name__}: {error}")


def _finish(directory: Path) -> None:
    """Take the scratch files away, and turn the manifest that is ready into the manifest."""
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
