"""Test images with every model's map, and what removal leaves of them.

Shapes: H x W pixels.
"""

import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roar_pipeline.attribution import map_store
from roar_pipeline.datasets import images
from roar_pipeline.removal.level_store import read_levels
from roar_pipeline.removal.ranking import removed
from roar_pipeline.report.inputs import ExampleInput
from roar_pipeline.report.labels import method_label, model_label

__all__ = ["Example", "ExampleRow", "Image", "choose_rows", "read_examples"]

_MAX_CLASSES = 3
"""Most explained classes in a map's caption."""

_ABSENT = "✗"
"""Marks explained classes that the image does not show."""

_CHARACTERS = 22
"""Most characters of a line of a method's name: it stands in a column beside the map."""

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class ExampleRow:
    """One model's part of an example: its map (H, W), and the image with pixels removed at each percentage (H, W, 3).

    ``model`` is None for a control.
    """

    model: str | None
    label: str
    caption: tuple[str, ...]
    map: npt.NDArray[np.float32]
    removed: tuple[Image, ...]


@dataclass(frozen=True)
class Example:
    """A test image with the rows of all models.

    ``objects`` is its segmentation (H, W), or None; ``labels`` maps the indices of its classes to their names.
    """

    image: Image
    objects: Image | None
    labels: Mapping[int, str]
    rows: tuple[ExampleRow, ...]


def choose_rows(split: images.Split, count: int) -> list[int]:
    """Choose ``count`` rows of the test split, evenly spaced among images with a mask (or all, if none has one).

    Even spacing avoids cherry-picking.
    """
    candidates = [int(row) for row in split.segmentation_rows] or list(range(len(split.ids)))
    positions = np.linspace(0, len(candidates) - 1, min(count, len(candidates)) + 2)[1:-1]
    return [candidates[round(position)] for position in positions]


def read_examples(
    sources: Sequence[ExampleInput],
    split: images.Split,
    info: images.Info,
    rows: Sequence[int],
    percents: Sequence[int],
    direction: str,
) -> list[Example]:
    """Read the examples of the chosen rows.

    Args:
        sources: one per row of a figure; missing ones are skipped.
        split: the test split.
        info: of the images.
        rows: of the test split.
        percents: removed or kept.
        direction: remove or keep.
    """
    fill = np.round(info.mean * 255).astype(np.uint8)
    has_several_methods = (
        len({source.method for source in sources if source.model is not None and not source.is_missing}) > 1
    )
    rows_of_examples: list[list[ExampleRow]] = [[] for _ in rows]
    for source in sources:
        if source.levels_path is None:
            continue
        levels = read_levels(source.levels_path, "test", in_memory=False).levels
        for example_rows, row in zip(rows_of_examples, rows, strict=True):
            removed_masks = [removed(levels[row], percent, direction) for percent in percents]
            pictures = tuple(np.where(mask[..., None], fill, split.images[row]) for mask in removed_masks)
            example_rows.append(_row(source, row, pictures, split.labels[row], info, has_several_methods))
    masks = dict(zip(split.segmentation_rows.tolist(), split.segmentation, strict=True))
    return [
        Example(
            image=split.images[row],
            objects=masks.get(row),
            labels={int(k): info.classes[k] for k in np.flatnonzero(split.labels[row])},
            rows=tuple(example_rows),
        )
        for example_rows, row in zip(rows_of_examples, rows, strict=True)
    ]


def _row(
    source: ExampleInput,
    row: int,
    pictures: tuple[Image, ...],
    labels: npt.NDArray[np.uint8],
    info: images.Info,
    has_several_methods: bool,
) -> ExampleRow:
    stored = map_store.read_rows(source.maps_path, "test", slice(row, row + 1))
    model, method = source.model, method_label(source.method)
    caption: list[str] = []
    if model is not None:
        explained = sorted(np.flatnonzero(stored.explained[0]).tolist(), key=lambda k: -float(stored.scores[0, k]))
        percents = _probabilities(stored.scores[0], is_single_label=info.is_single_label)
        caption = [
            f"{info.classes[k]} {percents[k]:.0f} %{'' if labels[k] else f' {_ABSENT}'}"
            for k in explained[:_MAX_CLASSES]
        ]
        if len(explained) > _MAX_CLASSES:
            caption.append(f"and {len(explained) - _MAX_CLASSES} more")
        if stored.maps.max() <= 0:
            caption.append("empty map")
        if has_several_methods:
            caption[:0] = textwrap.wrap(method, _CHARACTERS)
    label = method if model is None else model_label(model)
    return ExampleRow(model, label, tuple(caption), stored.maps[0], pictures)


def _probabilities(scores: npt.NDArray[np.float32], *, is_single_label: bool) -> list[float]:
    """Return the classes' probabilities in percent from scores (K,): softmax with one label, else sigmoids."""
    if is_single_label:
        shifted = np.exp(scores.astype(np.float64) - float(scores.max()))
        return [float(value) for value in 100 * shifted / shifted.sum()]
    return [100 / (1 + math.exp(-max(float(score), -700))) for score in scores]
