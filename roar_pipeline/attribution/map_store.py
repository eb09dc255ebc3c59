"""HDF5 files of maps (``maps.h5``) and of removal levels (``levels.h5``): what is in them, and reading them.

Legend: N images of a split, P pairs of (test image with a segmentation, class present in it), K classes,
H x W pixels.

``maps.h5`` is written by ``dump``. It holds the groups ``train``, ``test`` and ``validation``, a row per image (ids,
maps, explained, scores), and ``localization``, a row per pair (rows, class_index, maps, scores). ``levels.h5`` holds
the three splits. A validation split that is the test split (or the training split) has no maps of its own, and is that
split under a second name in ``levels.h5``.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import whole_file
from roar_pipeline.cache.hdf5 import Answers, Group, allocate, answer, created, dump, requests, reserve, write_column
from roar_pipeline.datasets.images import SPLITS, Split
from roar_pipeline.errors import InputError
from roar_pipeline.progress import report
from roar_pipeline.removal import ranking
from roar_pipeline.seeds import derived_seed

__all__ = [
    "Answers",
    "Group",
    "Levels",
    "Pairs",
    "Rows",
    "answer",
    "distinct_splits",
    "dump",
    "image_group",
    "pair_group",
    "read_all_levels",
    "read_levels",
    "read_pairs",
    "read_rows",
    "removal_audits",
    "requests",
    "write_levels",
]


_REPORTED = 64
"""Maps ranked between two reports of progress."""


@dataclass(frozen=True)
class Rows:
    """A slice of the maps of a split."""

    ids: list[str]
    maps: NDArray[np.float32]
    """(N, H, W), raw, several explained classes merged."""
    explained: NDArray[np.uint8]
    """(N, K), 1 = this class is in the map."""
    scores: NDArray[np.float32]
    """(N, K), the model's."""
    zero_maps: int
    """Maps of the whole group without any positive value."""


@dataclass(frozen=True)
class Pairs:
    """The maps to localize."""

    maps: NDArray[np.float32]
    """(P, H, W), raw, of one class each."""
    rows: NDArray[np.int64]
    """(P,), the image's row in the test split."""
    class_index: NDArray[np.int64]
    """(P,)."""
    scores: NDArray[np.float32]
    """(P,), the model's for that image and class."""
    zero_maps: int
    """Maps without any positive value."""


@dataclass(frozen=True)
class Levels:
    """The removal levels of a split and what is known about them."""

    ids: list[str]
    levels: NDArray[np.uint8]
    """(N, H, W), the percentage at which each pixel goes, 1..100."""
    tied_shares: dict[str, NDArray[np.float64]]
    """By direction: (101,), at each percentage the share of removed pixels that ties decide, image mean."""
    total_variation: NDArray[np.float64]
    """(N,), of each image's map."""
    object_shares: dict[str, NDArray[np.float64]]
    """By direction: (101,), share of object pixels removed; NaN without segmentations, as for ``train``."""
    empty_maps: int
    """Maps of the split without any positive value."""
    explained_as_labels: float
    """Share of images whose explained classes are just those that they show; NaN where no class is explained."""


def image_group(ids: Sequence[str], classes: int, height: int, width: int) -> Group:
    """Describe ``train`` or ``test``: compute must give maps, explained and scores."""
    computed = {
        "maps": ((height, width), "f4"),
        "explained": ((classes,), "u1"),
        "scores": ((classes,), "f4"),
    }
    return Group(len(ids), {"ids": ids}, computed)


def pair_group(rows: NDArray[np.int64], class_index: NDArray[np.int64], height: int, width: int) -> Group:
    """Describe ``localization``: compute must give maps and scores."""
    computed = {"maps": ((height, width), "f4"), "scores": ((), "f4")}
    return Group(len(rows), {"rows": rows, "class_index": class_index}, computed)


def read_rows(path: Path, group: str, rows: slice = slice(None)) -> Rows:
    """Read the maps of ``train`` or ``test``, all or a slice of them."""
    with _opened(path, group) as held:
        return Rows(
            ids=_strings(held["ids"][rows]),
            maps=held["maps"][rows],
            explained=held["explained"][rows],
            scores=held["scores"][rows],
            zero_maps=int(held.attrs["zero_maps"]),
        )


def read_pairs(path: Path) -> Pairs:
    """Read the maps to localize."""
    with _opened(path, "localization") as held:
        columns = {name: held[name][()] for name in ("maps", "rows", "class_index", "scores")}
        return Pairs(**columns, zero_maps=int(held.attrs["zero_maps"]))


def write_levels(
    path: Path, maps_path: Path, tie_seed: int, splits: Mapping[str, Split], *, shuffle_seed: int | None = None
) -> None:
    """Rank the maps of every split and store their removal levels.

    Args:
        path: of levels.h5.
        maps_path: of maps.h5.
        tie_seed: of the order of equal pixels.
        splits: by name, as ``images.read_splits`` returns them; a split under two names is ranked once.
        shuffle_seed: rank every image by another image's map of the same split, drawn by this seed; None: by its own.
    """
    first = {name: _first_name(split, splits) for name, split in splits.items()}
    with whole_file(path) as scratch, created(scratch) as file:
        for name, source in first.items():
            if source == name:
                with _opened(maps_path, name) as held:
                    _allocate_levels(file.create_group(name), held)
        for name, source in first.items():
            if source != name:
                file[name] = file[source]
        reserve(file)
        for name in dict.fromkeys(first.values()):
            _rank(file[name], maps_path, name, tie_seed, shuffle_seed)
            _audit(file[name], maps_path, name, splits[name], shuffled=shuffle_seed is not None)


def distinct_splits(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return the splits under their first names: one that is another split as well is left out."""
    return {name: split for name, split in splits.items() if _first_name(split, splits) == name}


def _first_name(split: Split, splits: Mapping[str, Split]) -> str:
    return next(name for name, other in splits.items() if other is split)


def _allocate_levels(group: h5py.Group, held: h5py.Group) -> None:
    """Lay out everything that a split of ``levels.h5`` will hold: nothing can be added once the room is reserved."""
    group.attrs["empty_maps"] = held.attrs["zero_maps"]
    group.attrs["explained_as_labels"] = np.nan
    write_column(group, "ids", _strings(held["ids"][()]))
    allocate(group, "levels", held["maps"].shape, np.uint8)
    allocate(group, "total_variation", (len(held["ids"]),), np.float64)
    for direction in ranking.DIRECTIONS:
        for name in ("object_shares", "tied_shares"):
            allocate(group, f"{name}_{direction}", (101,), np.float64)


def _rank(group: h5py.Group, maps_path: Path, name: str, tie_seed: int, shuffle_seed: int | None) -> None:
    with _opened(maps_path, name) as held:
        ids, maps = _strings(held["ids"][()]), held["maps"]
        variation = np.empty(len(ids))
        tied = {direction: np.zeros(101) for direction in ranking.DIRECTIONS}
        seed = None if shuffle_seed is None else derived_seed(shuffle_seed, "shuffled", name)
        sources = np.arange(len(ids)) if seed is None else ranking.donors(len(ids), seed)
        for row, (image_id, source) in enumerate(zip(ids, sources, strict=True)):
            map_ = maps[source]
            group["levels"][row] = ranking.removal_levels(map_, image_id, tie_seed)
            variation[row] = ranking.total_variation(map_)
            for direction, total in tied.items():
                total += ranking.tied_shares(map_, direction)
            if row % _REPORTED == 0:
                report(row / len(ids), f"{name}: {row} of {len(ids)} maps")
    group["total_variation"][...] = variation
    for direction, total in tied.items():
        group[f"tied_shares_{direction}"][...] = total / max(len(ids), 1)


def _audit(group: h5py.Group, maps_path: Path, name: str, split: Split, *, shuffled: bool) -> None:
    """Store how much of the objects goes at every percentage, and how often the explained classes are the labels."""
    levels = np.zeros(split.segmentation.shape, dtype=np.uint8)
    for place, row in enumerate(split.segmentation_rows):
        levels[place] = group["levels"][row]
    for direction in ranking.DIRECTIONS:
        group[f"object_shares_{direction}"][...] = ranking.object_shares(levels, split.segmentation, direction)
    with _opened(maps_path, name) as held:
        explained = held["explained"][()]
    if explained.any() and not shuffled:
        group.attrs.modify("explained_as_labels", np.float64((explained == split.labels).all(axis=1).mean()))


def read_levels(path: Path, split: str) -> Levels:
    """Read the removal levels of ``train``, ``validation`` or ``test``."""
    with _opened(path, split) as held:
        return _levels_of(held)


def read_all_levels(path: Path) -> dict[str, Levels]:
    """Read the removal levels of all splits; a split under two names is read, and held, once."""
    levels: dict[str, Levels] = {}
    with _opened(path, "/") as file:
        for name in SPLITS:
            same = next((other for other in levels if file[other] == file[name]), None)
            levels[name] = levels[same] if same else _levels_of(file[name])
    return levels


def _levels_of(held: h5py.Group) -> Levels:
    return Levels(
        ids=_strings(held["ids"][()]),
        levels=held["levels"][()],
        tied_shares={d: held[f"tied_shares_{d}"][()] for d in ranking.DIRECTIONS},
        total_variation=held["total_variation"][()],
        object_shares={d: held[f"object_shares_{d}"][()] for d in ranking.DIRECTIONS},
        empty_maps=int(held.attrs["empty_maps"]),
        explained_as_labels=float(held.attrs["explained_as_labels"]),
    )


def removal_audits(splits: Mapping[str, Levels], percent: int, direction: str) -> dict[str, float | int | None]:
    """Return what a reader must know of the pixels removed in a cell, from the levels of ``train`` and ``test``.

    Returns:
        asked_percent and actual_percent_{train,test} of pixels *removed* (so 100 - percent is asked in
        direction keep), tied_share_{train,test}, empty_maps_{train,test} (maps without any positive value),
        explained_as_labels_{train,test} (None where no class is explained), object_share (None without
        segmentations) and total_variation (mean over test maps).
    """
    audits: dict[str, float | int | None] = {"asked_percent": percent if direction == "remove" else 100 - percent}
    splits = {name: splits[name] for name in ("train", "test")}
    for name, held in splits.items():
        audits[f"actual_percent_{name}"] = 100 * float(ranking.removed(held.levels, percent, direction).mean())
    for name, held in splits.items():
        audits[f"tied_share_{name}"] = float(held.tied_shares[direction][percent])
    for name, held in splits.items():
        audits[f"empty_maps_{name}"] = held.empty_maps
    for name, held in splits.items():
        audits[f"explained_as_labels_{name}"] = _defined(held.explained_as_labels)
    audits["object_share"] = _defined(float(splits["test"].object_shares[direction][percent]))
    audits["total_variation"] = float(splits["test"].total_variation.mean())
    return audits


def _defined(value: float) -> float | None:
    return None if np.isnan(value) else value


@contextlib.contextmanager
def _opened(path: Path, group: str) -> Iterator[h5py.Group]:
    """Open a group of a store; a file that is none of ours is the user's to remove."""
    try:
        with h5py.File(path, "r") as file:
            yield file[group]
    except FileNotFoundError:
        raise
    except (OSError, KeyError) as error:
        raise InputError(
            f"{path} does not hold what {path.name} should ({group}: {error}). Remove its folder and rerun."
        ) from error


def _strings(encoded: NDArray[np.bytes_]) -> list[str]:
    return [value.decode() for value in encoded]
