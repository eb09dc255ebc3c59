"""Stages whose images do not fit in memory: the same results, to the byte, as with images in memory."""

import hashlib
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from roar_pipeline import stages
from roar_pipeline.config import Dataset, Distillation, Execution, Maps, Retrain, Scenes, Student, Teacher
from roar_pipeline.datasets import images, scenes
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.networks import distillation
from roar_pipeline.networks.objective import Objective
from roar_pipeline.removal import level_store

SHARES = {"memory": 0.5, "disk": 0.0}
METHODS = ("gradcam", "smoothgrad")


@pytest.fixture(scope="module")
def images_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    stages.generate_scenes(folder, scenes=Scenes(train=30, validation=8, test=10, size=24))
    dataset = Dataset(height=16, width=16, train_side=20, test_split="test", segmentation_split="test")
    stages.prepare_images(folder, root=folder / "VOC2012", dataset=dataset, classes=scenes.CLASSES)
    return folder / images.FILE


class Chain:
    """The stages of a chain, in a folder of their own, with one share of memory."""

    def __init__(self, folder: Path, images_path: Path, share: float) -> None:
        self.folder, self.images_path = folder, images_path
        self.execution = Execution(device="cpu", memory_share=share)

    def call(self, name: str, stage: Any, **arguments: Any) -> Any:
        (self.folder / name).mkdir()
        with_all = {"images_path": self.images_path, **arguments}
        return stage(self.folder / name, **with_all)

    def run(self) -> None:
        common: dict[str, Any] = {"fingerprint": "0" * 64, "execution": self.execution}
        recipe: dict[str, Any] = {"arch": "vgg11_small", "width": 2, "epochs": 1, "batch": 8}
        for augment in ("flip", "resized_crop"):
            teacher = Teacher(**recipe, augment=augment, checkpoint="best")  # type: ignore[arg-type]
            self.call(augment, stages.train_teacher, teacher=teacher, seed=0, **common)
        objective = Objective("sswa", self.folder / "flip" / "model.pt", Distillation())
        student = Student(**recipe, augment="flip", reduction=2)
        self.call("student", stages.distill_student, student=student, objective=objective, seed=0, **common)
        self.call("sobel", stages.dump_control, method="sobel", tie_seed=0, fingerprint="0" * 64)
        self.explain()
        for source in (*METHODS, "sobel"):
            path = self.folder / source / "maps.h5"
            self.call(f"{source} levels", stages.rank_pixels, maps_path=path, tie_seed=0, shuffle_seed=None)
        levels = self.folder / "gradcam levels" / "levels.h5"
        for percent, masks_only in ((0, False), (30, False), (30, True), (100, False)):
            cell = Cell(percent, "remove", Retrain(**recipe), seed=0, masks_only=masks_only)
            path = levels if percent == 30 else None
            self.call(f"cell {percent} {masks_only}", stages.retrain, levels_path=path, cell=cell, **common)

    def explain(self) -> None:
        directories = {name: self.folder / name for name in METHODS}
        for directory in directories.values():
            directory.mkdir()
        stages.dump_maps(
            directories,
            images_path=self.images_path,
            model_path=self.folder / "flip" / "model.pt",
            maps=Maps(samples=2, batch=4),
            fingerprints=dict.fromkeys(METHODS, "0" * 64),
            execution=self.execution,
        )

    @property
    def files(self) -> dict[str, str]:
        paths = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(p.relative_to(self.folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in paths}


READERS = (
    (images, "_read_split", "pixels"),
    (images, "read_photographs", "pixels"),
    (level_store, "_levels_of", "in_memory"),
)
"""What reads a split's images, its photographs or its levels, and how it is told to read all of them into memory."""


def _noted(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, flag: str) -> list[bool]:
    """Return the flags of all calls from now on."""
    flags: list[bool] = []
    function = getattr(module, name)

    def note(*arguments: Any, **settings: Any) -> Any:
        flags.append(settings[flag])
        return function(*arguments, **settings)

    monkeypatch.setattr(module, name, note)
    return flags


def test_a_chain_from_disk_equals_the_one_in_memory(
    tmp_path: Path, images_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Models, scores, metrics, curves, maps, levels. From disk, no split is read as a whole."""
    chains = {name: Chain(tmp_path / name, images_path, share) for name, share in SHARES.items()}
    whole = {reader: _noted(monkeypatch, *reader) for reader in READERS}
    for name, chain in chains.items():
        chain.folder.mkdir()
        for flags in whole.values():
            flags.clear()
        chain.run()
        assert {True in flags for flags in whole.values()} == {name == "memory"}
    assert chains["disk"].files == chains["memory"].files
    names = set(chains["disk"].files)
    assert {"flip/model.pt", "resized_crop/scores.npy", "gradcam/maps.h5", "cell 30 True/metrics.json"} <= names


def test_targets_that_do_not_fit_come_batch_by_batch(
    tmp_path: Path, images_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The teacher sees the training images once; or a first batch of them, and then every batch of the student."""
    recipe: dict[str, Any] = {"arch": "vgg11_small", "width": 2, "epochs": 2, "batch": 15}
    common: dict[str, Any] = {"fingerprint": "0" * 64, "seed": 0}
    chains = {name: Chain(tmp_path / name, images_path, share) for name, share in SHARES.items()}
    for chain in chains.values():
        chain.folder.mkdir()
    of_teacher = {**common, "execution": chains["memory"].execution}
    chains["memory"].call("teacher", stages.train_teacher, teacher=Teacher(**recipe), **of_teacher)
    objective = Objective("sswa", tmp_path / "memory" / "teacher" / "model.pt", Distillation())
    seen: list[int] = []
    targets_of = distillation.teacher_targets

    def note(loss: str, teacher: Any, batch: Any, layer: str) -> distillation.Targets:
        seen.append(len(batch))
        return targets_of(loss, teacher, batch, layer)

    monkeypatch.setattr(distillation, "teacher_targets", note)
    expected = {"memory": ([30], None), "disk": ([30, 15, 15, 15, 15], "of each batch")}
    losses = []
    for name, chain in chains.items():
        seen.clear()
        arguments = {**common, "execution": chain.execution, "student": Student(**recipe, reduction=2)}
        facts = chain.call("student", stages.distill_student, objective=objective, **arguments)
        assert (seen, facts.get("targets")) == expected[name]
        metrics = json.loads((chain.folder / "student" / "metrics.json").read_text(encoding="utf-8"))
        losses.append([row["loss"] for row in metrics["history"]])
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_images_are_counted_once(images_path: Path) -> None:
    with h5py.File(images_path, "r") as file:
        of_splits = [file[f"{name}/images"].nbytes for name in ("train", "validation", "test")]
        photographs = file["photograph_pixels/values"].nbytes
    assert images.stored_bytes(images_path) == sum(of_splits) == 48 * 16 * 16 * 3
    assert images.stored_bytes(images_path, ("test", "train")) == of_splits[0] + of_splits[2]
    assert images.stored_bytes(images_path, ("test",), photographs=True) == of_splits[2]
    assert images.stored_bytes(images_path, photographs=True) == photographs + sum(of_splits[1:])
    assert photographs == int(np.prod(images.read_training_photographs(images_path).sizes, axis=1).sum()) * 3  # type: ignore[union-attr]
