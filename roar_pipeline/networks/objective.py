"""What a student is trained for. Nothing here imports torch."""

from dataclasses import dataclass
from pathlib import Path

from roar_pipeline.config import Distillation

__all__ = ["Objective"]


@dataclass(frozen=True)
class Objective:
    """A loss of Park et al. 2020, and the teacher whose scores and maps it compares with the student's."""

    loss: str
    """plain, naive_kd, ewa, swa or sswa."""
    teacher_path: Path | None
    """model.pt of the teacher; None for plain, which has none."""
    distillation: Distillation
    """The loss's temperature, weights and layer."""
