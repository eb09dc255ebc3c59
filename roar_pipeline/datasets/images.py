"""Decoded and resized images with labels, ids and masks in one HDF5 file: what every later stage reads.

Legend: N images of a split, K classes, H x W pixels (height, width), M masks.

Layout of ``images.h5``: one group per split with ``ids`` (N,), ``images`` (N, H, W, 3) and ``labels`` (N,
K); the masks of the test split in the group ``masks`` with ``segmentation`` (M, H, W) and ``rows`` (M,);
the attributes ``format``, ``classes``, ``mean``, ``std`` and ``unused_masks``. ``single_label`` is there where every
image has exactly one label (its row of ``labels`` has a single 1), ``held_out`` (share, number) where the validation
split was drawn from the training images, ``overlaps`` (3,) where splits share images. Splits that name the same
list are one group under two names. With ``train_side`` the training split is stored a second time, as photographs of
different sizes (``photographs.py``).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.datasets.photographs import (
    Photographs,
    photograph_bytes,
    read_photographs,
)
from roar_pipeline.datasets.source import SPLITS
from roar_pipeline.errors import InputError

__all__ = [
    "FILE",
    "FORMAT",
    "OVERLAPPING",
    "SPLITS",
    "Info",
    "Split",
    "distinct_splits",
    "first_name",
    "read_info",
    "read_split",
    "read_splits",
    "read_training_photographs",
    "stored_bytes",
]

FILE = "images.h5"

OVERLAPPING = (("train", "validation"), ("train", "test"), ("validation", "test"))
"""The pairs of splits that the attribute ``overlaps`` counts."""

FORMAT = "roar-pipeline images 1"
"""Value of the attribute ``format``."""


@dataclass(frozen=True)
class Split:
    """One split, in memory but for its images, which may stay in the file.

    Attributes:
        ids: N image ids in the list's order. images: (N, H, W, 3), RGB 0..255. labels: (N, K), 1 where the
        image shows the class. segmentation: (M, H, W), 0 background, 1..K class index plus one, 255 void; M
        > 0 in the test split only. segmentation_rows: (M,), the row in this split that each mask belongs
        to, ascending.
    """

    ids: list[str]
    images: npt.NDArray[np.uint8] | StoredRows
    labels: npt.NDArray[np.uint8]
    segmentation: npt.NDArray[np.uint8]
    segmentation_rows: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Info:
    """Properties of all splits; ``mean`` and ``std`` are (3,), of RGB in 0..1."""

    classes: tuple[str, ...]
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    height: int
    width: int
    is_single_label: bool = False
    """Whether every image has exactly one label, a property of the data set's kind."""
    held_out: tuple[float, int] | None = None
    """The share of every class's training images that became the validation split, and their number; None: given."""
    overlaps: tuple[int, int, int] = (0, 0, 0)
    """How many images of the pairs of splits ``OVERLAPPING`` have equal bytes."""


def read_info(path: Path) -> Info:
    """Read the properties of all splits of ``images.h5``.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote.
    """
    with _open(path) as file:
        height, width = file["train/images"].shape[1:3]
        classes = tuple(str(name) for name in file.attrs["classes"])
        held_out = file.attrs.get("held_out")
        return Info(
            classes,
            file.attrs["mean"],
            file.attrs["std"],
            int(height),
            int(width),
            bool(file.attrs.get("single_label", False)),
            None if held_out is None else (float(held_out[0]), int(held_out[1])),
            _overlaps(file),
        )


def _overlaps(file: Any) -> tuple[int, int, int]:
    first, second, third = (int(count) for count in file.attrs.get("overlaps", (0, 0, 0)))
    return first, second, third


def read_split(path: Path, split: str, *, pixels: bool = True) -> Split:
    """Read one of ``SPLITS`` of ``images.h5``; ``pixels`` as for ``read_splits``.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote, or has no such split.
    """
    if split not in SPLITS:
        raise InputError(f"There is no split '{split}'. Known: {', '.join(SPLITS)}.")
    with _open(path) as file:
        return _read_split(file, split, pixels=pixels)


def _read_split(file: Any, split: str, *, pixels: bool) -> Split:
    group, masks = file[split], file["masks"]
    count = len(masks["rows"]) if split == "test" else 0
    return Split(
        ids=list(group["ids"].asstr()[:]),
        images=group["images"][:] if pixels else StoredRows(group["images"]),
        labels=group["labels"][:],
        segmentation=masks["segmentation"][:count],
        segmentation_rows=masks["rows"][:count],
    )


def read_splits(
    path: Path, names: Iterable[str] = ("train", "test", "validation"), *, pixels: bool = True
) -> dict[str, Split]:
    """Read several splits; a list that serves as two of them is read once, as one object.

    Args:
        path: of ``images.h5``.
        names: of ``SPLITS``; a list under two names has the masks of the one that comes first.
        pixels: whether the images are read into memory; if not, their rows are read when they are indexed.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote.
    """
    splits: dict[str, Split] = {}
    with _open(path) as file:
        for name in names:
            same = next((other for other in splits if file[other] == file[name]), None)
            splits[name] = splits[same] if same else _read_split(file, name, pixels=pixels)
    return splits


def first_name(split: Split, splits: Mapping[str, Split]) -> str:
    """Return the first of the names of a split, which may have several."""
    return next(name for name, other in splits.items() if other is split)


def distinct_splits(splits: Mapping[str, Split]) -> dict[str, Split]:
    """Return every split once, under its first name."""
    return {name: split for name, split in splits.items() if first_name(split, splits) == name}


def read_training_photographs(path: Path, *, pixels: bool = True) -> Photographs | None:
    """Read the training split's photographs of ``images.h5``; None where ``train_side`` was 0.

    Args:
        path: of ``images.h5``.
        pixels: whether the photographs are read into memory; if not, they are read when they are due.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote.
    """
    with _open(path) as file:
        return read_photographs(file, pixels=pixels)


def stored_bytes(path: Path, names: Iterable[str] = SPLITS, *, photographs: bool = False) -> int:
    """Return the bytes of the images of splits, a list that serves as two of them counted once.

    Args:
        path: of ``images.h5``.
        names: of ``SPLITS``.
        photographs: count the training photographs, where there are any, instead of the training images.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote.
    """
    with _open(path) as file:
        counted: dict[str, int] = {}
        for name in names:
            if not any(file[other] == file[name] for other in counted):
                counted[name] = int(file[name]["images"].nbytes)
        if photographs and "train" in counted:
            counted["train"] = photograph_bytes(file) or counted["train"]
        return sum(counted.values())


def _open(path: Path) -> Any:
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Run PrepareImages.") from None
    except OSError as error:
        raise InputError(f"{path} is not a readable HDF5 file: {error}. Delete it and run PrepareImages.") from error
    if file.attrs.get("format") != FORMAT:
        file.close()
        raise InputError(f"{path} was not written by PrepareImages of this version. Name another file.")
    return file
