"""The table of contents: one function per stage of the chain, which loads, calls and saves.

A stage takes the directory of its result and plain arguments (paths, numbers, frozen dataclasses), and may be killed at
any time and called again. It runs unchanged in a test, in a worker process and on a cluster node. Modules that are
slow to import (torch, scikit-learn, matplotlib) are imported by the stages that use them, so that no stage pays for
another's.
"""

import dataclasses
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from roar_pipeline import config
from roar_pipeline.cache.building import SomeFailedError
from roar_pipeline.cache.files import whole_file, write_array, write_json
from roar_pipeline.datasets import images, preparation
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.methods import MethodName
from roar_pipeline.networks.objective import Objective
from roar_pipeline.report.inputs import ReportInputs

if TYPE_CHECKING:
    import torch
    from torch import nn

    from roar_pipeline.networks.distillation import Targets
    from roar_pipeline.networks.stored import AnyInputs
    from roar_pipeline.networks.training import Loss, TrainingData

__all__ = [
    "distill_student",
    "dump_control",
    "dump_maps",
    "evaluate_localization",
    "generate_scenes",
    "prepare_images",
    "rank_pixels",
    "retrain",
    "train_teacher",
    "write_report",
]

Facts = dict[str, Any]
"""Facts about the run of a stage, for its manifest, such as its device."""


def generate_scenes(directory: Path, *, scenes: config.Scenes) -> None:
    """Write the default set as a folder in VOC layout, ``directory/VOC2012``."""
    from roar_pipeline.datasets.scenes import generate

    shutil.rmtree(directory / "VOC2012", ignore_errors=True)
    generate(directory / "VOC2012", scenes)


def prepare_images(directory: Path, *, root: Path, dataset: config.Dataset, classes: tuple[str, ...]) -> None:
    """Decode and resize every image of a data set once: ``images.h5``."""
    preparation.prepare(directory, root, dataset, classes)


def train_teacher(
    directory: Path,
    *,
    images_path: Path,
    teacher: config.Teacher,
    seed: int,
    fingerprint: str,
    execution: config.Execution,
) -> Facts:
    """Train the teacher: ``model.pt``, ``metrics.json``, ``scores.npy``, ``curves.png``.

    A finished one, whose weights are a file, is not trained: its scores are measured.
    """
    from roar_pipeline.networks import classifiers, finished, imagenet, training
    from roar_pipeline.networks.losses import label_kind

    device = training.set_up_device(execution)
    info = _fitting_info(images_path, teacher)
    model = classifiers.build(teacher, len(info.classes), seed=seed)
    if teacher.weights == "imagenet":
        imagenet.load_weights(model, teacher.arch, len(info.classes))
    elif teacher.is_finished:
        finished.load_weights(model, teacher.arch, Path(teacher.weights))
        teacher = dataclasses.replace(teacher, epochs=0)
    loss = training.classification_loss(label_kind(is_single_label=info.is_single_label).of_labels)
    model.to(device)
    in_memory = _fits(images_path, teacher, execution, device)
    _fit(directory, model, images_path, teacher, seed=seed, fingerprint=fingerprint, loss=loss, in_memory=in_memory)
    return training.facts(device, execution)


def distill_student(
    directory: Path,
    *,
    images_path: Path,
    student: config.Student,
    objective: Objective,
    seed: int,
    fingerprint: str,
    execution: config.Execution,
) -> Facts:
    """Train a student under a loss of Park et al. 2020, or plain without a teacher: the files of ``train_teacher``."""
    import torch

    from roar_pipeline.networks import classifiers, distillation, training
    from roar_pipeline.networks.losses import label_kind

    device = training.set_up_device(execution)
    info = _fitting_info(images_path, student)
    model = classifiers.build(student, len(info.classes), reduction=student.reduction, seed=seed).to(device)
    teacher = classifiers.load(objective.teacher_path, device) if objective.teacher_path else None
    in_memory = _fits(images_path, student, execution, device)
    targets = None
    if teacher is not None:
        blank = torch.zeros(1, 3, info.height, info.width, device=device)
        distillation.check(objective.loss, objective.distillation, teacher, model, blank)
    if teacher is not None and student.augment == "none":
        targets = _cached_targets(images_path, objective, teacher, execution, in_memory=in_memory)
    kind = label_kind(is_single_label=info.is_single_label)
    loss = distillation.distillation_loss(objective.loss, objective.distillation, teacher, targets, kind)
    _fit(directory, model, images_path, student, seed=seed, fingerprint=fingerprint, loss=loss, in_memory=in_memory)
    is_cached = teacher is None or student.augment != "none" or targets is not None
    # The last bits of a teacher's scores depend on the batch that it sees.
    return training.facts(device, execution) | ({} if is_cached else {"targets": "of each batch"})


def dump_control(directory: Path, *, images_path: Path, method: str, tie_seed: int, fingerprint: str) -> None:
    """Compute a control's maps of the same images as ``dump_maps``: ``maps.h5``."""
    from roar_pipeline.attribution.dumping import dump_control

    dump_control(directory / "maps.h5", fingerprint, images_path, MethodName.parse(method), tie_seed)


def dump_maps(
    directories: Mapping[str, Path],
    *,
    images_path: Path,
    model_path: Path,
    maps: config.Maps,
    fingerprints: Mapping[str, str],
    execution: config.Execution,
) -> Facts:
    """Compute methods' maps of the train and test images, and of every pair to localize: ``maps.h5`` of each method."""
    from roar_pipeline.attribution import dumping
    from roar_pipeline.networks import classifiers, training

    device = training.set_up_device(execution)
    model = classifiers.load(model_path, device)
    facts = {**training.facts(device, execution), "dumped_together": len(directories)}
    try:
        dumping.dump_explanations(
            directories, fingerprints, images_path, model, maps, memory_share=execution.memory_share
        )
    except SomeFailedError as error:
        error.facts = facts
        raise
    return facts


def rank_pixels(
    directory: Path, *, images_path: Path, maps_path: Path, tie_seed: int, shuffle_seed: int | None
) -> None:
    """Turn maps into removal levels, all percentages at once: ``levels.h5``.

    With a ``shuffle_seed`` every image is ranked by another image's map.
    """
    from roar_pipeline.removal.level_store import write_levels

    splits = images.read_splits(images_path, pixels=False)
    write_levels(directory / "levels.h5", maps_path, tie_seed, splits, shuffle_seed=shuffle_seed)


def retrain(
    directory: Path,
    *,
    images_path: Path,
    levels_path: Path | None,
    cell: Cell,
    fingerprint: str,
    execution: config.Execution,
) -> Facts:
    """Train one cell of the grid from scratch and test it: ``metrics.json``, ``scores.npy``, optionally ``model.pt``.

    ``levels_path`` is None at 0 and at 100 percent, which depend on no map.
    """
    from roar_pipeline.evaluation.retraining import train_cell
    from roar_pipeline.networks import training

    device = training.set_up_device(execution)
    share = execution.memory_share
    train_cell(directory, cell, images_path, levels_path, fingerprint=fingerprint, device=device, memory_share=share)
    return training.facts(device, execution)


def evaluate_localization(
    directory: Path,
    *,
    images_path: Path,
    maps_path: Path,
    model: str | None,
    method: str,
    metrics: config.Metrics,
) -> None:
    """Score maps against the objects' masks, by pair and in summary: ``localization.json``."""
    from roar_pipeline.evaluation.localization import localize

    write_json(directory / "localization.json", localize(images_path, maps_path, model, method, metrics.void))


def write_report(directory: Path, *, inputs: ReportInputs) -> None:
    """Put everything together: ``report.html``, ``results.csv``, ``table.txt`` and the figures."""
    from roar_pipeline.report.build import build

    build(directory, inputs)


def _fitting_info(images_path: Path, network: config.Network) -> images.Info:
    """Read the properties of the images, and check that the network accepts their size."""
    from roar_pipeline.networks import classifiers

    info = images.read_info(images_path)
    classifiers.check_size(network, len(info.classes), info.height, info.width)
    return info


def _fits(images_path: Path, recipe: config.Training, execution: config.Execution, device: "torch.device") -> bool:
    """Tell whether the images of a teacher's or student's training fit in the memory that a stage may take for them."""
    from roar_pipeline.networks.stored import fits

    names = images.SPLITS if recipe.epochs else ("validation", "test")
    count = images.stored_bytes(images_path, names, photographs=recipe.augment == "resized_crop")
    return fits(count, execution.memory_share, device)


def _on_device(images_path: Path, split: images.Split, device: "torch.device") -> "AnyInputs":
    from roar_pipeline.networks.stored import inputs_of

    info = images.read_info(images_path)
    return inputs_of(split.images, info.mean, info.std, device)


def _cached_targets(
    images_path: Path, objective: Objective, teacher: "nn.Module", execution: config.Execution, *, in_memory: bool
) -> "Targets | None":
    """Return what the loss uses of the teacher for all training images; None if that takes too much memory."""
    from roar_pipeline.networks import distillation
    from roar_pipeline.networks.stored import room

    device = next(teacher.parameters()).device
    inputs = _on_device(images_path, images.read_split(images_path, "train", pixels=in_memory), device)
    limit = room(execution.memory_share, device) - (images.stored_bytes(images_path) if in_memory else 0)
    return distillation.all_targets(objective.loss, teacher, inputs, objective.distillation.layer, limit=limit)


def _training_data(
    images_path: Path, recipe: config.Training, device: "torch.device", *, in_memory: bool
) -> "TrainingData":
    """Return the training data of a teacher or student.

    The inputs are the photographs if the recipe crops and photographs are stored, otherwise the images.
    """
    from roar_pipeline.networks.losses import label_kind
    from roar_pipeline.networks.stored import inputs_of_crops
    from roar_pipeline.networks.training import TrainingData

    info = images.read_info(images_path)
    targets_of = label_kind(is_single_label=info.is_single_label).targets
    is_cropped = recipe.augment == "resized_crop"
    photographs = images.read_training_photographs(images_path, pixels=in_memory) if is_cropped else None
    if photographs is None:
        split = images.read_split(images_path, "train", pixels=in_memory)
        return TrainingData(_on_device(images_path, split, device), targets_of(split.labels, device))
    crops = inputs_of_crops(photographs, info.mean, info.std, info.height, info.width, device)
    return TrainingData(crops, targets_of(photographs.labels, device))


def _fit(
    directory: Path,
    model: "nn.Module",
    images_path: Path,
    recipe: config.Teacher | config.Student,
    *,
    seed: int,
    fingerprint: str,
    loss: "Loss",
    in_memory: bool,
) -> None:
    """Train a teacher or student on the training split, and save it with its figures."""
    from roar_pipeline.evaluation import scoring
    from roar_pipeline.networks import classifiers, training
    from roar_pipeline.networks.checkpoints import Checkpoint
    from roar_pipeline.report.figures.training import training_curves

    device = next(model.parameters()).device
    info = images.read_info(images_path)
    is_single_label = info.is_single_label
    splits = images.read_splits(images_path, ("test", "validation"), pixels=in_memory)
    is_test = splits["validation"] is splits["test"]
    test_inputs = _on_device(images_path, splits["test"], device)
    validation_inputs = test_inputs if is_test else _on_device(images_path, splits["validation"], device)

    def validate(current: "nn.Module") -> dict[str, Any]:
        scores = training.predict(current, validation_inputs)
        return scoring.evaluate(splits["validation"].labels, scores, is_single_label=is_single_label)

    checkpoint = Checkpoint(directory / "partial-checkpoint.pt", fingerprint)
    best_by = scoring.selecting_metric(is_single_label=is_single_label)
    history = []
    if recipe.epochs:
        data = _training_data(images_path, recipe, device, in_memory=in_memory)
        history = training.train(
            model, data, recipe, seed=seed, checkpoint=checkpoint, loss=loss, validate=validate, best_by=best_by
        )
    reduction = recipe.reduction if isinstance(recipe, config.Student) else 1
    classifiers.save(directory / "model.pt", model, recipe, len(info.classes), reduction)
    with whole_file(directory / "curves.png") as scratch:
        training_curves(history, scratch)
    scores = training.predict(model, test_inputs)
    write_array(directory / "scores.npy", scores)

    def validation() -> scoring.Predictions:
        return splits["validation"].labels, scores if is_test else training.predict(model, validation_inputs)

    write_json(
        directory / "metrics.json",
        {
            **scoring.measure((splits["test"].labels, scores), validation, is_single_label=is_single_label),
            "parameters": classifiers.parameter_count(model),
            "history": history,
        },
    )
