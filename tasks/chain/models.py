"""Teachers and students, by their names in the grid."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from roar_pipeline.architectures import has_width
from roar_pipeline.cache.manifests import current_sha256
from roar_pipeline.config import Student, Teacher
from roar_pipeline.errors import InputError
from roar_pipeline.networks.objective import Objective
from roar_pipeline.plain_settings import distillation_keys, finished_keys, training_keys
from tasks.chain.base import StageTask
from tasks.chain.data import PrepareImages
from tasks.configuration.parameters import LossParameter, WholeParameter
from tasks.configuration.settings import folder, settings
from tasks.runtime.resources import Demand, student_demand, teacher_demand

__all__ = ["DistillStudent", "FineTuneTeacher", "ModelTask", "full_name", "model_task", "teacher_task"]


class ModelTask(StageTask):
    """A task whose result is a trained model."""

    seed = WholeParameter(what="seed", default=0, description="of the weights and of the training")

    @property
    def path(self) -> Path:
        """model.pt."""
        return self.directory / "model.pt"

    @property
    def metrics_path(self) -> Path:
        """metrics.json."""
        return self.directory / "metrics.json"


class FineTuneTeacher(ModelTask):
    """Train the teacher: the network to be explained and compressed. A finished one is measured alone."""

    stage = "train_teacher"

    def demand(self) -> Demand:
        """Return memory for the training, and a GPU slot."""
        return teacher_demand()

    version = 3

    def requires(self) -> list[StageTask]:
        """Return the images."""
        return [PrepareImages()]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return the seed, on which a finished teacher does not depend."""
        return {} if settings().teacher.is_finished else {"seed": self.seed}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the keys of [teacher] that have an effect."""
        teacher = settings().teacher
        if not teacher.is_finished:
            return {"teacher": training_keys(teacher)}
        return {"teacher": finished_keys(teacher, current_sha256(_weights_file(teacher)))}

    def arguments(self) -> Mapping[str, Any]:
        """Return the recipe and the images."""
        teacher = settings().teacher
        if teacher.is_finished:
            teacher = dataclasses.replace(teacher, weights=str(_weights_file(teacher)))
        return {
            "images_path": PrepareImages().path,
            "teacher": teacher,
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "execution": settings().execution,
        }


class DistillStudent(ModelTask):
    """Train a smaller network under the teacher of the same seed."""

    stage = "distill_student"
    version = 3

    loss = LossParameter(description="plain (no teacher), naive_kd, ewa, swa or sswa")
    reduction = WholeParameter(
        what="reduction",
        low=1,
        unset=0,
        unset_name="default",
        description="divisor of every width; default: [student] reduction",
    )

    def demand(self) -> Demand:
        """Return memory for the training and the teacher, and a GPU slot."""
        return student_demand(self._student, self.loss)

    def requires(self) -> list[StageTask]:
        """Return the images, and the teacher unless the loss is ``plain``."""
        teacher = [] if self.loss == "plain" else [teacher_task(self.seed)]
        return [PrepareImages(), *teacher]

    def label_parameters(self) -> Mapping[str, Any]:
        """Return loss, reduction and seed."""
        return {"loss": self.loss, "reduction": self._student.reduction, "seed": self.seed}

    def identity_settings(self) -> Mapping[str, Any]:
        """Return the keys of [student] (with this reduction) and of [distillation] that have an effect."""
        distillation = distillation_keys(self.loss, settings().distillation)
        return {"student": training_keys(self._student), "distillation": distillation}

    def arguments(self) -> Mapping[str, Any]:
        """Return the recipe, the images and the teacher."""
        return {
            "images_path": PrepareImages().path,
            "student": self._student,
            "objective": Objective(
                loss=self.loss,
                teacher_path=None if self.loss == "plain" else teacher_task(self.seed).path,
                distillation=settings().distillation,
            ),
            "seed": self.seed,
            "fingerprint": self.fingerprint,
            "execution": settings().execution,
        }

    @property
    def _student(self) -> Student:
        student = settings().student
        reduced = dataclasses.replace(student, reduction=self.reduction or student.reduction)
        if reduced.reduction > 1 and not has_width(reduced.arch):
            raise InputError(
                f"reduction {reduced.reduction} divides widths, and those of [student] arch = {reduced.arch} are "
                "fixed. Give reduction 1, and a smaller arch."
            )
        if reduced.width % reduced.reduction:
            raise InputError(
                f"reduction {reduced.reduction} does not divide [student] width {reduced.width}. Choose one that does."
            )
        return reduced


def full_name(model: str) -> str:
    """Return a model's name with its reduction: ``sswa/4`` for ``sswa`` if [student] reduction is 4."""
    return model if model == "teacher" or "/" in model else f"{model}/{settings().student.reduction}"


def teacher_task(seed: int) -> FineTuneTeacher:
    """Return the task of a seed's teacher; a finished one is the same for all seeds."""
    return FineTuneTeacher(seed=0 if settings().teacher.is_finished else seed)


def _weights_file(teacher: Teacher) -> Path:
    path = folder("[teacher] weights", teacher.weights)
    if not path.is_file():
        raise InputError(
            f"[teacher] weights = {teacher.weights}: there is no file {path}. Give none, imagenet, or the file of a "
            "finished teacher's weights."
        )
    return path


def model_task(model: str, seed: int) -> ModelTask:
    """Return the task that makes a model of the grid: ``teacher``, ``sswa``, ``sswa/8``."""
    if model == "teacher":
        return teacher_task(seed)
    loss, _, reduction = model.partition("/")
    return DistillStudent(loss=loss, reduction=int(reduction or 0), seed=seed)
