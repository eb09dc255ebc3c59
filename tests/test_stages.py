"""Stages called as plain functions on small folders in VOC layout."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from voc_folder import CLASSES, dataset, write_voc_folder

from roar_pipeline import images, stages
from roar_pipeline.config import Execution, Teacher

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
    read_split, splits = images.read_split, []

    def note(path: Path, split: str) -> images.Split:
        splits.append(split)
        return read_split(path, split)

    monkeypatch.setattr(images, "read_split", note)
    directory = fit_teacher(tmp_path / "teacher", path, SMALL)
    assert splits == held
    metrics = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    is_shared = test_split == "val"
    assert (metrics["history"][-1]["validation"] == metrics["test"]) is is_shared
    assert len(np.load(directory / "scores.npy")) == len(read_split(path, "test").ids)
