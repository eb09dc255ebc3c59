"""From models to maps, from maps to removal levels and to localization."""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from roar_pipeline.errors import InputError
from roar_pipeline.methods import MethodName
from roar_pipeline.seeds import derived_seed
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.chain.models import full_name, model_task
from tasks.configuration.parameters import MethodParameter, MethodsParameter, ModelParameter, WholeParameter
from tasks.configuration.settings import settings
from tasks.runtime import execution
from tasks.runtime.priorities import urgency
from tasks.runtime.resources import Demand, light_demand, maps_demand, maps_settings

__all__ = ["DumpMaps", "EvaluateLocalization", "RankPixels", "maps_task", "require_model", "tie_seed"]


class ExplanationTask(StageTask):
    """A task on the maps of one model by one method; controls have no model, and only random has a seed."""

    model = ModelParameter(description="teacher, or a loss, or loss/reduction; none for controls")
    method = MethodParameter(description="attribution method or control, perhaps with a variant (+blur, +max)")
    seed = WholeParameter(what="seed", default=0, description="of the model, or of the random control's draw")

    @property
    def priority(self) -> int:
        """The priority of the curve."""
        return urgency(None if self.is_control else self.model, self.method, self.seed)

    def demand(self) -> Demand:
        """Return memory for images and maps."""
        return light_demand()

    @functools.cached_property
    def _method(self) -> MethodName:
        return MethodName.parse(self.method)

    @property
    def is_control(self) -> bool:
        """Whether the maps depend on no model."""
        return self._method.is_control

    def label_parameters(self) -> Mapping[str, Any]:
        """Return method and model, or the control alone."""
        if self.is_control:
            return {"method": self.method, **({"seed": self.seed} if self._method.is_seeded else {})}
        model = require_model(self.model, self.method)
        return {"model": full_name(model), "method": self.method, "seed": self.seed}

    @property
    def _maps(self) -> "DumpMaps":
        return maps_task(self.model, self.method, self.seed)


def require_model(model: str | None, method: str) -> str:
    """Return the model whose maps a method computes.

    Raises:
        InputError: there is none.
    """
    if model is None:
        raise InputError(f"method {method} needs a model: give --model (teacher, sswa, ...) and --method.")
    return model


def maps_task(model: str | None, method: str, seed: int) -> "DumpMaps":
    """Return the task of the maps that a method ranks pixels by; controls have one for all models."""
    name = MethodName.parse(method)
    source = (str(name.unshuffled),)
    if name.is_control:
        return DumpMaps(method=source, **({"seed": seed} if name.is_seeded else {}))
    return DumpMaps(model=model, method=source, seed=seed)


def tie_seed(seed: int) -> int:
    """Return the seed that orders tied pixels and draws the random control, by a seed of the grid."""
    return derived_seed(settings().removal.tie_seed, "ties", seed)


class DumpMaps(StageTask):
    """Compute maps of all images, and of every pair to localize.

    Several methods have a result each. They share the pass over the images, the forward pass, the tape of the
    single-pass methods, and the samples of the SmoothGrad family.
    """

    version = 4

    model = ModelParameter(description="teacher, or a loss, or loss/reduction; none for controls")
    method = MethodsParameter(description="attribution methods or controls, perhaps with variants (+blur, +max)")
    seed = WholeParameter(what="seed", default=0, description="of the model, or of the random control's draw")

    def demand(self) -> Demand:
        """Return memory, and a GPU slot if there is a model."""
        return light_demand() if self._is_control else maps_demand(self._explained_model)

    @property
    def max_batch_size(self) -> int:
        """How many methods Luigi may give to one process."""
        return int(settings().execution.methods_per_process)

    @property
    def _explained_model(self) -> str:
        return require_model(self.model, ",".join(self.method))

    @functools.cached_property
    def _methods(self) -> list[MethodName]:
        return list(map(MethodName.parse, self.method))

    @property
    def _is_control(self) -> bool:
        return all(method.is_control for method in self._methods)

    @property
    def _is_seeded(self) -> bool:
        return any(method.is_seeded for method in self._methods)

    def single_tasks(self) -> list["DumpMaps"]:
        """Return one task per method."""
        return [self] if len(self.method) == 1 else [self.clone(method=(name,)) for name in self.method]

    @property
    def _groups(self) -> dict[str, tuple[str, ...]]:
        """The methods that share a process, by its name: ``library``, a control, or a custom function.

        The side effects of a custom function reach no other method, as it has a process of its own.
        """
        groups: dict[str, tuple[str, ...]] = {}
        for name, method in zip(self.method, self._methods, strict=True):
            process = name if method.is_control else method.base if method.is_custom else "library"
            groups[process] = (*groups.get(process, ()), name)
        return groups

    def to_str_params(self, only_significant: bool = False, only_public: bool = False) -> dict[str, str]:
        """Return the parameters as text, with the process: the scheduler batches tasks that differ by methods only."""
        texts: dict[str, str] = super().to_str_params(only_significant, only_public)
        return texts if only_significant else {**texts, "process": ", ".join(self._groups)}

    def requires(self) -> list[StageTask]:
        """Return the images, and the model if there is one; or one task per process, if there are several."""
        self.label_parameters()
        if len(self._groups) > 1:
            return [self.clone(method=names) for names in self._groups.values()]
        images = PrepareImages()
        return [images] if self._is_control else [images, model_task(self._explained_model, self.seed)]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return method and model, or the control alone."""
        names = ",".join(self.method)
        if shuffled := [method for method in self._methods if method.is_shuffled]:
            source = shuffled[0].unshuffled
            raise InputError(
                f"{shuffled[0]} has no maps of its own: RankPixels gives every image another image's map of {source}. "
                f"Dump {source} instead."
            )
        if self._is_control:
            return {"method": names, **({"seed": self.seed} if self._is_seeded else {})}
        return {"model": full_name(self._explained_model), "method": names, "seed": self.seed}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the keys of [maps] that the methods read, or the seed of the random control."""
        if self._is_control:
            return {"tie_seed": settings().removal.tie_seed} if self._is_seeded else {}
        keys: dict[str, Any] = {}
        for method in self._methods:
            if method.needs_model:
                keys |= method.keys(dataclasses.asdict(maps_settings(self._explained_model)))
        return {"maps": keys}

    @property
    def stage(self) -> str:
        """The stage function of controls, or of methods."""
        return "dump_control" if self._is_control else "dump_maps"

    @property
    def is_light(self) -> bool:
        """Whether these are controls, which need no torch."""
        return self._is_control

    def output(self) -> list[luigi.Target]:
        """Return the manifest of every method."""
        return [StageTask.output(task) for task in self.single_tasks()]

    def run(self) -> None:
        """Make the maps; those of several processes are made by the required tasks."""
        if len(self._groups) == 1:
            super().run()

    def call(self) -> execution.StageCall:
        """Return the call that computes a control, or all methods of the model together."""
        call = super().call()
        if self._is_control:
            return call
        return dataclasses.replace(call, specs={task.method[0]: task.spec() for task in self.single_tasks()})

    def arguments(self) -> Mapping[str, Any]:
        """Return the images, and the control; or the model and [maps]."""
        if self._is_control:
            return {
                "images_path": PrepareImages().path,
                "method": self.method[0],
                "tie_seed": tie_seed(self.seed),
                "fingerprint": self.fingerprint,
            }
        return {
            "images_path": PrepareImages().path,
            "model_path": model_task(self._explained_model, self.seed).path,
            "maps": maps_settings(self._explained_model),
            "fingerprints": {task.method[0]: task.fingerprint for task in self.single_tasks()},
            "execution": settings().execution,
        }

    @property
    def path(self) -> Path:
        """maps.h5."""
        return self.directory / "maps.h5"


class RankPixels(ExplanationTask):
    """Rank every image's pixels by its map: at which percentage each is removed."""

    stage = "rank_pixels"
    is_light = True
    version = 3

    def requires(self) -> list[StageTask]:
        """Return the images (for the masks of the audits) and the maps."""
        return [PrepareImages(), self._maps]

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the seed of ties."""
        return {"tie_seed": settings().removal.tie_seed}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images and the maps."""
        seed = tie_seed(0 if self.is_control and not self._method.is_seeded else self.seed)
        return {
            "images_path": PrepareImages().path,
            "maps_path": self._maps.path,
            "tie_seed": seed,
            "shuffle_seed": seed if self._method.is_shuffled else None,
        }

    @property
    def path(self) -> Path:
        """levels.h5."""
        return self.directory / "levels.h5"


class EvaluateLocalization(ExplanationTask):
    """Score maps against the objects' masks."""

    stage = "evaluate_localization"

    def requires(self) -> list[StageTask]:
        """Return the images (for their masks) and the maps."""
        if self._method.is_shuffled:
            raise InputError(f"{self.method} shows every image another image's map: there is nothing to localize.")
        if not PrepareImages().has_masks:
            raise InputError(
                "Localization needs masks, and the data set has none: its kind has no masks, or [dataset] "
                "segmentation_split is empty. Name a list of ImageSets/Segmentation, or leave EvaluateLocalization out."
            )
        return [PrepareImages(), self._maps]

    def identity_settings(self) -> Mapping[str, Any]:
        """Return how void pixels count."""
        return {"void": settings().metrics.void}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images and the maps."""
        return {
            "images_path": PrepareImages().path,
            "maps_path": self._maps.path,
            "model": None if self.is_control else self.model,
            "method": self.method,
            "metrics": settings().metrics,
        }

    @property
    def path(self) -> Path:
        """localization.json."""
        return self.directory / "localization.json"
