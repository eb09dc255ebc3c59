"""The stages as plain functions on a data set whose images have exactly one label each."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, log_loss, recall_score
from support.one_label import write_images

from roar_pipeline import stages
from roar_pipeline.attribution import map_store
from roar_pipeline.config import Distillation, Execution, Maps, Metrics, Retrain, Student, Teacher
from roar_pipeline.datasets import images
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.models import LOSSES
from roar_pipeline.networks.objective import Objective

CPU = Execution(device="cpu")
NAMES = ["accuracy", "top5", "balanced_accuracy", "nll", "per_class"]
TEACHER = Teacher(width=4, epochs=14, batch=8, lr=0.02, checkpoint="best")


@pytest.fixture(scope="module")
def images_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve classes, so that top-5 is defined; the test split validates, too."""
    return write_images(tmp_path_factory.mktemp("images"), {"train": 72, "test": 36}, classes=12, masks=6)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory, images_path: Path) -> Path:
    directory = tmp_path_factory.mktemp("teacher")
    stages.train_teacher(
        directory, images_path=images_path, teacher=TEACHER, seed=0, fingerprint="0" * 64, execution=CPU
    )
    return directory


def measured(directory: Path, images_path: Path) -> dict[str, Any]:
    """Return metrics.json, after a comparison of its test scores with scikit-learn's."""
    metrics: dict[str, Any] = json.loads((directory / "metrics.json").read_text(encoding="utf-8"))
    scores = np.load(directory / "scores.npy")
    test = images.read_split(images_path, "test")
    truth, classes = test.labels.argmax(axis=1), np.arange(scores.shape[1])
    probabilities = torch.from_numpy(scores).double().softmax(1).numpy()
    assert list(metrics["test"]) == NAMES
    assert metrics["test"]["accuracy"] == accuracy_score(truth, scores.argmax(axis=1))
    assert metrics["test"]["nll"] == pytest.approx(log_loss(truth, probabilities, labels=classes), rel=1e-6)
    recalls = recall_score(truth, scores.argmax(axis=1), labels=classes, average=None, zero_division=0)
    assert metrics["test"]["per_class"] == pytest.approx(recalls)
    return metrics


def test_a_teacher_learns_and_keeps_the_epoch_of_the_highest_accuracy(teacher: Path, images_path: Path) -> None:
    """Validation is test here, so that the kept epoch's accuracy is seen in both."""
    metrics = measured(teacher, images_path)
    assert list(metrics) == ["test", "parameters", "history"]
    accuracies = [row["validation"]["accuracy"] for row in metrics["history"]]
    assert metrics["test"]["accuracy"] == max(accuracies) > 0.6 > accuracies[0]
    assert metrics["test"]["top5"] > metrics["test"]["accuracy"]
    best = metrics["history"][accuracies.index(max(accuracies))]
    assert best["validation"] == metrics["test"]
    assert "f1" not in (teacher / "metrics.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(("loss", "augment"), [*((loss, "none") for loss in LOSSES), ("sswa", "flip")])
def test_every_loss_trains_a_student(tmp_path: Path, teacher: Path, images_path: Path, loss: str, augment: Any) -> None:
    """With the teacher's targets computed once, and batch by batch."""
    stages.distill_student(
        tmp_path,
        images_path=images_path,
        student=Student(width=4, reduction=2, epochs=1, batch=24, augment=augment),
        objective=Objective(loss, None if loss == "plain" else teacher / "model.pt", Distillation()),
        seed=0,
        fingerprint="0" * 64,
        execution=CPU,
    )
    metrics = measured(tmp_path, images_path)
    assert "tuned_threshold" not in metrics
    is_plain = bool(metrics["history"][0]["loss"] < 1.5 * np.log(12))
    assert is_plain is (loss == "plain"), "KL times T squared is added"


@pytest.fixture(scope="module")
def maps(tmp_path_factory: pytest.TempPathFactory, teacher: Path, images_path: Path) -> Path:
    directory = tmp_path_factory.mktemp("maps")
    stages.dump_maps(
        {"gradcam": directory},
        images_path=images_path,
        model_path=teacher / "model.pt",
        maps=Maps(explain="predicted"),
        fingerprints={"gradcam": "0" * 64},
        execution=CPU,
    )
    return directory / "maps.h5"


def test_maps_explain_the_highest_score_and_localization_counts_it_as_own(
    tmp_path: Path, teacher: Path, maps: Path, images_path: Path
) -> None:
    rows = map_store.read_rows(maps, "test")
    np.testing.assert_allclose(rows.scores, np.load(teacher / "scores.npy"), atol=1e-5)
    np.testing.assert_array_equal(rows.explained, np.eye(12)[rows.scores.argmax(axis=1)])
    stages.evaluate_localization(
        tmp_path, images_path=images_path, maps_path=maps, model="teacher", method="gradcam", metrics=Metrics()
    )
    found = json.loads((tmp_path / "localization.json").read_text(encoding="utf-8"))
    truth = images.read_split(images_path, "test").labels.argmax(axis=1)
    right = (rows.scores.argmax(axis=1) == truth)[:6]
    assert [pair["is_predicted"] for pair in found["pairs"]] == right.tolist()
    assert (found["own"]["pairs"], found["all"]["pairs"]) == (right.sum(), 6)


def test_cells_are_scored_as_models_are(tmp_path: Path, maps: Path, teacher: Path, images_path: Path) -> None:
    (tmp_path / "levels").mkdir()
    stages.rank_pixels(tmp_path / "levels", images_path=images_path, maps_path=maps, tie_seed=0, shuffle_seed=None)
    found = {}
    for percent in (30, 100):
        directory = tmp_path / str(percent)
        directory.mkdir()
        stages.retrain(
            directory,
            images_path=images_path,
            levels_path=tmp_path / "levels" / "levels.h5" if percent == 30 else None,
            cell=Cell(percent, "remove", Retrain(width=2, epochs=1), seed=0),
            fingerprint="f",
            execution=CPU,
        )
        found[percent] = measured(directory, images_path)
        assert list(found[percent]) == ["percent", "direction", "seed", "test", "history", "removal"]
    assert found[100]["test"]["accuracy"] == 1 / 12, "who sees nothing names one class of twelve"
    right = measured(teacher, images_path)["test"]["accuracy"]
    assert found[30]["removal"]["explained_as_labels_test"] == pytest.approx(right)
