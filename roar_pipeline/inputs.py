"""From resident uint8 images to what a network sees: remove, augment, normalize.

Shapes: B images of a batch, N images in memory, H x W pixels.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from roar_pipeline.removal import removed

__all__ = ["AUGMENTATIONS", "Inputs", "batch_of", "black_of", "hold", "with_removal"]

_PADDING_SHARE = 8
"""padded_crop pads one eighth of the side, 4 pixels of 32 (He et al. 2016, section 4.2)."""


@dataclass(frozen=True)
class Inputs:
    """Images of one split in memory, with the pixels to remove from them."""

    images: Tensor
    """uint8 (N, H, W, 3)."""
    mean: Tensor
    """Channel means of the training split, in 0..255, repeated along a row of pixels: (W * 3,)."""
    std: Tensor
    """Channel standard deviations likewise."""
    levels: Tensor | None = None
    """Removal levels, uint8 (N, H, W); None for clean images."""
    percent: int = 0
    direction: str = "remove"

    def __len__(self) -> int:
        return len(self.images)


def hold(images: np.ndarray, mean: np.ndarray, std: np.ndarray, device: torch.device) -> Inputs:
    """Put images uint8 (N, H, W, 3) on the device; ``mean`` and ``std`` (3,) are in 0..1."""

    def along_a_row(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.tile(values * 255, images.shape[2])).to(device, torch.float32)

    return Inputs(torch.from_numpy(images).to(device), along_a_row(mean), along_a_row(std))


def black_of(mean: np.ndarray, std: np.ndarray, device: torch.device) -> Tensor:
    """Return a black image's normalized values (1, 3, 1, 1)."""
    return torch.from_numpy(-mean / std).to(device, torch.float32).view(1, -1, 1, 1)


def with_removal(inputs: Inputs, levels: np.ndarray, percent: int, direction: str) -> Inputs:
    """Return the same images with ``percent`` of their pixels to be removed by ``levels`` uint8 (N, H, W)."""
    resident = torch.from_numpy(levels).to(inputs.images.device)
    return replace(inputs, levels=resident, percent=percent, direction=direction)


def batch_of(inputs: Inputs, index: Tensor, augment: str = "none", generator: torch.Generator | None = None) -> Tensor:
    """Return the normalized float32 batch (B, 3, H, W), channels_last in memory, of the images at ``index`` (B,).

    The order is that of PROTOCOL 6: remove, augment, normalize. Removed pixels take the training split's channel means,
    which normalization turns into exactly 0; and as augmentations only move and average pixels, normalizing first and
    filling with 0 gives the same batch in half the time.

    Args:
        inputs: images in memory.
        index: which of them.
        augment: ``none`` or a key of ``AUGMENTATIONS``.
        generator: draws the augmentation; on the CPU, whatever the device, so that all devices draw alike.
    """
    shape = (len(index), *inputs.images.shape[1:])
    # Broadcasting along rows of pixels, not along three channels, makes this twice as fast.
    rows = inputs.images.flatten(2).index_select(0, index).to(torch.float32)
    batch = rows.sub_(inputs.mean).div_(inputs.std).view(shape)
    if inputs.levels is not None:
        gone = removed(inputs.levels.index_select(0, index), inputs.percent, inputs.direction)
        batch.mul_(~gone[..., None])
    batch = batch.permute(0, 3, 1, 2)
    if augment == "none":
        return batch
    if generator is None:
        raise ValueError(f"augment = {augment} needs a generator")
    return AUGMENTATIONS[augment](batch, generator)


def _flip(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror each image with probability one half."""
    chosen = (torch.rand(len(batch), generator=generator) < 0.5).to(batch.device)
    return torch.where(chosen[:, None, None, None], batch.flip(3), batch)


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
    return _flip(padded.permute(0, 2, 3, 1)[images, rows, columns].permute(0, 3, 1, 2), generator)


def _resized_crop(batch: Tensor, generator: torch.Generator) -> Tensor:
    """Cut a box of 8 to 100 % of the area and aspect 3/4 to 4/3, resize it to the full size; then flip.

    The box of torchvision's ``RandomResizedCrop`` (Szegedy et al. 2015), drawn for the whole batch at once: sides that
    would leave the image are cut to its own instead of being drawn again.
    """
    n, _, height, width = batch.shape
    area = torch.empty(n).uniform_(0.08, 1, generator=generator)
    aspect = torch.empty(n).uniform_(float(np.log(3 / 4)), float(np.log(4 / 3)), generator=generator).exp()
    scale_x = (area * aspect * height / width).sqrt().clamp(max=1)
    scale_y = (area / aspect * width / height).sqrt().clamp(max=1)
    shift_x = (1 - scale_x) * torch.empty(n).uniform_(-1, 1, generator=generator)
    shift_y = (1 - scale_y) * torch.empty(n).uniform_(-1, 1, generator=generator)
    zero = torch.zeros(n)
    boxes = torch.stack([scale_x, zero, shift_x, zero, scale_y, shift_y], 1).view(n, 2, 3).to(batch.device)
    grid = F.affine_grid(boxes, list(batch.shape), align_corners=False)
    crops = F.grid_sample(batch, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return _flip(crops, generator)


AUGMENTATIONS: dict[str, Callable[[Tensor, torch.Generator], Tensor]] = {
    "flip": _flip,
    "padded_crop": _padded_crop,
    "resized_crop": _resized_crop,
}
"""Name to function of (normalized batch (B, 3, H, W), generator)."""
