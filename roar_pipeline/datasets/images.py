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

import logging
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from roar_pipeline.cache.files import whole_file
from roar_pipeline.cache.hdf5 import allocate, created, reserve
from roar_pipeline.config import Dataset
from roar_pipeline.datasets import kinds
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.datasets.masks import VOID
from roar_pipeline.datasets.photographs import (
    Photographs,
    allocate_photographs,
    photograph_sizes,
    read_photographs,
    store_photographs,
)
from roar_pipeline.datasets.source import SPLITS, Source
from roar_pipeline.errors import InputError
from roar_pipeline.progress import notify

__all__ = [
    "FILE",
    "OVERLAPPING",
    "SPLITS",
    "Info",
    "Split",
    "distinct_splits",
    "first_name",
    "prepare",
    "read_info",
    "read_split",
    "read_splits",
    "read_training_photographs",
]

FILE = "images.h5"

OVERLAPPING = (("train", "validation"), ("train", "test"), ("validation", "test"))
"""The pairs of splits that the attribute ``overlaps`` counts."""

_log = logging.getLogger("roar")

_FORMAT = "roar-pipeline images 1"
_BLOCK = 256
"""Most images per read when a pass over a split only sums, and per write."""
_BUFFER = 1 << 24
"""Most bytes of a write."""
_SHOWN = 20
"""Class names in a message."""


@dataclass(frozen=True)
class Split:
    """One split in memory.

    Attributes:
        ids: N image ids in the list's order. images: (N, H, W, 3), RGB 0..255. labels: (N, K), 1 where the
        image shows the class. segmentation: (M, H, W), 0 background, 1..K class index plus one, 255 void; M
        > 0 in the test split only. segmentation_rows: (M,), the row in this split that each mask belongs
        to, ascending.
    """

    ids: list[str]
    images: npt.NDArray[np.uint8]
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


def prepare(directory: Path, root: Path, dataset: Dataset, classes: tuple[str, ...]) -> None:
    """Decode, resize and check the splits of a data set once, into ``directory/images.h5``.

    ``mean`` and ``std`` are the training split's (exact, over all pixels, population) unless ``dataset`` has them.
    Validation and test may be the same list; a test image among the training images is an error. Masks of images
    outside the test split are left out and counted in the attribute ``unused_masks``. With ``dataset.train_side`` the
    training photographs are stored as well, for random crops.

    Args:
        directory: of the result.
        root: the data set's folder.
        dataset: names its kind and its splits.
        classes: names, in the order of the labels.

    Raises:
        InputError: the folder, a list, a file or the class list is faulty; up to ten faults of files at once.
    """
    _check_classes(classes, has_masks=kinds.has_masks(root, dataset))
    source = kinds.open_source(root, dataset, classes)
    if not source.ids["validation"]:
        raise InputError(
            f"{source.where}: every image that was held out of train for validation is a copy of one that stays. "
            "Remove the copies, or add a validation split."
        )
    faults = Faults(source.where)
    sizes = photograph_sizes(source.photographs, len(source.ids["train"]), faults)
    with whole_file(directory / FILE) as scratch, created(scratch) as file:
        _allocate_splits(file, source, dataset, classes)
        _allocate_masks(file.create_group("masks"), source.masked_rows, dataset)
        if sizes:
            allocate_photographs(file, sizes)
        _write_attributes(file, source, dataset, classes)
        reserve(file)
        for split in _stored_splits(source):
            _store_split(file, split, source, faults)
        if source.photographs:
            store_photographs(file, source.photographs, sizes, faults)
        faults.check()
        for name, value in zip(("mean", "std"), _mean_std(file["train/images"], dataset), strict=True):
            file.attrs.modify(name, value)
    _log_notes(source, dataset)


def _stored_splits(source: Source) -> list[str]:
    """Return one name of every distinct list: the last, so that a list with masks is stored as the test split."""
    return list({id(source.ids[split]): split for split in SPLITS}.values())


def _check_classes(classes: Sequence[str], *, has_masks: bool) -> None:
    """Refuse no class, equal names, and more classes than the values of a mask."""
    most = VOID - 1 if has_masks else None
    if not classes or len(set(classes)) != len(classes) or (most and len(classes) > most):
        got = ", ".join(classes[:_SHOWN]) + (", ..." if len(classes) > _SHOWN else "") or "none"
        raise InputError(f"[dataset] classes must be 1 to {most or 'any number of'} different names, got {got}.")


def _log_notes(source: Source, dataset: Dataset) -> None:
    """Log what a reader of the results should know of the splits."""
    if source.held_out:
        counts = {split: len(source.ids[split]) for split in SPLITS}
        _log.info(
            "The data set has no validation split: %d of %d training images are held out for it, the same share of "
            "every class ([dataset] holdout = %g, holdout_seed = %d).",
            counts["validation"],
            counts["train"] + counts["validation"],
            dataset.holdout,
            dataset.holdout_seed,
        )
    for (first, second), count in zip(OVERLAPPING, source.overlaps, strict=True):
        if count:
            _log.warning("%d %s images are, byte for byte, %s images: [dataset] overlap = allow.", count, second, first)


def _allocate_splits(file: Any, source: Source, dataset: Dataset, classes: Sequence[str]) -> None:
    groups: dict[int, Any] = {}
    for split in SPLITS:
        ids = source.ids[split]
        if id(ids) in groups:
            file[split] = groups[id(ids)]
        else:
            groups[id(ids)] = file.create_group(split)
            _allocate_split(groups[id(ids)], ids, dataset, classes)


def _allocate_split(group: Any, ids: Sequence[str], dataset: Dataset, classes: Sequence[str]) -> None:
    encoded = [image_id.encode() for image_id in ids]
    group.create_dataset("ids", data=encoded, dtype=h5py.string_dtype("utf-8", max(map(len, encoded))))
    allocate(group, "images", (len(ids), dataset.height, dataset.width, 3), np.uint8)
    allocate(group, "labels", (len(ids), len(classes)), np.uint8)


def _allocate_masks(group: Any, rows: Sequence[int], dataset: Dataset) -> None:
    group.create_dataset("rows", data=np.array(rows, dtype=np.int64))
    allocate(group, "segmentation", (len(rows), dataset.height, dataset.width), np.uint8)


def _write_attributes(file: Any, source: Source, dataset: Dataset, classes: Sequence[str]) -> None:
    file.attrs.update({"format": _FORMAT, "classes": list(classes), "unused_masks": source.unused_masks})
    file.attrs.update({"mean": np.zeros(3), "std": np.zeros(3)})
    if source.is_single_label:
        file.attrs["single_label"] = True
    if source.held_out:
        file.attrs["held_out"] = (dataset.holdout, len(source.ids["validation"]))
    if any(source.overlaps):
        file.attrs["overlaps"] = source.overlaps


def _store_split(file: Any, split: str, source: Source, faults: Faults) -> None:
    group, count, masks = file[split], len(source.ids[split]), iter(range(len(source.masked_rows)))
    columns = _Column(group["labels"]), _Column(group["images"])
    for row, record in enumerate(source.records(split)):
        for column, read in zip(columns, (record.labels, record.image), strict=True):
            column.append(faults.read(read))
        if record.mask and split == "test":
            _store_row(file["masks/segmentation"], next(masks), faults, record.mask)
        if row % _BLOCK == 0:
            notify(row / count, f"{group.name.strip('/')}: {row} of {count} images")
    for column in columns:
        column.flush()


class _Column:
    """A dataset filled row by row and written in blocks: a write of HDF5 costs as much as a small image."""

    def __init__(self, dataset: Any) -> None:
        row_bytes = dataset.dtype.itemsize * math.prod(dataset.shape[1:])
        rows = min(_BLOCK, len(dataset), max(1, _BUFFER // max(1, row_bytes)))
        self._dataset, self._start, self._held = dataset, 0, 0
        self._rows = np.zeros((rows, *dataset.shape[1:]), dtype=dataset.dtype)

    def append(self, value: Any) -> None:
        """Add a row; None, of an image that cannot be read, leaves anything."""
        if value is not None:
            self._rows[self._held] = value
        self._held += 1
        if self._held == len(self._rows):
            self.flush()

    def flush(self) -> None:
        """Write the rows held."""
        self._dataset[self._start : self._start + self._held] = self._rows[: self._held]
        self._start, self._held = self._start + self._held, 0


def _store_row(column: Any, row: int, faults: Faults, read: Callable[[], Any]) -> None:
    """Store the result of ``read`` unless it fails."""
    value = faults.read(read)
    if value is not None:
        column[row] = value


def _mean_std(images: Any, dataset: Dataset) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the channels' mean and std in 0..1: those of ``dataset``, or exactly those of all pixels."""
    count = math.prod(images.shape[:3])
    sums, squares = np.zeros(3, dtype=np.int64), np.zeros(3, dtype=np.int64)
    for start in range(0, len(images), _BLOCK):
        block = images[start : start + _BLOCK]
        sums += block.sum(axis=(0, 1, 2), dtype=np.int64)
        squares += np.square(block, dtype=np.uint16).sum(axis=(0, 1, 2), dtype=np.int64)
    # Python's integers: the product overflows 64 bits on a set of VOC's size.
    variances = [(count * int(q) - int(s) ** 2) / (count * 255) ** 2 for s, q in zip(sums, squares, strict=True)]
    mean = np.array(dataset.mean or sums / (count * 255), dtype=np.float64)
    std = np.array(dataset.std or np.sqrt(variances), dtype=np.float64)
    if not (std > 0).all():
        raise InputError(
            f"A color channel is the same in all pixels of the training images ({dataset.train_split}), so "
            "it cannot be normalized. Check the images, or set [dataset] std."
        )
    return mean, std


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


def read_split(path: Path, split: str) -> Split:
    """Read one of ``SPLITS`` of ``images.h5`` into memory.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote, or has no such split.
    """
    if split not in SPLITS:
        raise InputError(f"There is no split '{split}'. Known: {', '.join(SPLITS)}.")
    with _open(path) as file:
        return _read_split(file, split, pixels=True)


def _read_split(file: Any, split: str, *, pixels: bool) -> Split:
    group, masks = file[split], file["masks"]
    count = len(masks["rows"]) if split == "test" else 0
    return Split(
        ids=list(group["ids"].asstr()[:]),
        images=group["images"][:] if pixels else group["images"][:0],
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
        pixels: if False, ``images`` of every split has no rows.

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


def read_training_photographs(path: Path) -> Photographs | None:
    """Read the training split's photographs of ``images.h5`` into memory; None where ``train_side`` was 0.

    Raises:
        InputError: the file is missing or not one that ``prepare`` wrote.
    """
    with _open(path) as file:
        return read_photographs(file)


def _open(path: Path) -> Any:
    try:
        file = h5py.File(path, "r")
    except FileNotFoundError:
        raise InputError(f"{path} is missing. Run PrepareImages.") from None
    except OSError as error:
        raise InputError(f"{path} is not a readable HDF5 file: {error}. Delete it and run PrepareImages.") from error
    if file.attrs.get("format") != _FORMAT:
        file.close()
        raise InputError(f"{path} was not written by PrepareImages of this version. Name another file.")
    return file
