"""The tasks of a grid: models, rankings, localizations, cells and probes."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from roar_pipeline import config
from roar_pipeline.methods import RANDOM, MethodName
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.chain.explanations import EvaluateLocalization, RankPixels
from tasks.chain.models import ModelTask, full_name, model_task
from tasks.chain.retraining import ProbeMasks, Retrain

__all__ = ["GridTasks"]


class _Ranking(NamedTuple):
    """Parameters of a ranking of pixels."""

    model: str | None
    method: str
    seed: int


class _Curve(NamedTuple):
    """Parameters of the cells of one curve and run, without the percentage."""

    model: str | None
    method: str
    direction: str
    seed: int
    model_seed: int


@dataclass(frozen=True)
class GridTasks:
    """The tasks of a grid's results, in the order in which the report shows them."""

    grid: config.Grid

    @functools.cached_property
    def replicates(self) -> list[tuple[int, int]]:
        """The pairs (seed of the models, seed of the retrained networks)."""
        grid = self.grid
        if not grid.model_seeds:
            return [(seed, seed) for seed in grid.seeds]
        return [(model_seed, seed) for model_seed in grid.model_seeds for seed in grid.seeds]

    @property
    def all(self) -> list[StageTask]:
        """Every task of the grid."""
        return [
            *self.models.values(),
            *self.rankings,
            *self.localizations,
            *self.cells,
            *self.probes,
            *self.longer_cells,
        ]

    @functools.cached_property
    def models(self) -> dict[tuple[str, int], ModelTask]:
        """The models, by their names in [grid] and their seeds."""
        seeds = dict.fromkeys(model_seed for model_seed, _ in self.replicates)
        return {(name, seed): model_task(name, seed) for seed in seeds for name in self.grid.models}

    @functools.cached_property
    def rankings(self) -> list[RankPixels]:
        """The rankings of pixels, those of the controls first."""
        return [RankPixels(**ranking._asdict()) for ranking in self._rankings]

    @property
    def example_rankings(self) -> list[RankPixels]:
        """The rankings whose maps the report shows as examples: those of the first seed, without shuffled maps."""
        return [task for task in self.rankings if self._is_example(task)]

    @functools.cached_property
    def localizations(self) -> list[EvaluateLocalization]:
        """The localizations of all maps, if there are masks; of the random control only its first draw."""
        if not PrepareImages().has_masks:
            return []
        return [EvaluateLocalization(**ranking._asdict()) for ranking in self._rankings if self._is_localized(ranking)]

    def _is_localized(self, ranking: _Ranking) -> bool:
        method = MethodName.parse(ranking.method)
        return not method.is_shuffled and (not method.is_seeded or ranking.seed == self.grid.seeds[0])

    @functools.cached_property
    def cells(self) -> list[Retrain]:
        """The cells: per run the clean one, the one with nothing visible, and those of every curve."""
        cells: dict[str, Retrain] = {}
        for model_seed, seed in self.replicates:
            of_run = [_shared_cell(0, seed), _shared_cell(100, seed)]
            for curve in self._curves_of(model_seed, seed):
                of_run += [_cell(curve, percent) for percent in self.grid.percents]
            cells |= {cell.fingerprint: cell for cell in of_run}
        return list(cells.values())

    @functools.cached_property
    def probes(self) -> list[ProbeMasks]:
        """The networks trained on masks alone, where masks depend on their image."""
        percents = [percent for percent in self.grid.percents if percent in self.grid.probe_percents]
        probes = [
            ProbeMasks(percent=percent, **curve._asdict())
            for curve in self._curves
            if MethodName.parse(curve.method).masks_depend_on_image
            for percent in percents
        ]
        return list({probe.fingerprint: probe for probe in probes}.values())

    @functools.cached_property
    def longer_cells(self) -> list[Retrain]:
        """The cells trained twice as long: of the first model and method, and of controls that ignore the image."""
        percents = [percent for percent in self.grid.percents if percent in self.grid.longer_percents]
        methods = [str(method) for method in self._methods if method.needs_model]
        blind = [RANDOM, *(str(m) for m in self._methods if m.is_control and not m.masks_depend_on_image)]
        curves = [*((None, m) for m in blind), *([(self.grid.models[0], methods[0])] if methods else [])]
        cells = [
            _cell(curve, percent, longer=2)
            for curve in self._curves
            if (curve.model, curve.method) in curves
            for percent in percents
        ]
        return list({cell.fingerprint: cell for cell in cells}.values())

    @functools.cached_property
    def _methods(self) -> list[MethodName]:
        return list(map(MethodName.parse, self.grid.methods))

    @functools.cached_property
    def _controls(self) -> list[str]:
        return list(dict.fromkeys((RANDOM, *(str(method) for method in self._methods if method.is_control))))

    @functools.cached_property
    def _rankings(self) -> list[_Ranking]:
        """Every ranking of pixels, those of the controls first.

        Random is drawn anew for every seed of the retrained networks; the other controls are the same for all.
        """
        controls = [
            _Ranking(None, method, seed)
            for method in self._controls
            for seed in (self.grid.seeds if MethodName.parse(method).is_seeded else (0,))
        ]
        return [*controls, *(ranking for of_seed in self._model_rankings.values() for ranking in of_seed)]

    @functools.cached_property
    def _model_rankings(self) -> dict[int, list[_Ranking]]:
        """Every ranking of pixels by a model's maps, by the model's seed."""
        shuffled = {full_name(name) for name in self.grid.shuffled}
        by_seed: dict[int, list[_Ranking]] = {}
        for name, seed in self.models:
            for method in (method for method in self._methods if method.needs_model):
                is_base = full_name(name) in shuffled and method.variant is None
                for ranked in (method, method.shuffled) if is_base else (method,):
                    by_seed.setdefault(seed, []).append(_Ranking(name, str(ranked), seed))
        return by_seed

    def _is_example(self, task: RankPixels) -> bool:
        method = MethodName.parse(task.method)
        if method.is_seeded:
            return bool(task.seed == self.grid.seeds[0])
        return bool(method.is_control or (task.seed == self.replicates[0][0] and not method.is_shuffled))

    @property
    def _curves(self) -> Iterator[_Curve]:
        return (curve for model_seed, seed in self.replicates for curve in self._curves_of(model_seed, seed))

    def _curves_of(self, model_seed: int, seed: int) -> Iterator[_Curve]:
        """Yield the curves of one replicate."""
        for method in self._controls:
            for direction in self.grid.directions:
                yield _Curve(None, method, direction, seed, -1)
        for ranking in self._model_rankings.get(model_seed, []):
            for direction in self.grid.directions:
                parameter = -1 if model_seed == seed else model_seed
                yield _Curve(ranking.model, ranking.method, direction, seed, parameter)


def _cell(curve: _Curve, percent: int, longer: int = 1) -> Retrain:
    return Retrain(percent=percent, longer=longer, **curve._asdict())


def _shared_cell(percent: int, seed: int) -> Retrain:
    """Return a cell of all curves; explicit parameters save looking up the configuration files."""
    defaults: dict[str, Any] = {"model": None, "method": None, "direction": "remove", "model_seed": -1}
    return Retrain(percent=percent, longer=1, seed=seed, **defaults)
