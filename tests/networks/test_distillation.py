"""The losses against slow references in float64, and the identities between them."""

import contextlib
import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.splitting import split_at
from torch import Tensor, nn

from roar_pipeline.config import Distillation, Network, Training
from roar_pipeline.errors import InputError
from roar_pipeline.models import LOSSES
from roar_pipeline.networks import batches, cifar_resnet, vgg
from roar_pipeline.networks import distillation as d
from roar_pipeline.networks.checkpoints import Checkpoint
from roar_pipeline.networks.losses import ONE_LABEL, SEVERAL_LABELS, LabelKind, bernoulli_kl
from roar_pipeline.networks.training import TrainingData, train

N, K, SIZE = 5, 4, 32
MATCHING = ("ewa", "swa", "sswa")
SETTINGS = Distillation()
INDEX = torch.arange(N)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def model(seed: int, width: int = 4, pool: int = 1) -> nn.Sequential:
    """An untrained net whose last layer leans to the positive, so that most maps are not cut to zero."""
    net = vgg.build(Network(width=width, pool=pool, dropout=0.0), K, seed=seed).double().eval()
    with torch.no_grad():
        net.get_parameter("classifier.1.weight").add_(0.1)
    return net


@pytest.fixture
def images() -> Tensor:
    return torch.randn(N, 3, SIZE, SIZE, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def labels() -> Tensor:
    return (torch.rand(N, K, generator=torch.Generator().manual_seed(1)) < 0.5).double()


def bernoulli_kl_reference(teacher: Tensor, student: Tensor, temperature: float) -> float:
    total = 0.0
    for t, s in zip(teacher.flatten().tolist(), student.flatten().tolist(), strict=True):
        p, q = 1 / (1 + math.exp(-t / temperature)), 1 / (1 + math.exp(-s / temperature))
        total += p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    return total / teacher.numel()


def match_reference(teacher: Tensor, student: Tensor) -> float:
    total = 0.0
    for a, b in zip(teacher, student, strict=True):
        norm_a = math.sqrt(sum(v * v for v in a.flatten().tolist())) or 1.0
        norm_b = math.sqrt(sum(v * v for v in b.flatten().tolist())) or 1.0
        for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True):
            total += (x / norm_a - y / norm_b) ** 2
    return total / teacher.numel()


@torch.no_grad()
def sensitivity_map_reference(net: nn.Sequential, image: Tensor, k: int, layer: str) -> Tensor:
    """One image by the closed form for a head of pooling, dropout and one Linear.

    Max-pools hand every cell's gradient on to one winner and averages share it out, so the sum over a channel's cells
    is the sum of the Linear's weights over its pooled positions, whatever the activations are.
    """
    activations = split_at(net, layer)[0](image[None])[0]
    weights = net.get_parameter("classifier.1.weight")[k].view(len(activations), -1)
    result = torch.zeros(activations.shape[1:], dtype=torch.float64)
    for channel, weight in zip(activations, weights, strict=True):
        result += weight.sum() * channel
    return result.clamp(min=0)


def step_loss(
    name: str,
    settings: Distillation,
    teacher: nn.Sequential,
    student: nn.Sequential,
    images: Tensor,
    labels: Tensor,
    kind: LabelKind = SEVERAL_LABELS,
) -> Tensor:
    return d.distillation_loss(name, settings, teacher, None, kind)(student, images, labels, INDEX, generator())


def test_bernoulli_kl() -> None:
    teacher, student = torch.randn(2, N, K, dtype=torch.float64) * 5
    torch.testing.assert_close(
        bernoulli_kl(teacher, student, 4.0).item(), bernoulli_kl_reference(teacher, student, 4.0)
    )
    assert bernoulli_kl(teacher, teacher, 4.0) == 0


def test_match() -> None:
    teacher, student = torch.rand(2, N, 3, 4, dtype=torch.float64)
    torch.testing.assert_close(d.match(teacher, student).item(), match_reference(teacher, student))
    torch.testing.assert_close(d.match(teacher, 7 * teacher), torch.zeros((), dtype=torch.float64))


def test_maps_of_different_sizes_are_refused() -> None:
    with pytest.raises(InputError, match=r"3 x 4 cells and the student's 1 x 1.*same arch"):
        d.match(torch.rand(N, 3, 4), torch.rand(N, 1, 1))


def test_match_gives_the_teacher_no_gradient_and_survives_a_zero_map() -> None:
    teacher, student = torch.rand(N, 3, 4, requires_grad=True), torch.zeros(N, 3, 4, requires_grad=True)
    d.match(teacher, student).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert torch.isfinite(student.grad).all()


def test_activation_map(images: Tensor) -> None:
    lower, _ = split_at(model(0), "last_relu")
    activations = lower(images)
    reference = sum(activations[:, c] ** 2 for c in range(activations.shape[1])) / activations.shape[1]
    torch.testing.assert_close(d.activation_map(activations), reference)


@pytest.mark.parametrize("pool", [1, 2])
@pytest.mark.parametrize("layer", ["last_relu", "last_pool"])
def test_sensitivity_map(images: Tensor, layer: str, pool: int) -> None:
    net = model(0, pool=pool)
    targets = d.teacher_targets("swa", net, images, layer)
    assert targets.maps is not None
    assert (targets.maps > 0).flatten(1).any(1).sum() >= 3
    for image, map_, k in zip(images, targets.maps, net(images).argmax(1).tolist(), strict=True):
        torch.testing.assert_close(map_, sensitivity_map_reference(net, image, k, layer))


@pytest.mark.parametrize("kind", [SEVERAL_LABELS, ONE_LABEL], ids=["several", "one"])
@pytest.mark.parametrize("name", LOSSES)
def test_whole_loss(name: str, kind: LabelKind, images: Tensor, labels: Tensor) -> None:
    """Term by term, each from its reference; the maps of both nets by their definitions."""
    teacher, student = model(0, width=2), model(1, width=1)
    settings = dataclasses.replace(SETTINGS, drop=0.0)
    t, s = teacher(images), student(images)
    if kind is ONE_LABEL:
        labels = torch.tensor([3, 0, 0, 2, 1])
        of_labels = nn.functional.cross_entropy(s, labels).item()
        logs = [nn.functional.log_softmax(scores / 4, dim=1) for scores in (s, t)]
        kl = nn.functional.kl_div(logs[0], logs[1].exp(), reduction="batchmean").item()
    else:
        of_labels = nn.functional.multilabel_soft_margin_loss(s, labels).item()
        kl = bernoulli_kl_reference(t, s, 4.0)
    expected = of_labels if name == "plain" else 0.9 * 16 * kl + 0.1 * of_labels
    if name == "ewa":
        maps = [d.activation_map(split_at(net, "last_relu")[0](images)) for net in (teacher, student)]
        expected += SETTINGS.weight * match_reference(*maps)
    elif name in ("swa", "sswa"):
        top = t.argmax(1).tolist()
        maps = [
            torch.stack([sensitivity_map_reference(net, i, k, "last_relu") for i, k in zip(images, top, strict=True)])
            for net in (teacher, student)
        ]
        expected += SETTINGS.weight * match_reference(*maps)
    loss = step_loss(name, settings, teacher, student, images, labels, kind)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", MATCHING)
def test_match_is_zero_when_student_is_teacher(name: str, images: Tensor, labels: Tensor) -> None:
    net = model(0)
    settings = dataclasses.replace(SETTINGS, alpha=1.0, drop=0.0)
    assert step_loss(name, settings, net, net, images, labels).item() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", MATCHING)
def test_weight_zero_is_naive_kd(name: str, images: Tensor, labels: Tensor) -> None:
    settings = dataclasses.replace(SETTINGS, weight=0.0)
    nets = model(0), model(1)
    assert torch.equal(
        step_loss(name, settings, *nets, images, labels), step_loss("naive_kd", SETTINGS, *nets, images, labels)
    )


def test_drop_zero_makes_sswa_swa(images: Tensor, labels: Tensor) -> None:
    nets = model(0), model(1)
    none = dataclasses.replace(SETTINGS, drop=0.0)
    swa = step_loss("swa", none, *nets, images, labels)
    torch.testing.assert_close(step_loss("sswa", none, *nets, images, labels), swa)
    assert step_loss("sswa", SETTINGS, *nets, images, labels) != swa


@pytest.mark.parametrize(
    ("channels", "drop", "zeros"),
    [(512, 0.3, 153), (128, 0.3, 38), (10, 0.3, 3), (100, 0.29, 29), (7, 0.0, 0), (70, 0.99, 69)],
)
def test_kept_channels_are_exact_and_fresh(channels: int, drop: float, zeros: int) -> None:
    """153 of 512 is the count of the official code; 100 * 0.29 is below 29 in binary."""
    draws = generator()
    first, second = d.kept_channels(channels, drop, draws), d.kept_channels(channels, drop, draws)
    assert (first == 0).sum() == (second == 0).sum() == zeros
    assert (first == 1).sum() == channels - zeros
    assert zeros == 0 or not torch.equal(first, second)
    torch.manual_seed(7)
    assert torch.equal(first, d.kept_channels(channels, drop, generator()))


def fit(
    folder: Path, name: str, settings: Distillation, targets: bool = False, kill_after: int = 0, dropout: float = 0.5
) -> nn.Sequential:
    """Train a student of the seed 0 for three epochs; with ``kill_after``, stop it after that epoch and go on."""
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 256, (20, 16, 16, 3), dtype=np.uint8)
    labels = torch.from_numpy((draws.random((20, K)) < 0.4).astype(np.float32))
    data = batches.make_inputs(pixels, np.full(3, 0.5), np.full(3, 0.25), torch.device("cpu"))
    teacher = vgg.build(Network(width=4, dropout=dropout), K, seed=5).eval()
    known = d.teacher_targets(name, teacher, batches.batch_of(data, torch.arange(20)), settings.layer)
    student = vgg.build(Network(width=2, dropout=dropout), K, seed=0)
    loss = d.distillation_loss(name, settings, None if targets else teacher, known if targets else None)
    ended = 0

    def validate(_: nn.Sequential) -> dict[str, Any]:
        nonlocal ended
        ended += 1
        if ended == kill_after:
            raise KeyboardInterrupt
        return {}

    folder.mkdir()
    for _ in range(2 if kill_after else 1):
        with contextlib.suppress(KeyboardInterrupt):
            student = vgg.build(Network(width=2, dropout=dropout), K, seed=0)
            recipe = Training(epochs=3, batch=8, augment="none")
            checkpoint = Checkpoint(folder / "partial-checkpoint.pt")
            labeled = TrainingData(data, labels)
            train(student, labeled, recipe, seed=0, checkpoint=checkpoint, loss=loss, validate=validate)
    return student


def same(a: nn.Sequential, b: nn.Sequential) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


@pytest.mark.parametrize("targets", [False, True])
def test_sswa_that_drops_nothing_trains_to_the_bytes_of_swa(tmp_path: Path, targets: bool) -> None:
    """Also with dropout in the net, whose stream the drawn channels must not touch."""
    none = dataclasses.replace(SETTINGS, drop=0.0)
    swa = fit(tmp_path / "swa", "swa", none, targets)
    assert same(fit(tmp_path / "sswa", "sswa", none, targets), swa)
    assert not same(fit(tmp_path / "dropping", "sswa", SETTINGS, targets), swa)
    assert not same(fit(tmp_path / "another", "swa", none, targets, dropout=0.0), swa), "dropout is not at work"


@pytest.mark.parametrize("kill_after", [2, 3])
def test_a_resumed_sswa_training_is_the_uninterrupted_one(tmp_path: Path, kill_after: int) -> None:
    """Byte for byte: the channels that a step drops come from seed, epoch and step alone."""
    whole = fit(tmp_path / "whole", "sswa", SETTINGS)
    assert same(fit(tmp_path / "resumed", "sswa", SETTINGS, kill_after=kill_after), whole)


def test_dropped_channels_differ_between_steps_and_epochs_and_not_between_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[tuple[float, ...]] = []
    draw = d.kept_channels

    def note(channels: int, drop: float, draws: torch.Generator) -> Tensor:
        kept = draw(channels, drop, draws)
        drawn.append(tuple(kept.tolist()))
        return kept

    monkeypatch.setattr(d, "kept_channels", note)
    fit(tmp_path / "whole", "sswa", SETTINGS)
    whole = list(drawn)
    assert len(set(whole)) == len(whole) == 3 * 2, "three epochs of two steps"
    drawn.clear()
    fit(tmp_path / "resumed", "sswa", SETTINGS, kill_after=2)
    assert drawn == whole[:4] + whole[2:], "the second epoch is trained twice"


@pytest.mark.parametrize("name", ["naive_kd", *MATCHING])
def test_targets_computed_once_are_those_of_every_batch(name: str, images: Tensor, labels: Tensor) -> None:
    teacher, student = model(0), model(1)
    targets = d.concatenate(d.teacher_targets(name, teacher, chunk, SETTINGS.layer) for chunk in images.split(2))
    index = torch.tensor([3, 1, 4])
    batch = images[index], labels[index], index
    cached = d.distillation_loss(name, SETTINGS, None, targets)(student, *batch, generator())
    asked = d.distillation_loss(name, SETTINGS, teacher, None)(student, *batch, generator())
    torch.testing.assert_close(cached, asked)
    assert all(p.grad is None for p in teacher.parameters())


@pytest.mark.parametrize("name", ["swa", "sswa"])
def test_the_students_sensitivity_is_differentiated_too(name: str, images: Tensor, labels: Tensor) -> None:
    """Against central differences in the student's weights: only double backward gets this right."""
    teacher, student = model(0), model(1, width=2)
    weight = student.get_parameter("classifier.1.weight")
    step_loss(name, SETTINGS, teacher, student, images, labels).backward()
    assert weight.grad is not None
    for place in ((0, 0), (2, 5), (3, 9)):
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                weight[place] += sign * 1e-6
            values.append(step_loss(name, SETTINGS, teacher, student, images, labels).item())
            with torch.no_grad():
                weight[place] -= sign * 1e-6
        assert weight.grad[place].item() == pytest.approx((values[0] - values[1]) / 2e-6, rel=1e-3, abs=1e-8)


def test_a_loss_without_a_teacher_says_so(images: Tensor, labels: Tensor) -> None:
    with pytest.raises(ValueError, match="loss swa needs a teacher"):
        d.distillation_loss("swa", SETTINGS, None, None)(model(0), images, labels, INDEX, generator())
    targets = d.teacher_targets("naive_kd", model(0), images, "last_relu")
    with pytest.raises(ValueError, match="not made for ewa"):
        d.distillation_loss("ewa", SETTINGS, None, targets)(model(0), images, labels, INDEX, generator())


def gradients_by_splitting(name: str, teacher: nn.Module, student: nn.Module, images: Tensor, labels: Tensor) -> Any:
    """The loss of a step with both nets cut in two at the layer, without hooks; and the student's gradients."""
    lower, upper = split_at(teacher, SETTINGS.layer)
    with torch.no_grad():
        activations = lower(images)
    activations.requires_grad_()
    t = upper(activations)
    of_teacher = activations, d.sensitivity_weights(t, activations, t.argmax(1))
    lower, upper = split_at(student, SETTINGS.layer)
    activations = lower(images)
    s = upper(activations)
    kd = SETTINGS.alpha * 16 * SEVERAL_LABELS.divergence(t.detach(), s, 4.0)
    value = kd + (1 - SETTINGS.alpha) * SEVERAL_LABELS.of_labels(s, labels)
    if name == "ewa":
        maps = d.activation_map(of_teacher[0].detach()), d.activation_map(activations)
        value = value + SETTINGS.weight * d.match(*maps)
    elif name in ("swa", "sswa"):
        kept = d.kept_channels(of_teacher[1].shape[1], SETTINGS.drop, generator()) if name == "sswa" else 1
        weights = d.sensitivity_weights(s, activations, t.argmax(1), create_graph=True)
        teacher_map = d.sensitivity_map(of_teacher[0].detach(), of_teacher[1] * kept)
        value = value + SETTINGS.weight * d.match(teacher_map, d.sensitivity_map(activations, weights))
    return value, torch.autograd.grad(value, list(student.parameters()))


@pytest.mark.parametrize("layer", ["last_relu", "features.13"])
@pytest.mark.parametrize("name", ["naive_kd", *MATCHING])
def test_hooks_train_to_the_bytes_of_nets_cut_in_two(name: str, layer: str, images: Tensor, labels: Tensor) -> None:
    """float32, channels last, with dropout, as a student is trained; another layer has another loss."""
    teacher = vgg.build(Network(width=4, dropout=0.0), K, seed=0).eval()
    student = vgg.build(Network(width=2, dropout=0.5), K, seed=1).train()
    batch = images.float().contiguous(memory_format=torch.channels_last), labels.float()
    settings = dataclasses.replace(SETTINGS, layer=layer)
    torch.manual_seed(3)
    expected, expected_gradients = gradients_by_splitting(name, teacher, student, *batch)
    torch.manual_seed(3)
    loss = step_loss(name, settings, teacher, student, *batch)
    gradients = torch.autograd.grad(loss, list(student.parameters()))
    is_same = torch.equal(loss, expected) and all(map(torch.equal, gradients, expected_gradients))
    assert is_same == (layer == "last_relu" or name == "naive_kd")


@pytest.mark.parametrize("name", LOSSES)
def test_a_resnet_teaches_a_smaller_one(name: str, images: Tensor, labels: Tensor) -> None:
    """At layers of other names and channels, but the same cells; the last block's output by default."""
    teacher = cifar_resnet.build(Network(arch="resnet32", width=4), K, seed=0).double().eval()
    student = cifar_resnet.build(Network(arch="resnet20", width=2), K, seed=1).double()
    steps = [
        step_loss(name, dataclasses.replace(SETTINGS, **layers), teacher, student, images, labels)
        for layers in ({}, {"layer": "layer3.4.relu2", "student_layer": "layer3.2.relu2"}, {"layer": "layer2"})
    ]
    assert torch.equal(steps[0], steps[1])
    assert torch.equal(steps[0], steps[2]) == (name not in MATCHING)
    steps[0].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in student.parameters())


def test_layers_that_work_in_place_after_the_matched_one_change_nothing(images: Tensor) -> None:
    def net(inplace: bool) -> nn.Module:
        torch.manual_seed(0)
        pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, K))
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace), pool).double().eval()

    for name in MATCHING:
        plain, inplace = (d.teacher_targets(name, net(flag), images, "0") for flag in (False, True))
        for field in dataclasses.fields(plain):
            first, second = getattr(plain, field.name), getattr(inplace, field.name)
            assert (first is None and second is None) or torch.equal(first, second)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({"layer": "layer9"}, "CifarResNet has no layer 'layer9'. Near names: layer"),
        ({"student_layer": "fc"}, r"layer needs a layer that puts out \(N, C, h, w\); 'fc' puts out a tensor"),
        ({"layer": "layer2"}, "teacher's map has 16 x 16 cells and the student's 8 x 8.*student_layer"),
        ({"layer": "last_pool"}, "CifarResNet has no layer 'last_pool'"),
    ],
)
def test_layers_that_cannot_be_matched_are_refused_before_training(layers: Any, message: str, images: Tensor) -> None:
    nets = [cifar_resnet.build(Network(arch="resnet20", width=2), K, seed=seed).double() for seed in (0, 1)]
    before = {name: value.clone() for name, value in nets[1].state_dict().items()}
    settings = dataclasses.replace(SETTINGS, **{"student_layer": "layer3", **layers})
    d.check("swa", dataclasses.replace(SETTINGS), *nets, images[:1])
    d.check("naive_kd", settings, *nets, images[:1])
    with pytest.raises(InputError, match=message):
        d.check("swa", settings, *nets, images[:1])
    assert nets[1].training
    assert all(torch.equal(value, before[name]) for name, value in nets[1].state_dict().items())
