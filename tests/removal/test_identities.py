"""Removing p % at random, and keeping 100 - p % at random, are the same within seed noise."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from roar_pipeline.config import Dataset, Retrain, Scenes
from roar_pipeline.datasets.images import read_info, read_split
from roar_pipeline.datasets.scenes import CLASSES
from roar_pipeline.evaluation.prediction_metrics import f1_samples
from roar_pipeline.networks import batches, training, vgg
from roar_pipeline.networks.checkpoints import Checkpoint
from roar_pipeline.removal.ranking import removal_levels
from roar_pipeline.stages import generate_scenes, prepare_images

SIZE, SEEDS = 32, 5
RECIPE = dataclasses.replace(Retrain(), width=4, epochs=4)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    generate_scenes(folder, scenes=Scenes(train=500, validation=1, test=300, size=SIZE))
    prepare_images(folder, root=folder / "VOC2012", dataset=Dataset(height=SIZE, width=SIZE), classes=CLASSES)
    return folder / "images.h5"


def score(prepared: Path, tmp_path: Path, percent: int, direction: str, seed: int) -> float:
    """Retrain on randomly removed pixels and return F1, from probability 0.3 as so short a training is timid."""
    info, held = read_info(prepared), {}
    for name in ("train", "test"):
        split = read_split(prepared, name)
        random = np.zeros((SIZE, SIZE))
        tie_seed = 0 if direction == "remove" else 1
        levels = np.stack([removal_levels(random, image_id, tie_seed) for image_id in split.ids])
        resident = batches.make_inputs(split.images, info.mean, info.std, torch.device("cpu"))
        held[name] = batches.with_removal(resident, levels, percent, direction), split.labels
    images, labels = held["train"]
    model = vgg.build(RECIPE, len(CLASSES), seed=seed)
    checkpoint = Checkpoint(tmp_path / f"partial-{percent}-{direction}-{seed}.pt")
    data = training.TrainingData(images, torch.from_numpy(labels).float())
    training.train(model, data, RECIPE, seed=seed, checkpoint=checkpoint)
    images, labels = held["test"]
    return f1_samples(labels, training.predict(model, images), 0.3) or 0.0


def test_random_removal_and_random_keeping_agree(prepared: Path, tmp_path: Path) -> None:
    removed, kept, much = (
        np.array([score(prepared, tmp_path, percent, direction, seed) for seed in range(SEEDS)])
        for percent, direction in ((30, "remove"), (70, "keep"), (99, "remove"))
    )
    difference = removed - kept
    noise = np.sqrt((removed.var(ddof=1) + kept.var(ddof=1)) / SEEDS)
    assert abs(difference.mean()) < 3 * noise + 0.02
    assert removed.mean() - much.mean() > 3 * noise + 0.02, "the comparison would also pass for what differs"
