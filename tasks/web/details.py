"""The contents of a result's page. Only files below the folder of results are read, wherever links lead."""

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

__all__ = ["Details", "Item", "find_item", "picture_names", "read_details"]

_OUTSIDE = "not part of this grid"
_LOG_HEAD = 1 << 16
"""Bytes at the start of a log that are searched for its command."""
_COMMAND_MARK = "again, alone: "
"""Text before the command in a log."""
_SEPARATE_KEYS = ("fingerprint", "identity", "files", "versions")
"""Keys of a manifest that the page shows separately."""


@dataclass(frozen=True)
class Item:
    """A result that a request names: one of the grid, or another one of the cache."""

    directory: Path
    fingerprint: str
    """Empty if an unfinished result has not recorded it."""
    manifest: Mapping[str, Any] | None
    entry: Entry | None
    """The result in the grid; None if it is not part of the grid."""

    @property
    def digits(self) -> str:
        """The first digits of the fingerprint, which addresses use."""
        return self.fingerprint[:DIGITS] or self.directory.name[-DIGITS:]

    @property
    def title(self) -> str:
        """The result's name for people."""
        return str(self.entry.task.title) if self.entry else _title_of(self.directory)

    @property
    def state(self) -> State:
        """The state: in the grid that of the snapshot, elsewhere the present one."""
        return self.entry.state if self.entry else state_of(self.directory, self.fingerprint)

    def file(self, name: str) -> Path | None:
        """Return the path of a file that the manifest names; None for any other name, and for folders."""
        record = (self.manifest or {}).get("files", {}).get(name)
        if not isinstance(record, dict) or "count" in record or name != Path(name).name:
            return None
        return self.directory / name

    def logs(self) -> dict[int, Path]:
        """Return the logs of all attempts by number, oldest first."""
        return {int(log.stem.removeprefix("attempt-")): log for log in attempts.logs(self.directory)}


@dataclass(frozen=True)
class Details:
    """The contents of a result's page."""

    item: Item
    state: State
    why: str
    command: str | None
    identity: Mapping[str, str]
    """Parameters and settings."""
    inputs: Sequence[tuple[str, str, str | None]]
    """Digits, title and state of every input; state None if the input has no page."""
    provenance: Mapping[str, Any]
    """Time, host, versions and duration of the computation."""
    files: Sequence[tuple[str, str, bool]]
    """Name, size, and whether the file can be downloaded."""
    pictures: Sequence[str]
    panels: Sequence[Panel]
    scores: Mapping[str, str]
    """Scores and audits as text, by name."""
    logs: Sequence[int]
    """Numbers of all attempts that have a log."""
    attempt: int | None
    """Number of the attempt whose log the page shows."""
    log: str
    """The end of that log."""


def find_item(root: Path, snapshot: Snapshot, address: str) -> Item | None:
    """Return the result below the root with this fingerprint, or with these first digits; None if none has it."""
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
    """Read the contents of a result's page, with the end of an attempt's log (None: the newest attempt's).

    Raises:
        FileNotFoundError: the attempt has no log.
    """
    logs = item.logs()
    if attempt is None:
        attempt = next(reversed(logs), None)
    elif attempt not in logs:
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
        provenance=_provenance(item.manifest),
        files=[(name, *_size(item, name)) for name in (item.manifest or {}).get("files", {})],
        pictures=[name for name in picture_names(item) if not (curves and name == "curves.png")],
        panels=curves,
        scores=dict(_scores(metrics)),
        logs=list(logs),
        attempt=attempt,
        log="" if attempt is None else _read_log_end(root, logs[attempt]),
    )


def _read_log_end(root: Path, log: Path) -> str:
    """Return the end of a log; empty if it is no file below the root."""
    try:
        with open_below(root, log) as file:
            return read_end(file)
    except FileNotFoundError:
        return ""


def _history_so_far(root: Path, item: Item) -> list[Any]:
    """Return the history of an unfinished training."""
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


def _provenance(manifest: Mapping[str, Any] | None) -> dict[str, str]:
    if manifest is None:
        return {}
    facts = {key: text_of(value) for key, value in manifest.items() if key not in _SEPARATE_KEYS}
    if isinstance(manifest.get("seconds"), (int, float)):
        facts["seconds"] = f"{manifest['seconds']} ({duration(manifest['seconds'])})"
    facts |= {name: str(version) for name, version in manifest.get("versions", {}).items()}
    if changed := changes(manifest):
        facts["changed since"] = "; ".join(changed)
    return facts


def _size(item: Item, name: str) -> tuple[str, bool]:
    """Return the size of a file or folder as text, and whether it can be downloaded."""
    record = (item.manifest or {})["files"][name]
    size = f"{record.get('bytes', 0):,} bytes"
    return (f"{record['count']:,} files, {size}", False) if "count" in record else (size, item.file(name) is not None)


def _scores(metrics: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield scores in percent, then the audits as they are stored."""
    test = metrics.get("test")
    for key, metric in METRICS.items():
        if isinstance(test, dict) and isinstance(test.get(key), (int, float)):
            yield metric.label, f"{metric.scale * test[key]:.{metric.decimals}f} {metric.unit}"
    for key, value in {**_numbers(metrics), **_numbers(metrics.get("removal"))}.items():
        yield key.replace("_", " "), f"{value:,.4g}" if isinstance(value, float) else f"{value:,}"


def _numbers(values: Any) -> dict[str, int | float]:
    if not isinstance(values, dict):
        return {}
    return {k: v for k, v in values.items() if type(v) in (int, float) and k not in ("percent", "seed")}


def _command_in_log(root: Path, item: Item) -> str | None:
    """Return this result's command from its newest log, which several results may share."""
    for log in reversed(item.logs().values()):
        try:
            with open_below(root, log) as file:
                lines = file.read(_LOG_HEAD).decode(errors="replace").splitlines()
        except FileNotFoundError:
            return None
        for line, following in itertools.pairwise(lines):
            if f"{item.directory.name} (" in line and _COMMAND_MARK in following:
                return following.partition(_COMMAND_MARK)[2]
    return None
