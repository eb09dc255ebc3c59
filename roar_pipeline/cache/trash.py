"""What has been set aside: listing it, bringing it back, deleting it for good.

``trash/<time>/`` holds ``record.json`` (why, and which results) and the results, ``<family>/<name>`` as they were named
among the results. Nothing else that lies there is touched, and no link is followed.
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

__all__ = ["Trashed", "delete", "restore", "trashed"]


@dataclass(frozen=True)
class Trashed:
    """What was set aside at one time."""

    place: Path
    reason: str
    results: tuple[str, ...]

    @property
    def name(self) -> str:
        """What ``restore`` calls it."""
        return self.place.name


def trashed(data: Path) -> list[Trashed]:
    """Return what is in the trash, oldest first; folders that are none of ours are left out."""
    trash = data / TRASH
    places = [] if trash.is_symlink() else [path for path in sorted(trash.glob("*")) if _is_folder(path)]
    return [entry for entry in map(_read, places) if entry is not None]


def _read(place: Path) -> Trashed | None:
    families = sorted(path for path in place.glob("*") if _is_folder(path))
    folders = [path for family in families for path in sorted(family.glob("*")) if _is_folder(path)]
    record = _record(place)
    if record is not None:
        results = [name for path in folders if (name := _name(path)) in record["results"]]
        return Trashed(place, str(record["reason"]), tuple(results))
    results = [_name(path) for path in folders if not obstacle(path)]
    return Trashed(place, "unknown", tuple(results)) if results else None


def _record(place: Path) -> dict[str, Any] | None:
    try:
        record = read_json(place / RECORD)
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(record, dict) and "reason" in record and isinstance(record.get("results"), list)
    return record if is_ours else None


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _name(directory: Path) -> str:
    return f"{directory.parent.name}/{directory.name}"


def restore(data: Path, entry: Trashed) -> tuple[list[str], dict[str, str]]:
    """Bring back what was set aside; return what is back, and what was left with the reason.

    A finished or running result in its place stays; an unfinished one gives way to a finished one.
    """
    back: list[str] = []
    left: dict[str, str] = {}
    for name in entry.results:
        source, target = entry.place / name, data / RUNS / name
        if why := _obstacle(target):
            left[name] = why
            continue
        with try_lock(target) as free:
            if not free or _is_finished(target) or (not _is_finished(source) and any(target.glob(f"{SCRATCH}*"))):
                left[name] = "it has been made anew or is being made"
                continue
            shutil.rmtree(target)
            source.rename(target)
            back.append(name)
    _tidy(entry.place)
    return back, left


def _obstacle(target: Path) -> str:
    """Say why nothing may be brought back to this place, or give way there."""
    if target.exists() or link_on(target):
        return obstacle(target, deleting=True)
    return ""


def _is_finished(directory: Path) -> bool:
    return read_manifest(directory) is not None


def delete(entry: Trashed) -> None:
    """Delete what was set aside for good."""
    for name in entry.results:
        shutil.rmtree(entry.place / name)
    _tidy(entry.place)


def _tidy(place: Path) -> None:
    """Remove the folders of the trash that are empty now, with the record of what they held."""
    for family in [path for path in place.glob("*") if _is_folder(path)]:
        with contextlib.suppress(OSError):
            family.rmdir()
    if not any(_is_folder(path) for path in place.glob("*")):
        (place / RECORD).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            place.rmdir()
