"""From models to maps, from maps to removal levels and to localization."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.attribution import CONTROLS
from roar_pipeline.errors import InputError
from tasks.base import StageTask
from tasks.data import PrepareImages
from tasks.gpus import gpu_resources
from tasks.models import full_name, model_task
from tasks.parameters import NO_MODEL, MethodParameter, ModelParameter, WholeParameter
from tasks.settings import settings

__all__ = ["DumpMaps", "EvaluateLocalization", "RankPixels"]


class ExplanationTask(StageTask):
    """A task of one model's maps by one method; the controls have no model, and no seed of one."""

    model = ModelParameter(default=NO_MODEL, description="teacher, or a loss, or loss/reduction; none for controls")
    method = MethodParameter(description="attribution method or control")
    seed = WholeParameter(what="seed", default=0, description="of the model")

    @property
    def is_control(self) -> bool:
        """Whether the maps depend on no model."""
        return self.method in CONTROLS

    def named(self) -> Mapping[str, Any]:
        """Return method and model, or the control alone."""
        if self.is_control:
            return {"method": self.method}
        if NO_MODEL in (self.model, self.method):
            raise InputError(f"method {self.method} needs a model: give --model (teacher, sswa, ...) and --method.")
        return {"model": full_name(self.model), "method": self.method, "seed": self.seed}


class DumpMaps(ExplanationTask):
    """Compute maps of the train and test images, and of every pair to localize."""

    stage = "dump_maps"
    sections = ("maps",)
    priority = 60

    @property
    def resources(self) -> dict[str, int]:
        """One GPU place, where there are GPUs and a model."""
        return {} if self.is_control else gpu_resources(settings().execution.device)

    def requires(self) -> list[StageTask]:
        """Return the images and the model."""
        self.named()
        return [PrepareImages()] if self.is_control else [PrepareImages(), model_task(self.model, self.seed)]

    def identity_settings(self) -> Mapping[str, Any]:
        """Return [maps], or for a control the seed it is drawn from."""
        if self.is_control:
            return {"tie_seed": settings().removal.tie_seed}
        return {"maps": super().identity_settings()["maps"]}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images, the model and the method."""
        return {
            "images_path": PrepareImages().path,
            "model_path": None if self.is_control else model_task(self.model, self.seed).path,
            "method": self.method,
            "maps": settings().maps,
            "tie_seed": settings().removal.tie_seed,
            "fingerprint": self.fingerprint,
            "execution": settings().execution,
        }

    @property
    def path(self) -> Path:
        """maps.h5."""
        return self.directory / "maps.h5"


class RankPixels(ExplanationTask):
    """Rank every image's pixels by its map: at which percentage each is removed."""

    stage = "rank_pixels"
    priority = 65

    def requires(self) -> list[StageTask]:
        """Return the images (for the masks of the audits) and the maps."""
        return [PrepareImages(), self._maps]

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the seed of ties."""
        return {"tie_seed": settings().removal.tie_seed}

    def arguments(self) -> Mapping[str, Any]:
        """Return the images and the maps."""
        return {
            "images_path": PrepareImages().path,
            "maps_path": self._maps.path,
            "tie_seed": settings().removal.tie_seed,
        }

    @property
    def _maps(self) -> DumpMaps:
        return DumpMaps(model=self.model, method=self.method, seed=self.seed)

    @property
    def path(self) -> Path:
        """levels.h5."""
        return self.directory / "levels.h5"


class EvaluateLocalization(ExplanationTask):
    """Score maps against the objects' masks."""

    stage = "evaluate_localization"
    priority = 65

    def requires(self) -> list[StageTask]:
        """Return the images (for their masks) and the maps."""
        if not settings().dataset.segmentation_split:
            raise InputError(
                "Localization needs masks, and [dataset] segmentation_split is empty. Name a list of "
                "ImageSets/Segmentation, or leave EvaluateLocalization out."
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
    def _maps(self) -> DumpMaps:
        return DumpMaps(model=self.model, method=self.method, seed=self.seed)

    @property
    def path(self) -> Path:
        """localization.json."""
        return self.directory / "localization.json"
