"""Stages called as plain functions on small folders in VOC layout."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.voc_folder import CLASSES, dataset, write_voc_folder

from roar_pipeline import stages
from roar_pipeline.config import Distillation, Execution, Student, Teacher
from roar_pipeline.datasets import images
from roar_pipeline.errors import InputError
from roar_pipeline.networks import distillation
from roar_pipeline.networks.objective import Objective

CPU = Execution(device="cpu")


def prepared(folder: Path, **changes: Any) -> Path:
    """Return images.h5 of a small folder."""
    write_voc_folder(folder / "VOC")
    stages.prepare_images(folder, root=folder / "VOC", dataset=dataset(**changes), classes=CLASSES)
    return folder / images.FILE


def fit_teacher(directory: Path, images_path: Path, teacher: Teacher) -> Path:
    """Train a teacher into ``directory`` and return it."""
    directory.mkdir()
    stages.train_teacher(
        directory, images_path=images_path, teacher=teacher, seed=0, fingerprint="0" * 64, execution=CPU
    )
    return directory


SMALL = Teacher(arch="vgg11_small", width=2, epochs=2, batch=4)


@pytest.mark.parametrize(
    ("test_split", "held"), [("val", ["train", "test"]), ("test", ["train", "test", "validation"])]
)
def test_a_list_that_validates_and_tests_is_held_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, test_split: str, held: list[str]
) -> None:
    path = prepared(tmp_path, height=16, width=16, test_split=test_split, segmentation_split=test_split)
    read_group, splits = images._read_split, []

    def note(file: h5py.File, split: str, *, pixels: bool) -> images.Split:
        splits.append(split)
        return read_group(file, split, pixels=pixels)

    monkeypatch.setattr(images, "_read_split", note)
    directory = fit_teacher(tmp_path / "teacher", path, SMALL)
    assert sorted(splits) == sorted(held)
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    is_shared = test_split == "val"
    validated = {**metrics["history"][-1]["validation"], "f1_tuned": metrics["test"]["f1_tuned"]}
    assert (validated == metrics["test"]) is is_shared
    assert 0 <= metrics["tuned_threshold"] <= 1
    assert len(np.load(directory / "scores.npy")) == len(images.read_split(path, "test").ids)


def test_teacher_and_student_train_on_crops_of_the_photographs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Photographs are 24 x 32, the images 16 x 16: the training split's images are never read."""
    sides = {"height": 16, "width": 16}
    for name in ("squashed", "kept"):
        (tmp_path / name).mkdir()
    squashed = prepared(tmp_path / "squashed", **sides)
    path = prepared(tmp_path / "kept", train_side=24, **sides)
    recipe = dataclasses.replace(SMALL, epochs=1, augment="resized_crop")
    read_group, splits = images._read_split, []

    def note(file: h5py.File, split: str, *, pixels: bool) -> images.Split:
        splits.append(split)
        return read_group(file, split, pixels=pixels)

    monkeypatch.setattr(images, "_read_split", note)
    of_images = fit_teacher(tmp_path / "of-images", squashed, recipe)
    assert sorted(splits) == ["test", "train", "validation"]
    splits.clear()
    teacher = fit_teacher(tmp_path / "of-photographs", path, recipe)
    assert splits == ["test", "validation"]
    assert (teacher / "model.pt").read_bytes() != (of_images / "model.pt").read_bytes()

    asked: list[tuple[int, ...]] = []
    targets_of = distillation.teacher_targets

    def ask(loss: str, model: Any, batch: Any, layer: str) -> Any:
        asked.append(tuple(batch.shape))
        return targets_of(loss, model, batch, layer)

    monkeypatch.setattr(distillation, "teacher_targets", ask)
    student = Student(arch="vgg11_small", width=2, reduction=2, epochs=1, batch=4, augment="resized_crop")
    (tmp_path / "student").mkdir()
    stages.distill_student(
        tmp_path / "student",
        images_path=path,
        student=student,
        objective=Objective("sswa", teacher / "model.pt", Distillation()),
        seed=0,
        fingerprint="1" * 64,
        execution=CPU,
    )
    assert splits == ["test", "validation"] * 2
    assert asked == [(4, 3, 16, 16)], "one step; the teacher sees the batch that the student sees"
    metrics = json.loads((tmp_path / "student" / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["history"]) == 1


def test_a_finished_teacher_is_measured_and_not_trained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its weights, scores and metrics are those of the model in the file; training images are never read."""
    path = prepared(tmp_path, height=16, width=16)
    recipe = Teacher(arch="resnet20", width=2, epochs=1, batch=4)
    trained = fit_teacher(tmp_path / "trained", path, recipe)
    read_group, splits = images._read_split, []

    def note(file: h5py.File, split: str, *, pixels: bool) -> images.Split:
        splits.append(split)
        return read_group(file, split, pixels=pixels)

    monkeypatch.setattr(images, "_read_split", note)
    finished = dataclasses.replace(recipe, weights=str(trained / "model.pt"), epochs=7)
    directory = fit_teacher(tmp_path / "finished", path, finished)
    assert "train" not in splits
    for name in ("model.pt", "scores.npy"):
        assert (directory / name).read_bytes() == (trained / name).read_bytes()
    measured, known = (json.loads((d / "metrics.json").read_text(encoding="utf-8")) for d in (directory, trained))
    assert measured == {**known, "history": []}


def test_a_resnet_teaches_a_smaller_one(tmp_path: Path) -> None:
    """As stages: the layers are checked before the student is trained."""
    path = prepared(tmp_path, height=16, width=16)
    teacher = fit_teacher(tmp_path / "teacher", path, Teacher(arch="resnet32", width=2, epochs=1, batch=4))

    def distill(name: str, **layers: str) -> Path:
        (tmp_path / name).mkdir()
        stages.distill_student(
            tmp_path / name,
            images_path=path,
            student=Student(arch="resnet20", width=2, reduction=1, epochs=1, batch=4),
            objective=Objective("swa", teacher / "model.pt", Distillation(**layers)),
            seed=0,
            fingerprint="1" * 64,
            execution=CPU,
        )
        return tmp_path / name

    assert (distill("student") / "model.pt").is_file()
    with pytest.raises(InputError, match=r"layer3\.3.*Near names"):
        distill("without", layer="layer3.4", student_layer="layer3.3")
    assert list((tmp_path / "without").iterdir()) == []
