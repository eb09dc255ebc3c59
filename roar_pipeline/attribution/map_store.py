"""``maps.h5``: layout and reading of a file of maps.

Legend: N images of a split, P pairs of (test image with a segmentation, class present in it), K classes,
H x W pixels.

Its groups ``train``, ``test`` and ``validation`` have a row per image (ids, maps, explained, scores), and
``localization`` has a row per pair (rows, class_index, maps, scores). A validation split that is the test split (or the
training split) has no maps of its own. ``cache.resumable`` writes it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.hdf5 import open_group, text_of
from roar_pipeline.cache.resumable import Group

__all__ = ["Pairs", "Rows", "image_group", "pair_group", "read_pairs", "read_rows", "read_scores"]


@dataclass(frozen=True)
class Rows:
    """A slice of the maps of a split."""

    ids: list[str]
    maps: NDArray[np.float32]
    """(N, H, W), raw; several explained classes are combined."""
    explained: NDArray[np.uint8]
    """(N, K), 1 = the map explains this class."""
    scores: NDArray[np.float32]
    """(N, K), the model's scores."""
    zero_maps: int
    """Number of the whole group's maps without any positive value."""


@dataclass(frozen=True)
class Pairs:
    """The maps whose localization is evaluated."""

    maps: NDArray[np.float32]
    """(P, H, W), raw, of one class each."""
    rows: NDArray[np.int64]
    """(P,), the image's row in the test split."""
    class_index: NDArray[np.int64]
    """(P,), the class of each pair."""
    scores: NDArray[np.float32]
    """(P,), the model's score of that image and class."""
    zero_maps: int
    """Number of maps without any positive value."""


def image_group(ids: Sequence[str], classes: int, height: int, width: int) -> Group:
    """Describe ``train`` or ``test``: ``compute`` returns maps, explained and scores."""
    computed = {
        "maps": ((height, width), "f4"),
        "explained": ((classes,), "u1"),
        "scores": ((classes,), "f4"),
    }
    return Group(len(ids), {"ids": ids}, computed)


def pair_group(rows: NDArray[np.int64], class_index: NDArray[np.int64], height: int, width: int) -> Group:
    """Describe ``localization``: ``compute`` returns maps and scores."""
    computed = {"maps": ((height, width), "f4"), "scores": ((), "f4")}
    return Group(len(rows), {"rows": rows, "class_index": class_index}, computed)


def read_rows(path: Path, group: str, rows: slice = slice(None)) -> Rows:
    """Read the maps of ``train`` or ``test``, all or a slice of them."""
    with open_group(path, group) as data:
        return Rows(
            ids=text_of(data["ids"][rows]),
            maps=data["maps"][rows],
            explained=data["explained"][rows],
            scores=data["scores"][rows],
            zero_maps=int(data.attrs["zero_maps"]),
        )


def read_scores(path: Path, group: str) -> NDArray[np.float32]:
    """Read the model's scores (N, K) of ``train`` or ``test``, without the maps."""
    with open_group(path, group) as data:
        scores: NDArray[np.float32] = data["scores"][()]
        return scores


def read_pairs(path: Path) -> Pairs:
    """Read the maps of ``localization``."""
    with open_group(path, "localization") as data:
        columns = {name: data[name][()] for name in ("maps", "rows", "class_index", "scores")}
        return Pairs(**columns, zero_maps=int(data.attrs["zero_maps"]))
