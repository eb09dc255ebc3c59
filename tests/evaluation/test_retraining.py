"""A cell of the grid, and the network beside it that sees the masks alone."""

import json
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from roar_pipeline import config, stages
from roar_pipeline.cache.resumable import Group, dump
from roar_pipeline.datasets import images, preparation, scenes
from roar_pipeline.evaluation import prediction_metrics
from roar_pipeline.evaluation.cells import Cell
from roar_pipeline.networks.batches import batch_of, make_inputs, with_removal
from roar_pipeline.removal.fills import FILLS
from roar_pipeline.removal.level_store import read_levels, write_levels

RECIPE = config.Retrain(width=2, epochs=2, save_model=True)


@pytest.fixture(scope="module")
def images_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("images")
    scenes.generate(directory / "voc", config.Scenes(train=160, validation=20, test=60, size=16))
    preparation.prepare(directory, directory / "voc", config.Dataset(height=16, width=16), scenes.CLASSES)
    return directory / images.FILE


@pytest.fixture(scope="module")
def telling_levels(tmp_path_factory: pytest.TempPathFactory, images_path: Path) -> Path:
    """Levels whose masks tell the first label of each image: class k removes five columns from k on."""
    directory = tmp_path_factory.mktemp("levels")
    splits = images.read_splits(images_path)

    def columns(name: str, rows: slice) -> dict[str, np.ndarray]:
        labels = splits[name].labels[rows]
        chosen = np.zeros((len(labels), 16, 16), np.float32)
        for map_, shown in zip(chosen, labels, strict=True):
            map_[:, shown.argmax() : shown.argmax() + 5] = 1
        return {"maps": chosen, "explained": np.zeros_like(labels)}

    shapes = {"maps": ((16, 16), "f4"), "explained": ((len(splits["train"].labels[0]),), "u1")}
    groups = {name: Group(len(split.ids), {"ids": split.ids}, shapes) for name, split in splits.items()}
    dump(directory / "maps.h5", "f", groups, 8, columns, {})
    write_levels(directory / "levels.h5", directory / "maps.h5", 0, splits)
    return directory / "levels.h5"


def run(
    directory: Path,
    images_path: Path,
    levels: Path | None,
    percent: int,
    *,
    masks_only: bool = False,
    **changes: object,
) -> dict:
    directory.mkdir()
    recipe = config.Retrain(**{**RECIPE.__dict__, **changes})
    facts = stages.retrain(
        directory,
        images_path=images_path,
        levels_path=levels,
        cell=Cell(percent, "remove", recipe, seed=0, masks_only=masks_only),
        fingerprint="f",
        execution=config.Execution(device="cpu"),
    )
    assert facts["threads"] == 1
    assert facts["processor"] == torch.backends.cpu.get_cpu_capability()
    return json.loads((directory / "metrics.json").read_text(encoding="utf-8"))


def test_a_cell_scores_test_images_at_the_threshold_of_its_validation_images(
    tmp_path: Path, images_path: Path, telling_levels: Path
) -> None:
    measured = run(tmp_path / "cell", images_path, telling_levels, 30)
    scores = np.load(tmp_path / "cell" / "scores.npy")
    labels = images.read_split(images_path, "test").labels
    threshold = measured["tuned_threshold"]
    assert measured["test"] == prediction_metrics.evaluate(labels, scores, 0.5, threshold)
    assert measured["removal"]["asked_percent"] == 30
    # The same network on validation images that have lost 30 %, by hand.
    from roar_pipeline.networks import classifiers, training

    info, held = images.read_info(images_path), images.read_split(images_path, "validation")
    inputs = make_inputs(held.images, info.mean, info.std, torch.device("cpu"))
    levels = read_levels(telling_levels, "validation").levels
    model = classifiers.load(tmp_path / "cell" / "model.pt")
    validation = training.predict(model, with_removal(inputs, levels, 30, "remove"))
    assert threshold == prediction_metrics.best_f1_threshold(held.labels, validation)


def test_at_100_percent_every_image_looks_alike_and_at_0_no_level_has_a_say(tmp_path: Path, images_path: Path) -> None:
    nothing = run(tmp_path / "nothing", images_path, None, 100)
    scores = np.load(tmp_path / "nothing" / "scores.npy")
    assert (scores == scores[0]).all()
    assert nothing["removal"] is None
    run(tmp_path / "clean", images_path, None, 0)
    scores = np.load(tmp_path / "clean" / "scores.npy")
    assert not (scores == scores[0]).all()


def test_a_probe_sees_ones_where_a_cell_keeps_pixels_and_nothing_else(images_path: Path, telling_levels: Path) -> None:
    info, held = images.read_info(images_path), images.read_split(images_path, "test")
    inputs = make_inputs(held.images, info.mean, info.std, torch.device("cpu"))
    levels = read_levels(telling_levels, "test").levels
    index = torch.tensor([4, 0])
    for direction, kept in (("remove", levels > 30), ("keep", levels <= 30)):
        batch = batch_of(with_removal(inputs, levels, 30, direction, masks_only=True), index)
        expected = torch.from_numpy(kept[[4, 0]].astype(np.float32))[:, None].expand(-1, 3, -1, -1)
        torch.testing.assert_close(batch, expected)
        cell = batch_of(with_removal(inputs, levels, 30, direction), index)
        assert ((cell != 0) <= (batch != 0)).all()


def test_a_probe_finds_the_label_that_masks_tell_and_none_where_they_tell_nothing(
    tmp_path: Path, images_path: Path, telling_levels: Path
) -> None:
    """The masks follow the first label: a network that sees nothing else ranks classes better than chance."""
    longer = {"epochs": 15, "batch": 16, "width": 8}
    telling = run(tmp_path / "telling", images_path, telling_levels, 30, masks_only=True, **longer)
    chance = run(tmp_path / "chance", images_path, None, 100)
    assert telling["test"]["map_classes"] > chance["test"]["map_classes"] + 0.15


def test_a_cell_reads_its_levels_once(
    tmp_path: Path, images_path: Path, telling_levels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []

    class Counted(h5py.File):
        def __init__(self, name: Path, *arguments: object, **options: object) -> None:
            opened.append(Path(name).name)
            super().__init__(name, *arguments, **options)

    monkeypatch.setattr(h5py, "File", Counted)
    run(tmp_path / "cell", images_path, telling_levels, 30, epochs=0)
    assert opened.count("levels.h5") == 1


def test_a_cell_uses_the_fill_that_it_names(
    tmp_path: Path, images_path: Path, telling_levels: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A fill is a function with a name: registered, it takes the place of the removed pixels and of no other."""

    def white(pixels: torch.Tensor, removed: torch.Tensor) -> torch.Tensor:
        return torch.where(removed[..., None], 3.0, pixels)

    monkeypatch.setitem(FILLS, "white", white)
    info, held = images.read_info(images_path), images.read_split(images_path, "test")
    inputs = make_inputs(held.images, info.mean, info.std, torch.device("cpu"))
    levels = read_levels(telling_levels, "test").levels
    index = torch.arange(len(held.ids))
    batch, clean = (batch_of(of, index) for of in (with_removal(inputs, levels, 30, "remove", fill="white"), inputs))
    gone = torch.from_numpy(levels <= 30)[:, None]
    assert torch.equal(batch, torch.where(gone, 3.0, clean))
    cells = {}
    for fill in ("mean", "white"):
        (tmp_path / fill).mkdir()
        stages.retrain(
            tmp_path / fill,
            images_path=images_path,
            levels_path=telling_levels,
            cell=Cell(30, "remove", RECIPE, seed=0, fill=fill),
            fingerprint="f",
            execution=config.Execution(device="cpu"),
        )
        cells[fill] = np.load(tmp_path / fill / "scores.npy")
    assert (cells["mean"] != cells["white"]).any()
