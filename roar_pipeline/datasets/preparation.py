"""Decode, resize and check a data set once, into ``images.h5`` (its layout: ``images``)."""

import logging
import math
from collections.abc import Callable, Sequence
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
from roar_pipeline.datasets.images import FILE, FORMAT, OVERLAPPING
from roar_pipeline.datasets.masks import VOID
from roar_pipeline.datasets.photographs import allocate_photographs, photograph_sizes, store_photographs
from roar_pipeline.datasets.source import SPLITS, Source
from roar_pipeline.errors import InputError
from roar_pipeline.progress import notify

__all__ = ["prepare"]

_BLOCK = 256
"""Most images per write, and per read when a pass over a split only sums."""
_BUFFER = 1 << 24
"""Most bytes of a write."""
_SHOWN = 20
"""Class names in a message."""

_log = logging.getLogger("roar")


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
    file.attrs.update({"format": FORMAT, "classes": list(classes), "unused_masks": source.unused_masks})
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
