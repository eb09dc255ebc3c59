"""The grid's results in order: cells, curves, models.

Shapes: P percentages of a curve, R runs (seeds, or seeds x model seeds).

A *curve* is one (direction, method, model): its cells at every percentage and run. The clean cells (0 %) and the blank
cells (100 %) belong to all curves. Of the controls only the shuffled ones have a model. In a partial report some cells
are missing: a curve keeps the percentages and runs that the grid asks for, and holds the finished cells.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from roar_pipeline.methods import MethodName
from roar_pipeline.report.inputs import CellInput, CellKey, Run
from roar_pipeline.report.labels import method_label, model_label

__all__ = ["Cell", "Curve", "Grid", "ModelRun", "RemovalAudits", "full_labels", "group_cells", "is_above_clean"]


@dataclass(frozen=True)
class RemovalAudits:
    """Audits of the pixels removed in a cell (``map_store.removal_audits``).

    Percentages are of pixels *removed*: direction keep at 30 % asks for 70 %. Empty maps have no positive value.
    None: no class is explained, or there are no segmentations.
    """

    asked_percent: float
    actual_percent_train: float
    actual_percent_test: float
    tied_share_train: float
    tied_share_test: float
    empty_maps_train: float
    empty_maps_test: float
    explained_as_labels_train: float | None
    explained_as_labels_test: float | None
    object_share: float | None
    total_variation: float


@dataclass(frozen=True)
class Cell(CellKey):
    """One retrained network.

    ``test`` holds the report's scores (``Scoring.metrics``), ``per_class`` each class's score, ``removal`` the audits
    (None at 0 and 100 %), ``tuned_threshold`` the threshold of ``f1_tuned`` (None without it), ``origin`` the machine
    and libraries that the last bits depend on, ``settings`` every setting by ``section.key``.
    """

    directory: Path
    fingerprint: str
    settings: Mapping[str, object]
    test: Mapping[str, float | None]
    per_class: tuple[float | None, ...]
    removal: RemovalAudits | None
    tuned_threshold: float | None
    origin: str


@dataclass(frozen=True)
class ModelRun:
    """One trained teacher or student; fields as of ``Cell``."""

    model: str
    seed: int
    parameters: int
    test: Mapping[str, float | None]
    per_class: tuple[float | None, ...]
    directory: Path
    tuned_threshold: float | None
    origin: str


@dataclass(frozen=True)
class Curve:
    """Cells (P, R) of one method's maps of one model, removed or kept at rising percentages.

    ``percents`` (P,), without the clean 0 %, and ``runs`` (R,) are those that the grid asks for. ``cells`` has an entry
    per percentage: its finished cells in the order of ``runs``, fewer than R where some are missing.
    """

    direction: str
    method: str
    model: str | None
    percents: tuple[int, ...]
    runs: tuple[Run, ...]
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What identifies a curve: direction, method, model."""
        return self.direction, self.method, self.model

    @property
    def is_control(self) -> bool:
        """Whether a method must beat this curve: its maps depend on no model, or are those of other images."""
        return self.model is None or MethodName.parse(self.method).is_shuffled

    @property
    def masks_depend_on_image(self) -> bool:
        """Whether a mask can depend on the image that it covers."""
        return MethodName.parse(self.method).masks_depend_on_image

    @property
    def panel(self) -> str:
        """The method whose panel shows this curve."""
        return str(MethodName.parse(self.method).unshuffled)

    @property
    def label(self) -> str:
        """The curve's name in a figure: its model, or the control."""
        if self.model is None:
            return method_label(self.method)
        is_shuffled = MethodName.parse(self.method).is_shuffled
        return f"Shuffled ({model_label(self.model)})" if is_shuffled else model_label(self.model)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The distinct seeds of ``runs``, ascending."""
        return tuple(sorted({seed for seed, _ in self.runs}))

    def values(self, metric: str) -> list[list[float | None]]:
        """Return a metric of every cell (P, R); a percentage with missing cells has fewer than R."""
        return [[cell.test[metric] for cell in point] for point in self.cells]


@dataclass(frozen=True)
class Grid:
    """The cells of a grid: those that belong to all curves, by seed, and the curves."""

    clean: tuple[Cell, ...]
    """The finished cells at 0 %."""
    blank: tuple[Cell, ...]
    """The finished cells at 100 %."""
    curves: list[Curve]


def full_labels(curves: Sequence[Curve]) -> list[str]:
    """Return the labels of one table's curves, with the method where the table has several methods."""
    has_several_methods = len({curve.panel for curve in curves if curve.model is not None}) > 1
    return [
        f"{curve.label} ({method_label(curve.panel)})"
        if has_several_methods and curve.model is not None
        else curve.label
        for curve in curves
    ]


def group_cells(cells: Sequence[Cell | CellInput]) -> Grid:
    """Split cells into those that belong to all curves, by seed, and curves, in the order of their first cells.

    Args:
        cells: every cell of the grid; a ``CellInput`` stands for a missing one.

    Raises:
        ValueError: a curve lacks a cell that is not listed as missing either, so that its runs cannot be paired with
            those of other curves.
    """
    shared = sorted((cell for cell in cells if cell.method is None), key=lambda cell: cell.seed)
    seeds = {cell.seed for cell in shared if cell.percent == 0}
    by_curve: dict[tuple[str, str, str | None], dict[int, list[Cell | CellInput]]] = {}
    for cell in cells:
        if cell.method is not None:
            points = by_curve.setdefault((cell.direction, cell.method, cell.model), {})
            points.setdefault(cell.percent, []).append(cell)
    curves: list[Curve] = []
    for key, points in by_curve.items():
        percents = tuple(sorted(points))
        ordered = [sorted(points[percent], key=lambda cell: (cell.seed, cell.model_seed or 0)) for percent in percents]
        runs = [tuple(cell.run for cell in point) for point in ordered]
        curves.append(Curve(*key, percents, runs[0], tuple(_finished(point) for point in ordered)))
        _check_complete(curves[-1], set(runs), seeds, curves[0].percents)
    clean, blank = (_finished(cell for cell in shared if cell.percent == percent) for percent in (0, 100))
    return Grid(clean, blank, curves)


def _finished(cells: Iterable[Cell | CellInput]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if isinstance(cell, Cell))


def _check_complete(curve: Curve, runs: set[tuple[Run, ...]], seeds: set[int], percents: tuple[int, ...]) -> None:
    if curve.percents != percents or len(runs) != 1 or set(curve.seeds) != seeds:
        raise ValueError(
            f"cells are missing: {curve.direction} {curve.method} of {curve.model} has percents {curve.percents} and "
            f"runs {sorted(runs)}; others have percents {percents} and clean seeds {sorted(seeds)}"
        )


def is_above_clean(cell: Cell, clean: Sequence[Cell], metric: str) -> bool | None:
    """Return whether a cell scores above the clean cell of its seed; None if either is undefined."""
    reference = next((c.test[metric] for c in clean if c.seed == cell.seed), None)
    value = cell.test[metric]
    return None if value is None or reference is None else bool(value > reference)
