"""Tiny folders in VOC layout for tests, written the plain way and whole unless a test breaks them.

``write_voc_folder`` makes splits of noisy images of colored rectangles: ``circle`` is not round here, a class is a
color. The single writers are for what a test wants to be special.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.config import Dataset

CLASSES = ("circle", "square", "big star")
COLORS = ((220, 40, 40), (40, 220, 40), (40, 40, 220))
SPLITS = {"train": 6, "val": 3, "test": 4}


def dataset(**changes: object) -> Dataset:
    """Return settings for the folder that ``write_voc_folder`` writes, but for ``changes``."""
    return Dataset(**{"classes": CLASSES, "height": 16, "width": 12, **changes})  # type: ignore[arg-type]


def write_voc_folder(
    root: Path, splits: Mapping[str, int] = SPLITS, *, height: int = 24, width: int = 32, seed: int = 0
) -> Path:
    """Write ``splits`` (list name to number of images), each image with one or two classes and its mask."""
    rng = np.random.default_rng(seed)
    for split, count in splits.items():
        ids = [f"{split}_{index}" for index in range(count)]
        for index, image_id in enumerate(ids):
            pixels = rng.integers(90, 130, (height, width, 3), dtype=np.uint8)
            mask = np.zeros((height, width), dtype=np.uint8)
            present = sorted({index % len(CLASSES), (index * index) % len(CLASSES)})
            for slot, class_index in enumerate(present):
                where = np.s_[4 : height - 4, 2 + slot * width // 2 : (slot + 1) * width // 2 - 2]
                pixels[where], mask[where] = COLORS[class_index], class_index + 1
            write_image(root, image_id, pixels)
            write_annotation(root, image_id, [CLASSES[k] for k in present])
            write_mask(root, image_id, mask)
        write_list(root, split, ids)
        write_list(root, split, ids, kind="Segmentation")
    return root


def write_image(root: Path, image_id: str, pixels: npt.NDArray[np.uint8], mode: str = "RGB") -> Path:
    """Write a photograph of (H, W, 3) as a JPEG of ``mode``."""
    path = _parents(root / "JPEGImages" / f"{image_id}.jpg")
    Image.fromarray(pixels).convert(mode).save(path, quality=95)
    return path


def write_annotation(root: Path, image_id: str, names: Sequence[str], difficult: Iterable[int] = ()) -> Path:
    """Write an annotation with one object per name; ``difficult`` has the places of those marked so."""
    path = _parents(root / "Annotations" / f"{image_id}.xml")
    hard = set(difficult)
    objects = "".join(
        f"<object><name>{name}</name><difficult>{int(place in hard)}</difficult><bndbox><xmin>1</xmin>"
        "<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object>"
        for place, name in enumerate(names)
    )
    path.write_text(f"<annotation><filename>{image_id}.jpg</filename>{objects}</annotation>", encoding="utf-8")
    return path


def write_mask(root: Path, image_id: str, mask: npt.NDArray[np.uint8], mode: str = "P") -> Path:
    """Write a mask of (H, W) class values as a palette (``P``) or greyscale (``L``) image."""
    path = _parents(root / "SegmentationClass" / f"{image_id}.png")
    image = Image.fromarray(mask)
    if mode == "P":
        image.putpalette([value for index in range(256) for value in (index, 255 - index, 7 * index % 256)])
    image.save(path)
    return path


def write_list(root: Path, split: str, ids: Sequence[str], kind: str = "Main") -> Path:
    """Write a split's list of image ids."""
    path = _parents(root / "ImageSets" / kind / f"{split}.txt")
    path.write_text("".join(f"{image_id}\n" for image_id in ids), encoding="utf-8")
    return path


def _parents(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
