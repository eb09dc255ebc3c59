"""The cells of the grid."""

from collections.abc import Mapping
from typing import Any

import luigi

from roar_pipeline.attribution import is_control
from roar_pipeline.config import training_keys
from roar_pipeline.errors import InputError
from tasks.base import StageTask
from tasks.data import PrepareImages
from tasks.explanations import RankPixels
from tasks.models import full_name
from tasks.parameters import (
    NO_MODEL,
    DirectionParameter,
    MethodParameter,
    ModelParameter,
    PercentsParameter,
    WholeParameter,
)
from tasks.priorities import urgency
from tasks.resources import Demand, cell_demand
from tasks.settings import settings

__all__ = ["Retrain"]


class Retrain(StageTask):
    """Remove pixels, train a classifier from scratch on what is left, test it.

    At percent 0 nothing is removed: the clean cell, which belongs to no model and no method. With several percentages
    each cell keeps its own result, and a worker makes one after the other.
    """

    stage = "retrain"
    sections = ("retrain",)

    model = ModelParameter(
        default=NO_MODEL, description="whose maps: teacher, a loss, loss/reduction; none for controls"
    )
    method = MethodParameter(default=NO_MODEL, description="which maps: attribution method or control")
    percent = PercentsParameter(description="whole percentage of pixels removed (kept, if direction is keep); 0: clean")
    direction = DirectionParameter(default="remove", description="remove (ROAR) or keep (KAR)")
    seed = WholeParameter(what="seed", default=0, description="of the retrained network")
    model_seed = WholeParameter(
        what="model_seed", unset=-1, unset_name="same", description="of the explained model; default: the same as seed"
    )

    @property
    def priority(self) -> int:
        """The place of the cell's curve in the grid."""
        if self.percent == (0,):
            return urgency(None, None, self.seed)
        return urgency(None if is_control(self.method) else self.model, self.method, self.explained_seed)

    def demand(self) -> Demand:
        """Return memory for one cell at a time, and a GPU place."""
        return cell_demand()

    @property
    def max_batch_size(self) -> int:
        """How many cells Luigi may give to one process."""
        return int(settings().execution.cells_per_process)

    def parts(self) -> list["Retrain"]:
        """Return one task per percentage."""
        if len(self.percent) == 1:
            return [self]
        return [self.clone(percent=(percent,)) for percent in self.percent]

    def requires(self) -> list[StageTask]:
        """Return the images, and the removal levels unless all cells are clean."""
        return [PrepareImages()] if self.percent == (0,) else [PrepareImages(), self._levels]

    def named(self) -> Mapping[str, Any]:
        """Return what the grid sweeps, without what has no bearing on this cell."""
        if self.percent == (0,):
            return {"percent": 0, "seed": self.seed}
        if self.method == NO_MODEL:
            raise InputError(
                f"percent {self.percent[0]} removes pixels: give --method, and --model unless it is a control."
            )
        of_model = (
            {} if is_control(self.method) else {"model": full_name(self.model), "model_seed": self.explained_seed}
        )
        cell = {"percent": ",".join(map(str, self.percent)), "direction": self.direction, "seed": self.seed}
        return {"method": self.method, **of_model, **cell}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return recipe and scoring, and the fill where there is something to fill."""
        chosen = {"retrain": training_keys(settings().retrain)}
        return chosen if self.percent == (0,) else {**chosen, "fill": settings().removal.fill}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images, the levels and the recipe."""
        percent = self.percent[0]
        return {
            "images_path": PrepareImages().path,
            "levels_path": self._levels.path if percent else None,
            "percent": percent,
            "direction": self.direction if percent else "remove",
            "recipe": settings().retrain,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "execution": settings().execution,
        }

    def output(self) -> list[luigi.Target]:
        """Return the manifest of every cell."""
        return [StageTask.output(cell) for cell in self.parts()]

    @property
    def explained_seed(self) -> int:
        """The seed of the model whose maps these are."""
        return int(self.seed if self.model_seed < 0 else self.model_seed)

    @property
    def _levels(self) -> RankPixels:
        if is_control(self.method):
            return RankPixels(method=self.method)
        return RankPixels(model=self.model, method=self.method, seed=self.explained_seed)
