"""Random changes of training images. A generator on the CPU draws them, so that all devices draw the same numbers.

Shapes: B images of a batch, H x W pixels.
"""

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["AUGMENTATIONS", "draw_box", "flip"]

_PADDING_SHARE = 8
"""padded_crop pads one eighth of the side, 4 pixels of 32 (He et al. 2016, section 4.2)."""

_SCALE, _RATIO = (0.08, 1.0), (3 / 4, 4 / 3)
"""Share of the area and aspect (width / height) of a random resized crop (Szegedy et al. 2015; torchvision)."""

_LOG_RATIO = torch.log(torch.tensor(_RATIO)).tolist()
"""In float32, as in torchvision, so that the same generator draws the same boxes."""

_ATTEMPTS = 10
"""Draws before the largest central box is taken."""


def flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image of (B, 3, H, W) with probability one half."""
    mirrored = (torch.rand(len(batch), generator=generator) < 0.5).to(batch.device)
    return torch.where(mirrored[:, None, None, None], batch.flip(3), batch)


def _padded_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Shift each image by whole pixels, up to an eighth of its side, over the fill (0, once normalized); then flip."""
    n, _, height, width = batch.shape
    pad_y, pad_x = height // _PADDING_SHARE, width // _PADDING_SHARE
    padded = F.pad(batch, (pad_x, pad_x, pad_y, pad_y))
    top = torch.randint(0, 2 * pad_y + 1, (n, 1, 1), generator=generator).to(batch.device)
    left = torch.randint(0, 2 * pad_x + 1, (n, 1, 1), generator=generator).to(batch.device)
    rows = top + torch.arange(height, device=batch.device).view(1, -1, 1)
    columns = left + torch.arange(width, device=batch.device).view(1, 1, -1)
    images = torch.arange(n, device=batch.device).view(-1, 1, 1)
    return flip(padded.permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2), generator)


def _resized_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a box of 8 to 100 % of the area and aspect 3/4 to 4/3, enlarge it to the full size; then flip.

    The box is cut from the stored image, already resized to H x W pixels, so every crop is enlarged and none shows more
    detail than the whole. ``crops`` cuts from photographs instead. The box is that of torchvision's
    ``RandomResizedCrop`` (Szegedy et al. 2015), drawn for the whole batch at once: a side longer than the image's is
    clipped instead of drawn again.
    """
    n, _, height, width = batch.shape
    area = torch.empty(n).uniform_(*_SCALE, generator=generator)
    aspect = torch.empty(n).uniform_(float(np.log(_RATIO[0])), float(np.log(_RATIO[1])), generator=generator).exp()
    scale_x = (area * aspect * height / width).sqrt().clamp(max=1)
    scale_y = (area / aspect * width / height).sqrt().clamp(max=1)
    shift_x = (1 - scale_x) * torch.empty(n).uniform_(-1, 1, generator=generator)
    shift_y = (1 - scale_y) * torch.empty(n).uniform_(-1, 1, generator=generator)
    zero = torch.zeros(n)
    boxes = torch.stack([scale_x, zero, shift_x, zero, scale_y, shift_y], 1).view(n, 2, 3).to(batch.device)
    grid = F.affine_grid(boxes, list(batch.shape), align_corners=False)
    crops = F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return flip(crops, generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "flip": flip,
    "padded_crop": _padded_crop,
    "resized_crop": _resized_crop,
}
"""Functions of (normalized batch (B, 3, H, W), generator), by name."""


def draw_box(height: int, width: int, generator: torch.Generator) -> tuple[int, int, int, int]:
    """Draw the box of a random resized crop of an image of ``height`` x ``width`` pixels: top, left, height, width.

    torchvision's ``RandomResizedCrop.get_params`` draw by draw, and the same boxes from a generator in the same state:
    a share of the area and an aspect, drawn again up to ten times if the box does not fit, then a uniform position. If
    none fits, it is the largest central box whose aspect is within bounds.
    """
    for _ in range(_ATTEMPTS):
        area = height * width * torch.empty(1).uniform_(*_SCALE, generator=generator).item()
        aspect = torch.empty(1).uniform_(*_LOG_RATIO, generator=generator).exp().item()
        box_width, box_height = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < box_width <= width and 0 < box_height <= height:
            top = int(torch.randint(0, height - box_height + 1, (1,), generator=generator))
            left = int(torch.randint(0, width - box_width + 1, (1,), generator=generator))
            return top, left, box_height, box_width
    box_width = min(width, round(height * _RATIO[1]))
    box_height = min(height, round(width / _RATIO[0]))
    return (height - box_height) // 2, (width - box_width) // 2, box_height, box_width
