"""Read results from their files: the retrained networks, the models, and the localization of their maps.

Shapes: P pairs of (test image with a mask, class present in it).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from roar_pipeline.cache.files import read_json
from roar_pipeline.cache.manifests import origin_of
from roar_pipeline.report.grid import Cell, ModelRun, RemovalAudits
from roar_pipeline.report.inputs import CellInput, LocalizationInput, ModelInput
from roar_pipeline.report.labels import SEVERAL_LABELS, Scoring

__all__ = ["LocalizedMaps", "read_cells", "read_localizations", "read_models"]

Scorer = Callable[[NDArray[np.float32]], float | None]
"""From test scores (N, K) to a number."""


@dataclass(frozen=True)
class LocalizedMaps:
    """The localization of one model's maps, or of a control's, pair by pair.

    Attributes:
        model: that the maps explain; None for a control.
        method: of the maps.
        seed: of the model; None for a control.
        pairs: image id and class index of the P pairs.
        is_predicted: (P,), whether the model predicts the class; None for a control.
        auc: (P,), NaN where the class covers no or every pixel.
        pointing: (P,), NaN likewise.
        zero_maps: number of maps without a positive value.
    """

    model: str | None
    method: str
    seed: int | None
    pairs: tuple[tuple[str, int], ...]
    is_predicted: NDArray[np.bool_] | None
    auc: NDArray[np.float64]
    pointing: NDArray[np.float64]
    zero_maps: int


def read_cells(
    cells: Iterable[CellInput], f1: Scorer | None = None, scoring: Scoring = SEVERAL_LABELS
) -> list[Cell | CellInput]:
    """Read the results of all cells; a missing cell stays a ``CellInput``.

    Args:
        cells: finished or missing.
        f1: computes F1 from the test scores at the report's threshold; None: the stored F1, if there is any.
        scoring: the scores to read.
    """
    return [cell if cell.directory is None else _read_cell(cell, cell.directory, f1, scoring) for cell in cells]


def _read_cell(cell: CellInput, directory: Path, f1: Scorer | None, scoring: Scoring) -> Cell:
    metrics: dict[str, Any] = read_json(directory / "metrics.json")
    removal = metrics["removal"]
    return Cell(
        model=cell.model,
        method=cell.method,
        percent=cell.percent,
        direction=cell.direction,
        seed=cell.seed,
        model_seed=cell.model_seed,
        fingerprint=cell.fingerprint,
        settings=cell.settings,
        removal=None if removal is None else RemovalAudits(**removal),
        **_read_scores(metrics, directory, f1, scoring),
    )


def read_models(
    models: Iterable[ModelInput], f1: Scorer | None = None, scoring: Scoring = SEVERAL_LABELS
) -> list[ModelRun]:
    """Read every finished model; ``f1`` and ``scoring`` as for ``read_cells``."""
    return [_read_model(model, model.metrics_path, f1, scoring) for model in models if model.metrics_path is not None]


def _read_model(model: ModelInput, path: Path, f1: Scorer | None, scoring: Scoring) -> ModelRun:
    metrics: dict[str, Any] = read_json(path)
    scores = _read_scores(metrics, path.parent, f1, scoring)
    return ModelRun(model=model.model, seed=model.seed, parameters=metrics["parameters"], **scores)


class _ScoreFields(TypedDict):
    """The fields that ``Cell`` and ``ModelRun`` share."""

    test: Mapping[str, float | None]
    per_class: tuple[float | None, ...]
    directory: Path
    tuned_threshold: float | None
    origin: str


def _read_scores(metrics: dict[str, Any], directory: Path, f1: Scorer | None, scoring: Scoring) -> _ScoreFields:
    """Return a network's scores from its ``metrics.json``; with ``f1``, F1 from its ``scores.npy``."""
    test = {metric: metrics["test"][metric] for metric in scoring.metrics}
    if f1 is not None:
        test["f1_samples"] = f1(np.load(directory / "scores.npy"))
    return {
        "test": test,
        "per_class": tuple(metrics["test"]["per_class"]),
        "directory": directory,
        "tuned_threshold": metrics.get("tuned_threshold"),
        "origin": origin_of(directory),
    }


def read_localizations(localizations: Iterable[LocalizationInput]) -> list[LocalizedMaps]:
    """Read every finished ``localization.json``."""
    return [_read_localization(maps, maps.path) for maps in localizations if maps.path is not None]


def _read_localization(maps: LocalizationInput, path: Path) -> LocalizedMaps:
    localization: dict[str, Any] = read_json(path)
    pairs: list[dict[str, Any]] = localization["pairs"]
    return LocalizedMaps(
        model=maps.model,
        method=maps.method,
        seed=maps.seed,
        pairs=tuple((pair["id"], pair["class_index"]) for pair in pairs),
        is_predicted=None if maps.model is None else np.array(list(map(_is_predicted, pairs)), dtype=bool),
        auc=np.array([pair["auc"] for pair in pairs], dtype=np.float64),
        pointing=np.array([pair["pointing"] for pair in pairs], dtype=np.float64),
        zero_maps=localization["zero_maps"],
    )


def _is_predicted(pair: Mapping[str, Any]) -> bool:
    """Tell whether the model predicts a pair's class: by its score or, with one label per image, by the stored fact."""
    return bool(pair["is_predicted"]) if "is_predicted" in pair else pair["score"] > 0
