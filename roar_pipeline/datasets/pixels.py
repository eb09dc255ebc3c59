"""Pixels from image files and from memory.

Files are read by Pillow, not by torchvision, so that reading images does not import torch.
"""

import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from roar_pipeline.errors import InputError

__all__ = ["COLOR_MODES", "as_rgb", "read_file", "require_regular", "shrunk", "size_text"]

Result = TypeVar("Result")

COLOR_MODES = ("RGB", "L", "CMYK", "YCbCr", "P", "RGBA", "LA", "1")
"""Pillow's modes of 8-bit pixels."""
_BROKEN_IMAGE = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_KINDS = {
    stat.S_ISDIR: "a folder",
    stat.S_ISFIFO: "a named pipe",
    stat.S_ISSOCK: "a socket",
    stat.S_ISCHR: "a device",
    stat.S_ISBLK: "a device",
}


def as_rgb(image: Image.Image, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Return an image as RGB (H, W, 3), resized to H x W without a crop.

    Greyscale, CMYK and palette images are converted. The resize is Pillow's bilinear one, which averages over all
    source pixels when it shrinks.

    Raises:
        ValueError: the pixels are not 8-bit.
    """
    if image.mode not in COLOR_MODES:
        raise ValueError(f"pixels of type {image.mode} are not 8-bit color or grey values")
    return np.asarray(image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR))


def shrunk(image: Image.Image, short_side: int) -> tuple[int, int]:
    """Return height and width with the shorter side shrunk to ``short_side`` pixels; smaller images are unchanged."""
    width, height = image.size
    short = min(width, height)
    if short <= short_side:
        return height, width
    return max(short_side, round(height * short_side / short)), max(short_side, round(width * short_side / short))


def size_text(size: tuple[int, int]) -> str:
    """Return ``w x h pixels`` of Pillow's (w, h)."""
    return f"{size[0]} x {size[1]} pixels"


def require_regular(path: Path, remedy: str) -> None:
    """Refuse a pipe, a socket, a device or a folder, on which reading would block or never end.

    Raises:
        InputError: the path exists and is not a regular file; ends in ``remedy``.
    """
    try:
        mode = path.stat().st_mode
    except OSError:  # opening it reports the reason
        return
    if not stat.S_ISREG(mode):
        kind = next((name for is_kind, name in _KINDS.items() if is_kind(mode)), "a special file")
        raise InputError(f"{path} is {kind}, not a regular file. {remedy}")


def read_file(
    path: Path, convert: Callable[[Image.Image], Result], formats: tuple[str, ...], *, missing: str, remedy: str
) -> Result:
    """Open an image file of one of Pillow's ``formats`` and return ``convert(image)``.

    Raises:
        InputError: the file is ``missing``, no image, or broken, or ``convert`` raised ValueError; says the ``remedy``.
    """
    require_regular(path, remedy.replace("Replace the file", "Replace it by a file"))
    try:
        with Image.open(path, formats=formats) as image:
            return convert(image)
    except FileNotFoundError:
        raise InputError(missing) from None
    except UnidentifiedImageError as error:
        listed = " or ".join([", ".join(formats[:-1]), formats[-1]])
        raise InputError(f"{path} is not an image in {listed} format. Replace the file.") from error
    except _BROKEN_IMAGE as error:
        raise InputError(f"{path} cannot be used: {error}. {remedy}") from error
