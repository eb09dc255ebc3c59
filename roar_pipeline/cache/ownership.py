"""Which directories of the cache this project has made, and may therefore move and delete.

``runs/`` holds a folder per task family, which holds a directory per result. Everything else there belongs to the user:
it is reported and left alone. So is everything behind a link below the data folder.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.cache.attempts import ATTEMPT, read_note
from roar_pipeline.cache.files import SCRATCH
from roar_pipeline.cache.identity import fingerprint
from roar_pipeline.cache.manifests import MANIFEST

__all__ = ["FAMILIES", "READY", "foreign_folders", "is_result_name", "link_on", "obstacle"]

FAMILIES = (
    "GenerateScenes",
    "PrepareImages",
    "FineTuneTeacher",
    "DistillStudent",
    "DumpMaps",
    "RankPixels",
    "EvaluateLocalization",
    "Retrain",
    "ProbeMasks",
    "Report",
)
"""The task families, in the order of the chain."""

READY = SCRATCH + "ready.json"
"""The manifest of a result whose files are complete, before the rename to its final name."""

_NOTES = (MANIFEST, READY, ATTEMPT)
"""Files with the identity of a directory's result."""
_RESULT_NAME = re.compile(r"(.+__)?[0-9a-f]{12}", re.DOTALL)


def is_result_name(name: str) -> bool:
    """Return whether a folder's name is that of a result: ``label__<12 digits>``, or the digits alone."""
    return _RESULT_NAME.fullmatch(name) is not None


def obstacle(directory: Path, *, deleting: bool = False) -> str:
    """Return why a directory ``runs/<family>/<name>`` must stay where it is; empty where it may be moved.

    Args:
        directory: that may be a result's.
        deleting: it will be deleted for good. That requires a manifest, or a note on an attempt, whose fingerprint the
            directory's name ends in.
    """
    if link := link_on(directory):
        return f"{link} is a link to {link.readlink()}"
    if directory.parent.name not in FAMILIES or not is_result_name(directory.name):
        return "it has not the name of a result"
    if not deleting and any((directory / name).exists() for name in _NOTES):
        return ""
    if any(_names(identity, directory, exactly=deleting) for identity in _identities(directory)):
        return ""
    if deleting and (directory / MANIFEST).exists():
        return "its manifest is damaged; `roar verify --repair` sets it aside"
    return "" if _is_bare(directory) else "no manifest and no note on an attempt says what it is"


def link_on(directory: Path) -> Path | None:
    """Return the first link of ``<folder>``, ``<folder>/<family>``, ``<folder>/<family>/<name>``, or None."""
    return next((path for path in (directory.parent.parent, directory.parent, directory) if path.is_symlink()), None)


def _identities(directory: Path) -> list[Mapping[str, Any]]:
    """Return the identities that the manifest, the scratch manifest and the note on the attempt name."""
    notes = [read_note(directory, name) or {} for name in _NOTES]
    return [identity for note in notes if isinstance(identity := note.get("identity"), dict)]


def _names(identity: Mapping[str, Any], directory: Path, *, exactly: bool) -> bool:
    is_of_family = identity.get("stage") == directory.parent.name
    return is_of_family and (not exactly or directory.name.endswith(fingerprint(identity)[:12]))


def _is_bare(directory: Path) -> bool:
    """Return whether a directory holds at most its lock file."""
    return {path.name for path in directory.iterdir()} <= {".lock"}


def foreign_folders(runs: Path) -> list[tuple[Path, str]]:
    """Return the folders below ``runs/`` that are no results of this project, or are links, with the reason."""
    if runs.is_symlink():
        return [(runs, f"it is a link to {runs.readlink()}")]
    foreign = []
    for family in sorted(path for path in runs.glob("*") if path.is_dir()):
        if family.is_symlink():
            foreign.append((family, f"it is a link to {family.readlink()}"))
        elif family.name not in FAMILIES:
            foreign.append((family, "it has not the name of a stage"))
        else:
            directories = sorted(path for path in family.glob("*") if path.is_dir())
            foreign += [(path, reason) for path in directories if (reason := obstacle(path, deleting=True))]
    return foreign
