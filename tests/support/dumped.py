"""Maps of a small folder in VOC layout, dumped without Luigi, and a method of one's own that fails."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import torch
from support.voc_folder import CLASSES, dataset, write_voc_folder

from roar_pipeline import stages
from roar_pipeline.attribution import dumping, map_store
from roar_pipeline.config import Maps, Network
from roar_pipeline.datasets import images
from roar_pipeline.networks import vgg


def prepare(folder: Path) -> Path:
    """Write the folder, and return its images.h5."""
    write_voc_folder(folder / "VOC")
    settings = dataset(height=16, width=16, test_split="test", segmentation_split="test")
    stages.prepare_images(folder, root=folder / "VOC", dataset=settings, classes=CLASSES)
    return folder / images.FILE


def dump(folder: Path, path: Path, *names: str, **changes: Any) -> dict[str, np.ndarray]:
    """Return the maps of the train split, by a model that predicts every class of every image."""
    folder.mkdir()
    model = vgg.build(Network(width=4), len(CLASSES)).eval()
    with torch.no_grad():
        model.get_parameter("classifier.1.bias").fill_(9.0)
    directories = {name: folder / name.replace(":", "-") for name in names}
    for directory in directories.values():
        directory.mkdir()
    settings = dataclasses.replace(Maps(samples=2), **changes)
    dumping.dump_explanations(directories, dict.fromkeys(names, "0" * 64), path, model, settings, memory_share=0.5)
    return {name: map_store.read_rows(directory / "maps.h5", "train").maps for name, directory in directories.items()}


def fails_of_the_last_class(
    model: torch.nn.Module, pixels: torch.Tensor, image_index: torch.Tensor, class_index: torch.Tensor
) -> torch.Tensor:
    """A method of one's own that cannot explain every class."""
    if (class_index == len(CLASSES) - 1).any():
        raise RuntimeError("cannot")
    return pixels[image_index].sum(1)
