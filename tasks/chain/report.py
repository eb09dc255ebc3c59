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
from roar_pipeline.methods import MethodName
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
    """Compute the grid and put it together: tables, curves, pictures, one HTML page.

    A partial report computes nothing else: it is made of what is done when the task is first looked at, and says what
    is missing. With more done it is another result.
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
        """What the report covers: [grid], but for what is given to the task."""
        given = {f.name: text for f in dataclasses.fields(config.Grid) if (text := getattr(self, f.name))}
        grid = dataclasses.replace(
            settings().grid, **{k: getattr(settings_parser.parse({"grid": given}).grid, k) for k in given}
        )
        if len({full_name(model) for model in grid.models}) < len(grid.models):
            raise InputError(f"[grid] models names one model twice: {', '.join(grid.models)}.")
        return grid

    @functools.cached_property
    def grid_tasks(self) -> GridTasks:
        """The tasks of what the report covers, done or not."""
        return GridTasks(self.grid)

    def requires(self) -> list[StageTask]:
        """Return everything that the report shows, of which a partial one takes what is done."""
        return [task for task in self._planned if task.fingerprint not in self._missing]

    def spec(self) -> ResultSpec:
        """Return the report, made from what it requires and from the maps of its examples."""
        own = super().spec()
        maps = (maps_task(task.model, task.method, task.seed) for task in self._example_rankings())
        return dataclasses.replace(own, inputs=(*own.inputs, *((task.directory, task.fingerprint) for task in maps)))

    def complete(self) -> bool:
        """Tell whether the report is there and so is everything it shows: what is deleted is made again."""
        return bool(super().complete()) and all(task.complete() for task in self.requires())

    def label_parameters(self) -> Mapping[str, Any]:
        """Return whether the report is partial, and nothing more: the grid is too long for a name."""
        return {"partial": "true"} if self.partial else {}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the grid, how it is shown and scored, and of a partial report what is missing."""
        partial = {"partial": True, "missing": sorted(self._missing)} if self.partial else {}
        return {**super().identity_settings(), "grid": plain(self.grid), **partial}

    def arguments(self) -> Mapping[str, Any]:
        """Return what the report is made from."""
        return {"inputs": self._inputs()}

    def _inputs(self) -> ReportInputs:
        """Return where everything is, and None where something is missing."""
        tasks = self.grid_tasks
        return ReportInputs(
            settings=dataclasses.replace(settings(), grid=self.grid),
            images_path=PrepareImages().path,
            models=tuple(
                ModelInput(name, seed, self._if_there(task, task.metrics_path))
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
                    self._if_there(task, task.path),
                )
                for task in tasks.localizations
            ),
            examples=tuple(
                ExampleInput(
                    None if task.is_control else task.model,
                    task.method,
                    maps_task(task.model, task.method, task.seed).path,
                    self._if_there(task, task.path),
                )
                for task in tasks.example_rankings
            ),
        )

    def _cell_inputs(self, cells: Iterable[CellTask]) -> tuple[CellInput, ...]:
        return tuple(_cell_input(cell, self._if_there(cell, cell.directory)) for cell in cells)

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
        tasks = self.grid_tasks
        missing = frozenset(task.fingerprint for task in tasks.all if not _is_there(task))
        shown = [*tasks.models.values(), *tasks.localizations, *tasks.cells, *tasks.probes, *tasks.longer_cells]
        if missing.issuperset(task.fingerprint for task in shown):
            raise InputError(
                f"There is nothing for a partial report: the images are prepared ({PrepareImages().directory}), and of "
                f"the {len(tasks.models)} models, {len(tasks.localizations)} localizations and {len(tasks.cells)} "
                "cells asked for none is done. Run Report without --partial, or ask for a grid of which something is."
            )
        return missing

    def _if_there(self, task: StageTask, path: Path) -> Path | None:
        return None if task.fingerprint in self._missing else path

    @functools.cached_property
    def _planned(self) -> list[StageTask]:
        return [PrepareImages(), *self.grid_tasks.all]

    def _example_rankings(self) -> list[RankPixels]:
        """Return the rankings whose maps are shown: those that are done."""
        return [task for task in self.grid_tasks.example_rankings if task.fingerprint not in self._missing]


def _is_there(task: StageTask) -> bool:
    """Tell whether a result can be shown; a ranking is shown beside its maps."""
    maps = [maps_task(task.model, task.method, task.seed)] if isinstance(task, RankPixels) else []
    return all(each.complete() for each in (task, *maps))


def _cell_input(cell: CellTask, directory: Path | None) -> CellInput:
    of_model = not cell.is_shared and MethodName.parse(cell.method).needs_model
    return CellInput(
        model=cell.model if of_model else None,
        method=None if cell.is_shared else cell.method,
        percent=cell.percent,
        direction=cell.direction,
        seed=cell.seed,
        model_seed=cell.explained_seed if of_model else None,
        directory=directory,
        settings=_flat_settings(cell),
        fingerprint=cell.fingerprint,
    )


def _flat_settings(cell: CellTask) -> dict[str, object]:
    """Return the settings of a cell and of everything that it is built on, by ``section.key``."""
    flat: dict[str, object] = {}
    for task in closure(cell).values():
        for section, values in task.identity_settings().items():
            keys = values.items() if isinstance(values, dict) else [("", values)]
            flat |= {f"{section}.{key}" if key else section: value for key, value in keys}
    return flat
