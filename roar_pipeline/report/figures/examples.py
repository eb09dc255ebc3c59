"""The figure of an example: a test image, every model's map of it, and the image with pixels removed."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from roar_pipeline.datasets.masks import BACKGROUND, VOID
from roar_pipeline.report.examples import Example, ExampleRow, Image
from roar_pipeline.report.figures.style import PALE, color, saved_figure

__all__ = ["example_figure"]

_DPI = 150
_SIDE, _GAP, _NAMES = 1.12, 0.06, 1.28
"""Inches: longer side of a picture, space between pictures, width of the names' column."""

_HEAD, _LINE = 0.26, 0.13
"""Inches: height of the headers above the pictures, of a line of small text."""


@dataclass(frozen=True)
class _Sheet:
    """A figure with a layout in inches from its top left corner, and pictures of one size."""

    figure: Figure
    picture: tuple[float, float]
    size: tuple[float, float]

    def top(self, row: int) -> float:
        """Return the top of a row of pictures, in inches."""
        return _HEAD + row * (self.picture[1] + _GAP)

    def draw_picture(self, pixels: npt.NDArray[Any], row: int, left: float, title: str = "", **options: Any) -> None:
        """Draw a picture; its pixels are smoothed only where they are more than the figure's."""
        (wide, tall), (total_wide, total_tall) = self.picture, self.size
        bottom = total_tall - self.top(row) - tall
        axes = self.figure.add_axes((left / total_wide, bottom / total_tall, wide / total_wide, tall / total_tall))
        interpolation = "auto" if max(pixels.shape[:2]) > _SIDE * _DPI else "nearest"
        axes.imshow(pixels, aspect="auto", interpolation=interpolation, **options)
        axes.set_axis_off()
        axes.set_title(title, fontsize=8, pad=3)

    def draw_text(self, text: str, left: float, top: float, **options: Any) -> None:
        """Write a line whose middle is at ``top``."""
        self.figure.text(left / self.size[0], 1 - top / self.size[1], text, va="center", **options)


def example_figure(path: Path, example: Example, headers: Sequence[str]) -> None:
    """Draw an example: the image and its objects at the left; a row per model with its map and images after removal.

    Args:
        path: PNG to write.
        example: pictures of one size.
        headers: of the pictures with pixels removed.
    """
    height, width = example.image.shape[:2]
    wide, tall = _SIDE * min(1, width / height), _SIDE * min(1, height / width)
    left_column = (1 if example.objects is None else 2) * (tall + _GAP) + (len(example.labels) + 0.5) * _LINE
    body = max(len(example.rows) * (tall + _GAP), left_column)
    size = (wide + _NAMES + (1 + len(headers)) * (wide + _GAP), _HEAD + body)
    with saved_figure(path, dpi=_DPI) as figure:
        figure.set_size_inches(*size)
        sheet = _Sheet(figure, (wide, tall), size)
        _draw_image(sheet, example)
        for number, row in enumerate(example.rows):
            _draw_row(sheet, number, row, headers if number == 0 else [""] * len(headers))


def _draw_image(sheet: _Sheet, example: Example) -> None:
    """Draw the image, its objects below, and the names of its classes."""
    sheet.draw_picture(example.image, 0, 0, "image")
    if example.objects is not None:
        sheet.draw_picture(_paint_segmentation(example.objects), 1, 0)
    top = sheet.top(1 if example.objects is None else 2) + 0.03
    for line, (class_index, name) in enumerate(example.labels.items()):
        if example.objects is not None:
            sheet.draw_text("■", 0, top + (line + 0.5) * _LINE, color=_class_color(class_index), fontsize=7.5)
        sheet.draw_text(name, _LINE, top + (line + 0.5) * _LINE, fontsize=7.5)


def _draw_row(sheet: _Sheet, number: int, row: ExampleRow, headers: Sequence[str]) -> None:
    """Draw a model's name and caption, its map, and the images after removal."""
    wide, tall = sheet.picture
    left = wide + _GAP + 0.1
    middle = sheet.top(number) + tall / 2 - len(row.caption) * _LINE / 2
    sheet.draw_text(row.label, left, middle, color=color(row.model), fontsize=9, fontweight="bold")
    for index, line in enumerate(row.caption):
        sheet.draw_text(line, left, middle + 0.02 + (index + 1) * _LINE, color=PALE, fontsize=7)
    left = wide + _NAMES
    peak = float(row.map.max())
    title = "map" if headers[0] else ""
    sheet.draw_picture(row.map, number, left, title, cmap="magma", vmin=0, vmax=peak if peak > 0 else 1)
    for index, (picture, header) in enumerate(zip(row.removed, headers, strict=True)):
        sheet.draw_picture(picture, number, left + (index + 1) * (wide + _GAP), header)


def _class_color(class_index: int) -> tuple[float, float, float]:
    """Return the class's color out of twenty, the ten strong ones first."""
    red, green, blue, _ = matplotlib.colormaps["tab20"]((2 * class_index + class_index // 10 % 2) % 20)
    return red, green, blue


def _paint_segmentation(segmentation: Image) -> npt.NDArray[np.float64]:
    """Return a segmentation (H, W) in colors (H, W, 3): background pale gray, void white."""
    colors = np.full((*segmentation.shape, 3), 0.9)
    colors[segmentation == VOID] = 1
    for value in np.unique(segmentation):
        if value not in (BACKGROUND, VOID):
            colors[segmentation == value] = _class_color(int(value) - 1)
    return colors
