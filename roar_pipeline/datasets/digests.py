"""The sha256 of a whole data set, cached between runs."""

import contextlib
import hashlib
import json
import os
from pathlib import Path

from roar_pipeline.cache.files import lock, write_json
from roar_pipeline.config import Dataset
from roar_pipeline.datasets import kinds

__all__ = ["content_digest"]


def content_digest(root: Path, dataset: Dataset, cache: Path) -> str:
    """Return a sha256 over the names and contents of all files of a data set that may be read.

    The same files in another folder have the same digest. Contents are read only if a name, size, mtime or ctime (which
    cannot be set back) differs from ``cache``, a JSON file that several processes may use and anyone may delete.

    Raises:
        InputError: there is no data set at ``root``, or its layout is faulty.
    """
    found = {file.name: file for file in kinds.files(root, dataset)}
    files = sorted((file.name, *_stamp(file.status)) for file in found.values())
    listing = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    key = str(root.resolve())
    entry = _read_cache(cache).get(key)
    if isinstance(entry, dict) and entry.get("listing") == listing and "digest" in entry:
        return str(entry["digest"])
    digest = hashlib.sha256()
    for name, *_ in files:
        content = hashlib.sha256(Path(found[name].path).read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    _write_cache(cache, {**_read_cache(cache), key: {"listing": listing, "digest": digest.hexdigest()}})
    return digest.hexdigest()


def _stamp(status: os.stat_result) -> tuple[int, int, int]:
    return status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _read_cache(cache: Path) -> dict[str, object]:
    try:
        content = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_cache(cache: Path, value: dict[str, object]) -> None:
    """Write the cache if the folder is writable; without it, the next run reads all files again."""
    with contextlib.suppress(OSError), lock(cache.parent):
        write_json(cache, value)
