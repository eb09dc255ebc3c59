"""From a data set to images in one file."""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.datasets import digests, kinds
from tasks.chain.base import StageTask
from tasks.configuration.settings import data_folder, folder, settings

__all__ = ["GenerateScenes", "PrepareImages"]


class GenerateScenes(StageTask):
    """Write the generated default data set, a folder in VOC layout."""

    stage = "generate_scenes"
    is_light = True
    sections = ("scenes",)

    def arguments(self) -> Mapping[str, Any]:
        """Return the settings of the scenes."""
        return {"scenes": settings().scenes}

    @property
    def voc(self) -> Path:
        """The data set's folder."""
        return self.directory / "VOC2012"


class PrepareImages(StageTask):
    """Decode and resize every image once, with its labels and masks."""

    stage = "prepare_images"
    is_light = True
    sections = ("dataset",)

    def requires(self) -> list[StageTask]:
        """Return the generator, unless there is a data set."""
        return [] if settings().dataset.root else [GenerateScenes()]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return the size, and a digest of the data set's content, which does not depend on its path."""
        dataset = settings().dataset
        return {"set": self._digest[:12] if dataset.root else "scenes", "size": f"{dataset.height}x{dataset.width}"}

    @functools.cached_property
    def _digest(self) -> str:
        return digests.content_digest(self._root, settings().dataset, data_folder() / "dataset-digests.json")

    def identity_settings(self) -> Mapping[str, Any]:
        """Return what of [dataset] affects the images of its kind, and the classes."""
        return {"dataset": kinds.identity(self._root, settings().dataset), "classes": list(self._classes)}

    @functools.cached_property
    def has_masks(self) -> bool:
        """Whether there are masks that maps can be localized by."""
        return kinds.has_masks(self._root, settings().dataset)

    def arguments(self) -> Mapping[str, Any]:
        """Return the data set's folder, settings and class names."""
        return {"root": self._root, "dataset": settings().dataset, "classes": self._classes}

    @property
    def path(self) -> Path:
        """images.h5."""
        return self.directory / "images.h5"

    @functools.cached_property
    def _root(self) -> Path:
        dataset = settings().dataset
        if dataset.kind == "own":
            return Path(dataset.root)
        return folder("[dataset] root", dataset.root) if dataset.root else GenerateScenes().voc

    @functools.cached_property
    def _classes(self) -> tuple[str, ...]:
        return kinds.class_names(self._root, settings().dataset)
