"""Teachers and students, by their names in the grid."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import luigi

from roar_pipeline.config import Student
from tasks.base import StageTask
from tasks.data import PrepareImages
from tasks.gpus import gpu_resources
from tasks.parameters import LossParameter, SeedParameter
from tasks.settings import settings

__all__ = ["DistillStudent", "FineTuneTeacher", "ModelTask", "full_name", "model_task"]


class ModelTask(StageTask):
    """A task whose result is a trained model."""

    seed = SeedParameter(default=0, description="of the weights and of the training")

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the sections, and the one key of [metrics] that the scores depend on."""
        return {**super().identity_settings(), "f1_threshold": settings().metrics.f1_threshold}

    @property
    def resources(self) -> dict[str, int]:
        """One GPU place, where there are GPUs."""
        return gpu_resources(settings().execution.device)

    @property
    def path(self) -> Path:
        """model.pt."""
        return self.directory / "model.pt"

    @property
    def metrics_path(self) -> Path:
        """metrics.json."""
        return self.directory / "metrics.json"


class FineTuneTeacher(ModelTask):
    """Train the teacher: the network to be explained and compressed."""

    stage = "train_teacher"
    sections = ("teacher",)
    priority = 90

    def requires(self) -> list[StageTask]:
        """Return the images."""
        return [PrepareImages()]

    def named(self) -> Mapping[str, Any]:
        """Return the seed."""
        return {"seed": self.seed}

    def arguments(self) -> Mapping[str, Any]:
        """Return the recipe and the images."""
        return {
            "images_path": PrepareImages().path,
            "teacher": settings().teacher,
            "metrics": settings().metrics,
            "seed": self.seed,
            "execution": settings().execution,
        }


class DistillStudent(ModelTask):
    """Train a smaller network under the teacher of the same seed."""

    stage = "distill_student"
    priority = 80

    loss = LossParameter(description="plain (no teacher), naive_kd, ewa, swa or sswa")
    reduction = luigi.IntParameter(default=0, description="divisor of every width; default: [student] reduction")

    def requires(self) -> list[StageTask]:
        """Return the images, and the teacher where the loss has one."""
        teacher = [] if self.loss == "plain" else [FineTuneTeacher(seed=self.seed)]
        return [PrepareImages(), *teacher]

    def named(self) -> Mapping[str, Any]:
        """Return loss, reduction and seed."""
        return {"loss": self.loss, "reduction": self._student.reduction, "seed": self.seed}

    @property
    def sections(self) -> tuple[str, ...]:
        """The student's, and the loss's where it is one of distillation."""
        return ("student",) if self.loss == "plain" else ("student", "distillation")

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the settings, with the reduction that counts."""
        chosen = dict(super().identity_settings())
        return {**chosen, "student": {**chosen["student"], "reduction": self._student.reduction}}

    def arguments(self) -> Mapping[str, Any]:
        """Return the recipe, the images and the teacher."""
        return {
            "images_path": PrepareImages().path,
            "teacher_path": None if self.loss == "plain" else FineTuneTeacher(seed=self.seed).path,
            "loss": self.loss,
            "student": self._student,
            "distillation": settings().distillation,
            "metrics": settings().metrics,
            "seed": self.seed,
            "execution": settings().execution,
        }

    @property
    def _student(self) -> Student:
        student = settings().student
        return dataclasses.replace(student, reduction=self.reduction or student.reduction)


def full_name(model: str) -> str:
    """Return a model's name with its reduction, where it has one: ``sswa`` is ``sswa/4`` if [student] says 4."""
    return model if model == "teacher" or "/" in model else f"{model}/{settings().student.reduction}"


def model_task(model: str, seed: int) -> ModelTask:
    """Return the task that makes a model of the grid: ``teacher``, ``sswa``, ``sswa/8``."""
    if model == "teacher":
        return FineTuneTeacher(seed=seed)
    loss, _, reduction = model.partition("/")
    return DistillStudent(loss=loss, reduction=int(reduction or 0), seed=seed)
