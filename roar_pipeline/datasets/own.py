"""A data set of the user's own: ``[dataset] root = module:function``.

``function(split)`` returns an iterable of the items of ``train``, ``validation`` or ``test``: (image, label), or
(image, labels) with ``[dataset] labels = several``, and for localization (image, label, mask). It may return None or
nothing for validation, which is then held out of the training items.

- image: a PIL image, or a uint8 array (h, w, 3) or (h, w); sizes may differ.
- label: a class index, 0 for the first of ``[dataset] classes``; labels: a list of them.
- mask: a uint8 array (h, w) or a palette image, 0 background, 1..K class index plus one, 255 void.

The function is called several times per split, first to check and count, then to store, and yields the same items in
the same order every time. The data set's identity is the content of the module's file, the function's name and the
settings; not what the function reads elsewhere, so whoever changes other files changes the module as well, for example
a version in a comment.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from roar_pipeline.config import Dataset
from roar_pipeline.custom_functions import load, source_file
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.datasets.holdout import held_out_rows, without_copies
from roar_pipeline.datasets.items import Item, read_item
from roar_pipeline.datasets.overlaps import check_twins, same_digests
from roar_pipeline.datasets.source import SPLITS, Counts, DataFile, Record, Source
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain
from roar_pipeline.progress import notify

__all__ = ["class_names", "count", "files", "identity", "is_single_label", "open_source"]

_ASSUMED = Counts(train=50_000, validation=5_000, test=10_000)
_PER_REPORT = 256


@dataclass(frozen=True)
class _Checked:
    """What the first pass keeps of the items of a split, by row."""

    digests: list[bytes]
    class_indices: list[tuple[int, ...]]
    masked: list[int]
    """Rows with a mask, ascending."""


def class_names(root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return [dataset] classes, which a data set of the user's own needs."""
    return dataset.classes


def identity(root: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what of [dataset] counts, and the function's name."""
    values = plain(dataset)
    kept = ("height", "width", "mean", "std", "overlap")
    return {
        "kind": "own",
        "function": dataset.root.partition(":")[2],
        "labels": "one" if is_single_label(dataset) else "several",
        "masks": bool(dataset.segmentation_split),
        "holdout": dataset.holdout,
        "holdout_seed": dataset.holdout_seed,
        **{name: values[name] for name in kept if name in values},
    }


def files(root: Path, dataset: Dataset) -> Iterator[DataFile]:
    """Yield the module's file.

    Raises:
        InputError: Python finds no such module.
    """
    path = source_file(dataset.root)
    yield DataFile("module.py", str(path), path.stat())


def count(root: Path, dataset: Dataset) -> Counts:
    """Assume a size, of which memory and time are estimated: nobody knows it before the function has run."""
    return _ASSUMED


def open_source(root: Path, dataset: Dataset, classes: Sequence[str]) -> Source:
    """Call the function and check all its items, hold out a validation split if there is none.

    Raises:
        InputError: the function fails, items are faulty, or splits share images.
    """
    function, faults = load(dataset.root), Faults(dataset.root)
    checked = {split: _check(function, split, dataset, classes, faults) for split in SPLITS}
    faults.check()
    rows = {split: list(range(len(items.digests))) for split, items in checked.items()}
    origins = {split: split for split in SPLITS}
    is_held_out = not rows["validation"]
    if is_held_out:
        origins["validation"] = "train"
        rows["train"], rows["validation"] = _hold_out(checked["train"], dataset, classes)
    ids = {split: [f"{origins[split]}_{row}" for row in rows[split]] for split in SPLITS}
    by_id = {
        split: {name: checked[origins[split]].digests[row] for name, row in zip(ids[split], rows[split], strict=True)}
        for split in SPLITS
    }

    def pairs_of(first: str, second: str) -> list[tuple[str, str]]:
        return list(same_digests(by_id[first], by_id[second]))

    def records(split: str) -> Iterator[Record]:
        given = _items(function, origins[split], dataset, classes)
        return _records(given, set(rows[split]), checked[origins[split]], dataset, classes)

    has_masks = bool(dataset.segmentation_split)
    return Source(
        dataset.root,
        ids,
        records,
        is_single_label=is_single_label(dataset),
        masked_rows=_masked_rows(checked) if has_masks else (),
        unused_masks=sum(len(checked[split].masked) for split in ("train", "validation")) if has_masks else 0,
        held_out=is_held_out,
        overlaps=check_twins({split: len(ids[split]) for split in SPLITS}, SPLITS, pairs_of, dataset),
    )


def is_single_label(dataset: Dataset) -> bool:
    """Return whether every image has exactly one label, by [dataset] labels."""
    return dataset.labels != "several"


def _masked_rows(checked: dict[str, _Checked]) -> list[int]:
    if not checked["test"].masked:
        raise InputError(
            "No test item has a mask. Yield (image, label, mask), or set [dataset] segmentation_split to nothing: then "
            "there is no localization."
        )
    return checked["test"].masked


def _check(
    function: Callable[[str], Any], split: str, dataset: Dataset, classes: Sequence[str], faults: Faults
) -> _Checked:
    """Read all items of a split once, and record their faults."""
    checked = _Checked([], [], [])
    for row, read in enumerate(_items(function, split, dataset, classes)):
        item = faults.read(read)
        if item is not None:
            checked.digests.append(item.digest)
            checked.class_indices.append(item.class_indices)
            if item.mask is not None:
                checked.masked.append(row)
        if row % _PER_REPORT == 0:
            notify(0, f"{split}: {row} items checked")
    if not checked.digests and split != "validation":
        faults.check()
        faults.add(f"{dataset.root}('{split}') yields nothing: a split needs at least one image.")
    if split == "train" and is_single_label(dataset):
        present = {indices[0] for indices in checked.class_indices}
        for index, name in enumerate(classes):
            if checked.digests and index not in present:
                faults.add(f"No training item is of class {name} (label {index}). Add some, or drop the name.")
    return checked


def _items(
    function: Callable[[str], Any], split: str, dataset: Dataset, classes: Sequence[str]
) -> Iterator[Callable[[], Item]]:
    """Yield a reader per item of a split, which raises InputError if the item is faulty.

    Raises:
        InputError: the function itself fails.
    """
    where = f"{dataset.root}('{split}')"
    row = -1

    def read(given: Any, row: int) -> Item:
        try:
            return read_item(given, classes, is_single_label=is_single_label(dataset))
        except InputError as error:
            raise InputError(f"{where}, item {row}: {error}") from error

    try:
        returned = function(split)
        for row, given in enumerate(() if returned is None else returned):
            yield partial(read, given, row)
    except InputError:
        raise
    except Exception as error:
        place = f" after item {row}" if row >= 0 else ""
        raise InputError(f"{where} fails{place}: {type(error).__name__}: {error}") from error


def _hold_out(checked: _Checked, dataset: Dataset, classes: Sequence[str]) -> tuple[list[int], list[int]]:
    """Return the rows that stay in train and those that are held out: of every class, or of all with several labels."""
    if is_single_label(dataset):
        index, names = np.array([indices[0] for indices in checked.class_indices], dtype=np.int64), tuple(classes)
    else:
        index, names = np.zeros(len(checked.digests), dtype=np.int64), ("any class",)
    drawn = held_out_rows(index, names, dataset.holdout, dataset.holdout_seed)
    return without_copies(drawn, checked.digests)


def _records(
    items: Iterator[Callable[[], Item]], rows: set[int], checked: _Checked, dataset: Dataset, classes: Sequence[str]
) -> Iterator[Record]:
    size = dataset.height, dataset.width
    masked = set(checked.masked) if dataset.segmentation_split else set()
    row, missing = -1, len(rows)
    for row, read in enumerate(items):
        if row not in rows:
            continue
        item = read()
        if (item.digest, item.class_indices) != (checked.digests[row], checked.class_indices[row]):
            raise _unsteady(dataset, row)
        mask = partial(item.segmentation, *size) if row in masked else None
        yield Record(partial(item.labels, len(classes)), partial(item.pixels, *size), mask)
        missing -= 1
        if not missing:
            return
    raise _unsteady(dataset, row + 1)


def _unsteady(dataset: Dataset, row: int) -> InputError:
    return InputError(
        f"{dataset.root} yields other items when it is called again: item {row} differs or is missing. Yield the same "
        "items in the same order every time, and leave augmentation to [teacher] augment."
    )
