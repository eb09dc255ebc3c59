"""How far a training has come, and the scratch file that it resumes from."""

import copy
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from roar_pipeline.cache.files import read_sealed, write_sealed

__all__ = ["Checkpoint", "TrainingState"]


@dataclass(frozen=True)
class Checkpoint:
    """A scratch file that holds a training's state, for one result."""

    path: Path
    fingerprint: str = ""
    """Fingerprint of the result. A checkpoint of another result, or a damaged one, is ignored."""

    def write(self, state: dict[str, Any]) -> None:
        """Replace the file."""
        content = io.BytesIO()
        torch.save(state, content)
        write_sealed(self.path, content, self.fingerprint)

    def read(self) -> dict[str, Any] | None:
        """Return the state last written; None if the file is missing, damaged or another result's."""
        if (content := read_sealed(self.path, self.fingerprint)) is None:
            return None
        saved: dict[str, Any] = torch.load(content, map_location="cpu", weights_only=True)
        return saved


@dataclass
class TrainingState:
    """All that a training changes from step to step, and all that its checkpoint holds."""

    model: nn.Module
    optimizer: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LRScheduler
    """Schedule of the learning rate; its unit is the step, not the epoch."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """One row per finished epoch: ``epoch``, ``loss``, ``validation``."""
    best: dict[str, Tensor] | None = None
    """The weights of the best epoch so far, if the training keeps them."""

    @property
    def epoch(self) -> int:
        """The number of the epoch that comes next, from 1."""
        return len(self.history) + 1

    @property
    def last_loss(self) -> float | None:
        """The loss of the last finished epoch; None before the first has finished."""
        return self.history[-1]["loss"] if self.history else None

    def keep_weights(self) -> None:
        """Take the model's present weights for the best so far."""
        self.best = copy.deepcopy(self.model.state_dict())

    def state_dict(self) -> dict[str, Any]:
        """Return the state as a checkpoint holds it."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "scheduler": self.scheduler.state_dict(),
            "history": self.history,
            "best": self.best,
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Go back to a state that ``state_dict`` returned."""
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.scheduler.load_state_dict(saved["scheduler"])
        self.history, self.best = saved["history"], saved["best"]
