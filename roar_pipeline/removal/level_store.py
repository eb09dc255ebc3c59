"""``levels.h5``: the removal levels of every image, all percentages in one byte per pixel, with their audits.

Legend: N images of a split, H x W pixels.

Its groups ``train``, ``test`` and ``validation`` have a row per image (ids, levels, total_variation), and tables with a
row per percentage (object_shares and tied_shares by direction). A validation split that is the test split (or the
training split) is that split under a second name. It is made from a file of maps, of which it reads for every split
``ids`` (N,), ``maps`` (N, H, W), ``explained`` (N, K) and the attribute ``zero_maps``.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import whole_file
from roar_pipeline.cache.hdf5 import allocate, created, open_group, reserve, text_of, write_column
from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.datasets.images import SPLITS, Split, first_name
from roar_pipeline.progress import notify
from roar_pipeline.removal import audits
from roar_pipeline.removal.audits import Levels
from roar_pipeline.removal.ranking import DIRECTIONS, donors, removal_levels
from roar_pipeline.seeds import derived_seed

__all__ = ["read_all_levels", "read_levels", "write_levels"]

_MAPS_PER_REPORT = 64
_BLOCK = 4096
"""Images per read of their explained classes."""


def write_levels(
    path: Path, maps_path: Path, tie_seed: int, splits: Mapping[str, Split], *, shuffle_seed: int | None = None
) -> None:
    """Rank the pixels of every split by its maps, and store the removal levels.

    Args:
        path: of levels.h5.
        maps_path: of maps.h5.
        tie_seed: of the order of equal pixels.
        splits: by name, as ``images.read_splits`` returns them; a split under two names is ranked once.
        shuffle_seed: rank every image by another image's map of its split, drawn by this seed; None: by its own map.
    """
    first_names = {name: first_name(split, splits) for name, split in splits.items()}
    with whole_file(path) as scratch, created(scratch) as file:
        for name, source in first_names.items():
            if source == name:
                with open_group(maps_path, name) as maps:
                    _allocate_levels(file.create_group(name), maps)
        for name, source in first_names.items():
            if source != name:
                file[name] = file[source]
        reserve(file)
        for name in dict.fromkeys(first_names.values()):
            _rank(file[name], maps_path, name, tie_seed, shuffle_seed)
            _audit(file[name], maps_path, name, splits[name], shuffled=shuffle_seed is not None)


def _allocate_levels(group: h5py.Group, maps: h5py.Group) -> None:
    """Create all columns of a split of ``levels.h5``: none can be added after the disk space is reserved."""
    group.attrs["empty_maps"] = maps.attrs["zero_maps"]
    group.attrs["explained_as_labels"] = np.nan
    write_column(group, "ids", text_of(maps["ids"][()]))
    allocate(group, "levels", maps["maps"].shape, np.uint8)
    allocate(group, "total_variation", (len(maps["ids"]),), np.float64)
    for direction in DIRECTIONS:
        for name in ("object_shares", "tied_shares"):
            allocate(group, f"{name}_{direction}", (101,), np.float64)


def _rank(group: h5py.Group, maps_path: Path, name: str, tie_seed: int, shuffle_seed: int | None) -> None:
    with open_group(maps_path, name) as data:
        ids, maps = text_of(data["ids"][()]), data["maps"]
        variation = np.empty(len(ids))
        tied = {direction: np.zeros(101) for direction in DIRECTIONS}
        seed = None if shuffle_seed is None else derived_seed(shuffle_seed, "shuffled", name)
        sources = np.arange(len(ids)) if seed is None else donors(len(ids), seed)
        for row, (image_id, source) in enumerate(zip(ids, sources, strict=True)):
            map_ = maps[source]
            group["levels"][row] = removal_levels(map_, image_id, tie_seed)
            variation[row] = audits.total_variation(map_)
            for direction, total in tied.items():
                total += audits.tied_shares(map_, direction)
            if row % _MAPS_PER_REPORT == 0:
                notify(row / len(ids), f"{name}: {row} of {len(ids)} maps")
    group["total_variation"][...] = variation
    for direction, total in tied.items():
        group[f"tied_shares_{direction}"][...] = total / max(len(ids), 1)


def _audit(group: h5py.Group, maps_path: Path, name: str, split: Split, *, shuffled: bool) -> None:
    """Store the removed share of objects at every percentage, and how often the explained classes are the labels."""
    levels = np.zeros(split.segmentation.shape, dtype=np.uint8)
    for mask, row in enumerate(split.segmentation_rows):
        levels[mask] = group["levels"][row]
    for direction in DIRECTIONS:
        group[f"object_shares_{direction}"][...] = audits.object_shares(levels, split.segmentation, direction)
    with open_group(maps_path, name) as data:
        share = _share_as_labels(data["explained"], split.labels)
    if share is not None and not shuffled:
        group.attrs.modify("explained_as_labels", np.float64(share))


def _share_as_labels(explained: h5py.Dataset, labels: NDArray[np.uint8]) -> float | None:
    """Return the share of images whose explained classes are their labels (N, K); None where no class is explained."""
    count, is_any = 0, False
    for start in range(0, len(labels), _BLOCK):
        rows = explained[start : start + _BLOCK]
        is_any |= bool(rows.any())
        count += int((rows == labels[start : start + _BLOCK]).all(axis=1).sum())
    return count / len(labels) if is_any else None


def read_levels(path: Path, split: str, *, in_memory: bool = True) -> Levels:
    """Read the removal levels of ``train``, ``validation`` or ``test``; if not into memory, their rows when indexed."""
    with open_group(path, split) as group:
        return _levels_of(group, in_memory=in_memory)


def read_all_levels(path: Path, *, in_memory: bool = True) -> dict[str, Levels]:
    """Read the removal levels of all splits; a split under two names is read once, as one object."""
    levels: dict[str, Levels] = {}
    with open_group(path, "/") as file:
        for name in SPLITS:
            same = next((other for other in levels if file[other] == file[name]), None)
            levels[name] = levels[same] if same else _levels_of(file[name], in_memory=in_memory)
    return levels


def _levels_of(group: h5py.Group, *, in_memory: bool) -> Levels:
    return Levels(
        ids=text_of(group["ids"][()]),
        levels=group["levels"][()] if in_memory else StoredRows(group["levels"]),
        tied_shares={d: group[f"tied_shares_{d}"][()] for d in DIRECTIONS},
        total_variation=group["total_variation"][()],
        object_shares={d: group[f"object_shares_{d}"][()] for d in DIRECTIONS},
        empty_maps=int(group.attrs["empty_maps"]),
        explained_as_labels=float(group.attrs["explained_as_labels"]),
    )
