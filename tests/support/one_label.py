"""A tiny images.h5 of a data set whose images have exactly one label each, written without any data set's reader.

An image is noise with a square in the color of its class, anywhere. A test image may have the mask of its square.
"""

from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt

from roar_pipeline.datasets.images import FILE

SPLITS = {"train": 24, "validation": 8, "test": 12}


def class_names(count: int) -> tuple[str, ...]:
    """Return the names of ``count`` classes."""
    return tuple(f"class {index}" for index in range(count))


def write_images(
    directory: Path,
    splits: Mapping[str, int] = SPLITS,
    *,
    classes: int = 3,
    size: int = 16,
    masks: int = 0,
    seed: int = 0,
) -> Path:
    """Write ``directory/images.h5`` and return its path.

    Args:
        directory: of the file; made if missing.
        splits: name to number of images. Without ``validation`` the test split is the validation split too.
        classes: K; classes take turns over the images of a split.
        size: H and W in pixels, at least 8.
        masks: number of the first test images that have a mask.
        seed: of everything.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    colors = np.random.default_rng(1).integers(0, 256, (classes, 3))
    with h5py.File(directory / FILE, "w") as file:
        for split, count in splits.items():
            truth = rng.permutation(np.arange(count) % classes)
            places = rng.integers(1, size // 2, (count, 2))
            group = file.create_group(split)
            group["ids"] = np.array([f"{split}_{index}".encode() for index in range(count)])
            group["images"] = np.stack(
                [_image(rng, colors[k], place, size) for k, place in zip(truth, places, strict=True)]
            )
            group["labels"] = np.eye(classes, dtype=np.uint8)[truth]
            if split == "test":
                _write_masks(file.create_group("masks"), truth[:masks], places[:masks], size)
        if "validation" not in splits:
            file["validation"] = file["test"]
        pixels = file["train/images"][()] / 255
        file.attrs.update({"format": "roar-pipeline images 1", "classes": list(class_names(classes))})
        file.attrs.update({"unused_masks": 0, "single_label": True})
        file.attrs.update({"mean": pixels.mean((0, 1, 2)), "std": pixels.std((0, 1, 2))})
    return directory / FILE


def _image(
    rng: np.random.Generator, color: npt.NDArray[np.int64], place: npt.NDArray[np.int64], size: int
) -> npt.NDArray[np.uint8]:
    """Return noise (H, W, 3) with a square of the class's color at the place."""
    pixels = rng.integers(90, 130, (size, size, 3), dtype=np.uint8)
    pixels[_square(place, size)] = color
    return pixels


def _square(place: npt.NDArray[np.int64], size: int) -> tuple[slice, slice]:
    top, left = place
    return slice(top, top + size // 2), slice(left, left + size // 2)


def _write_masks(group: h5py.Group, truth: npt.NDArray[np.int64], places: npt.NDArray[np.int64], size: int) -> None:
    segmentation = np.zeros((len(truth), size, size), np.uint8)
    for mask, k, place in zip(segmentation, truth, places, strict=True):
        mask[_square(place, size)] = k + 1
    group["rows"] = np.arange(len(truth))
    group["segmentation"] = segmentation
