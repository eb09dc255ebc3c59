"""The generated default set: small scenes of colored, textured silhouettes over photographs, as a VOC folder.

Legend: S x S pixels of a scene; an object's own coordinates u (right) and v (down) run over -1..1.

Every class has a hue, a silhouette and a texture. An object of the class has all three. Clutter, which has no label and
lies underneath, has the hue of one class, the silhouette of another and the texture of neither: no single trait
identifies a class. Objects are drawn independently of the background, and the
splits' backgrounds come from disjoint parts of the photographs.
"""

import colorsys
import dataclasses
import io
import shutil
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.cache.files import read_json, write_json
from roar_pipeline.config import Scenes
from roar_pipeline.errors import InputError

__all__ = ["CLASSES", "Scene", "generate", "scene"]

Floats = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
Inside = npt.NDArray[np.bool_]

OBJECTS = (1, 3)
"""Fewest and most objects of a scene."""
CLUTTER = (0, 2)
"""Fewest and most pieces of clutter."""
SIDE = (0.33, 0.5)
"""Shortest and longest side of an object or piece of clutter, in sides of the scene."""
TURN = 15.0
"""Largest rotation of an object or piece of clutter in either direction, in degrees."""
HUE_JITTER = 0.035
"""Largest difference of an object's hue from its class's, in turns of the color circle; classes are 1/K apart."""
SATURATION = (0.55, 0.95)
BRIGHTNESS = (0.6, 0.95)
CONTRAST = (0.4, 0.6)
"""Share of the brightness by which a texture darkens."""
PERIODS = 3.0
"""Periods of a texture over an object's side."""
NOISE = 0.03
"""Standard deviation of the noise of every pixel and channel, in 0..1."""
VISIBLE = 0.6
"""Smallest share of an object's pixels that later objects leave visible."""
PLACEMENTS = 50
"""Attempts to find such a position for an object; after these the object is left out."""

SILHOUETTES: dict[str, Callable[[Floats, Floats], Inside]] = {
    "disk": lambda u, v: np.hypot(u, v) < 0.95,
    "square": lambda u, v: np.maximum(abs(u), abs(v)) < 0.78,
    "triangle": lambda u, v: (v < 0.75) & (abs(u) < 0.55 * (v + 0.95)),
    "ring": lambda u, v: (np.hypot(u, v) < 0.98) & (np.hypot(u, v) > 0.48),
    "plus": lambda u, v: (np.minimum(abs(u), abs(v)) < 0.33) & (np.maximum(abs(u), abs(v)) < 0.92),
    "diamond": lambda u, v: abs(u) + abs(v) < 1.0,
    "star": lambda u, v: np.hypot(u, v) < 0.68 + 0.3 * np.cos(5 * np.arctan2(u, -v)),
    "crescent": lambda u, v: (np.hypot(u, v) < 0.95) & (np.hypot(u - 0.55, v) > 0.75),
    "hourglass": lambda u, v: (abs(u) < abs(v) + 0.12) & (np.maximum(abs(u), abs(v)) < 0.82),
    "heart": lambda u, v: (1.1 * u) ** 2 + (1.15 * v - 0.15 + 0.62 * np.sqrt(abs(u))) ** 2 < 0.75,
}
"""Class name to silhouette: whether the point u, v is inside."""

TEXTURES: tuple[Callable[[Floats, Floats], Inside], ...] = (
    lambda u, v: np.zeros(u.shape, dtype=np.bool_),
    lambda u, v: np.sin(np.pi * PERIODS * u) > 0,
    lambda u, v: np.sin(np.pi * PERIODS * v) > 0,
    lambda u, v: np.sin(np.pi * PERIODS * u) * np.sin(np.pi * PERIODS * v) > 0,
    lambda u, v: np.sin(np.pi * PERIODS * (u + v)) > 0,
)
"""Dark areas: none, vertical stripes, horizontal stripes, checks, diagonal stripes. Classes take them in turn."""

CLASSES = tuple(SILHOUETTES)

STRIPS = {"train": (0.0, 0.5), "val": (0.5, 0.7), "test": (0.7, 1.0)}
"""Columns of the photographs that a split's backgrounds are cut from, as shares of their width."""
_RECORD = "scenes.json"

PHOTOGRAPHS = ("china.jpg", "flower.jpg")
CROP = (64, 120)
"""Shortest and longest side of a background before it is resized, in pixels of the photograph."""


@dataclass(frozen=True)
class Scene:
    """One image: pixels (S, S, 3), segmentation (S, S) of class index plus one, its classes, lowest first."""

    pixels: Pixels
    segmentation: Pixels
    class_indices: tuple[int, ...]


def generate(root: Path, scenes: Scenes) -> None:
    """Write the set as a folder in VOC layout at ``root``, which appears when it is whole.

    It also holds ``scenes.json``, its settings. A folder of the same settings is left unchanged. Every image has a
    generator seeded by (seed, split, index): a smaller set is the start of a larger one, and the same seed gives the
    same bytes.
    """
    if root.exists():
        _check_same(root, scenes)
        return
    scratch = root.with_name(f"partial-{root.name}")
    if scratch.exists():
        shutil.rmtree(scratch)
    for folder in (
        "JPEGImages",
        "Annotations",
        "SegmentationClass",
        "ImageSets/Main",
        "ImageSets/Segmentation",
    ):
        (scratch / folder).mkdir(parents=True)
    photographs = _photographs()
    for split, count in {"train": scenes.train, "val": scenes.validation, "test": scenes.test}.items():
        ids = [f"{split}_{index:06d}" for index in range(count)]
        for index, image_id in enumerate(ids):
            _write(scratch, image_id, scene(scenes.seed, split, index, scenes.size, photographs))
        for kind in ("Main", "Segmentation"):
            (scratch / "ImageSets" / kind / f"{split}.txt").write_text("\n".join(ids) + "\n", encoding="utf-8")
    write_json(scratch / _RECORD, dataclasses.asdict(scenes))
    scratch.rename(root)


def _check_same(root: Path, scenes: Scenes) -> None:
    record = root / _RECORD
    if not record.exists() or read_json(record) != dataclasses.asdict(scenes):
        raise InputError(f"{root} is there already and holds something else. Move it away, or name another folder.")


def _photographs() -> list[Pixels]:
    # Takes a second to import, and only the generator needs it.
    from sklearn.datasets import load_sample_image

    return [load_sample_image(name) for name in PHOTOGRAPHS]


def scene(seed: int, split: str, index: int, size: int, photographs: Sequence[Pixels]) -> Scene:
    """Draw the scene ``index`` of a split: background, clutter, objects, noise."""
    rng = np.random.default_rng([seed, list(STRIPS).index(split), index])
    canvas = _background(rng, photographs[int(rng.integers(len(photographs)))], STRIPS[split], size)
    segmentation = np.zeros((size, size), dtype=np.uint8)
    for hue, shape, texture in _clutter_kinds(rng):
        inside, color = _draw(rng, hue, shape, texture, size)
        window = _window(rng, inside, size)
        canvas[window][inside] = color[inside]
    kinds = rng.permutation(len(CLASSES))[: rng.integers(OBJECTS[0], OBJECTS[1] + 1)]
    areas: dict[int, int] = {}
    for kind in kinds.tolist():
        inside, color = _draw(rng, kind, kind, kind % len(TEXTURES), size)
        free = _free_window(rng, inside, segmentation, areas)
        if free is not None:
            canvas[free][inside] = color[inside]
            segmentation[free][inside] = kind + 1
            areas[kind + 1] = int(inside.sum())
    noisy = canvas + rng.normal(0, NOISE, canvas.shape)
    pixels = np.rint(255 * noisy.clip(0, 1)).astype(np.uint8)
    return Scene(pixels, segmentation, tuple(value - 1 for value in areas))


def _background(rng: np.random.Generator, photograph: Pixels, strip: tuple[float, float], size: int) -> Floats:
    height, width = photograph.shape[:2]
    side = int(rng.integers(CROP[0], CROP[1] + 1))
    top = int(rng.integers(0, height - side + 1))
    left = int(rng.integers(round(strip[0] * width), round(strip[1] * width) - side + 1))
    crop = Image.fromarray(photograph[top : top + side, left : left + side])
    pixels = np.asarray(crop.resize((size, size), Image.Resampling.BILINEAR)) / 255
    return pixels[:, ::-1].copy() if rng.random() < 0.5 else pixels


def _clutter_kinds(rng: np.random.Generator) -> Iterator[tuple[int, int, int]]:
    """Yield (class of the hue, class of the silhouette, texture), all of different classes."""
    for _ in range(rng.integers(CLUTTER[0], CLUTTER[1] + 1)):
        hue, shape = rng.permutation(len(CLASSES))[:2].tolist()
        others = [t for t in range(len(TEXTURES)) if t not in (hue % len(TEXTURES), shape % len(TEXTURES))]
        yield hue, shape, int(rng.choice(others))


def _draw(rng: np.random.Generator, hue: int, shape: int, texture: int, size: int) -> tuple[Inside, Floats]:
    """Draw one object: which pixels of its square are inside, and their color."""
    side = max(round(rng.uniform(*SIDE) * size), 4)
    angle = np.deg2rad(rng.uniform(-TURN, TURN))
    steps = (np.arange(side) + 0.5) * 2 / side - 1
    right, down = np.meshgrid(steps, steps)
    u, v = np.cos(angle) * right + np.sin(angle) * down, np.cos(angle) * down - np.sin(angle) * right
    shade = hue / len(CLASSES) + rng.uniform(-HUE_JITTER, HUE_JITTER)
    light = np.array(colorsys.hsv_to_rgb(shade % 1, rng.uniform(*SATURATION), rng.uniform(*BRIGHTNESS)))
    phase_u, phase_v = rng.uniform(-1, 1, 2)
    dark = TEXTURES[texture](u + phase_u, v + phase_v)
    return list(SILHOUETTES.values())[shape](u, v), light * (1 - rng.uniform(*CONTRAST) * dark[..., None])


def _window(rng: np.random.Generator, inside: Inside, size: int) -> tuple[slice, slice]:
    side = len(inside)
    top, left = rng.integers(0, size - side + 1, 2).tolist()
    return slice(top, top + side), slice(left, left + side)


def _free_window(
    rng: np.random.Generator, inside: Inside, segmentation: Pixels, areas: dict[int, int]
) -> tuple[slice, slice] | None:
    """Find a window in which every object underneath keeps its visible share; None if no attempt finds one."""
    for _ in range(PLACEMENTS):
        window = _window(rng, inside, len(segmentation))
        after = segmentation.copy()
        after[window][inside] = 0
        if all((after == value).sum() >= VISIBLE * pixels for value, pixels in areas.items()):
            return window
    return None


def _write(root: Path, image_id: str, scene: Scene) -> None:
    image = root / "JPEGImages" / f"{image_id}.jpg"
    image.write_bytes(_encoded(Image.fromarray(scene.pixels), "JPEG", quality=95, subsampling=0))
    mask = Image.fromarray(scene.segmentation).convert("P")
    mask.putpalette(_palette())
    (root / "SegmentationClass" / f"{image_id}.png").write_bytes(_encoded(mask, "PNG"))
    tree = ElementTree.ElementTree(_annotation(image.name, scene))
    ElementTree.indent(tree)
    tree.write(root / "Annotations" / f"{image_id}.xml", encoding="utf-8")


def _encoded(image: Image.Image, kind: str, **options: int) -> bytes:
    """Encode in memory: on a full disk Pillow itself may leave half a file without an error."""
    content = io.BytesIO()
    image.save(content, kind, **options)
    return content.getvalue()


def _annotation(filename: str, scene: Scene) -> ElementTree.Element:
    """Build VOC's annotation; boxes count pixels from 1 and include their last row and column."""
    height, width, depth = scene.pixels.shape
    root = ElementTree.Element("annotation")
    _add(root, {"folder": "VOC2012", "filename": filename})
    _add(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": depth})
    _add(root, {"segmented": 1})
    for index in scene.class_indices:
        y, x = np.nonzero(scene.segmentation == index + 1)
        item = ElementTree.SubElement(root, "object")
        _add(item, {"name": CLASSES[index], "difficult": 0})
        box = {"xmin": x.min() + 1, "ymin": y.min() + 1, "xmax": x.max() + 1, "ymax": y.max() + 1}
        _add(ElementTree.SubElement(item, "bndbox"), box)
    return root


def _add(parent: ElementTree.Element, texts: dict[str, object]) -> None:
    for tag, text in texts.items():
        ElementTree.SubElement(parent, tag).text = str(text)


def _palette() -> list[int]:
    """Return VOC's 256 colors: an index's bits, from the lowest, go to R, G, B in turn, from the highest."""
    return [
        sum((index >> (3 * bit + channel) & 1) << (7 - bit) for bit in range(3))
        for index in range(256)
        for channel in range(3)
    ]
