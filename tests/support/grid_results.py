"""A grid's results written as the stages write them, with made-up scores: what the report reads."""

import dataclasses
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from roar_pipeline import config
from roar_pipeline.datasets import images, preparation, scenes
from roar_pipeline.evaluation import one_label, prediction_metrics
from roar_pipeline.evaluation.localization import localize
from roar_pipeline.methods import MethodName
from roar_pipeline.removal.level_store import write_levels
from roar_pipeline.report.inputs import (
    CellInput,
    CellKey,
    ExampleInput,
    LocalizationInput,
    ModelInput,
    ReportInputs,
)

PERCENTS = (10, 50)
TUNED = 0.3
"""The threshold that all networks have found on validation images."""
SEPARATION = {None: 6.0, "teacher": 0.5, "naive_kd": 2.0, "sswa": 0.7, "sswa/8": 1.0}
"""How far apart the retrained network's scores of present and absent classes are, by explained model; None: random."""
PATHS = {
    "cells": "directory",
    "probes": "directory",
    "longer": "directory",
    "models": "metrics_path",
    "localizations": "path",
    "examples": "levels_path",
}
"""Field of ``ReportInputs`` to the field of its entries that is None where something is missing."""


def write_images(directory: Path) -> Path:
    """Write a small images.h5 of generated scenes."""
    directory.mkdir(parents=True, exist_ok=True)
    scenes.generate(directory / "voc", config.Scenes(train=24, validation=2, test=12, size=16))
    dataset = config.Dataset(height=16, width=16)
    preparation.prepare(directory, directory / "voc", dataset, scenes.CLASSES)
    return directory / images.FILE


def write_grid(
    root: Path,
    images_path: Path,
    *,
    seeds: tuple[int, ...] = (0, 1),
    model_seeds: tuple[int, ...] = (),
    models: tuple[str, ...] = ("teacher", "naive_kd"),
    methods: tuple[str, ...] = ("gradcam",),
    directions: tuple[str, ...] = ("remove",),
    controls: tuple[str, ...] = (),
    localized: bool = True,
    audited: int | None = None,
) -> ReportInputs:
    """Write every file and return the inputs of the report.

    ``methods`` may hold shuffled ones; ``audited`` is the percentage of the probes and of the longer cells.
    """
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    pairs = [(s, s) for s in seeds] if not model_seeds else [(m, s) for m in model_seeds for s in seeds]
    cells = []
    for seed in seeds:
        cells.append(_write_cell(root, split, info, None, None, 0, "remove", seed, None))
        cells.append(_write_cell(root, split, info, None, None, 100, "remove", seed, None))
        for method in ("random", *controls):
            for direction in directions:
                for percent in PERCENTS:
                    cells.append(_write_cell(root, split, info, None, method, percent, direction, seed, None))
    for model_seed, seed in pairs:
        for method in methods:
            for model in models:
                for direction in directions:
                    for percent in PERCENTS:
                        cells.append(
                            _write_cell(root, split, info, model, method, percent, direction, seed, model_seed)
                        )
    explained = dict.fromkeys(m for m, _ in pairs)
    sources = [
        (m, method, seed)
        for seed in explained
        for method in methods
        for m in models
        if not MethodName.parse(method).is_shuffled
    ]
    beside = [cell for cell in cells if cell.percent == audited]
    stores = {key: _write_maps(root, images_path, *key) for key in [(None, "random", 0), *sources]}
    return ReportInputs(
        settings=config.Settings(report=config.Report(examples=1, bootstrap=50)),
        images_path=images_path,
        models=tuple(_write_model(root, split, info, model, seed) for seed in explained for model in models),
        cells=tuple(cells),
        probes=tuple(
            _write_cell(root / "probes", split, info, *_key(cell))
            for cell in beside
            if MethodName.parse(cell.method).masks_depend_on_image
        ),
        longer=tuple(
            _write_cell(root / "longer", split, info, *_key(cell))
            for cell in beside
            if cell.method == "random" or cell.model == models[0]
        ),
        localizations=tuple(
            _write_localization(root, images_path, *key, path=paths[0]) for key, paths in stores.items() if localized
        ),
        examples=tuple(
            ExampleInput(model, method, *paths)
            for (model, method, seed), paths in stores.items()
            if seed == next(iter(explained), 0) or model is None
        ),
    )


def _key(cell: CellKey) -> tuple[Any, ...]:
    return tuple(getattr(cell, field.name) for field in dataclasses.fields(CellKey))


def _scores(split: images.Split, separation: float, *key: Any) -> np.ndarray:
    """Draw scores whose present classes lie ``separation`` above the absent ones; the same key, the same scores."""
    generator = np.random.default_rng(zlib.crc32(repr(key).encode()))
    noise = generator.normal(size=split.labels.shape)
    return (separation * (split.labels - 0.5) + noise).astype(np.float32)


def _write_cell(
    root: Path,
    split: images.Split,
    info: images.Info,
    model: str | None,
    method: str | None,
    percent: int,
    direction: str,
    seed: int,
    model_seed: int | None,
) -> CellInput:
    key = (model, method, percent, direction, seed, model_seed)
    directory = root / "cells" / "_".join(str(part).replace("/", "-") for part in key)
    directory.mkdir(parents=True)
    of_curve = 6.0 if method and MethodName.parse(method).is_shuffled else SEPARATION[model]
    separation = {0: 8.0, 100: 0.0}.get(percent, of_curve)
    scores = _scores(split, 0.0 if root.name == "probes" else separation, *key, root.name in ("probes", "longer"))
    removal = {
        "asked_percent": percent,
        "actual_percent_train": percent + 0.05,
        "actual_percent_test": percent + 0.05,
        "tied_share_train": 0.0,
        "tied_share_test": 0.25 if model and percent == 50 else 0.0,
        "empty_maps_train": 3,
        "empty_maps_test": 1,
        "explained_as_labels_train": 0.75 if model else None,
        "explained_as_labels_test": 0.5 if model else None,
        "object_share": None if model == "sswa" else percent / 100,
        "total_variation": 0.0125,
    }
    np.save(directory / "scores.npy", scores)
    measured = {
        "percent": percent,
        "direction": direction,
        "seed": seed,
        **_measured(split, scores, info),
        "history": [{"epoch": 1, "loss": 0.5}],
        "removal": None if method is None else removal,
    }
    (directory / "metrics.json").write_text(json.dumps(measured))
    return CellInput(
        *key,
        directory=directory,
        settings={"retrain.lr": 0.01, "dataset.mean": (0.5, 0.25)},
        fingerprint=f"{zlib.crc32(repr(key).encode()):08x}",
    )


def _measured(split: images.Split, scores: np.ndarray, info: images.Info) -> dict[str, Any]:
    """Return what a network's ``metrics.json`` says of its scores."""
    if info.is_single_label:
        return {"test": one_label.evaluate(split.labels, scores)}
    return {"test": prediction_metrics.evaluate(split.labels, scores, 0.5, TUNED), "tuned_threshold": TUNED}


def _write_model(root: Path, split: images.Split, info: images.Info, model: str, seed: int) -> ModelInput:
    path = root / f"model_{model.replace('/', '-')}_{seed}" / "metrics.json"
    path.parent.mkdir()
    scores = _scores(split, 4.0, model, seed)
    np.save(path.parent / "scores.npy", scores)
    path.write_text(json.dumps({**_measured(split, scores, info), "parameters": 12345, "history": []}))
    return ModelInput(model, seed, path)


def _write_maps(root: Path, images_path: Path, model: str | None, method: str, seed: int) -> tuple[Path, Path]:
    stem = f"{model}_{method}_{seed}".replace("/", "-")
    paths = root / f"maps_{stem}.h5", root / f"levels_{stem}.h5"
    generator = np.random.default_rng(zlib.crc32(stem.encode()))
    splits = images.read_splits(images_path)
    test = splits["test"]
    with h5py.File(paths[0], "w") as file:
        for name, split in splits.items():
            group = file.create_group(name)
            group["ids"] = np.array([i.encode() for i in split.ids])
            group["maps"] = generator.random((len(split.ids), 16, 16), dtype=np.float32)
            group["explained"] = split.labels
            group["scores"] = _scores(split, 4.0, model, seed, name)
            group.attrs["zero_maps"] = 0
        rows, class_index = np.nonzero(test.labels[test.segmentation_rows])
        group = file.create_group("localization")
        group["rows"] = test.segmentation_rows[rows]
        group["class_index"] = class_index
        group["maps"] = generator.random((len(rows), 16, 16), dtype=np.float32)
        group["scores"] = _scores(test, 4.0, model, seed, "test")[test.segmentation_rows[rows], class_index]
        group.attrs["zero_maps"] = 0
    write_levels(paths[1], paths[0], 0, splits)
    return paths


def _write_localization(
    root: Path, images_path: Path, model: str | None, method: str, seed: int, *, path: Path
) -> LocalizationInput:
    found = localize(images_path, path, model, method, "ignore")
    stem = f"{model}_{method}_{seed}".replace("/", "-")
    written = root / f"localization_{stem}.json"
    written.write_text(json.dumps(found))
    return LocalizationInput(model, method, None if model is None else seed, written)


def without(inputs: ReportInputs, kind: str, chosen: Callable[[Any], bool]) -> ReportInputs:
    """Return the inputs with the chosen cells, models, localizations or examples named as missing."""
    entries = getattr(inputs, kind)
    kept = [dataclasses.replace(entry, **{PATHS[kind]: None}) if chosen(entry) else entry for entry in entries]
    return dataclasses.replace(inputs, **{kind: tuple(kept)})
