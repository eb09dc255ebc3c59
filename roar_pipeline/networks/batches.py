"""Turn uint8 images in memory into a network's input: normalize, remove, augment.

Shapes: B images of a batch, N images in memory, H x W pixels.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from roar_pipeline.networks.augmentation import AUGMENTATIONS
from roar_pipeline.networks.crops import CropInputs, crop_batch
from roar_pipeline.removal.fills import FILLS
from roar_pipeline.removal.ranking import removed

__all__ = ["Inputs", "batch_of", "black_of", "make_inputs", "with_removal"]


@dataclass(frozen=True)
class Inputs:
    """Images of one split in memory, and which pixels to remove from them."""

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
    fill: str = "mean"
    """Fill of removed pixels, a key of ``fills.FILLS``."""
    masks_only: bool = False
    """Show the masks instead of the images: 1 in every channel where a pixel is kept, 0 where it is removed."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Device of the images."""
        return self.images.device


def make_inputs(images: np.ndarray, mean: np.ndarray, std: np.ndarray, device: torch.device) -> Inputs:
    """Copy images uint8 (N, H, W, 3) to the device; ``mean`` and ``std`` (3,) are in 0..1."""

    def along_a_row(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.tile(values * 255, images.shape[2])).to(device, torch.float32)

    return Inputs(torch.from_numpy(images).to(device), along_a_row(mean), along_a_row(std))


def black_of(mean: np.ndarray, std: np.ndarray, device: torch.device) -> Tensor:
    """Return a black image's normalized values (1, 3, 1, 1)."""
    return torch.from_numpy(-mean / std).to(device, torch.float32).view(1, -1, 1, 1)


def with_removal(
    inputs: Inputs, levels: np.ndarray, percent: int, direction: str, *, fill: str = "mean", masks_only: bool = False
) -> Inputs:
    """Return the same images, of whose pixels ``percent`` are removed by ``levels`` uint8 (N, H, W)."""
    resident = torch.from_numpy(levels).to(inputs.images.device)
    return replace(inputs, levels=resident, percent=percent, direction=direction, fill=fill, masks_only=masks_only)


def _pixels(inputs: Inputs, index: Tensor) -> Tensor:
    """Return the normalized pixels (B, H, W, 3) of the images at ``index``."""
    shape = (len(index), *inputs.images.shape[1:])
    # Broadcasting along rows of pixels, not along three channels, makes this twice as fast.
    rows = inputs.images.flatten(2).index_select(0, index).to(torch.float32)
    return rows.sub_(inputs.mean).div_(inputs.std).view(shape)


def _masked_pixels(inputs: Inputs, index: Tensor) -> Tensor:
    """Return the images at ``index`` after removal, or with ``masks_only`` the masks: (B, H, W, 3)."""
    if inputs.levels is None:
        return _pixels(inputs, index)
    is_removed = removed(inputs.levels.index_select(0, index), inputs.percent, inputs.direction)
    if inputs.masks_only:
        return is_removed.logical_not_()[..., None].expand(*is_removed.shape, inputs.images.shape[-1]).to(torch.float32)
    return FILLS[inputs.fill](_pixels(inputs, index), is_removed)


def batch_of(
    inputs: Inputs | CropInputs, index: Tensor, augment: str = "none", generator: torch.Generator | None = None
) -> Tensor:
    """Return the normalized float32 batch (B, 3, H, W), channels_last in memory, of the images at ``index`` (B,).

    In this order: normalize, remove, augment. As augmentations only move and average pixels, the batch is the same as
    by remove, augment, normalize, in half the time.

    Args:
        inputs: images in memory; or photographs, whose only augmentation is ``resized_crop``.
        index: (B,), their rows.
        augment: ``none`` or a key of ``AUGMENTATIONS``.
        generator: draws the augmentation; on the CPU, whatever the device, so that all devices draw the same numbers.

    Raises:
        ValueError: the augmentation needs a generator, or photographs do not have it.
    """
    if augment != "none" and generator is None:
        raise ValueError(f"augment = {augment} needs a generator")
    if isinstance(inputs, CropInputs):
        if augment != "resized_crop" or generator is None:
            raise ValueError(f"photographs have different sizes: augment = {augment} cannot make a batch of them")
        return crop_batch(inputs, index, generator)
    batch = _masked_pixels(inputs, index).permute(0, 3, 1, 2)
    return batch if generator is None or augment == "none" else AUGMENTATIONS[augment](batch, generator)
