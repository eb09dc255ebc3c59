"""The VOC layout as a kind of data set: what tasks ask of its lists, and its images as a ``Source``."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from roar_pipeline.config import Dataset
from roar_pipeline.datasets import scenes, voc
from roar_pipeline.datasets.overlaps import check_disjoint
from roar_pipeline.datasets.source import Counts, DataFile, PhotographReader, Record, Source, estimated_bytes
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain

__all__ = ["class_names", "count", "files", "identity", "open_source"]

_OF_OTHER_KINDS = {"kind", "labels", "holdout", "holdout_seed"}


def class_names(root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return [dataset] classes, or those of VOC or of the generated set."""
    return dataset.classes or (voc.CLASSES if dataset.root else scenes.CLASSES)


def identity(root: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what of [dataset] counts, but for the place of the files."""
    idle = {"root", *_OF_OTHER_KINDS, *(() if dataset.train_side else ("train_side",))}
    return {name: value for name, value in plain(dataset).items() if name not in idle}


def files(root: Path, dataset: Dataset) -> Iterator[DataFile]:
    """Yield every file that may be read; hidden files are not the set's.

    Raises:
        InputError: the folder is not in VOC layout.
    """
    voc.check_layout(root, dataset)
    for name in _list_names(dataset):
        yield DataFile(name, f"{root}/{name}", (root / name).stat())
    for folder in (voc.IMAGES, voc.ANNOTATIONS, voc.MASKS):
        if not (root / folder).is_dir():
            continue
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    yield DataFile(f"{folder}/{entry.name}", entry.path, entry.stat())


def _list_names(dataset: Dataset) -> list[str]:
    main = {dataset.train_split, dataset.validation_split, dataset.test_split}
    masks = {dataset.segmentation_split} - {""}
    return sorted(
        [f"{voc.LISTS}/Main/{name}.txt" for name in main] + [f"{voc.LISTS}/Segmentation/{name}.txt" for name in masks]
    )


def count(root: Path, dataset: Dataset) -> Counts:
    """Count the images of the lists; a list that cannot be read, which fails the stage that needs it, counts none."""
    train = _listed(root, dataset.train_split)
    test, validation = (len(_listed(root, split)) for split in (dataset.test_split, dataset.validation_split))
    masks = len(_listed(root, dataset.segmentation_split, "Segmentation")) if dataset.segmentation_split else 0
    is_shared = dataset.validation_split == dataset.test_split
    photographs = estimated_bytes(_photographs(root, train, dataset.train_side), len(train))
    return Counts(len(train), 0 if is_shared else validation, test, min(masks, test), photographs)


def _listed(root: Path, split: str, kind: voc.Kind = "Main") -> list[str]:
    try:
        return voc.read_split(root, split, kind)
    except InputError:
        return []


def open_source(root: Path, dataset: Dataset, classes: Sequence[str]) -> Source:
    """Check the lists and open the data set.

    Raises:
        InputError: the folder or a list is faulty, or splits share images.
    """
    voc.check_layout(root, dataset)
    lists = {"train": dataset.train_split, "validation": dataset.validation_split, "test": dataset.test_split}
    ids = {name: voc.read_split(root, name) for name in dict.fromkeys(lists.values())}
    names = (dataset.train_split, dataset.validation_split, dataset.test_split)
    overlaps = check_disjoint(ids, names, partial(voc.image_path, root), dataset)
    masked, unused = _masked_rows(root, ids[dataset.test_split], dataset)

    def records(split: str) -> Iterator[Record]:
        rows = set(masked) if split == "test" else set()
        for row, image_id in enumerate(ids[lists[split]]):
            yield _record(root, image_id, dataset, classes, has_mask=row in rows)

    return Source(
        root,
        {split: ids[name] for split, name in lists.items()},
        records,
        masked_rows=masked,
        unused_masks=unused,
        photographs=_photographs(root, ids[dataset.train_split], dataset.train_side),
        overlaps=overlaps,
    )


def _record(root: Path, image_id: str, dataset: Dataset, classes: Sequence[str], *, has_mask: bool) -> Record:
    size = dataset.height, dataset.width
    return Record(
        partial(voc.read_labels, root, image_id, classes),
        partial(voc.read_image, root, image_id, *size),
        partial(voc.read_segmentation, root, image_id, classes, *size) if has_mask else None,
    )


def _photographs(root: Path, ids: Sequence[str], short_side: int) -> PhotographReader | None:
    if not short_side:
        return None
    return PhotographReader(
        lambda row: voc.read_photograph_size(root, ids[row], short_side),
        lambda row: voc.read_photograph(root, ids[row], short_side),
    )


def _masked_rows(root: Path, test_ids: list[str], dataset: Dataset) -> tuple[list[int], int]:
    """Return the rows of the test split that have a mask, ascending, and the number of other images' masks."""
    if not dataset.segmentation_split:
        return [], 0
    listed = set(voc.read_split(root, dataset.segmentation_split, "Segmentation"))
    rows = [row for row, image_id in enumerate(test_ids) if image_id in listed]
    if not rows:
        raise InputError(
            f"None of the {len(listed)} masks of ImageSets/Segmentation/{dataset.segmentation_split}.txt "
            f"belongs to a test image ({dataset.test_split}). Set [dataset] segmentation_split to a list of "
            "test images, or to nothing: then there is no localization."
        )
    return rows, len(listed) - len(rows)
