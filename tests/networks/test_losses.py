"""Losses for several labels and for one, against torch's own and by their definitions."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from roar_pipeline.networks.losses import (
    ONE_LABEL,
    SEVERAL_LABELS,
    bernoulli_kl,
    categorical_kl,
    label_kind,
    soft_margin,
)

N, K = 5, 7
CPU = torch.device("cpu")


def some_scores(seed: int, scale: float = 5.0) -> Tensor:
    return scale * torch.randn(N, K, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(scores: list[float], temperature: float) -> list[float]:
    powers = [math.exp(score / temperature) for score in scores]
    return [power / sum(powers) for power in powers]


def test_soft_margin_is_torchs_multilabel_loss() -> None:
    scores = some_scores(0, 1.0)
    labels = (some_scores(1) > 0).double()
    reference = -(labels * scores.sigmoid().log() + (1 - labels) * (1 - scores.sigmoid()).log()).mean()
    torch.testing.assert_close(soft_margin(scores, labels), reference)
    torch.testing.assert_close(soft_margin(scores, labels), F.multilabel_soft_margin_loss(scores, labels))


def test_one_labels_loss_is_the_mean_negative_log_probability_of_its_class() -> None:
    scores, classes = some_scores(0), torch.tensor([0, 6, 3, 3, 1])
    rows = zip(scores.tolist(), classes.tolist(), strict=True)
    slow = -sum(math.log(softmax(row, 1.0)[k]) for row, k in rows) / N
    assert ONE_LABEL.of_labels(scores, classes).item() == pytest.approx(slow, rel=1e-12)
    torch.testing.assert_close(ONE_LABEL.of_labels(scores, classes), F.cross_entropy(scores, classes))


@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_categorical_kl_sums_over_classes_and_averages_over_images(temperature: float) -> None:
    teacher, student = some_scores(0), some_scores(1)
    slow = 0.0
    for t, s in zip(teacher.tolist(), student.tolist(), strict=True):
        p, q = softmax(t, temperature), softmax(s, temperature)
        slow += sum(a * math.log(a / b) for a, b in zip(p, q, strict=True)) / N
    assert categorical_kl(teacher, student, temperature).item() == pytest.approx(slow, rel=1e-12)
    log_p, log_q = (F.log_softmax(scores / temperature, dim=1) for scores in (teacher, student))
    torchs = F.kl_div(log_q, log_p.exp(), reduction="batchmean")
    torch.testing.assert_close(categorical_kl(teacher, student, temperature), torchs)


@pytest.mark.parametrize("divergence", [bernoulli_kl, categorical_kl])
def test_a_divergence_is_zero_at_equal_scores_and_finite_at_extreme_ones(divergence) -> None:
    scores = some_scores(0)
    assert divergence(scores, scores, 4.0) == 0
    extreme = torch.tensor([[900.0, -900.0]], requires_grad=True)
    value = divergence(torch.tensor([[-900.0, 900.0]]), extreme, 1.0)
    value.backward()
    assert value > 100
    assert torch.isfinite(value)
    assert extreme.grad is not None
    assert torch.isfinite(extreme.grad).all()


def test_the_kl_of_one_label_does_not_depend_on_a_common_shift_of_the_scores() -> None:
    """Softmax takes the differences of scores alone, sigmoids each score by itself."""
    teacher, student = some_scores(0), some_scores(1)
    torch.testing.assert_close(categorical_kl(teacher + 3, student - 2, 4.0), categorical_kl(teacher, student, 4.0))
    assert bernoulli_kl(teacher + 3, student - 2, 4.0) > 1.2 * bernoulli_kl(teacher, student, 4.0)


def test_one_labels_losses_are_exact_under_autocast() -> None:
    """Of the scores as they come out of a network in bfloat16, which are close to each other late in a distillation."""
    teacher = some_scores(0).bfloat16()
    student, classes = teacher + 0.05 * some_scores(1).bfloat16(), torch.tensor([0, 6, 3, 3, 1])
    wanted = categorical_kl(teacher.double(), student.double(), 4.0), F.cross_entropy(student.double(), classes)
    with torch.autocast("cpu", torch.bfloat16):
        found = categorical_kl(teacher, student, 4.0), ONE_LABEL.of_labels(student, classes)
    for value, exact in zip(found, wanted, strict=True):
        assert value.item() == pytest.approx(exact.item(), rel=1e-3)


def test_targets_are_what_the_loss_takes() -> None:
    labels = np.array([[0, 1, 0], [1, 0, 0]], np.uint8)
    several, one = SEVERAL_LABELS.targets(labels, CPU), ONE_LABEL.targets(labels, CPU)
    assert (several.dtype, several.tolist()) == (torch.float32, labels.tolist())
    assert (one.dtype, one.tolist()) == (torch.int64, [1, 0])
    assert label_kind(is_single_label=True) is ONE_LABEL
    assert label_kind(is_single_label=False) is SEVERAL_LABELS
