"""A cell of the grid: a network trained and tested on images with pixels removed, or on the masks alone.

Shapes: N images of a split, K classes, H x W pixels.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from roar_pipeline import config
from roar_pipeline.attribution import map_store
from roar_pipeline.cache.files import write_array, write_json
from roar_pipeline.datasets import images
from roar_pipeline.evaluation import metrics
from roar_pipeline.networks import training, vgg
from roar_pipeline.networks.batches import Inputs, hold, with_removal

__all__ = ["train_cell"]


def train_cell(
    directory: Path,
    *,
    images_path: Path,
    levels_path: Path | None,
    percent: int,
    direction: str,
    recipe: config.Retrain,
    seed: int,
    fingerprint: str,
    execution: config.Execution,
    masks_only: bool,
) -> dict[str, Any]:
    """Train one network from scratch and write its ``metrics.json``, ``scores.npy`` and, if asked for, ``model.pt``.

    The threshold of ``f1_tuned`` is the best one on the validation images, which have lost the same share of pixels.

    Args:
        directory: of the result.
        images_path: images.h5.
        levels_path: levels.h5; None at 0 and at 100 percent.
        percent: removed, or kept.
        direction: remove or keep.
        recipe: the network and how it is trained.
        seed: of the network's weights and of its training.
        fingerprint: of the result.
        execution: device and threads.
        masks_only: show the network the masks instead of the images: 1 where a pixel is kept, 0 where it is removed.

    Returns:
        How it ran, for the manifest.
    """
    device = training.set_up_device(execution)
    info = images.read_info(images_path)
    vgg.check_size(recipe.arch, info.height, info.width)
    splits = images.read_splits(images_path)
    levels = None if levels_path is None else map_store.read_all_levels(levels_path)

    def shown(name: str) -> Inputs:
        held = hold(splits[name].images, info.mean, info.std, device)
        of_split = _levels_of(splits[name], percent) if levels is None else levels[name].levels
        return held if of_split is None else with_removal(held, of_split, percent, direction, masks_only=masks_only)

    model = vgg.build(recipe, len(info.classes), seed=seed).to(device)
    history = training.train(
        model,
        shown("train"),
        torch.from_numpy(splits["train"].labels).to(device, torch.float32),
        recipe,
        seed=seed,
        checkpoint=directory / "partial-checkpoint.pt",
        owner=fingerprint,
    )
    scores = training.predict(model, shown("test"))
    is_test = splits["validation"] is splits["test"]
    validation_scores = scores if is_test else training.predict(model, shown("validation"))
    threshold = metrics.best_f1_threshold(splits["validation"].labels, validation_scores)
    if recipe.save_model:
        vgg.save(directory / "model.pt", model, recipe, len(info.classes), reduction=1)
    write_array(directory / "scores.npy", scores)
    write_json(
        directory / "metrics.json",
        {
            "percent": percent,
            "direction": direction,
            "seed": seed,
            "test": metrics.evaluate(splits["test"].labels, scores, tuned_threshold=threshold),
            "tuned_threshold": threshold,
            "history": [{"epoch": row["epoch"], "loss": row["loss"]} for row in history],
            "removal": None if levels is None else map_store.removal_audits(levels, percent, direction),
        },
    )
    return training.facts(device, execution)


def _levels_of(split: images.Split, percent: int) -> np.ndarray | None:
    """Return the levels of a cell that no map has a say in: none for the clean one, 1 everywhere at 100 percent."""
    return None if percent == 0 else np.ones(split.images.shape[:3], dtype=np.uint8)
