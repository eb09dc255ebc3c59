"""The folder layout of PASCAL VOC 2012: lists of images, labels, photographs and masks.

Legend: K classes, H x W pixels (height, width). ``root`` is the folder that holds JPEGImages, Annotations,
ImageSets and, for localization, SegmentationClass. In a mask 0 is background, 1..K is a class (its place in
``classes`` plus one) and 255 is void.

Files are read by Pillow and the standard library, not by torchvision: so whoever only reads images need not
import torch.
"""

import contextlib
import hashlib
import json
import os
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from roar_pipeline.config import Dataset
from roar_pipeline.errors import InputError
from roar_pipeline.files import lock, write_json

__all__ = [
    "CLASSES",
    "VOID",
    "UndeclaredClassError",
    "check_layout",
    "content_digest",
    "read_image",
    "read_labels",
    "read_photograph",
    "read_photograph_size",
    "read_segmentation",
    "read_split",
]

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable"),
    *("dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)
"""The classes of VOC 2012 in mask order: index 1 is aeroplane."""

VOID = 255
"""Mask value of pixels that belong to nothing, such as outlines."""

_IMAGES, _ANNOTATIONS, _MASKS, _LISTS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets"
_FORMATS = ("JPEG", "PNG")
_COLOR_MODES = ("RGB", "L", "CMYK", "YCbCr", "P", "RGBA", "LA", "1")
_MASK_MODES = ("P", "L")
_BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


class UndeclaredClassError(InputError):
    """An annotation names a class, ``name``, that the settings do not declare."""

    def __init__(self, message: str, name: str = "") -> None:
        super().__init__(message)
        self.name = name


Kind = Literal["Main", "Segmentation"]
Result = TypeVar("Result")


def check_layout(root: Path, dataset: Dataset) -> None:
    """Check that the folders and lists that ``dataset`` asks for are there.

    Raises:
        InputError: names everything that is missing at once.
    """
    splits = dict.fromkeys((dataset.train_split, dataset.validation_split, dataset.test_split))
    wanted = [Path(_IMAGES), Path(_ANNOTATIONS), *(_list_name(split, "Main") for split in splits)]
    if dataset.segmentation_split:
        wanted += [Path(_MASKS), _list_name(dataset.segmentation_split, "Segmentation")]
    if missing := [name.as_posix() for name in wanted if not (root / name).exists()]:
        raise InputError(_not_in_layout(root, missing))


def _not_in_layout(root: Path, missing: Sequence[str]) -> str:
    hint = "Set [dataset] root in luigi.cfg to the folder that holds JPEGImages, or drop it to use the generated set."
    if not root.exists():
        return f"{root} does not exist. {hint}"
    for inner in ("VOC2012", "VOCdevkit/VOC2012"):
        if (root / inner / _IMAGES).is_dir():
            hint = f"Set [dataset] root to {root / inner}."
    folders = sorted({(root / name).parent for name in missing if name.startswith(_LISTS)})
    if there := sorted(path for folder in folders for path in folder.glob("*.txt")):
        names = ", ".join(path.relative_to(root / _LISTS).as_posix() for path in there[:8])
        hint = f"Set the [dataset] splits to lists that are there ({names}), or set [dataset] root."
    if all(name == _MASKS or name.startswith(f"{_LISTS}/Segmentation") for name in missing):
        hint += " Without masks, set [dataset] segmentation_split to nothing: then there is no localization."
    return f"{root} is not in VOC layout: no {', no '.join(missing)}. {hint}"


def _list_name(split: str, kind: Kind) -> Path:
    return Path(_LISTS, kind, f"{split}.txt")


def read_split(root: Path, split: str, kind: Kind = "Main") -> list[str]:
    """Read the image ids of ``ImageSets/<kind>/<split>.txt`` in the list's order.

    VOC's lists of one class have a second column (1, 0 or -1, the class's presence), which is passed over.

    Raises:
        InputError: the list is missing or empty, names an image twice, or is not a list of ids.
    """
    path = root / _list_name(split, kind)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(_not_in_layout(root, [_list_name(split, kind).as_posix()])) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of image ids: {error}.") from error
    ids: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        image_id, *rest = line.split() or [""]
        if rest and (len(rest) > 1 or rest[0] not in ("-1", "0", "1")):
            raise InputError(f"{path}, line {number}: '{line.strip()}' is not an image id. Ids hold no white space.")
        if image_id in ids:
            raise InputError(f"{path}, line {number}: names {image_id} a second time. Name every image once.")
        if image_id:
            ids[image_id] = None
    if not ids:
        raise InputError(f"{path} is empty: a split needs at least one image. Fill it, or name another list.")
    return list(ids)


def read_labels(root: Path, image_id: str, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Read the classes that ``Annotations/<image_id>.xml`` has an object of: (K,), multi-hot.

    Objects marked difficult count like any other, as with Park et al.; the parts of an object do not count.

    Raises:
        UndeclaredClassError: an object's class is not one of ``classes``.
        InputError: the file is missing or broken.
    """
    path = root / _ANNOTATIONS / f"{image_id}.xml"
    try:
        annotation = ElementTree.parse(path).getroot()
    except FileNotFoundError:
        raise InputError(f"{path} is missing: every image of a split needs its annotation.") from None
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(f"{path} is not readable XML: {error}. Replace the file.") from error
    if annotation.tag != "annotation":
        raise InputError(f"{path} is not an annotation: it starts with <{annotation.tag}>. Replace the file.")
    labels = np.zeros(len(classes), dtype=np.uint8)
    for number, item in enumerate(annotation.findall("object"), start=1):
        name = (item.findtext("name") or "").strip()
        if not name:
            raise InputError(f"{path}: object {number} has no name. Name its class in <name>.")
        if name not in classes:
            message = f"{path}: object {number} is of class '{name}', which [dataset] classes does not declare. "
            raise UndeclaredClassError(f"{message}Declared: {', '.join(classes)}.", name)
        labels[classes.index(name)] = 1
    return labels


def read_image(root: Path, image_id: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Read ``JPEGImages/<image_id>.jpg`` as RGB (H, W, 3), resized to H x W without a crop.

    Greyscale, CMYK and palette images are converted. The resize is Pillow's bilinear one, which averages
    over all source pixels when it shrinks. Orientation tags are ignored: masks and annotations know nothing
    of them.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _read_image_file(root, image_id, lambda image: _as_rgb(image, height, width))


def read_photograph(root: Path, image_id: str, short_side: int) -> npt.NDArray[np.uint8]:
    """Read ``JPEGImages/<image_id>.jpg`` as RGB (h, w, 3), its shorter side shrunk to ``short_side`` pixels.

    The aspect is kept; a smaller photograph keeps its size. Otherwise as ``read_image``.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _read_image_file(root, image_id, lambda image: _as_rgb(image, *_shrunk(image, short_side)))


def read_photograph_size(root: Path, image_id: str, short_side: int) -> tuple[int, int]:
    """Return height and width of what ``read_photograph`` reads, from the file's head alone.

    Raises:
        InputError: the file is missing or no image.
    """
    return _read_image_file(root, image_id, lambda image: _shrunk(image, short_side))


def _shrunk(image: Image.Image, short_side: int) -> tuple[int, int]:
    """Return the height and width at which the shorter side has ``short_side`` pixels, or its own if it has fewer."""
    width, height = image.size
    short = min(width, height)
    if short <= short_side:
        return height, width
    return max(short_side, round(height * short_side / short)), max(short_side, round(width * short_side / short))


def _as_rgb(image: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    if image.mode not in _COLOR_MODES:
        raise ValueError(f"pixels of type {image.mode} are not 8-bit color or grey values")
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def _read_image_file(root: Path, image_id: str, convert: Callable[[Image.Image], Result]) -> Result:
    path = root / _IMAGES / f"{image_id}.jpg"
    return _read_pixels(path, f"{path} is missing, though a list names {image_id}.", convert)


def read_segmentation(
    root: Path, image_id: str, classes: Sequence[str], height: int, width: int
) -> npt.NDArray[np.uint8]:
    """Read ``SegmentationClass/<image_id>.png`` as class indices (H, W), resized to the nearest pixel.

    The file may be a palette or a greyscale image; the index or the grey value is the class.

    Raises:
        InputError: the mask is missing or broken, is not of its image's size, or has an undeclared index.
    """

    def convert(mask: Image.Image) -> npt.NDArray[np.uint8]:
        if mask.mode not in _MASK_MODES:
            raise ValueError(f"its pixels are of type {mask.mode}, not the class indices of a palette or grey image")
        if mask.size != size:
            raise ValueError(f"it has {_pixels(mask.size)}, its image {_pixels(size)}; they must cover the same pixels")
        values = np.unique(np.asarray(mask))
        if (bad := values[(values > len(classes)) & (values != VOID)]).size:
            raise ValueError(f"value {bad[0]} is neither 0..{len(classes)} ([dataset] classes) nor {VOID} (void)")
        return np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))

    path = root / _MASKS / f"{image_id}.png"
    size = _read_image_file(root, image_id, lambda image: image.size)
    return _read_pixels(path, f"{path} is missing, though a Segmentation list names {image_id}.", convert)


def _read_pixels(path: Path, missing: str, convert: Callable[[Image.Image], Result]) -> Result:
    try:
        with Image.open(path, formats=_FORMATS) as image:
            return convert(image)
    except FileNotFoundError:
        raise InputError(f"{missing} Add the file, or take it off the list.") from None
    except UnidentifiedImageError as error:
        raise InputError(f"{path} is not an image in JPEG or PNG format. Replace the file.") from error
    except _BROKEN_IMAGE as error:
        raise InputError(f"{path} cannot be used: {error}. Replace the file, or take it off its list.") from error


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[0]} x {size[1]} pixels"


def content_digest(root: Path, dataset: Dataset, cache: Path) -> str:
    """Return a sha256 over the names and contents of all files that this module can read under ``root``.

    The same files in another place have the same digest. Contents are read only when a name, size or time
    of change (of the content, or of the entry, which nobody can set back) is not the one that ``cache``
    remembers: a JSON file that several processes may use and anyone may delete.

    Raises:
        InputError: there is no VOC folder at ``root``.
    """
    if not (root / _IMAGES).is_dir():
        raise InputError(_not_in_layout(root, [_IMAGES]))
    files = sorted(_list_files(root, dataset))
    listing = hashlib.sha256(json.dumps(files).encode()).hexdigest()
    key = str(root.resolve())
    remembered = _read_cache(cache).get(key)
    if isinstance(remembered, dict) and remembered.get("listing") == listing and "digest" in remembered:
        return str(remembered["digest"])
    digest = hashlib.sha256()
    for name, *_ in files:
        content = hashlib.sha256((root / name).read_bytes()).hexdigest()
        digest.update(f"{name}\0{content}\n".encode())
    _write_cache(cache, {**_read_cache(cache), key: {"listing": listing, "digest": digest.hexdigest()}})
    return digest.hexdigest()


def _named_lists(dataset: Dataset) -> list[str]:
    main = {dataset.train_split, dataset.validation_split, dataset.test_split}
    masks = {dataset.segmentation_split} - {""}
    return sorted(
        [f"{_LISTS}/Main/{name}.txt" for name in main] + [f"{_LISTS}/Segmentation/{name}.txt" for name in masks]
    )


def _list_files(root: Path, dataset: Dataset) -> Iterator[tuple[str, int, int, int]]:
    """Yield (name below root, bytes, mtime and ctime in ns); hidden files are a desktop's, not the set's."""
    for name in _named_lists(dataset):
        if (root / name).is_file():
            stat = (root / name).stat()
            yield name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns
    for folder in (_IMAGES, _ANNOTATIONS, _MASKS):
        if not (root / folder).is_dir():
            continue
        with os.scandir(root / folder) as entries:
            for entry in entries:
                if not entry.name.startswith(".") and entry.is_file():
                    stat = entry.stat()
                    yield f"{folder}/{entry.name}", stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _read_cache(cache: Path) -> dict[str, object]:
    try:
        remembered = json.loads(cache.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return remembered if isinstance(remembered, dict) else {}


def _write_cache(cache: Path, value: dict[str, object]) -> None:
    """Remember, if the folder allows it: without the cache the files are read again, and no more."""
    with contextlib.suppress(OSError), lock(cache.parent):
        write_json(cache, value)
