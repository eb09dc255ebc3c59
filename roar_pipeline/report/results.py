"""What the grid measured, read back and set in order: cells, curves, models.

Shapes: P percentages of a curve, R runs (seeds, or seeds x model seeds).

A *curve* is one (direction, method, model): its cells at every percentage and run. The clean cells (0 %) and the blank
ones (100 %) belong to all curves. Controls have no model, but for the shuffled ones. In a partial report some cells are
missing, which then are asked for and named without a directory: a curve keeps its asked percentages and runs, and holds
the cells there are.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import read_json
from roar_pipeline.cache.manifests import origin_of
from roar_pipeline.methods import MethodName

__all__ = [
    "LEADING",
    "METRICS",
    "Cell",
    "Curve",
    "Grid",
    "MissingCell",
    "ModelRun",
    "above_clean",
    "full_labels",
    "group",
    "method_label",
    "missing_of",
    "model_label",
    "read_cells",
    "read_models",
]

METRICS = {
    "map_classes": "mAP (classes)",
    "f1_samples": "F1",
    "f1_tuned": "F1 (tuned threshold)",
    "map_samples": "mAP (images)",
    "map_voc": "mAP (VOC's rule)",
}
"""Measured scores and their names for people."""

LEADING = ("map_classes", "f1_samples")
"""The scores that lead the report: a ranking one, and the thresholded one of the field, which falls by mere
under-confidence too.
"""

_MODELS = {"teacher": "Teacher", "plain": "Plain", "naive_kd": "Naive KD", "ewa": "EWA", "swa": "SWA", "sswa": "SSWA"}


_PLACES = {
    "cells": "directory",
    "probes": "directory",
    "longer cells": "directory",
    "models": "metrics",
    "localizations": "path",
    "example maps": "levels",
}
"""What a report is made from, and where each says that it is; None there: it is missing."""


@dataclass(frozen=True)
class _Place:
    """Where one network stands in the grid."""

    model: str | None
    method: str | None
    percent: int
    direction: str
    seed: int
    model_seed: int | None

    @property
    def run(self) -> tuple[int, int | None]:
        """The seeds that tell the runs of one curve apart."""
        return self.seed, self.model_seed


@dataclass(frozen=True)
class Cell(_Place):
    """One retrained network.

    ``test`` holds ``METRICS`` and per_class, ``removal`` the audits (None at 0 and 100 %), ``tuned_threshold`` what
    ``f1_tuned`` is taken at, ``origin`` the machine and libraries that last bits depend on.
    """

    directory: Path
    fingerprint: str
    settings: Mapping[str, Any]
    test: Mapping[str, Any]
    removal: Mapping[str, Any] | None
    tuned_threshold: float
    origin: str


@dataclass(frozen=True)
class MissingCell(_Place):
    """One network of the grid that is not there: its training failed, or is not done yet."""


@dataclass(frozen=True)
class Curve:
    """Cells (P, R) of one method's maps of one model, removed or kept at rising percentages.

    ``percents`` (P,) and ``runs`` (R,) are those asked for, the clean 0 % not among them; ``cells`` has an entry per
    percentage with the cells there are, in the order of ``runs``: fewer than R, or none, where some are missing.
    """

    direction: str
    method: str
    model: str | None
    percents: tuple[int, ...]
    runs: tuple[tuple[int, int | None], ...]
    cells: tuple[tuple[Cell, ...], ...]

    @property
    def key(self) -> tuple[str, str, str | None]:
        """What tells curves apart."""
        return self.direction, self.method, self.model

    @property
    def is_control(self) -> bool:
        """Whether the curve is one that a method must beat: its maps know no model, or another image."""
        return self.model is None or MethodName.parse(self.method).is_shuffled

    @property
    def is_informed(self) -> bool:
        """Whether its masks can depend on the image that they cover."""
        return MethodName.parse(self.method).masks_depend_on_image

    @property
    def panel(self) -> str:
        """The method with whose curves this one is shown."""
        return str(MethodName.parse(self.method).unshuffled)

    @property
    def label(self) -> str:
        """What a figure calls the curve: its model, or the control."""
        if self.model is None:
            return method_label(self.method)
        is_shuffled = MethodName.parse(self.method).is_shuffled
        return f"Shuffled ({model_label(self.model)})" if is_shuffled else model_label(self.model)

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the runs asked for, each once, rising."""
        return tuple(sorted({seed for seed, _ in self.runs}))

    def values(self, metric: str) -> list[list[float | None]]:
        """Return a metric of every cell (P, R), of fewer than R where cells are missing."""
        return [[cell.test[metric] for cell in point] for point in self.cells]


@dataclass(frozen=True)
class Grid:
    """The cells of a grid in order: those that belong to all curves, by seed, and the curves."""

    clean: tuple[Cell, ...]
    """At 0 %, those that are there."""
    blank: tuple[Cell, ...]
    """At 100 %."""
    curves: list[Curve]


@dataclass(frozen=True)
class ModelRun:
    """One trained teacher or student."""

    model: str
    seed: int
    parameters: int
    test: Mapping[str, Any]
    history: Sequence[Mapping[str, Any]]
    directory: Path
    tuned_threshold: float
    origin: str


def model_label(model: str) -> str:
    """Return a model's name for people: ``sswa/8`` is SSWA /8."""
    loss, _, reduction = model.partition("/")
    return _MODELS.get(loss, loss) + (f" /{reduction}" if reduction else "")


def method_label(method: str) -> str:
    """Return a method's name for people."""
    return MethodName.parse(method).title


def full_labels(grid: Sequence[Curve]) -> list[str]:
    """Name the curves of one table, with their method where there are several."""
    several = len({curve.panel for curve in grid if curve.model is not None}) > 1
    return [
        f"{curve.label} ({method_label(curve.panel)})" if several and curve.model is not None else curve.label
        for curve in grid
    ]


Scorer = Callable[[NDArray[np.float32]], float | None]
"""From test scores (N, K) to a number."""


def _read(directory: Path, f1: Scorer | None) -> dict[str, Any]:
    """Read ``metrics.json``, with the F1 that ``f1`` finds in ``scores.npy`` instead of the stored one, if given."""
    measured: dict[str, Any] = read_json(directory / "metrics.json")
    if f1 is None:
        return measured
    return {**measured, "test": {**measured["test"], "f1_samples": f1(np.load(directory / "scores.npy"))}}


def read_cells(cells: Iterable[Mapping[str, Any]], f1: Scorer | None = None) -> list[Cell | MissingCell]:
    """Read every cell; ``f1`` scores its test predictions, at the report's threshold.

    A cell whose directory is None is missing.
    """
    read: list[Cell | MissingCell] = []
    for cell in cells:
        place = {key: cell[key] for key in ("model", "method", "percent", "direction", "seed", "model_seed")}
        if cell["directory"] is None:
            read.append(MissingCell(**place))
            continue
        measured = _read(Path(cell["directory"]), f1)
        read.append(
            Cell(
                **place,
                directory=Path(cell["directory"]),
                fingerprint=cell["fingerprint"],
                settings=cell["settings"],
                test=measured["test"],
                removal=measured["removal"],
                tuned_threshold=measured["tuned_threshold"],
                origin=origin_of(Path(cell["directory"])),
            )
        )
    return read


def read_models(models: Iterable[Mapping[str, Any]], f1: Scorer | None = None) -> list[ModelRun]:
    """Read every model that is there; ``f1`` scores its test predictions, at the report's threshold.

    A model whose metrics are None is missing.
    """
    runs = []
    for model in models:
        if model["metrics"] is None:
            continue
        directory = Path(model["metrics"]).parent
        measured = _read(directory, f1)
        runs.append(
            ModelRun(
                model["model"],
                model["seed"],
                measured["parameters"],
                measured["test"],
                measured["history"],
                directory,
                measured["tuned_threshold"],
                origin_of(directory),
            )
        )
    return runs


def group(cells: Sequence[Cell | MissingCell]) -> Grid:
    """Split cells into those of all curves, by seed, and the curves, in the order of their first cells.

    Raises:
        ValueError: a curve lacks a cell that is not even named as missing, so that its runs could not be paired with
            those of other curves.
    """
    shared = sorted((cell for cell in cells if cell.method is None), key=lambda cell: cell.seed)
    seeds = {cell.seed for cell in shared if cell.percent == 0}
    by_curve: dict[tuple[str, str, str | None], dict[int, list[Cell | MissingCell]]] = {}
    for cell in cells:
        if cell.method is not None:
            points = by_curve.setdefault((cell.direction, cell.method, cell.model), {})
            points.setdefault(cell.percent, []).append(cell)
    curves: list[Curve] = []
    for key, points in by_curve.items():
        percents = tuple(sorted(points))
        ordered = [sorted(points[percent], key=lambda cell: (cell.seed, cell.model_seed or 0)) for percent in percents]
        runs = [tuple(cell.run for cell in point) for point in ordered]
        curves.append(Curve(*key, percents, runs[0], tuple(_there(point) for point in ordered)))
        _check_complete(curves[-1], set(runs), seeds, curves[0].percents)
    clean, blank = (_there(cell for cell in shared if cell.percent == percent) for percent in (0, 100))
    return Grid(clean, blank, curves)


def _there(cells: Iterable[Cell | MissingCell]) -> tuple[Cell, ...]:
    return tuple(cell for cell in cells if isinstance(cell, Cell))


def _check_complete(
    curve: Curve, runs: set[tuple[tuple[int, int | None], ...]], seeds: set[int], percents: tuple[int, ...]
) -> None:
    if curve.percents != percents or len(runs) != 1 or set(curve.seeds) != seeds:
        raise ValueError(
            f"cells are missing: {curve.direction} {curve.method} of {curve.model} has percents {curve.percents} and "
            f"runs {sorted(runs)}; others have percents {percents} and clean seeds {sorted(seeds)}"
        )


def missing_of(asked: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, list[Mapping[str, Any]]]:
    """Return what is missing of what is asked for, by kind (keys of ``_PLACES``), without the kinds that are whole."""
    found = {kind: [each for each in of_kind if each[_PLACES[kind]] is None] for kind, of_kind in asked.items()}
    return {kind: missing for kind, missing in found.items() if missing}


def above_clean(cell: Cell, clean: Sequence[Cell], metric: str) -> bool | None:
    """Tell whether a cell scores above the clean cell of its seed; None if either is undefined."""
    reference = next((c.test[metric] for c in clean if c.seed == cell.seed), None)
    value = cell.test[metric]
    return None if value is None or reference is None else bool(value > reference)
