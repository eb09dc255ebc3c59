"""Distillation with attribution matching (Park et al., NeurIPS 2020).

Shapes: N images, K classes, C channels, h x w cells of the matched layer. ``scores`` are logits (N, K).
loss = alpha * T^2 * KL(teacher, student) + (1 - alpha) * label loss + weight * match(teacher map, student map)
KL and label loss are those of ``losses`` for several labels per image, or for exactly one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline.config import Distillation
from roar_pipeline.errors import InputError
from roar_pipeline.networks.batches import batch_of
from roar_pipeline.networks.layers import channel_maps, find_layer, graph_above, last_output
from roar_pipeline.networks.losses import SEVERAL_LABELS, LabelKind
from roar_pipeline.networks.stored import AnyInputs, in_batches
from roar_pipeline.networks.training import PREDICT_BATCH, Loss, classification_loss

__all__ = [
    "Targets",
    "activation_map",
    "all_targets",
    "check",
    "concatenate",
    "distillation_loss",
    "kept_channels",
    "match",
    "sensitivity_map",
    "sensitivity_weights",
    "teacher_targets",
]


@dataclass(frozen=True)
class Targets:
    """What a loss uses of the teacher, for N images; None if it does not use it."""

    scores: Tensor
    """(N, K)"""
    maps: Tensor | None = None
    """ewa and swa: the teacher's map (N, h, w)."""
    activations: Tensor | None = None
    """sswa, whose map changes with the channels dropped: (N, C, h, w)."""
    weights: Tensor | None = None
    """sswa: (N, C)."""

    def at(self, index: Tensor) -> "Targets":
        """Return the rows at ``index``."""
        rows = (None if value is None else value[index] for value in (self.maps, self.activations, self.weights))
        return Targets(self.scores[index], *rows)

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors."""
        tensors = (self.scores, self.maps, self.activations, self.weights)
        return sum(tensor.nbytes for tensor in tensors if tensor is not None)


_MATCHING = ("ewa", "swa", "sswa")
"""Losses that compare maps of a layer."""


def concatenate(batches: Iterable[Targets]) -> Targets:
    """Join the targets of consecutive batches."""
    batches = list(batches)
    optional = ([getattr(batch, name) for batch in batches] for name in ("maps", "activations", "weights"))
    joined = (None if values[0] is None else torch.cat(values) for values in optional)
    return Targets(torch.cat([batch.scores for batch in batches]), *joined)


def match(teacher_map: Tensor, student_map: Tensor) -> Tensor:
    """Squared difference of two maps (N, h, w), each divided by its L2 norm per image; mean over images and cells.

    The teacher's map is detached. A map that is zero everywhere stays zero. The mean over cells makes the term shrink
    with the map's size: a weight of 100 on 14 x 14 cells is one of 18 on 6 x 6.

    Raises:
        InputError: the maps have different sizes.
    """
    if teacher_map.shape != student_map.shape:
        raise InputError(
            f"The teacher's map has {_cells(teacher_map)} cells and the student's {_cells(student_map)}: they cannot "
            "be matched. Give [teacher] and [student] the same arch, or choose another [distillation] layer or "
            "student_layer."
        )
    teacher, student = (F.normalize(m.flatten(1), dim=1) for m in (teacher_map.detach(), student_map))
    return (teacher - student).square().mean()


def _cells(map_: Tensor) -> str:
    return " x ".join(map(str, map_.shape[1:]))


def activation_map(activations: Tensor) -> Tensor:
    """EWA: mean over channels of the squared activation, (N, C, h, w) -> (N, h, w)."""
    return activations.square().mean(1)


def sensitivity_weights(
    scores: Tensor, activations: Tensor, class_index: Tensor, *, create_graph: bool = False
) -> Tensor:
    """SWA's w_c: sum over cells of d score_k / d A_c, (N, C).

    Args:
        scores: (N, K), computed from ``activations`` image by image.
        activations: (N, C, h, w), with ``requires_grad``.
        class_index: the class k of each image (N,).
        create_graph: keep the weights differentiable; the student's must be.
    """
    class_scores = scores.gather(1, class_index[:, None]).sum()
    (gradient,) = torch.autograd.grad(class_scores, activations, create_graph=create_graph)
    return gradient.sum((2, 3))


def sensitivity_map(activations: Tensor, weights: Tensor) -> Tensor:
    """SWA: relu(sum_c w_c A_c), (N, C, h, w) and (N, C) -> (N, h, w)."""
    return torch.relu(torch.einsum("nchw,nc->nhw", activations, weights))


def kept_channels(channels: int, drop: float, generator: torch.Generator) -> Tensor:
    """SSWA: 0/1 per channel (C,) on the CPU, exactly int(C * drop) zeros at random channels.

    The product is rounded down as in the authors' code: 153 of 512 channels at 0.3. It is a product of decimal numbers,
    since 100 * 0.29 is 28.999999999999996 in binary.

    Args:
        channels: C.
        drop: share of the channels, 0 <= drop < 1.
        generator: on the CPU, whatever the network's device, so that all devices drop the same channels.
    """
    dropped = int(Decimal(repr(drop)) * channels)
    kept = torch.ones(channels)
    kept[torch.randperm(channels, generator=generator)[:dropped]] = 0
    return kept


def teacher_targets(loss: str, teacher: nn.Module, images: Tensor, layer: str) -> Targets:
    """Compute what ``loss`` uses of the teacher (in eval mode) for images (N, 3, H, W)."""
    if loss not in _MATCHING:
        with torch.no_grad():
            return Targets(teacher(images))
    module = find_layer(teacher, layer)
    if loss == "ewa":
        with torch.no_grad(), last_output(module) as outputs:
            scores = teacher(images)
        return Targets(scores, maps=activation_map(_observed(outputs, layer, images)))
    with graph_above(module) as outputs:
        scores = teacher(images)
    activations = _observed(outputs, layer, images)
    weights = sensitivity_weights(scores, activations, scores.argmax(1))
    scores, activations = scores.detach(), activations.detach()
    if loss == "swa":
        return Targets(scores, maps=sensitivity_map(activations, weights))
    return Targets(scores, activations=activations, weights=weights)


def _observed(outputs: Sequence[Any], layer: str, images: Tensor) -> Tensor:
    return channel_maps(outputs, layer, len(images), "Matching by [distillation] layer")


def check(name: str, settings: Distillation, teacher: nn.Module, student: nn.Module, images: Tensor) -> None:
    """Refuse layers that a loss cannot match, before any training. Weights and modes of the models are restored.

    Args:
        name: of the loss.
        settings: layer, student_layer.
        teacher: the teacher.
        student: the student.
        images: any (N, 3, H, W), N >= 1, on the models' device.

    Raises:
        InputError: a model has no such layer, or it is no map of channels, or the maps have different sizes.
    """
    if name not in _MATCHING:
        return
    maps = []
    for model, layer in ((teacher, settings.layer), (student, settings.student_layer or settings.layer)):
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), last_output(find_layer(model, layer)) as outputs:
                model(images)
        finally:
            model.train(was_training)
        maps.append(activation_map(_observed(outputs, layer, images)))
    match(*maps)


def all_targets(
    loss: str, teacher: nn.Module, inputs: AnyInputs, layer: str, *, limit: int | None = None
) -> Targets | None:
    """Compute what ``loss`` uses of the teacher (in eval mode) for all images, as they are without augmentation.

    Returns:
        The targets; None if they would take more than ``limit`` bytes, twice their size while they are joined.
    """
    chunks: list[Targets] = []
    for _, held, rows in in_batches(inputs, torch.arange(len(inputs)), PREDICT_BATCH):
        targets = teacher_targets(loss, teacher, batch_of(held, rows), layer)
        if not chunks and limit is not None and 2 * targets.nbytes / len(rows) * len(inputs) > limit:
            return None
        chunks.append(targets)
    return concatenate(chunks)


def distillation_loss(
    name: str,
    settings: Distillation,
    teacher: nn.Module | None,
    targets: Targets | None,
    kind: LabelKind = SEVERAL_LABELS,
) -> Loss:
    """Return the training loss of a student.

    Args:
        name: plain, naive_kd, ewa, swa or sswa.
        settings: alpha, temperature, weight, layer, student_layer, drop.
        teacher: in eval mode; runs on every batch if there are no ``targets``.
        targets: of all training images, computed once; possible only without augmentation.
        kind: how scores are compared with labels and with the teacher's scores.
    """
    if name == "plain":
        return classification_loss(kind.of_labels)
    student_layer = settings.student_layer or settings.layer

    def loss(model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, generator: torch.Generator) -> Tensor:
        if targets is not None:
            batch_targets = targets.at(index)
        elif teacher is not None:
            batch_targets = teacher_targets(name, teacher, images, settings.layer)
        else:
            raise ValueError(f"loss {name} needs a teacher or its targets")
        if name in _MATCHING:
            with last_output(find_layer(model, student_layer)) as outputs:
                scores = model(images)
        else:
            scores = model(images)
        kl = kind.divergence(batch_targets.scores, scores, settings.temperature)
        value = settings.alpha * settings.temperature**2 * kl + (1 - settings.alpha) * kind.of_labels(scores, labels)
        if name not in _MATCHING:
            return value
        activations = _observed(outputs, student_layer, images)
        return value + settings.weight * _match(name, settings, batch_targets, activations, scores, generator)

    return loss


def _match(
    name: str,
    settings: Distillation,
    batch_targets: Targets,
    activations: Tensor,
    scores: Tensor,
    generator: torch.Generator,
) -> Tensor:
    if name == "ewa":
        teacher_map, student_map = batch_targets.maps, activation_map(activations)
    else:
        weights = sensitivity_weights(scores, activations, batch_targets.scores.argmax(1), create_graph=True)
        student_map = sensitivity_map(activations, weights)
        teacher_map = batch_targets.maps
    if name == "sswa" and batch_targets.activations is not None and batch_targets.weights is not None:
        kept = kept_channels(batch_targets.weights.shape[1], settings.drop, generator).to(batch_targets.weights)
        teacher_map = sensitivity_map(batch_targets.activations, batch_targets.weights * kept)
    if teacher_map is None:
        raise ValueError(f"the targets were not made for {name}")
    return match(teacher_map, student_map)
