"""A data set of any kind, as ``images.prepare`` reads it.

Legend: K classes, H x W pixels (height, width) after resizing. The splits are train, validation and test.
"""

import contextlib
import math
import os
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from roar_pipeline.errors import InputError

__all__ = ["SPLITS", "Counts", "DataFile", "PhotographReader", "Record", "Source", "estimated_bytes", "one_hot"]

SPLITS = ("train", "validation", "test")

Array = npt.NDArray[np.uint8]

_SAMPLE = 50
"""Photographs whose size is read for an estimate."""


@dataclass(frozen=True)
class Record:
    """The readers of one image. Each raises InputError with what is wrong and how to mend it."""

    labels: Callable[[], Array]
    """Returns (K,), 1 where the image shows the class."""
    image: Callable[[], Array]
    """Returns (H, W, 3), RGB 0..255."""
    mask: Callable[[], Array] | None = None
    """Returns (H, W), 0 background, 1..K class index plus one, 255 void; None where the image has no mask."""


@dataclass(frozen=True)
class PhotographReader:
    """The readers of the training photographs by row, with the shorter side shrunk to a number of pixels."""

    size: Callable[[int], tuple[int, int]]
    """Returns height and width; raises InputError."""
    pixels: Callable[[int], Array]
    """Returns RGB (h, w, 3); raises InputError."""


@dataclass(frozen=True)
class Source:
    """An opened data set: its lists are checked, and its images are not read yet.

    Attributes:
        where: the data set in messages. ids: by split, in the order of the records; splits of the same list are one
        object. records: yields the records of a split in order. is_single_label: every image has exactly one label.
        masked_rows: rows of the test split with a mask, ascending. unused_masks: number of other images' masks.
        photographs: of the training split; None if none are to be stored. held_out: whether the validation split was
        drawn from the training images. overlaps: number of images of (train, validation), (train, test) and
        (validation, test) with equal bytes, which ``[dataset] overlap = allow`` admits.
    """

    where: Any
    ids: Mapping[str, Sequence[str]]
    records: Callable[[str], Iterator[Record]]
    is_single_label: bool = False
    masked_rows: Sequence[int] = ()
    unused_masks: int = 0
    photographs: PhotographReader | None = None
    held_out: bool = False
    overlaps: tuple[int, int, int] = (0, 0, 0)


@dataclass(frozen=True)
class DataFile:
    """A file that may be read."""

    name: str
    """Its name in the data set's digest, the same wherever the data set lies."""
    path: str
    status: os.stat_result


@dataclass(frozen=True)
class Counts:
    """How many images a data set has, from its lists alone."""

    train: int
    validation: int
    """0 if they are those of the test split."""
    test: int
    masks: int = 0
    photograph_bytes: int = 0
    """Estimated total of the training photographs that are stored."""


def one_hot(class_index: int, classes: int) -> Array:
    """Return the labels (K,) of an image of one class."""
    labels = np.zeros(classes, dtype=np.uint8)
    labels[class_index] = 1
    return labels


def estimated_bytes(reader: PhotographReader | None, count: int) -> int:
    """Estimate the bytes of ``count`` photographs in memory from the sizes of a sample; 0 without a reader."""
    if reader is None:
        return 0
    sizes = []
    for row in range(0, count, max(1, count // _SAMPLE)):
        with contextlib.suppress(InputError, OSError):
            sizes.append(math.prod(reader.size(row)))
    return int(3 * count * statistics.fmean(sizes)) if sizes else 0
