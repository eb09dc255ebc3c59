"""Items of a data set of the user's own: (image, label) or (image, labels[, mask]), checked.

Legend: K classes, H x W pixels (height, width) after resizing, h x w of an image as given.
"""

import hashlib
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.datasets.masks import VOID
from roar_pipeline.datasets.pixels import COLOR_MODES, as_rgb, size_text
from roar_pipeline.errors import InputError

__all__ = ["Item", "read_item"]

_SHOWN = 40
"""Characters of a value in a message."""


@dataclass(frozen=True)
class Item:
    """One checked item."""

    image: Image.Image
    class_indices: tuple[int, ...]
    mask: Image.Image | None

    @property
    def digest(self) -> bytes:
        """The sha256 of the image's size and RGB pixels."""
        return hashlib.sha256(f"{self.image.size}\0".encode() + self.image.convert("RGB").tobytes()).digest()

    def labels(self, classes: int) -> npt.NDArray[np.uint8]:
        """Return (K,), 1 for the image's classes."""
        labels = np.zeros(classes, dtype=np.uint8)
        labels[list(self.class_indices)] = 1
        return labels

    def pixels(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return the image as RGB (H, W, 3), resized."""
        return as_rgb(self.image, height, width)

    def segmentation(self, height: int, width: int) -> npt.NDArray[np.uint8]:
        """Return the mask (H, W), resized to the nearest pixel.

        Raises:
            InputError: there is none.
        """
        if self.mask is None:
            raise InputError("the mask is gone in the second pass. Yield the same items every time.")
        return np.asarray(self.mask.resize((width, height), Image.Resampling.NEAREST))


def read_item(given: Any, classes: Sequence[str], *, is_single_label: bool) -> Item:
    """Check an item.

    Raises:
        InputError: it is no (image, label or labels[, mask]); says what is due.
    """
    if not isinstance(given, (tuple, list)) or len(given) not in (2, 3):
        length = f" of {len(given)}" if isinstance(given, (tuple, list)) else ""
        raise InputError(f"a {type(given).__name__}{length}, where (image, label) or (image, label, mask) is due.")
    image = _image(given[0])
    class_indices = (_index(given[1], classes),) if is_single_label else _indices(given[1], classes)
    mask = given[2] if len(given) == 3 else None
    return Item(image, class_indices, None if mask is None else _mask(mask, image, classes))


def _image(given: Any) -> Image.Image:
    if isinstance(given, Image.Image):
        if given.mode not in COLOR_MODES:
            raise InputError(f"the image's pixels are of type {given.mode}, not 8-bit color or grey values.")
        try:
            given.load()
        except OSError as error:
            raise InputError(f"the image cannot be used: {error}.") from error
        return given
    shape = tuple(getattr(given, "shape", ()))
    due = "one image is due, a PIL image or a uint8 array (h, w, 3) or (h, w)"
    if len(shape) == 4:
        raise InputError(f"a batch of images of shape {shape}, where {due}. Yield the images one by one.")
    if not isinstance(given, np.ndarray):
        raise InputError(f"the image is a {type(given).__name__}{f' of shape {shape}' if shape else ''}, where {due}.")
    if given.dtype != np.uint8:
        raise InputError(f"the image is an array of {given.dtype}, where {due}: values are 0..255.")
    if len(shape) == 3 and shape[0] in (1, 3) and shape[2] not in (1, 3):
        raise InputError(f"the image has shape {shape}, channels first, where {due}. Transpose it by (1, 2, 0).")
    if not given.size or len(shape) not in (2, 3) or (len(shape) == 3 and shape[2] not in (1, 3)):
        raise InputError(f"the image has shape {shape}, where {due}.")
    return Image.fromarray(given[..., 0] if shape[2:] == (1,) else given)


def _index(given: Any, classes: Sequence[str]) -> int:
    """Return a class index that may be of any integer type."""
    due = f"where a class index is due, a whole number in 0..{len(classes) - 1} ([dataset] classes)"
    if isinstance(given, (bool, np.bool_, float, np.floating, str)):
        raise InputError(f"label {_shown(given)} is a {type(given).__name__}, {due}.")
    try:
        index = operator.index(given)
    except (TypeError, ValueError):
        hint = ". If images have several labels, set [dataset] labels = several" if isinstance(given, Iterable) else ""
        raise InputError(f"label {_shown(given)} is a {type(given).__name__}, {due}{hint}.") from None
    if not 0 <= index < len(classes):
        raise InputError(f"label {index} is out of range, {due}.")
    return index


def _indices(given: Any, classes: Sequence[str]) -> tuple[int, ...]:
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"labels {_shown(given)} are a {type(given).__name__}, where a list of class indices is due.")
    indices = tuple(_index(label, classes) for label in given)
    if len(set(indices)) != len(indices):
        raise InputError(
            f"labels {_shown(given)} name a class twice, where a list of class indices is due, not a 0 or 1 per class."
        )
    return indices


def _mask(given: Any, image: Image.Image, classes: Sequence[str]) -> Image.Image:
    if isinstance(given, Image.Image) and given.mode in ("P", "L"):
        given = np.asarray(given)
    if not isinstance(given, np.ndarray) or given.dtype != np.uint8 or given.ndim != 2:
        kind = f"{given.dtype} array of shape {given.shape}" if isinstance(given, np.ndarray) else type(given).__name__
        raise InputError(f"the mask is a {kind}, where a uint8 array (h, w) or a PIL image of mode P or L is due.")
    if given.shape != image.size[::-1]:
        sizes = size_text((given.shape[1], given.shape[0])), size_text(image.size)
        raise InputError(f"the mask has {sizes[0]}, its image {sizes[1]}; they must cover the same pixels.")
    values = np.unique(given)
    if (bad := values[(values > len(classes)) & (values != VOID)]).size:
        raise InputError(f"mask value {bad[0]} is neither 0..{len(classes)} ([dataset] classes) nor {VOID} (void).")
    return Image.fromarray(given)


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
