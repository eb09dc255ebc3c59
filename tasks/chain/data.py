"""From a data set to images in one file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.datasets import digests, scenes, voc
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
        size = {"size": f"{dataset.height}x{dataset.width}"}
        if not dataset.root:
            return {"set": "scenes", **size}
        voc.check_layout(self._root, dataset)
        cache = data_folder() / "dataset-digests.json"
        return {"set": digests.content_digest(self._root, dataset, cache)[:12], **size}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return [dataset] without ``root``, and without ``train_side`` if it is 0; and the class names."""
        ignored = {"root"} if settings().dataset.train_side else {"root", "train_side"}
        dataset = {k: v for k, v in super().identity_settings()["dataset"].items() if k not in ignored}
        return {"dataset": dataset, "classes": list(self._classes)}

    def arguments(self) -> Mapping[str, Any]:
        """Return the data set's folder, settings and class names."""
        return {"root": self._root, "dataset": settings().dataset, "classes": self._classes}

    @property
    def path(self) -> Path:
        """images.h5."""
        return self.directory / "images.h5"

    @property
    def _root(self) -> Path:
        root = settings().dataset.root
        return folder("[dataset] root", root) if root else GenerateScenes().voc

    @property
    def _classes(self) -> tuple[str, ...]:
        dataset = settings().dataset
        return dataset.classes or (voc.CLASSES if dataset.root else scenes.CLASSES)
