"""Tiny folders of classes for tests: ``<split>/<class>/<number>.png`` of a class's color, with noise."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from roar_pipeline.config import Dataset

CLASSES = ("bird", "cat", "dog")
SPLITS = {"train": 10, "val": 3, "test": 4}


def dataset(root: Path, **changes: object) -> Dataset:
    """Return settings for the folder that ``write_class_folder`` writes, but for ``changes``."""
    return Dataset(**{"root": str(root), "height": 8, "width": 12, **changes})  # type: ignore[arg-type]


def write_class_folder(
    root: Path, splits: Mapping[str, int] = SPLITS, classes: tuple[str, ...] = CLASSES, seed: int = 0
) -> Path:
    """Write ``splits``, a folder's name to the number of images of every class."""
    rng = np.random.default_rng(seed)
    for split, count in splits.items():
        for index, name in enumerate(classes):
            for number in range(count):
                pixels = rng.integers(0, 100, (16, 20, 3), dtype=np.uint8)
                pixels[..., index % 3] += 100
                write_picture(root / split / name / f"{number}.png", pixels)
    return root


def write_picture(path: Path, pixels: np.ndarray) -> Path:
    """Write pixels (H, W, 3) in the format of the name's ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return path
