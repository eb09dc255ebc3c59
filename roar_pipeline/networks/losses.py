"""What scores are trained towards: labels, or a teacher's scores; for several labels per image, or exactly one.

Shapes: N images, K classes; scores are logits (N, K). For several labels, labels are multi-hot (N, K), floating point,
and a class's probability is the sigmoid of its score. For one label, labels are class indices (N,), int64, and the
probabilities are the softmax of the scores.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

__all__ = ["ONE_LABEL", "SEVERAL_LABELS", "LabelKind", "bernoulli_kl", "categorical_kl", "label_kind", "soft_margin"]


@dataclass(frozen=True)
class LabelKind:
    """How a network's scores are compared with labels and with a teacher's scores."""

    targets: Callable[[NDArray[np.uint8], torch.device], Tensor]
    """From labels (N, K), 1 where the image shows the class, to those of ``of_labels``, on the device."""
    of_labels: Callable[[Tensor, Tensor], Tensor]
    """Function of scores and labels -> scalar."""
    divergence: Callable[[Tensor, Tensor, float], Tensor]
    """Function of the teacher's scores, the student's scores and the temperature -> scalar, 0 at equal scores."""


def soft_margin(scores: Tensor, labels: Tensor) -> Tensor:
    """Multi-label soft-margin loss: binary cross-entropy on scores, mean over N * K."""
    return F.binary_cross_entropy_with_logits(scores, labels)


def bernoulli_kl(teacher_scores: Tensor, student_scores: Tensor, temperature: float) -> Tensor:
    """KL(Bernoulli(sigmoid(t/T)) || Bernoulli(sigmoid(s/T))), mean over N * K; 0 at equal scores."""
    t, s = teacher_scores / temperature, student_scores / temperature
    present = torch.sigmoid(t) * (F.logsigmoid(t) - F.logsigmoid(s))
    absent = torch.sigmoid(-t) * (F.logsigmoid(-t) - F.logsigmoid(-s))
    return (present + absent).mean()


def categorical_kl(teacher_scores: Tensor, student_scores: Tensor, temperature: float) -> Tensor:
    """KL(softmax(t/T) || softmax(s/T)), sum over K, mean over N (Hinton et al. 2015); 0 at equal scores.

    Logarithms of at least float32: in bfloat16, as CPU autocast takes them, their differences are mostly rounding.
    """
    exact = torch.promote_types(student_scores.dtype, torch.float32)
    t, s = (F.log_softmax(scores / temperature, dim=1, dtype=exact) for scores in (teacher_scores, student_scores))
    return F.kl_div(s, t, reduction="batchmean", log_target=True)


def _multi_hot(labels: NDArray[np.uint8], device: torch.device) -> Tensor:
    return torch.from_numpy(labels).to(device, torch.float32)


def _class_indices(labels: NDArray[np.uint8], device: torch.device) -> Tensor:
    return torch.from_numpy(labels.argmax(axis=1)).to(device, torch.int64)


SEVERAL_LABELS = LabelKind(_multi_hot, soft_margin, bernoulli_kl)
"""Any number of labels per image, also none."""

ONE_LABEL = LabelKind(_class_indices, F.cross_entropy, categorical_kl)
"""Exactly one label per image; softmax cross-entropy, mean over N."""


def label_kind(*, is_single_label: bool) -> LabelKind:
    """Return the losses of a data set, by a property of its kind (``images.Info``)."""
    return ONE_LABEL if is_single_label else SEVERAL_LABELS
