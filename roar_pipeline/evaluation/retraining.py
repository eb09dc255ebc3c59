"""A cell of the grid: a network trained and tested on images with pixels removed, or on the masks alone.

Shapes: N images of a split, K classes, H x W pixels.
"""

from pathlib import Path

import numpy as np
import torch

from roar_pipeline.cache.files import write_array, write_json
from roar_pipeline.datasets import images
from roar_pipeline.evaluation import scoring
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.networks import classifiers, stored, training
from roar_pipeline.networks.checkpoints import Checkpoint
from roar_pipeline.networks.losses import label_kind
from roar_pipeline.removal.audits import removal_audits
from roar_pipeline.removal.level_store import read_all_levels

__all__ = ["train_cell"]


def train_cell(
    directory: Path,
    cell: Cell,
    images_path: Path,
    levels_path: Path | None,
    *,
    fingerprint: str,
    device: torch.device,
    memory_share: float,
) -> None:
    """Train a network from scratch and write its ``metrics.json``, ``scores.npy`` and, if ``save_model``, ``model.pt``.

    The threshold of ``f1_tuned`` is the best one on the validation images, which lose the same share of pixels. With
    one label per image there is none.

    Args:
        directory: of the result.
        cell: the removal and the network.
        images_path: images.h5.
        levels_path: levels.h5; None at 0 and at 100 percent.
        fingerprint: of the result.
        device: to train on.
        memory_share: of main memory, that images and levels may take; if they do not fit, they are read from disk.
    """
    info = images.read_info(images_path)
    classifiers.check_size(cell.recipe, len(info.classes), info.height, info.width)
    in_memory = stored.fits(images.stored_bytes(images_path) * 4 // 3, memory_share, device)  # three colors and a level
    splits = images.read_splits(images_path, pixels=in_memory)
    levels = None if levels_path is None else read_all_levels(levels_path, in_memory=in_memory)

    def inputs_of(name: str) -> stored.AnyInputs:
        inputs = stored.inputs_of(splits[name].images, info.mean, info.std, device)
        ranks = _uniform_levels(splits[name], cell.percent) if levels is None else levels[name].levels
        if ranks is None:
            return inputs
        return stored.removed_inputs(
            inputs, ranks, cell.percent, cell.direction, fill=cell.fill, masks_only=cell.masks_only
        )

    model = classifiers.build(cell.recipe, len(info.classes), seed=cell.seed).to(device)
    kind = label_kind(is_single_label=info.is_single_label)
    history = training.train(
        model,
        training.TrainingData(inputs_of("train"), kind.targets(splits["train"].labels, device)),
        cell.recipe,
        seed=cell.seed,
        checkpoint=Checkpoint(directory / "partial-checkpoint.pt", fingerprint),
        loss=training.classification_loss(kind.of_labels),
    )
    scores = training.predict(model, inputs_of("test"))

    def validation() -> scoring.Predictions:
        is_test = splits["validation"] is splits["test"]
        return splits["validation"].labels, scores if is_test else training.predict(model, inputs_of("validation"))

    if cell.recipe.save_model:
        classifiers.save(directory / "model.pt", model, cell.recipe, len(info.classes), reduction=1)
    write_array(directory / "scores.npy", scores)
    write_json(
        directory / "metrics.json",
        {
            "percent": cell.percent,
            "direction": cell.direction,
            "seed": cell.seed,
            **scoring.measure((splits["test"].labels, scores), validation, is_single_label=info.is_single_label),
            "history": [{"epoch": row["epoch"], "loss": row["loss"]} for row in history],
            "removal": None if levels is None else removal_audits(levels, cell.percent, cell.direction),
        },
    )


def _uniform_levels(split: images.Split, percent: int) -> np.ndarray | None:
    """Return the levels of a cell that depends on no map: none at 0 percent, 1 everywhere at 100, which take a byte."""
    return None if percent == 0 else np.broadcast_to(np.uint8(1), split.images.shape[:3])
