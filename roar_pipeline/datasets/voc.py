"""The folder layout of PASCAL VOC 2012: lists of images, labels, photographs and masks.

Legend: K classes, H x W pixels (height, width). ``root`` is the folder that holds JPEGImages, Annotations,
ImageSets and, for localization, SegmentationClass. In a mask 0 is background, 1..K is a class (its index in
``classes`` plus one) and 255 is void.

Files are read by Pillow and the standard library, not by torchvision, so that reading images does not import torch.
"""

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.config import Dataset
from roar_pipeline.datasets.faults import UndeclaredClassError
from roar_pipeline.datasets.masks import VOID
from roar_pipeline.datasets.pixels import as_rgb, read_file, require_regular, shrunk, size_text
from roar_pipeline.errors import InputError

__all__ = [
    "ANNOTATIONS",
    "CLASSES",
    "IMAGES",
    "LISTS",
    "MASKS",
    "check_layout",
    "image_path",
    "not_in_layout",
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

IMAGES, ANNOTATIONS, MASKS, LISTS = "JPEGImages", "Annotations", "SegmentationClass", "ImageSets"
_FORMATS = ("JPEG", "PNG")
_PATH_PARTS = re.compile(r"^\.|[/\\\0]")
"""Matches an id that would be a path into another folder, or a hidden file."""
_MASK_MODES = ("P", "L")
_ON_LIST = "Replace it by a file, or take it off its list."
_REMEDY = "Replace the file, or take it off its list."


Kind = Literal["Main", "Segmentation"]
Result = TypeVar("Result")


def check_layout(root: Path, dataset: Dataset) -> None:
    """Check that the folders and lists of ``dataset`` exist.

    Raises:
        InputError: names all that are missing.
    """
    splits = dict.fromkeys((dataset.train_split, dataset.validation_split, dataset.test_split))
    required = [Path(IMAGES), Path(ANNOTATIONS), *(_list_name(split, "Main") for split in splits)]
    if dataset.segmentation_split:
        required += [Path(MASKS), _list_name(dataset.segmentation_split, "Segmentation")]
    if missing := [name.as_posix() for name in required if not (root / name).exists()]:
        raise InputError(not_in_layout(root, missing))


def not_in_layout(root: Path, missing: Sequence[str]) -> str:
    """Return a message on what the layout lacks, with the folder or list that was probably meant."""
    hint = "Set [dataset] root in luigi.cfg to the folder that holds JPEGImages, or drop it to use the generated set."
    if not root.exists():
        return f"{root} does not exist. {hint}"
    for inner in ("VOC2012", "VOCdevkit/VOC2012"):
        if (root / inner / IMAGES).is_dir():
            hint = f"Set [dataset] root to {root / inner}."
    folders = sorted({(root / name).parent for name in missing if name.startswith(LISTS)})
    if lists := sorted(path for folder in folders for path in folder.glob("*.txt")):
        names = ", ".join(path.relative_to(root / LISTS).as_posix() for path in lists[:8])
        hint = f"Set the [dataset] splits to lists that are there ({names}), or set [dataset] root."
    if all(name == MASKS or name.startswith(f"{LISTS}/Segmentation") for name in missing):
        hint += " Without masks, set [dataset] segmentation_split to nothing: then there is no localization."
    return f"{root} is not in VOC layout: no {', no '.join(missing)}. {hint}"


def _list_name(split: str, kind: Kind) -> Path:
    return Path(LISTS, kind, f"{split}.txt")


def read_split(root: Path, split: str, kind: Kind = "Main") -> list[str]:
    """Read the image ids of ``ImageSets/<kind>/<split>.txt`` in the list's order.

    VOC's lists of one class have a second column (1, 0 or -1, the class's presence), which is ignored.

    Raises:
        InputError: the list is missing or empty, names an image twice, or is not a list of ids; ids have no folders.
    """
    path = root / _list_name(split, kind)
    require_regular(path, _ON_LIST)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise InputError(not_in_layout(root, [_list_name(split, kind).as_posix()])) from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as a list of image ids: {error}.") from error
    ids: dict[str, None] = {}
    for number, line in enumerate(lines, start=1):
        image_id, *rest = line.split() or [""]
        if rest and (len(rest) > 1 or rest[0] not in ("-1", "0", "1")):
            raise InputError(f"{path}, line {number}: '{line.strip()}' is not an image id. Ids hold no white space.")
        if _PATH_PARTS.search(image_id):
            raise InputError(
                f"{path}, line {number}: '{image_id}' is not an image id: one is a file's name without its ending, and "
                "has neither / nor \\ in it, nor a dot in front, so that no image has two spellings. Name it like its "
                f"file in {IMAGES}."
            )
        if image_id in ids:
            raise InputError(f"{path}, line {number}: names {image_id} a second time. Name every image once.")
        if image_id:
            ids[image_id] = None
    if not ids:
        raise InputError(f"{path} is empty: a split needs at least one image. Fill it, or name another list.")
    return list(ids)


def read_labels(root: Path, image_id: str, classes: Sequence[str]) -> npt.NDArray[np.uint8]:
    """Read the classes of the objects in ``Annotations/<image_id>.xml``: (K,), multi-hot.

    Objects marked difficult count, as in Park et al.; parts of an object do not.

    Raises:
        UndeclaredClassError: an object's class is not one of ``classes``.
        InputError: the file is missing or broken.
    """
    path = root / ANNOTATIONS / f"{image_id}.xml"
    require_regular(path, _ON_LIST)
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


def image_path(root: Path, image_id: str) -> Path:
    """Return ``JPEGImages/<image_id>.jpg``."""
    return root / IMAGES / f"{image_id}.jpg"


def read_image(root: Path, image_id: str, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Read ``JPEGImages/<image_id>.jpg`` as RGB (H, W, 3), resized to H x W without a crop.

    Greyscale, CMYK and palette images are converted. The resize is Pillow's bilinear one, which averages
    over all source pixels when it shrinks. Orientation tags are ignored, as masks and annotations have none.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _read_image_file(root, image_id, lambda image: as_rgb(image, height, width))


def read_photograph(root: Path, image_id: str, short_side: int) -> npt.NDArray[np.uint8]:
    """Read ``JPEGImages/<image_id>.jpg`` as RGB (h, w, 3), its shorter side shrunk to ``short_side`` pixels.

    The aspect is kept; a smaller photograph keeps its size. Otherwise as ``read_image``.

    Raises:
        InputError: the file is missing, truncated or no image.
    """
    return _read_image_file(root, image_id, lambda image: as_rgb(image, *shrunk(image, short_side)))


def read_photograph_size(root: Path, image_id: str, short_side: int) -> tuple[int, int]:
    """Return height and width of what ``read_photograph`` reads, from the file's header alone.

    Raises:
        InputError: the file is missing or no image.
    """
    return _read_image_file(root, image_id, lambda image: shrunk(image, short_side))


def _read_image_file(root: Path, image_id: str, convert: Callable[[Image.Image], Result]) -> Result:
    path = image_path(root, image_id)
    return _read(path, f"{path} is missing, though a list names {image_id}.", convert)


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
            raise ValueError(
                f"it has {size_text(mask.size)}, its image {size_text(size)}; they must cover the same pixels"
            )
        values = np.unique(np.asarray(mask))
        if (bad := values[(values > len(classes)) & (values != VOID)]).size:
            raise ValueError(f"value {bad[0]} is neither 0..{len(classes)} ([dataset] classes) nor {VOID} (void)")
        return np.asarray(mask.resize((width, height), Image.Resampling.NEAREST))

    path = root / MASKS / f"{image_id}.png"
    size = _read_image_file(root, image_id, lambda image: image.size)
    return _read(path, f"{path} is missing, though a Segmentation list names {image_id}.", convert)


def _read(path: Path, missing: str, convert: Callable[[Image.Image], Result]) -> Result:
    missing = f"{missing} Add the file, or take it off the list."
    return read_file(path, convert, _FORMATS, missing=missing, remedy=_REMEDY)
