"""What the page of one result shows. Every file is read below the folder of results, whatever links say."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache import attempts
from roar_pipeline.cache.identity import flattened
from roar_pipeline.cache.manifests import MANIFEST, read_manifest
from roar_pipeline.cache.states import State, changes, duration, state_of
from roar_pipeline.plain_settings import text_of
from roar_pipeline.report.labels import METRICS
from tasks.chain.survey import Entry
from tasks.web.curves import Panel, panels
from tasks.web.safety import is_below, open_below, read_end, read_json_below
from tasks.web.watch import DIGITS, Snapshot

__all__ = ["Details", "Item", "find", "picture_names", "read_details"]

_OUTSIDE = "not of this grid"
_HEAD = 1 << 16
"""Bytes of a log in which its command is looked for."""
_AGAIN = "again, alone: "
_APART = ("fingerprint", "identity", "files", "versions")
"""Keys of a manifest that the page shows apart from the others."""


@dataclass(frozen=True)
class Item:
    """A result that somebody asks for: of the grid, or another one of the cache."""

    directory: Path
    fingerprint: str
    """Empty where an unfinished result does not tell."""
    manifest: Mapping[str, Any] | None
    entry: Entry | None
    """Of the grid."""

    @property
    def digits(self) -> str:
        """What stands in addresses."""
        return self.fingerprint[:DIGITS] or self.directory.name[-DIGITS:]

    @property
    def title(self) -> str:
        """What people call it."""
        return str(self.entry.task.title) if self.entry else _title_of(self.directory)

    @property
    def state(self) -> State:
        """Of the grid as it was seen last, of others as it is."""
        return self.entry.state if self.entry else state_of(self.directory, self.fingerprint)

    def file(self, name: str) -> Path | None:
        """Return the path of a file that the manifest names; None for any other name, and for folders."""
        known = (self.manifest or {}).get("files", {}).get(name)
        if not isinstance(known, dict) or "count" in known or name != Path(name).name:
            return None
        return self.directory / name

    def logs(self) -> dict[int, Path]:
        """Return the logs of all attempts by number, oldest first."""
        return {int(log.stem.removeprefix("attempt-")): log for log in attempts.logs(self.directory)}


@dataclass(frozen=True)
class Details:
    """A result, ready to be shown."""

    item: Item
    state: State
    why: str
    command: str | None
    identity: Mapping[str, str]
    """Parameters and settings."""
    inputs: Sequence[tuple[str, str, str | None]]
    """Digits, title and state of what it is built on; without a state there is no page."""
    made: Mapping[str, Any]
    files: Sequence[tuple[str, str, bool]]
    """Name, size, and whether it can be had."""
    pictures: Sequence[str]
    panels: Sequence[Panel]
    measured: Mapping[str, str]
    logs: Sequence[int]
    """Numbers of all attempts that have a log."""
    attempt: int | None
    """Whose log is shown."""
    log: str
    """Its end."""


def find(root: Path, snapshot: Snapshot, address: str) -> Item | None:
    """Return the result with this fingerprint, or these first digits of one; None if there is none below the root."""
    digits = address[:DIGITS]
    entry = snapshot.entries.get(digits)
    directory = entry.task.directory if entry else snapshot.others.get(digits)
    if directory is None or not is_below(root, directory):
        return None
    manifest = read_manifest(directory) if is_below(root, directory / MANIFEST) else None
    if entry:
        fingerprint = entry.task.fingerprint
        manifest = manifest if manifest and manifest["fingerprint"] == fingerprint else None
    else:
        note = read_json_below(root, directory / attempts.ATTEMPT) or {}
        fingerprint = str((manifest or note).get("fingerprint", ""))
    if len(address) > DIGITS and address != fingerprint:
        return None
    return Item(directory, fingerprint, manifest, entry)


def read_details(root: Path, snapshot: Snapshot, item: Item, attempt: int | None = None) -> Details:
    """Gather what the page shows, with the end of the log of an attempt (None: of the newest).

    Raises:
        FileNotFoundError: there is no log of this attempt.
    """
    logs = item.logs()
    shown = attempt if attempt is not None else next(reversed(logs), None)
    if attempt is not None and attempt not in logs:
        raise FileNotFoundError(f"{item.directory} has no log of attempt {attempt}.")
    state = item.state
    note = read_json_below(root, item.directory / attempts.ATTEMPT) or {}
    identity = item.entry.task.identity if item.entry else (item.manifest or note).get("identity", {})
    metrics = read_json_below(root, item.directory / "metrics.json") if item.file("metrics.json") else None
    metrics = metrics if isinstance(metrics, dict) else {}
    curves = panels(metrics.get("history") or _history_so_far(root, item))
    return Details(
        item=item,
        state=state,
        why=snapshot.survey.why(item.entry) if item.entry else state.why or _OUTSIDE,
        command=item.entry.task.command() if item.entry else note.get("command") or _command_in_log(root, item),
        identity={key: text_of(value) for key, value in flattened(identity).items()},
        inputs=[_input(snapshot, fingerprint) for fingerprint in identity.get("inputs", ())],
        made=_made(item.manifest),
        files=[(name, *_size(item, name)) for name in (item.manifest or {}).get("files", {})],
        pictures=[name for name in picture_names(item) if not (curves and name == "curves.png")],
        panels=curves,
        measured=dict(_measured(metrics)),
        logs=list(logs),
        attempt=shown,
        log="" if shown is None else _end_of(root, logs[shown]),
    )


def _end_of(root: Path, log: Path) -> str:
    """Return the end of a log; nothing of one that is not to be had."""
    try:
        with open_below(root, log) as file:
            return read_end(file)
    except FileNotFoundError:
        return ""


def _history_so_far(root: Path, item: Item) -> list[Any]:
    """Return the history of a training that is not done, or was not when its process ended."""
    note = read_json_below(root, item.directory / attempts.PROGRESS)
    history = note.get("history") if isinstance(note, dict) else None
    return history if isinstance(history, list) else []


def picture_names(item: Item) -> list[str]:
    """Return the pictures of a result."""
    return [name for name in (item.manifest or {}).get("files", {}) if name.endswith(".png") and item.file(name)]


def _title_of(directory: Path) -> str:
    label = directory.name.rpartition("__")[0].replace(",", " ")
    return f"{directory.parent.name} {label}".strip()


def _input(snapshot: Snapshot, fingerprint: str) -> tuple[str, str, str | None]:
    digits = fingerprint[:DIGITS]
    if facts := snapshot.facts.get(digits):
        return digits, facts["title"], facts["state"]
    if directory := snapshot.others.get(digits):
        return digits, _title_of(directory), "done" if (directory / MANIFEST).exists() else "missing"
    return digits, "gone", None


def _made(manifest: Mapping[str, Any] | None) -> dict[str, str]:
    """Return when, where, by what and how long a result was made."""
    if manifest is None:
        return {}
    facts = {key: text_of(value) for key, value in manifest.items() if key not in _APART}
    if isinstance(manifest.get("seconds"), (int, float)):
        facts["seconds"] = f"{manifest['seconds']} ({duration(manifest['seconds'])})"
    facts |= {name: str(version) for name, version in manifest.get("versions", {}).items()}
    if changed := changes(manifest):
        facts["changed since"] = "; ".join(changed)
    return facts


def _size(item: Item, name: str) -> tuple[str, bool]:
    entry = (item.manifest or {})["files"][name]
    size = f"{entry.get('bytes', 0):,} bytes"
    return (f"{entry['count']:,} files, {size}", False) if "count" in entry else (size, item.file(name) is not None)


def _measured(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield scores in percent, then the audits as they are stored."""
    test = metrics.get("test")
    for key, metric in METRICS.items():
        if isinstance(test, dict) and isinstance(test.get(key), (int, float)):
            yield metric.label, f"{metric.scale * test[key]:.{metric.decimals}f} {metric.unit}"
    for key, value in {**_numbers(metrics), **_numbers(metrics.get("removal"))}.items():
        yield key.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _numbers(found: Any) -> dict[str, int | float]:
    if not isinstance(found, dict):
        return {}
    return {k: v for k, v in found.items() if type(v) in (int, float) and k not in ("percent", "seed")}


def _command_in_log(root: Path, item: Item) -> str | None:
    """Return the command that the newest log gives for this result; a log may be of several."""
    for log in reversed(item.logs().values()):
        try:
            with open_below(root, log) as file:
                lines = file.read(_HEAD).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return None
        for line, following in itertools.pairwise(lines):
            if f"{item.directory.name} (" in line and _AGAIN in following:
                return following.partition(_AGAIN)[2]
    return None
