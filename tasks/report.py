"""The grid, and the report on it."""

import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi

from roar_pipeline import config
from roar_pipeline.attribution import is_control
from roar_pipeline.errors import InputError
from tasks.base import StageTask
from tasks.data import PrepareImages
from tasks.explanations import EvaluateLocalization, RankPixels, maps_task
from tasks.models import full_name, model_task
from tasks.parameters import NO_MODEL
from tasks.progress import closure
from tasks.retraining import Retrain
from tasks.settings import settings

__all__ = ["Report"]

_RANDOM = "random"


def _axis(key: str) -> Any:
    return luigi.Parameter(default="", description=f"between commas; default: [grid] {key}")


class Report(StageTask):
    """Compute the grid and put it together: tables, curves, pictures, one HTML page."""

    stage = "report"
    priority = 100
    sections = ("report", "metrics")

    models = _axis("models")
    methods = _axis("methods")
    percents = _axis("percents")
    directions = _axis("directions")
    seeds = _axis("seeds")
    model_seeds = _axis("model_seeds")

    @property
    def grid(self) -> config.Grid:
        """What the report covers: [grid], but for what is given to the task."""
        given = {name: text for name, _ in self.get_params() if (text := getattr(self, name))}
        grid = dataclasses.replace(
            settings().grid, **{k: getattr(config.parse({"grid": given}).grid, k) for k in given}
        )
        if len({full_name(model) for model in grid.models}) < len(grid.models):
            raise InputError(f"[grid] models names one model twice: {', '.join(grid.models)}.")
        return grid

    def replicates(self) -> list[tuple[int, int]]:
        """Return the pairs (seed of the models, seed of the retrained networks)."""
        grid = self.grid
        if not grid.model_seeds:
            return [(seed, seed) for seed in grid.seeds]
        return [(model_seed, seed) for model_seed in grid.model_seeds for seed in grid.seeds]

    def requires(self) -> list[StageTask]:
        """Return everything that the report shows."""
        return [PrepareImages(), *self._models(), *self._rankings(), *self._localizations(), *self._cells()]

    def complete(self) -> bool:
        """Tell whether the report is there and so is everything it shows: what is deleted is made again."""
        return bool(super().complete()) and all(task.complete() for task in self.requires())

    def named(self) -> Mapping[str, Any]:
        """Return nothing: the grid is too long for a name."""
        return {}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the grid, and how it is shown and scored."""
        grid = {k: list(v) for k, v in dataclasses.asdict(self.grid).items()}
        return {**super().identity_settings(), "grid": grid}

    def arguments(self) -> Mapping[str, Any]:
        """Return where everything is."""
        return {
            "settings": {name: dataclasses.asdict(s) for name, s in _shown_settings().items()}
            | {"grid": dataclasses.asdict(self.grid)},
            "models": [
                {"model": name, "seed": task.seed, "metrics": task.metrics_path}
                for (name, _), task in zip(self._model_names(), self._models(), strict=True)
            ],
            "cells": [_describe(cell) for cell in self._cells()],
            "localizations": [
                {
                    "model": None if task.is_control else task.model,
                    "method": task.method,
                    "seed": None if task.is_control else task.seed,
                    "path": task.path,
                }
                for task in self._localizations()
            ],
            "images_path": PrepareImages().path,
            "examples": [
                {
                    "model": None if task.is_control else task.model,
                    "method": task.method,
                    "maps": maps_task(task.model, task.method, task.seed).path,
                    "levels": task.path,
                }
                for task in self._rankings()
                if task.is_control or task.seed == self.replicates()[0][0]
            ],
            "options": settings().report,
            "f1_threshold": settings().metrics.f1_threshold,
        }

    @property
    def path(self) -> Path:
        """report.html."""
        return self.directory / "report.html"

    @property
    def table_path(self) -> Path:
        """table.txt."""
        return self.directory / "table.txt"

    def _model_names(self) -> list[tuple[str, int]]:
        seeds = dict.fromkeys(model_seed for model_seed, _ in self.replicates())
        return [(name, seed) for seed in seeds for name in self.grid.models]

    def _models(self) -> list[Any]:
        return [model_task(name, seed) for name, seed in self._model_names()]

    def _explained(self) -> Iterator[dict[str, Any]]:
        """Yield model, method and model seed of every set of maps, the controls first and once."""
        controls = dict.fromkeys((_RANDOM, *(m for m in self.grid.methods if is_control(m))))
        for method in controls:
            yield {"model": NO_MODEL, "method": method, "seed": 0}
        for name, seed in self._model_names():
            for method in self.grid.methods:
                if not is_control(method):
                    yield {"model": name, "method": method, "seed": seed}

    def _rankings(self) -> list[RankPixels]:
        return [RankPixels(**explained) for explained in self._explained()]

    def _localizations(self) -> list[EvaluateLocalization]:
        if not settings().dataset.segmentation_split:
            return []
        return [EvaluateLocalization(**explained) for explained in self._explained()]

    def _cells(self) -> list[Retrain]:
        cells: dict[str, Retrain] = {}
        for model_seed, seed in self.replicates():
            of_seed = [Retrain(percent=(0,), seed=seed)]
            for explained in self._explained():
                control = explained["model"] == NO_MODEL
                if not control and explained["seed"] != model_seed:
                    continue
                for direction in self.grid.directions:
                    for percent in self.grid.percents:
                        of_seed.append(
                            Retrain(
                                model=explained["model"],
                                method=explained["method"],
                                percent=(percent,),
                                direction=direction,
                                seed=seed,
                                model_seed=-1 if control or model_seed == seed else model_seed,
                            )
                        )
            cells |= {cell.fingerprint: cell for cell in of_seed}
        return list(cells.values())


def _shown_settings() -> dict[str, Any]:
    everything = {f.name: getattr(settings(), f.name) for f in dataclasses.fields(settings())}
    return {k: v for k, v in everything.items() if k not in ("paths", "execution", "grid")}


def _describe(cell: Retrain) -> dict[str, Any]:
    clean = cell.percent == (0,)
    of_model = not clean and not is_control(cell.method)
    flat: dict[str, Any] = {}
    for task in closure(cell).values():
        for section, values in task.identity_settings().items():
            keys = values.items() if isinstance(values, dict) else [("", values)]
            flat |= {f"{section}.{key}" if key else section: value for key, value in keys}
    return {
        "model": cell.model if of_model else None,
        "method": None if clean else cell.method,
        "percent": cell.percent[0],
        "direction": cell.direction,
        "seed": cell.seed,
        "model_seed": cell.explained_seed if of_model else None,
        "directory": cell.directory,
        "settings": flat,
        "fingerprint": cell.fingerprint,
    }
