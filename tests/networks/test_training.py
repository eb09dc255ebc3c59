import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from roar_pipeline.config import Execution, Network, Training
from roar_pipeline.errors import InputError
from roar_pipeline.networks import batches, training, vgg
from roar_pipeline.networks.checkpoints import Checkpoint
from roar_pipeline.networks.losses import ONE_LABEL, soft_margin
from roar_pipeline.networks.training import TrainingData
from roar_pipeline.progress import listening
from roar_pipeline.removal.ranking import removal_levels
from roar_pipeline.seeds import derived_seed

N, K, SIZE = 40, 3, 16
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, SIZE, SIZE, 3), dtype=np.uint8)
LABELS = torch.from_numpy((RNG.random((N, K)) < 0.4).astype(np.float32))
NETWORK = Network(width=2, dropout=0.3)
RECIPE = Training(epochs=4, batch=16, augment="padded_crop")


def held() -> batches.Inputs:
    return batches.make_inputs(IMAGES, np.full(3, 0.5), np.full(3, 0.25), torch.device("cpu"))


def fit(
    tmp_path: Path, recipe: Training = RECIPE, seed: int = 0, data: batches.Inputs | None = None, **more: Any
) -> tuple[torch.nn.Sequential, list[dict[str, Any]]]:
    model = vgg.build(NETWORK, K, seed=seed)
    checkpoint = Checkpoint(tmp_path / "partial-checkpoint.pt")
    history = training.train(
        model, TrainingData(data or held(), LABELS), recipe, seed=seed, checkpoint=checkpoint, **more
    )
    return model, history


def same(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_training_learns(tmp_path: Path) -> None:
    _, history = fit(tmp_path, dataclasses.replace(RECIPE, epochs=30, augment="none"))
    assert [row["epoch"] for row in history] == list(range(1, 31))
    assert history[-1]["loss"] < 0.7 * history[0]["loss"]


def test_progress_tells_epoch_loss_pace_and_the_history_so_far(tmp_path: Path) -> None:
    told: list[tuple[float, str]] = []
    histories = []

    def listen(share: float, text: str, history: Any) -> None:
        told.append((share, text))
        if history is not None:
            histories.append(list(history))

    with listening(listen):
        _, whole = fit(tmp_path)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert re.fullmatch(r"epoch 1/4, [\d,]+ images/s", told[0][1]), "no loss is known yet"
    for epoch, row in enumerate(whole, 1):
        pattern = rf"epoch {epoch}/4, loss {row['loss']:.4f}, [\d,]+ images/s"
        assert any(re.fullmatch(pattern, text) for _, text in told)
    assert all(", loss " in text for _, text in told if not text.startswith("epoch 1/"))
    assert histories == [whole[:epoch] for epoch in range(1, 5)]


def test_same_seed_same_bytes_and_another_seed_another_model(tmp_path: Path) -> None:
    runs = []
    for number, seed in enumerate((0, 0, 1)):
        (tmp_path / str(number)).mkdir()
        torch.manual_seed(number)
        runs.append(fit(tmp_path / str(number), seed=seed))
    assert same(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not same(runs[0][0], runs[2][0])


@pytest.mark.parametrize("schedule", ["one_cycle", "steps"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("stopped_after", [1, 3])
def test_resumed_is_uninterrupted(tmp_path: Path, schedule: Any, optimizer: Any, stopped_after: int) -> None:
    recipe = dataclasses.replace(RECIPE, schedule=schedule, optimizer=optimizer, milestones=(2,), lr=0.05)
    for name in "ab":
        (tmp_path / name).mkdir()
    whole, history = fit(tmp_path / "a", recipe)

    class KilledError(Exception):
        pass

    calls = 0

    def kill(_: torch.nn.Sequential) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        if calls > stopped_after:
            raise KilledError
        return {}

    with pytest.raises(KilledError):
        fit(tmp_path / "b", recipe, validate=kill)
    calls = -10
    resumed, later = fit(tmp_path / "b", recipe, validate=kill)
    assert calls == -10 + recipe.epochs - stopped_after
    assert same(whole, resumed)
    assert [row["loss"] for row in later] == [row["loss"] for row in history]


def test_a_checkpoint_of_another_result_is_ignored(tmp_path: Path) -> None:
    mine, other = (Checkpoint(tmp_path / "partial-checkpoint.pt", letter * 64) for letter in "ab")
    mine.write({"history": [1]})
    assert mine.read() == {"history": [1]}
    assert other.read() is None
    other.path.unlink()
    assert mine.read() is None


def test_a_damaged_checkpoint_is_made_again(tmp_path: Path) -> None:
    (tmp_path / "partial-checkpoint.pt").write_bytes(b"half a checkpoint")
    (tmp_path / "clean").mkdir()
    assert same(fit(tmp_path)[0], fit(tmp_path / "clean")[0])


def test_percent_zero_is_plain_training_byte_for_byte(tmp_path: Path) -> None:
    """Nothing removed is the plain training, byte for byte."""
    levels = np.stack([removal_levels(RNG.normal(size=(SIZE, SIZE)), str(i), 0) for i in range(N)])
    for name in ("plain", "zero", "thirty"):
        (tmp_path / name).mkdir()
    plain, _ = fit(tmp_path / "plain")
    zero, _ = fit(tmp_path / "zero", data=batches.with_removal(held(), levels, 0, "remove"))
    thirty, _ = fit(tmp_path / "thirty", data=batches.with_removal(held(), levels, 30, "remove"))
    assert same(plain, zero)
    assert not same(plain, thirty)


@pytest.mark.parametrize("metric", ["map_samples", "accuracy"])
def test_best_checkpoint_is_the_epoch_of_the_highest_validation(tmp_path: Path, metric: str) -> None:
    seen = []
    values = iter([0.2, 0.9, 0.9, 0.1])

    def validate(model: torch.nn.Sequential) -> dict[str, Any]:
        seen.append({k: v.clone() for k, v in model.state_dict().items()})
        return {"map_samples": 0.1 * len(seen), "accuracy": 0.1 * len(seen), metric: next(values)}

    model, history = fit(tmp_path, dataclasses.replace(RECIPE, checkpoint="best"), validate=validate, best_by=metric)
    assert all(torch.equal(v, seen[1][k]) for k, v in model.state_dict().items())
    assert [row["validation"][metric] for row in history] == [0.2, 0.9, 0.9, 0.1]


@pytest.mark.parametrize(
    ("epochs", "checkpoint", "validated"),
    [
        (6, "last", [1, 2, 3, 4, 5, 6]),
        (20, "last", list(range(1, 21))),
        (21, "last", [*range(2, 21, 2), 21]),
        (60, "last", list(range(3, 61, 3))),
        (350, "last", [*range(18, 343, 18), 350]),
        (350, "best", list(range(1, 351))),
        (0, "last", []),
    ],
)
def test_epochs_that_are_validated(epochs: int, checkpoint: Any, validated: list[int]) -> None:
    recipe = Training(epochs=epochs, checkpoint=checkpoint)
    assert [epoch for epoch in range(1, epochs + 1) if training.is_validated(epoch, recipe)] == validated


@pytest.mark.parametrize(("checkpoint", "count"), [("last", 12), ("best", 23)])
def test_validations_are_counted_and_other_epochs_hold_none(tmp_path: Path, checkpoint: Any, count: int) -> None:
    calls = 0

    def validate(_: torch.nn.Sequential) -> dict[str, Any]:
        nonlocal calls
        calls += 1
        return {"map_samples": 0.5}

    recipe = dataclasses.replace(RECIPE, epochs=23, augment="none", checkpoint=checkpoint)
    _, history = fit(tmp_path, recipe, validate=validate)
    measured = [row["epoch"] for row in history if row["validation"] is not None]
    assert calls == len(measured) == count
    assert measured[-1] == 23
    assert len(history) == 23


@pytest.mark.parametrize(
    ("images", "remainder", "sizes"),
    [
        (40, "drop", [16, 16]),
        (40, "keep", [16, 16, 8]),
        (34, "keep", [16, 16, 2]),
        (33, "keep", [16, 16]),
        (32, "keep", [16, 16]),
        (9, "drop", [9]),
        (9, "keep", [9]),
    ],
)
@pytest.mark.parametrize("schedule", ["one_cycle", "steps"])
def test_what_fills_no_batch_is_dropped_or_the_last_batch(
    tmp_path: Path, images: int, remainder: Any, sizes: list[int], schedule: Any
) -> None:
    """And the loss of an epoch is the mean over its images; the schedule counts the steps that are taken."""
    epochs: list[list[torch.Tensor]] = []
    values: list[float] = []

    def loss(model: torch.nn.Module, batch: torch.Tensor, labels: torch.Tensor, index: torch.Tensor, _: Any) -> Any:
        assert len(batch) == len(labels) == len(index)
        if not epochs or sum(map(len, epochs[-1])) == sum(sizes):
            epochs.append([])
        epochs[-1].append(index)
        value = soft_margin(model(batch), labels)
        values.append(value.item())
        return value

    data = batches.make_inputs(IMAGES[:images], np.full(3, 0.5), np.full(3, 0.25), torch.device("cpu"))
    recipe = dataclasses.replace(RECIPE, epochs=2, remainder=remainder, schedule=schedule, milestones=(1,))
    _, history = fit(tmp_path, recipe, data=data, loss=loss)
    assert [[len(index) for index in epoch] for epoch in epochs] == [sizes, sizes]
    for epoch, row in zip(epochs, history, strict=True):
        assert len(torch.cat(epoch).unique()) == sum(sizes), "no image twice"
        losses = [values.pop(0) for _ in sizes]
        assert row["loss"] == pytest.approx(np.average(losses, weights=sizes), rel=1e-6)


def test_schedules(tmp_path: Path) -> None:
    model = vgg.build(NETWORK, K)
    optimizer = torch.optim.SGD(model.parameters(), 1.0)
    recipe = Training(epochs=4, lr=1.0, schedule="steps", milestones=(1, 3), gamma=0.1)
    scheduler = training._scheduler(optimizer, recipe, steps=2)
    rates = []
    for _ in range(8):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, [1, 1, 0.1, 0.1, 0.1, 0.1, 0.01, 0.01])


def plain_loop(model: torch.nn.Module, images: np.ndarray, classes: np.ndarray, epochs: int, batch: int) -> list[float]:
    """Train on one label per image as a tutorial does it; SGD whose rate falls to a tenth after the second epoch."""
    mean, std = torch.full((3, 1, 1), 0.5), torch.full((3, 1, 1), 0.25)
    pixels = (torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255 - mean) / std
    truth = torch.from_numpy(classes)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.01)
    criterion = torch.nn.CrossEntropyLoss()
    losses = []
    for epoch in range(1, epochs + 1):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 if epoch <= 2 else 0.005
        order = torch.randperm(len(images), generator=torch.Generator().manual_seed(derived_seed(3, "order", epoch)))
        total = 0.0
        model.train()
        for start in range(0, len(images) - batch + 1, batch):
            index = order[start : start + batch]
            optimizer.zero_grad()
            loss = criterion(model(pixels[index]), truth[index])
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / (len(images) // batch))
    return losses


def test_one_label_trains_to_the_weights_of_a_plain_loop(tmp_path: Path) -> None:
    """The same net, order and optimizer reach the same weights, up to the rounding of another memory layout."""
    classes = RNG.integers(0, K, N)
    network = dataclasses.replace(NETWORK, dropout=0.0)
    model, plain = vgg.build(network, K, seed=3), vgg.build(network, K, seed=3)
    recipe = Training(
        epochs=3, batch=16, optimizer="sgd", lr=0.05, weight_decay=0.01, schedule="steps", milestones=(2,)
    )
    history = training.train(
        model,
        TrainingData(held(), ONE_LABEL.targets(np.eye(K, dtype=np.uint8)[classes], torch.device("cpu"))),
        recipe,
        seed=3,
        checkpoint=Checkpoint(tmp_path / "partial-checkpoint.pt"),
        loss=training.classification_loss(ONE_LABEL.of_labels),
    )
    losses = plain_loop(plain, IMAGES, classes, epochs=3, batch=16)
    np.testing.assert_allclose([row["loss"] for row in history], losses, rtol=1e-4)
    for ours, theirs in zip(model.state_dict().values(), plain.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)
    before = vgg.build(network, K, seed=3).get_parameter("classifier.1.weight")
    assert (model.get_parameter("classifier.1.weight") - before).abs().max() > 0.01, "it has moved"


def test_a_loss_that_is_not_finite_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"loss became nan in epoch 1. Lower lr \(now 0.01\)"):
        fit(tmp_path, loss=lambda model, images, labels, index, generator: model(images).sum() * float("nan"))


def test_one_image_cannot_be_trained_on(tmp_path: Path) -> None:
    one = batches.make_inputs(IMAGES[:1], np.full(3, 0.5), np.full(3, 0.25), torch.device("cpu"))
    with pytest.raises(InputError, match="at least two images, got 1"):
        fit(tmp_path, data=one)


def test_prediction_is_independent_of_the_batch_and_leaves_the_mode(tmp_path: Path) -> None:
    model = vgg.build(NETWORK, K).train()
    one_by_one, together = training.predict(model, held(), batch=1), training.predict(model, held(), batch=16)
    np.testing.assert_allclose(one_by_one, together, atol=1e-5)
    assert model.training
    assert one_by_one.shape == (N, K)


def test_global_random_state_is_given_back(tmp_path: Path) -> None:
    torch.manual_seed(5)
    state = torch.get_rng_state()
    fit(tmp_path)
    assert torch.equal(state, torch.get_rng_state())


def test_bfloat16_trains(tmp_path: Path) -> None:
    model, history = fit(tmp_path, dataclasses.replace(RECIPE, precision="bfloat16"))
    assert np.isfinite(history[-1]["loss"])
    assert next(model.parameters()).dtype == torch.float32


def test_asking_for_a_missing_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="finds no CUDA device"):
        training.set_up_device(Execution(device="cuda"))
    assert training.set_up_device(Execution(device="auto")) == torch.device("cpu")
