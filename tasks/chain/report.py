"""The grid, and the report on it."""

import dataclasses
import functools
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import luigi

from roar_pipeline import config, settings_parser
from roar_pipeline.cache.building import Wanted
from roar_pipeline.errors import InputError
from roar_pipeline.methods import RANDOM, MethodName
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.chain.explanations import EvaluateLocalization, RankPixels, maps_task
from tasks.chain.models import full_name, model_task
from tasks.chain.retraining import CellTask, ProbeMasks, Retrain
from tasks.configuration.parameters import NO_MODEL, AxisParameter
from tasks.configuration.settings import settings
from tasks.runtime.resources import Demand, light_demand
from tasks.runtime.terminal import closure

__all__ = ["Report"]


class Report(StageTask):
    """Compute the grid and put it together: tables, curves, pictures, one HTML page.

    A partial report computes nothing else: it is made of what is done when the task is first looked at, and says what
    is missing. With more done it is another result.
    """

    stage = "report"
    is_end_product = True
    version = 3
    sections = ("report", "metrics")

    models = AxisParameter(key="models")
    methods = AxisParameter(key="methods")
    shuffled = AxisParameter(key="shuffled")
    percents = AxisParameter(key="percents")
    probe_percents = AxisParameter(key="probe_percents")
    longer_percents = AxisParameter(key="longer_percents")
    directions = AxisParameter(key="directions")
    seeds = AxisParameter(key="seeds")
    model_seeds = AxisParameter(key="model_seeds")
    partial = luigi.BoolParameter(
        default=False, description="report on what is done, with a list of what is missing, and compute nothing else"
    )

    def demand(self) -> Demand:
        """Return memory for the images."""
        return light_demand()

    @functools.cached_property
    def grid(self) -> config.Grid:
        """What the report covers: [grid], but for what is given to the task."""
        given = {f.name: text for f in dataclasses.fields(config.Grid) if (text := getattr(self, f.name))}
        grid = dataclasses.replace(
            settings().grid, **{k: getattr(settings_parser.parse({"grid": given}).grid, k) for k in given}
        )
        if len({full_name(model) for model in grid.models}) < len(grid.models):
            raise InputError(f"[grid] models names one model twice: {', '.join(grid.models)}.")
        return grid

    @functools.cached_property
    def replicates(self) -> list[tuple[int, int]]:
        """The pairs (seed of the models, seed of the retrained networks)."""
        grid = self.grid
        if not grid.model_seeds:
            return [(seed, seed) for seed in grid.seeds]
        return [(model_seed, seed) for model_seed in grid.model_seeds for seed in grid.seeds]

    def requires(self) -> list[StageTask]:
        """Return everything that the report shows, of which a partial one takes what is done."""
        return [task for task in self._asked if task.fingerprint not in self._missing]

    def wanted(self) -> Wanted:
        """Return the report, made from what it requires and from the maps of its examples."""
        own = super().wanted()
        maps = (maps_task(task.model, task.method, task.seed) for task in self._examples())
        return dataclasses.replace(own, inputs=(*own.inputs, *((task.directory, task.fingerprint) for task in maps)))

    def complete(self) -> bool:
        """Tell whether the report is there and so is everything it shows: what is deleted is made again."""
        return bool(super().complete()) and all(task.complete() for task in self.requires())

    def named(self) -> Mapping[str, Any]:
        """Return whether the report is partial, and nothing more: the grid is too long for a name."""
        return {"partial": "true"} if self.partial else {}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the grid, how it is shown and scored, and of a partial report what is missing."""
        grid = {k: list(v) for k, v in dataclasses.asdict(self.grid).items()}
        partial = {"partial": True, "missing": sorted(self._missing)} if self.partial else {}
        return {**super().identity_settings(), "grid": grid, **partial}

    def arguments(self) -> Mapping[str, Any]:
        """Return where everything is, and None where something is missing."""
        return {
            "settings": {name: dataclasses.asdict(s) for name, s in _shown_settings().items()}
            | {"grid": dataclasses.asdict(self.grid)},
            "models": [
                {"model": name, "seed": task.seed, "metrics": self._if_there(task, task.metrics_path)}
                for (name, _), task in zip(self._model_names, self._models, strict=True)
            ],
            "cells": self._described(self._cells),
            "probes": self._described(self._probes),
            "longer": self._described(self._longer),
            "localizations": [
                {
                    "model": None if task.is_control else task.model,
                    "method": task.method,
                    "seed": None if task.is_control else task.seed,
                    "path": self._if_there(task, task.path),
                }
                for task in self._localizations
            ],
            "images_path": PrepareImages().path,
            "examples": [
                {
                    "model": None if task.is_control else task.model,
                    "method": task.method,
                    "maps": maps_task(task.model, task.method, task.seed).path,
                    "levels": self._if_there(task, task.path),
                }
                for task in self._rankings
                if self._is_example(task)
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

    @functools.cached_property
    def _missing(self) -> frozenset[str]:
        """The fingerprints of what a partial report has to do without; looked up once, so that its identity stays.

        Raises:
            InputError: there are no images, or nothing that was made of them.
        """
        if not self.partial:
            return frozenset()
        if not PrepareImages().complete():
            raise InputError(
                f"There is nothing for a partial report: not even the images are prepared ({PrepareImages().directory} "
                "is not done). Run Report without --partial, which makes everything, or some of its tasks first."
            )
        images, *asked = self._asked
        missing = frozenset(task.fingerprint for task in asked if not _is_there(task))
        shown = [*self._models, *self._localizations, *self._cells, *self._probes, *self._longer]
        if missing.issuperset(task.fingerprint for task in shown):
            raise InputError(
                f"There is nothing for a partial report: the images are prepared ({images.directory}), and of the "
                f"{len(self._models)} models, {len(self._localizations)} localizations and {len(self._cells)} "
                "cells asked for none is done. Run Report without --partial, or ask for a grid of which something is."
            )
        return missing

    def _if_there(self, task: StageTask, path: Path) -> Path | None:
        return None if task.fingerprint in self._missing else path

    @functools.cached_property
    def _asked(self) -> list[StageTask]:
        return [
            PrepareImages(),
            *self._models,
            *self._rankings,
            *self._localizations,
            *self._cells,
            *self._probes,
            *self._longer,
        ]

    def _described(self, cells: Iterable[CellTask]) -> list[dict[str, Any]]:
        return [{**_describe(cell), "directory": self._if_there(cell, cell.directory)} for cell in cells]

    @functools.cached_property
    def _model_names(self) -> list[tuple[str, int]]:
        seeds = dict.fromkeys(model_seed for model_seed, _ in self.replicates)
        return [(name, seed) for seed in seeds for name in self.grid.models]

    @functools.cached_property
    def _models(self) -> list[Any]:
        return [model_task(name, seed) for name, seed in self._model_names]

    @functools.cached_property
    def _controls(self) -> list[str]:
        return list(dict.fromkeys((RANDOM, *(str(method) for method in self._methods if method.is_control))))

    @functools.cached_property
    def _methods(self) -> list[MethodName]:
        return list(map(MethodName.parse, self.grid.methods))

    @functools.cached_property
    def _model_rankings(self) -> dict[int, list[dict[str, Any]]]:
        """Model, method and seed of every model's ranking of pixels, by its seed."""
        shuffled = {full_name(name) for name in self.grid.shuffled}
        by_seed: dict[int, list[dict[str, Any]]] = {}
        for name, seed in self._model_names:
            for method in (method for method in self._methods if method.needs_model):
                is_base = full_name(name) in shuffled and method.variant is None
                for ranked in (method, method.shuffled) if is_base else (method,):
                    by_seed.setdefault(seed, []).append({"model": name, "method": str(ranked), "seed": seed})
        return by_seed

    @functools.cached_property
    def _explained(self) -> list[dict[str, Any]]:
        """Model, method and seed of every ranking of pixels, the controls first.

        Random is drawn anew for every seed of the retrained networks; the other controls are the same for all.
        """
        controls = [
            {"model": NO_MODEL, "method": method, "seed": seed}
            for method in self._controls
            for seed in (self.grid.seeds if MethodName.parse(method).is_seeded else (0,))
        ]
        return [*controls, *(ranking for of_seed in self._model_rankings.values() for ranking in of_seed)]

    @functools.cached_property
    def _rankings(self) -> list[RankPixels]:
        return [RankPixels(**explained) for explained in self._explained]

    def _is_example(self, task: RankPixels) -> bool:
        method = MethodName.parse(task.method)
        if method.is_seeded:
            return bool(task.seed == self.grid.seeds[0])
        return bool(method.is_control or (task.seed == self.replicates[0][0] and not method.is_shuffled))

    def _examples(self) -> list[RankPixels]:
        """Return the rankings whose maps are shown: those that there are."""
        there = (task for task in self._rankings if task.fingerprint not in self._missing)
        return [task for task in there if self._is_example(task)]

    @functools.cached_property
    def _localizations(self) -> list[EvaluateLocalization]:
        if not settings().dataset.segmentation_split:
            return []
        once = [e for e in self._explained if not MethodName.parse(e["method"]).is_shuffled]
        once = [e for e in once if not MethodName.parse(e["method"]).is_seeded or e["seed"] == self.grid.seeds[0]]
        return [EvaluateLocalization(**explained) for explained in once]

    @functools.cached_property
    def _cells(self) -> list[Retrain]:
        cells: dict[str, Retrain] = {}
        for model_seed, seed in self.replicates:
            of_seed = [_shared_cell(0, seed), _shared_cell(100, seed)]
            for place in self._places(model_seed, seed):
                of_seed += [Retrain(percent=percent, longer=1, **place) for percent in self.grid.percents]
            cells |= {cell.fingerprint: cell for cell in of_seed}
        return list(cells.values())

    @functools.cached_property
    def _probes(self) -> list[ProbeMasks]:
        """Return the networks trained on masks alone, where masks can tell anything."""
        percents = [percent for percent in self.grid.percents if percent in self.grid.probe_percents]
        probes = [
            ProbeMasks(percent=percent, **place)
            for model_seed, seed in self.replicates
            for place in self._places(model_seed, seed)
            if MethodName.parse(place["method"]).masks_depend_on_image
            for percent in percents
        ]
        return list({probe.fingerprint: probe for probe in probes}.values())

    @functools.cached_property
    def _longer(self) -> list[Retrain]:
        """Return the cells trained twice as long: the first model's by the first method, and the blind controls'."""
        percents = [percent for percent in self.grid.percents if percent in self.grid.longer_percents]
        methods = [str(method) for method in self._methods if method.needs_model]
        blind = [RANDOM, *(str(m) for m in self._methods if m.is_control and not m.masks_depend_on_image)]
        audited = [(NO_MODEL, m) for m in blind] + ([(self.grid.models[0], methods[0])] if methods else [])
        cells = [
            Retrain(percent=percent, longer=2, **place)
            for model_seed, seed in self.replicates
            for place in self._places(model_seed, seed)
            if (place["model"], place["method"]) in audited
            for percent in percents
        ]
        return list({cell.fingerprint: cell for cell in cells}.values())

    def _places(self, model_seed: int, seed: int) -> Iterator[dict[str, Any]]:
        """Yield the parameters of the cells of one replicate, but for their percentages."""
        for method in self._controls:
            yield from self._in_directions({"model": NO_MODEL, "method": method}, seed, -1)
        for ranking in self._model_rankings.get(model_seed, []):
            yield from self._in_directions(ranking, seed, -1 if model_seed == seed else model_seed)

    def _in_directions(self, ranking: Mapping[str, Any], seed: int, model_seed: int) -> Iterator[dict[str, Any]]:
        for direction in self.grid.directions:
            where = {"model": ranking["model"], "method": ranking["method"], "direction": direction}
            yield {**where, "seed": seed, "model_seed": model_seed}


def _shared_cell(percent: int, seed: int) -> Retrain:
    """Return the cell of all curves; what is given need not be looked up in the configuration files."""
    where = {"model": NO_MODEL, "method": NO_MODEL, "direction": "remove", "model_seed": -1, "longer": 1}
    return Retrain(percent=percent, seed=seed, **where)


def _shown_settings() -> dict[str, Any]:
    everything = {f.name: getattr(settings(), f.name) for f in dataclasses.fields(settings())}
    return {k: v for k, v in everything.items() if k not in ("paths", "execution", "grid")}


def _is_there(task: StageTask) -> bool:
    """Tell whether a result can be shown; a ranking is shown beside its maps."""
    maps = [maps_task(task.model, task.method, task.seed)] if isinstance(task, RankPixels) else []
    return all(each.complete() for each in (task, *maps))


def _describe(cell: CellTask) -> dict[str, Any]:
    of_model = not cell.is_shared and MethodName.parse(cell.method).needs_model
    flat: dict[str, Any] = {}
    for task in closure(cell).values():
        for section, values in task.identity_settings().items():
            keys = values.items() if isinstance(values, dict) else [("", values)]
            flat |= {f"{section}.{key}" if key else section: value for key, value in keys}
    return {
        "model": cell.model if of_model else None,
        "method": None if cell.is_shared else cell.method,
        "percent": cell.percent,
        "direction": cell.direction,
        "seed": cell.seed,
        "model_seed": cell.explained_seed if of_model else None,
        "settings": flat,
        "fingerprint": cell.fingerprint,
    }
