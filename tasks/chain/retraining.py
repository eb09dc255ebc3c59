"""The cells of the grid, and the probes beside them."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any, ClassVar

from roar_pipeline import config
from roar_pipeline.architectures import is_custom
from roar_pipeline.errors import InputError
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.methods import MethodName
from roar_pipeline.plain_settings import training_keys
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.chain.explanations import RankPixels, require_model
from tasks.chain.models import full_name
from tasks.configuration.parameters import (
    NO_MODEL,
    DirectionParameter,
    ModelParameter,
    OptionalMethodParameter,
    PercentParameter,
    WholeParameter,
)
from tasks.configuration.settings import settings
from tasks.runtime.priorities import urgency
from tasks.runtime.resources import Demand, cell_demand

__all__ = ["CellTask", "ProbeMasks", "Retrain"]

_SHARED = {0, 100}
"""Percentages at which maps have no effect: everything is visible, or nothing."""


class CellTask(StageTask):
    """A network trained from scratch at a percentage of one map's pixels."""

    masks_only: ClassVar[bool] = False
    """Whether the network sees the binary masks instead of the images."""

    model = ModelParameter(description="whose maps: teacher, a loss, loss/reduction; none for controls")
    method = OptionalMethodParameter(description="which maps: attribution method or control")
    percent = PercentParameter(
        description="whole percentage of pixels removed (kept, if direction is keep); 0: clean, 100: nothing visible"
    )
    direction = DirectionParameter(default="remove", description="remove (ROAR) or keep (KAR)")
    seed = WholeParameter(what="seed", default=0, description="of the retrained network")
    model_seed = WholeParameter(
        what="model_seed", unset=-1, unset_name="same", description="of the explained model; default: the same as seed"
    )

    @property
    def priority(self) -> int:
        """The priority of the cell's curve."""
        if self.is_shared:
            return urgency(None, None, self.seed)
        return urgency(None if self.method_name.is_control else self.model, self.method, self.explained_seed)

    def demand(self) -> Demand:
        """Return memory for one cell, and a GPU slot."""
        return cell_demand()

    @functools.cached_property
    def method_name(self) -> MethodName:
        """The method, in its parts.

        Raises:
            InputError: the cell needs one, and there is none.
        """
        if self.method is None:
            raise InputError(
                f"percent {self.percent} removes pixels: give --method, and --model unless it is a control."
            )
        return MethodName.parse(self.method)

    @property
    def has_model(self) -> bool:
        """Whether the cell's maps depend on a model."""
        return not self.is_shared and self.method_name.needs_model

    @property
    def explained_model(self) -> str:
        """The explained model."""
        return require_model(self.model, str(self.method_name))

    @property
    def is_shared(self) -> bool:
        """Whether the cell is the same for all models and methods, and so belongs to every curve of its seed."""
        return self.percent in _SHARED

    @property
    def explained_seed(self) -> int:
        """The seed of the explained model."""
        return int(self.seed if self.model_seed < 0 else self.model_seed)

    @property
    def recipe(self) -> config.Retrain:
        """The network and how it is trained."""
        return settings().retrain

    def requires(self) -> list[StageTask]:
        """Return the images, and the removal levels unless the cell is shared."""
        return [PrepareImages()] if self.is_shared else [PrepareImages(), self._levels]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return the parameters that the grid sweeps, without those that have no effect on this cell."""
        if self.is_shared:
            if self.direction == "keep":
                raise InputError(
                    "To keep 0 or 100 % is to show nothing or all: leave --direction keep out, and give --percent 100 "
                    "or 0."
                )
            return {"percent": self.percent, "seed": self.seed}
        of_model = (
            {"model": full_name(self.explained_model), "model_seed": self.explained_seed} if self.has_model else {}
        )
        cell = {"percent": str(self.percent), "direction": self.direction, "seed": self.seed}
        return {"method": self.method, **of_model, **cell}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images, the levels and the recipe."""
        return {
            "images_path": PrepareImages().path,
            "levels_path": None if self.is_shared else self._levels.path,
            "cell": Cell(
                percent=self.percent,
                direction="remove" if self.is_shared else self.direction,
                recipe=self.recipe,
                seed=self.seed,
                fill=settings().removal.fill,
                masks_only=self.masks_only,
            ),
            "fingerprint": self.fingerprint,
            "execution": settings().execution,
        }

    @property
    def _levels(self) -> RankPixels:
        if self.has_model:
            return RankPixels(model=self.model, method=self.method, seed=self.explained_seed)
        return RankPixels(method=self.method, seed=self.seed)


class Retrain(CellTask):
    """Remove pixels, train a classifier from scratch on the remaining ones, test it.

    At percent 0 nothing is removed, at percent 100 everything: both are the same for all models and methods.
    """

    stage = "retrain"
    version = 2

    longer = WholeParameter(
        what="longer", low=1, default=1, description="times the epochs of [retrain]: is the training long enough?"
    )

    @property
    def title(self) -> str:
        """The name for people, with ``longer``, which the label lacks."""
        return super().title + (f" longer={self.longer}" if self.longer > 1 else "")

    @property
    def recipe(self) -> config.Retrain:
        """The network and how it is trained, for ``longer`` times the epochs."""
        recipe = settings().retrain
        return recipe if self.longer == 1 else dataclasses.replace(recipe, epochs=recipe.epochs * self.longer)

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the recipe, and the fill if pixels are removed."""
        recipe = {"retrain": _recipe_keys(self.recipe)}
        return recipe if self.percent == 0 else {**recipe, "fill": settings().removal.fill}


class ProbeMasks(CellTask):
    """Train the same classifier on the binary masks alone, to measure what their shapes tell about the labels."""

    stage = "retrain"
    masks_only = True

    def label_parameters(self) -> Mapping[str, Any]:
        """Return the parameters that the grid sweeps."""
        if self.is_shared or not self.method_name.masks_depend_on_image:
            raise InputError(
                f"There is nothing to probe: the masks of {self.method or NO_MODEL} at {self.percent} % carry no "
                "information on their image. Give a method whose maps depend on it, and a percentage in 1..99."
            )
        return super().label_parameters()

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the recipe of the cells."""
        return {"retrain": _recipe_keys(self.recipe)}


@functools.cache
def _cached_keys(recipe: config.Retrain) -> dict[str, Any]:
    return training_keys(recipe)


def _recipe_keys(recipe: config.Retrain) -> dict[str, Any]:
    """Return the keys of the recipe that have an effect, as a new dictionary; cached for thousands of cells.

    Not cached for a network of the user's own, whose source may change while this process runs.
    """
    return training_keys(recipe) if is_custom(recipe.arch) else dict(_cached_keys(recipe))
