"""In what state a wanted result is, and why: read from its directory, without touching anything."""

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
"""What a result can be: whole; being made; its last attempt failed; was killed; not what it was; never made."""

_LARGEST = 1e11
"""No time and no time span of a note is larger, in seconds: 3000 years."""


@dataclass(frozen=True)
class State:
    """The state of one result."""

    kind: str
    """One of ``KINDS``."""
    why: str = ""
    """One line for people."""
    log: Path | None = None
    """Of the newest attempt."""
    share: float | None = None
    """Done of the work, 0..1, where an attempt is or was under way."""
    manifest: Mapping[str, Any] | None = None
    """Of a result that is done or damaged."""


def state_of(directory: Path, expected: str, *, full: bool = False) -> State:
    """Return the state of the result with this fingerprint that belongs in this directory.

    Args:
        directory: of the result.
        expected: its fingerprint.
        full: compare contents, as is done with an end product.
    """
    if not directory.exists():
        return State("missing")
    manifest, wrong = _read(directory, expected, full)
    if manifest is not None and not wrong:
        return State("done", manifest=manifest)
    log = attempts.newest_log(directory)
    note = attempts.read_note(directory, attempts.PROGRESS) or {}
    reached = _number(note.get("share"))
    if (who := holder(directory)) is not None:
        return State("running", _running(who, note), log, reached)
    if failure := attempts.read_note(directory, attempts.FAILURE):
        return State("failed", str(failure.get("message", "its note does not say why")), log, reached)
    if wrong:
        return State("damaged", "; ".join(wrong), log, manifest=manifest)
    if attempt := attempts.read_note(directory, attempts.ATTEMPT):
        began = _clock(attempt.get("started"))
        return State("interrupted", f"began {began}, reached {note.get('text', 'nothing that is noted')}", log, reached)
    return State("missing", log=log)


def _read(directory: Path, expected: str, full: bool) -> tuple[Mapping[str, Any] | None, Sequence[str]]:
    """Return a directory's manifest, if it is the one that is expected, and what is wrong there."""
    try:
        manifest = read_manifest(directory)
        if manifest is not None and manifest["fingerprint"] == expected:
            return manifest, faults(directory, manifest, full=full)
        wrong = misplaced(directory)
    except OSError as error:
        return None, [f"cannot be read: {error}"]
    if not wrong and (manifest is not None or (directory / MANIFEST).exists()):
        wrong = ["the manifest is broken, or of something else"]
    return None, wrong


def _running(who: Mapping[str, Any], note: Mapping[str, Any]) -> str:
    place = f"pid {who.get('pid', '?')} on {who.get('host', '?')}"
    since = f" since {_clock(who['since'])}" if "since" in who else ""
    text = f": {note['text']}" if "text" in note else ""
    left = _number(note.get("seconds_left"))
    return f"{place}{since}{text}" + (f", about {duration(left)} left" if left is not None else "")


def _number(value: Any) -> float | None:
    """Return a number of a note; None where it holds something else."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST
    return value if is_number else None


def _clock(seconds: Any) -> str:
    known = _number(seconds)
    if known is None:
        return "at an unknown time"
    moment = datetime.datetime.fromtimestamp(known)
    today = moment.date() == datetime.datetime.now().date()
    return moment.strftime("%H:%M:%S" if today else "%Y-%m-%d %H:%M")


def duration(seconds: float) -> str:
    """Return a time span for people: 0:12, 3:25:01, 2 days, 1:00:00."""
    text = str(datetime.timedelta(seconds=round(seconds)))
    return text.removeprefix("0:") if text.startswith("0:") else text


def changes(manifest: Mapping[str, Any]) -> list[str]:
    """Return what of the code and the libraries has changed since a result was made."""
    now = library_versions()
    found = [
        f"{name} {made} -> {now.get(name, 'gone')}"
        for name, made in manifest.get("versions", {}).items()
        if now.get(name) != made
    ]
    if manifest.get("code") != code_digest():
        commit = (manifest.get("commit") or "")[:10]
        found.append(
            f"code {manifest.get('code', 'unknown')}{f' (commit {commit})' if commit else ''} -> {code_digest()}"
        )
    return found


def differences(wanted: Mapping[str, Any], found: Mapping[str, Any]) -> list[str]:
    """Return in what two identities of one stage differ: found -> wanted, one phrase each."""
    old, new = ({"version": of.get("version"), **flattened(of)} for of in (found, wanted))
    told = [
        f"{name} {old.get(name, 'unset')} -> {new.get(name, 'unset')}"
        for name in dict.fromkeys([*old, *new])
        if old.get(name) != new.get(name)
    ]
    if not told and wanted.get("inputs") != found.get("inputs"):
        told.append("built on other results")
    return told
