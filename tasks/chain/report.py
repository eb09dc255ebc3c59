"""The report on a grid."""

import dataclasses
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import luigi

from roar_pipeline import config, settings_parser
from roar_pipeline.cache.building import ResultSpec
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain
from roar_pipeline.report.inputs import CellInput, ExampleInput, LocalizationInput, ModelInput, ReportInputs
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.chain.explanations import RankPixels, maps_task
from tasks.chain.grid import GridTasks
from tasks.chain.models import full_name
from tasks.chain.retraining import CellTask
from tasks.configuration.parameters import AxisParameter
from tasks.configuration.settings import settings
from tasks.runtime.resources import Demand, light_demand
from tasks.runtime.terminal import closure

__all__ = ["Report"]


class Report(StageTask):
    """Compute the grid and write its report: tables, curves, pictures, one HTML page.

    A partial report computes nothing else: it shows the results that are done when the task is created, and lists the
    missing ones. When more are done, it is another result.
    """

    stage = "write_report"
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
        """The grid of the report: [grid], with the task's parameters in its stead."""
        axes = {f.name: text for f in dataclasses.fields(config.Grid) if (text := getattr(self, f.name))}
        grid = dataclasses.replace(
            settings().grid, **{k: getattr(settings_parser.parse({"grid": axes}).grid, k) for k in axes}
        )
        if len({full_name(model) for model in grid.models}) < len(grid.models):
            raise InputError(f"[grid] models names one model twice: {', '.join(grid.models)}.")
        return grid

    @functools.cached_property
    def grid_tasks(self) -> GridTasks:
        """The tasks of the grid, done or not."""
        return GridTasks(self.grid)

    def requires(self) -> list[StageTask]:
        """Return the tasks of all results that the report shows; of a partial report only those that are done."""
        return [task for task in (PrepareImages(), *self.grid_tasks.all) if task.fingerprint not in self._missing]

    def spec(self) -> ResultSpec:
        """Return the result to make; its inputs are those that it requires, and the maps of its examples."""
        own = super().spec()
        maps = (maps_task(task.model, task.method, task.seed) for task in self._example_rankings())
        return dataclasses.replace(own, inputs=(*own.inputs, *((task.directory, task.fingerprint) for task in maps)))

    def complete(self) -> bool:
        """Return whether the report and all results that it shows are done: a deleted one is made again."""
        return bool(super().complete()) and all(task.complete() for task in self.requires())

    def label_parameters(self) -> Mapping[str, Any]:
        """Return whether the report is partial; the grid is too long for a label."""
        return {"partial": "true"} if self.partial else {}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return [report], [metrics] and the grid; of a partial report also the missing results."""
        partial = {"partial": True, "missing": sorted(self._missing)} if self.partial else {}
        return {**super().identity_settings(), "grid": plain(self.grid), **partial}

    def arguments(self) -> Mapping[str, Any]:
        """Return the paths of the results that the report shows."""
        return {"inputs": self._inputs()}

    def _inputs(self) -> ReportInputs:
        """Return the paths of all results; None for missing ones."""
        tasks = self.grid_tasks
        return ReportInputs(
            settings=dataclasses.replace(settings(), grid=self.grid),
            images_path=PrepareImages().path,
            models=tuple(
                ModelInput(name, seed, self._if_done(task, task.metrics_path))
                for (name, seed), task in tasks.models.items()
            ),
            cells=self._cell_inputs(tasks.cells),
            probes=self._cell_inputs(tasks.probes),
            longer=self._cell_inputs(tasks.longer_cells),
            localizations=tuple(
                LocalizationInput(
                    None if task.is_control else task.model,
                    task.method,
                    None if task.is_control else task.seed,
                    self._if_done(task, task.path),
                )
                for task in tasks.localizations
            ),
            examples=tuple(
                ExampleInput(
                    None if task.is_control else task.model,
                    task.method,
                    maps_task(task.model, task.method, task.seed).path,
                    self._if_done(task, task.path),
                )
                for task in tasks.example_rankings
            ),
        )

    def _cell_inputs(self, cells: Iterable[CellTask]) -> tuple[CellInput, ...]:
        return tuple(_cell_input(cell, self._if_done(cell, cell.directory)) for cell in cells)

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
        """The fingerprints of the results that a partial report lacks; cached, so that its identity stays.

        Raises:
            InputError: the images are not prepared, or no result that the report shows is done.
        """
        if not self.partial:
            return frozenset()
        if not PrepareImages().complete():
            raise InputError(
                f"There is nothing for a partial report: not even the images are prepared ({PrepareImages().directory} "
                "is not done). Run Report without --partial, which makes everything, or some of its tasks first."
            )
        tasks = self.grid_tasks
        missing = frozenset(task.fingerprint for task in tasks.all if not _is_showable(task))
        scored = [*tasks.models.values(), *tasks.localizations, *tasks.cells, *tasks.probes, *tasks.longer_cells]
        if missing.issuperset(task.fingerprint for task in scored):
            raise InputError(
                f"There is nothing for a partial report: the images are prepared ({PrepareImages().directory}), and of "
                f"the grid's {len(tasks.models)} models, {len(tasks.localizations)} localizations and "
                f"{len(tasks.cells)} cells none is done. Run Report without --partial, or name a grid with finished "
                "results."
            )
        return missing

    def _if_done(self, task: StageTask, path: Path) -> Path | None:
        return None if task.fingerprint in self._missing else path

    def _example_rankings(self) -> list[RankPixels]:
        """Return the rankings whose maps the report shows: those that are done."""
        return [task for task in self.grid_tasks.example_rankings if task.fingerprint not in self._missing]


def _is_showable(task: StageTask) -> bool:
    """Return whether the report can show a result: it is done, and so are the maps of a ranking."""
    maps = [maps_task(task.model, task.method, task.seed)] if isinstance(task, RankPixels) else []
    return all(required.complete() for required in (task, *maps))


def _cell_input(cell: CellTask, directory: Path | None) -> CellInput:
    return CellInput(
        model=cell.model if cell.has_model else None,
        method=None if cell.is_shared else cell.method,
        percent=cell.percent,
        direction=cell.direction,
        seed=cell.seed,
        model_seed=cell.explained_seed if cell.has_model else None,
        directory=directory,
        settings=_flat_settings(cell),
        fingerprint=cell.fingerprint,
    )


def _flat_settings(cell: CellTask) -> dict[str, object]:
    """Return the settings of a cell and of all results that it is built on, by ``section.key``."""
    flat: dict[str, object] = {}
    for task in closure(cell).values():
        for section, values in task.identity_settings().items():
            keys = values.items() if isinstance(values, dict) else [("", values)]
            flat |= {f"{section}.{key}" if key else section: value for key, value in keys}
    return flat
