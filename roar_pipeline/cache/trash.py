"""The trash: list its entries, restore them, delete them for good.

``trash/<time>/`` holds ``record.json`` (why, and which results) and the results, ``<family>/<name>`` as in ``runs/``.
Other files there are not touched, and no link is followed.
"""

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.cache.files import SCRATCH, read_json, try_lock
from roar_pipeline.cache.inventory import RECORD, RUNS, TRASH
from roar_pipeline.cache.manifests import read_manifest
from roar_pipeline.cache.ownership import link_on, obstacle

__all__ = ["TrashEntry", "delete", "list_trash", "restore"]


@dataclass(frozen=True)
class TrashEntry:
    """The results that were moved to the trash at one time."""

    folder: Path
    reason: str
    results: tuple[str, ...]

    @property
    def name(self) -> str:
        """The name that ``restore`` takes."""
        return self.folder.name


def list_trash(data: Path) -> list[TrashEntry]:
    """Return the entries of the trash, oldest first, without folders that this project has not made."""
    trash = data / TRASH
    folders = [] if trash.is_symlink() else [path for path in sorted(trash.glob("*")) if _is_folder(path)]
    return [entry for entry in map(_read, folders) if entry is not None]


def _read(folder: Path) -> TrashEntry | None:
    families = sorted(path for path in folder.glob("*") if _is_folder(path))
    directories = [path for family in families for path in sorted(family.glob("*")) if _is_folder(path)]
    record = _record(folder)
    if record is not None:
        results = [name for path in directories if (name := _name(path)) in record["results"]]
        return TrashEntry(folder, str(record["reason"]), tuple(results))
    results = [_name(path) for path in directories if not obstacle(path)]
    return TrashEntry(folder, "unknown", tuple(results)) if results else None


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        record = read_json(folder / RECORD)
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(record, dict) and "reason" in record and isinstance(record.get("results"), list)
    return record if is_ours else None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _name(directory: Path) -> str:
    return f"{directory.parent.name}/{directory.name}"


def restore(data: Path, entry: TrashEntry) -> tuple[list[str], dict[str, str]]:
    """Move an entry's results back; return the names of these, and those of the others with the reason.

    A finished or running result at the target stays; an unfinished one is replaced by a finished one.
    """
    restored: list[str] = []
    skipped: dict[str, str] = {}
    for name in entry.results:
        source, target = entry.folder / name, data / RUNS / name
        if reason := _obstacle(target):
            skipped[name] = reason
            continue
        with try_lock(target) as is_free:
            if not is_free or _is_finished(target) or (not _is_finished(source) and any(target.glob(f"{SCRATCH}*"))):
                skipped[name] = "it has been made anew or is being made"
                continue
            shutil.rmtree(target)
            source.rename(target)
            restored.append(name)
    _tidy(entry.folder)
    return restored, skipped


def _obstacle(target: Path) -> str:
    """Return why nothing may replace the target; empty where it may be replaced."""
    if target.exists() or link_on(target):
        return obstacle(target, deleting=True)
    return ""


def _is_finished(directory: Path) -> bool:
    return read_manifest(directory) is not None


def delete(entry: TrashEntry) -> None:
    """Delete an entry's results for good."""
    for name in entry.results:
        shutil.rmtree(entry.folder / name)
    _tidy(entry.folder)


def _tidy(folder: Path) -> None:
    """Remove the folders of a trash entry that are empty now, and then its record."""
    for family in [path for path in folder.glob("*") if _is_folder(path)]:
        with contextlib.suppress(OSError):
            family.rmdir()
    if not any(_is_folder(path) for path in folder.glob("*")):
        (folder / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            folder.rmdir()
