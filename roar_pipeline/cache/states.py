"""The state of a result, and the reason: read from its directory, without writing anything."""

import datetime
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache import attempts
from roar_pipeline.cache.files import holder, misplaced
from roar_pipeline.cache.identity import flattened
from roar_pipeline.cache.manifests import MANIFEST, code_digest, faults, library_versions, read_manifest

__all__ = ["KINDS", "State", "changes", "differences", "duration", "state_of"]

KINDS = ("done", "running", "failed", "interrupted", "damaged", "missing")
"""Kinds of states: complete; being made; the last attempt failed; it was killed; changed since; never made."""

_LARGEST = 1e11
"""Limit of times and durations in notes, in seconds: 3000 years. Larger values are invalid."""


@dataclass(frozen=True)
class State:
    """The state of one result."""

    kind: str
    """One of ``KINDS``."""
    why: str = ""
    """The reason in one line, for people."""
    log: Path | None = None
    """Log of the newest attempt."""
    share: float | None = None
    """Share of the work that is done, 0..1; None before the first progress."""
    manifest: Mapping[str, Any] | None = None
    """Manifest of a result that is done or damaged."""


def state_of(directory: Path, fingerprint: str, *, full: bool = False) -> State:
    """Return the state of the result with this fingerprint in this directory.

    Args:
        directory: of the result.
        fingerprint: of the result.
        full: compare contents, too; for end products.
    """
    if not directory.exists():
        return State("missing")
    manifest, problems = _read(directory, fingerprint, full)
    if manifest is not None and not problems:
        return State("done", manifest=manifest)
    log = attempts.newest_log(directory)
    note = attempts.read_note(directory, attempts.PROGRESS) or {}
    share = _number(note.get("share"))
    if (process := holder(directory)) is not None:
        return State("running", _describe_running(process, note), log, share)
    if failure := attempts.read_note(directory, attempts.FAILURE):
        return State("failed", str(failure.get("message", "its note does not say why")), log, share)
    if problems:
        return State("damaged", "; ".join(problems), log, manifest=manifest)
    if attempt := attempts.read_note(directory, attempts.ATTEMPT):
        began = _clock(attempt.get("started"))
        return State("interrupted", f"began {began}, reached {note.get('text', 'nothing that is noted')}", log, share)
    return State("missing", log=log)


def _read(directory: Path, fingerprint: str, full: bool) -> tuple[Mapping[str, Any] | None, Sequence[str]]:
    """Return a directory's manifest, if it has this fingerprint, and what is wrong with the directory."""
    try:
        manifest = read_manifest(directory)
        if manifest is not None and manifest["fingerprint"] == fingerprint:
            return manifest, faults(directory, manifest, full=full)
        problems = misplaced(directory)
    except OSError as error:
        return None, [f"cannot be read: {error}"]
    if not problems and (manifest is not None or (directory / MANIFEST).exists()):
        problems = ["the manifest is broken, or of something else"]
    return None, problems


def _describe_running(process: Mapping[str, Any], note: Mapping[str, Any]) -> str:
    name = f"pid {process.get('pid', '?')} on {process.get('host', '?')}"
    since = f" since {_clock(process['since'])}" if "since" in process else ""
    text = f": {note['text']}" if "text" in note else ""
    remaining = _number(note.get("seconds_left"))
    return f"{name}{since}{text}" + (f", about {duration(remaining)} left" if remaining is not None else "")


def _number(value: Any) -> float | None:
    """Return a number of a note; None for any other value."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value if is_number else None


def _clock(seconds: Any) -> str:
    valid = _number(seconds)
    if valid is None:
        return "at an unknown time"
    moment = datetime.datetime.fromtimestamp(valid)
    today = moment.date() == datetime.datetime.now().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Return a duration for people: 0:12, 3:25:01, 2 days, 1:00:00."""
    text = str(datetime.timedelta(seconds=round(seconds)))
    return text.removeprefix("0:") if text.startswith("0:") else text


def changes(manifest: Mapping[str, Any]) -> list[str]:
    """Return how the code and the libraries have changed since a result was made, one phrase each."""
    current = library_versions()
    phrases = [
        f"{name} {version} -> {current.get(name, 'gone')}"
        for name, version in manifest.get("versions", {}).items()
        if current.get(name) != version
    ]
    if manifest.get("code") != code_digest():
        commit = (manifest.get("commit") or "")[:10]
        phrases.append(
            f"code {manifest.get('code', 'unknown')}{f' (commit {commit})' if commit else ''} -> {code_digest()}"
        )
    return phrases


def differences(new: Mapping[str, Any], old: Mapping[str, Any]) -> list[str]:
    """Return how two identities of one stage differ: ``name old -> new``, one phrase each."""
    before, after = ({"version": identity.get("version"), **flattened(identity)} for identity in (old, new))
    phrases = [
        f"{name} {before.get(name, 'unset')} -> {after.get(name, 'unset')}"
        for name in dict.fromkeys([*before, *after])
        if before.get(name) != after.get(name)
    ]
    if not phrases and new.get("inputs") != old.get("inputs"):
        phrases.append("built on other results")
    return phrases
