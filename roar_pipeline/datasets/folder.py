"""One folder per class: ``train/<class>/*``, ``test/<class>/*`` and, if there is one, ``val`` or ``validation``.

The layout of torchvision's ImageFolder, but for nested folders and files that are no images, which are refused. The id
of an image is its path below ``root``, such as ``train/cat/0001.jpg``.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.config import Dataset
from roar_pipeline.datasets.class_folders import checked_listing, class_names, image_ids, list_split, split_folders
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.datasets.holdout import held_out_count, held_out_rows
from roar_pipeline.datasets.overlaps import check_disjoint, same_files
from roar_pipeline.datasets.pixels import Result, as_rgb, read_file, shrunk
from roar_pipeline.datasets.source import Counts, DataFile, PhotographReader, Record, Source, estimated_bytes, one_hot
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain

__all__ = ["HELD_OUT", "class_names", "count", "files", "identity", "open_source"]

HELD_OUT = "validation, held out"
"""The list's name in messages where the validation split is drawn from the training images."""

_FORMATS = ("JPEG", "PNG", "BMP", "PPM", "TIFF", "WEBP")
_REMEDY = "Replace the file, or remove it."


def identity(root: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what of [dataset] counts, but for the place of the files."""
    folders = split_folders(root, dataset)
    values = plain(dataset)
    names = ["height", "width", "mean", "std", *(["train_side"] if dataset.train_side else [])]
    drawn = {} if folders["validation"] else {"holdout": dataset.holdout, "holdout_seed": dataset.holdout_seed}
    allowed = {"overlap": dataset.overlap} if "overlap" in values else {}
    return {"kind": "folder", "splits": folders, **{name: values[name] for name in names}, **drawn, **allowed}


def files(root: Path, dataset: Dataset) -> Iterator[DataFile]:
    """Yield every image's file.

    Raises:
        InputError: the folders are faulty.
    """
    listing = checked_listing(root, dataset, class_names(root, dataset))
    for image_id in chain.from_iterable(image_ids(listing, split) for split in listing):
        path = f"{root}/{image_id}"
        yield DataFile(image_id, path, os.stat(path))  # noqa: PTH116, a Path for each of a million files is slow


def count(root: Path, dataset: Dataset) -> Counts:
    """Count the images of the folders; folders that cannot be read, which fail the stage that needs them, count none.

    A class's held-out images are ``held_out_count``, of which copies of other images return to train.
    """
    try:
        folders = split_folders(root, dataset)
        listing = {name: list_split(root / name, Faults(root)) for name in dict.fromkeys(folders.values()) if name}
    except InputError:
        return Counts(0, 0, 0)
    sizes = {name: sum(map(len, by_class.values())) for name, by_class in listing.items()}
    train, test = listing[folders["train"]], sizes[folders["test"]]
    reader = _photographs(root, image_ids(listing, folders["train"]), dataset.train_side)
    photographs = estimated_bytes(reader, sizes[folders["train"]])
    if folders["validation"]:
        is_shared = folders["validation"] == folders["test"]
        return Counts(sizes[folders["train"]], 0 if is_shared else sizes[folders["validation"]], test, 0, photographs)
    held_out = sum(held_out_count(len(names), dataset.holdout) for names in train.values())
    return Counts(sizes[folders["train"]] - held_out, held_out, test, 0, photographs)


def open_source(root: Path, dataset: Dataset, classes: Sequence[str]) -> Source:
    """Check the folders, hold out a validation split if there is none, and open the data set.

    Copies of images that stay in train are not held out.

    Raises:
        InputError: the folders are faulty, or splits share images.
    """
    folders = split_folders(root, dataset)
    listing = checked_listing(root, dataset, classes)
    ids = {name: image_ids(listing, name) for name in listing}
    names = (folders["train"], folders["validation"] or HELD_OUT, folders["test"])
    if not folders["validation"]:
        ids[names[0]], ids[HELD_OUT] = _hold_out(root, ids[names[0]], dataset, classes)
    overlaps = check_disjoint(ids, names, root.__truediv__, dataset)
    lists = dict(zip(("train", "validation", "test"), names, strict=True))

    def records(split: str) -> Iterator[Record]:
        for image_id in ids[lists[split]]:
            index = classes.index(_class_of(image_id))
            yield Record(partial(one_hot, index, len(classes)), partial(_read_image, root / image_id, dataset))

    return Source(
        root,
        {split: ids[name] for split, name in lists.items()},
        records,
        is_single_label=True,
        photographs=_photographs(root, ids[names[0]], dataset.train_side),
        held_out=not folders["validation"],
        overlaps=overlaps,
    )


def _hold_out(root: Path, ids: list[str], dataset: Dataset, classes: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the images that stay in train, and those that are held out."""
    index = np.array([classes.index(_class_of(image_id)) for image_id in ids], dtype=np.int64)
    rows = set(held_out_rows(index, classes, dataset.holdout, dataset.holdout_seed).tolist())
    drawn = [image_id for row, image_id in enumerate(ids) if row in rows]
    copies = {twin for _, twin in same_files(root.__truediv__, [i for r, i in enumerate(ids) if r not in rows], drawn)}
    held_out = [image_id for image_id in drawn if image_id not in copies]
    gone = set(held_out)
    return [image_id for image_id in ids if image_id not in gone], held_out


def _class_of(image_id: str) -> str:
    return image_id.split("/")[-2]


def _read_image(path: Path, dataset: Dataset) -> npt.NDArray[np.uint8]:
    return _read(path, lambda image: as_rgb(image, dataset.height, dataset.width))


def _read(path: Path, convert: Callable[[Image.Image], Result]) -> Result:
    return read_file(path, convert, _FORMATS, missing=f"{path} is gone. Run again.", remedy=_REMEDY)


def _photographs(root: Path, ids: Sequence[str], short_side: int) -> PhotographReader | None:
    if not short_side:
        return None

    def convert(image: Image.Image) -> npt.NDArray[np.uint8]:
        return as_rgb(image, *shrunk(image, short_side))

    return PhotographReader(
        lambda row: _read(root / ids[row], lambda image: shrunk(image, short_side)),
        lambda row: _read(root / ids[row], convert),
    )
