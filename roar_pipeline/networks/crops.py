"""Random resized crops of photographs in memory: what the training of Park et al. 2020 sees.

Shapes: N photographs of different sizes (h, w), B crops of a batch, H x W pixels of a crop.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from roar_pipeline.datasets.photographs import Photographs, byte_offsets
from roar_pipeline.networks.augmentation import draw_box, flip

__all__ = ["CropInputs", "crop_batch", "make_crop_inputs"]


@dataclass(frozen=True)
class CropInputs:
    """Photographs in memory, with the size and the normalization of their crops."""

    pixels: Tensor
    """uint8, the RGB (h, w, 3) of all photographs one after the other."""
    sizes: list[tuple[int, int]]
    """(h, w) of every photograph."""
    offsets: list[int]
    """First byte of every photograph in ``pixels``."""
    mean: Tensor
    """Channel means of the training split, in 0..255: (1, 3, 1, 1)."""
    std: Tensor
    """Channel standard deviations likewise."""
    height: int
    """H."""
    width: int
    """W."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        """Device of the photographs."""
        return self.pixels.device


def make_crop_inputs(
    photographs: Photographs, mean: np.ndarray, std: np.ndarray, height: int, width: int, device: torch.device
) -> CropInputs:
    """Copy photographs to the device, for crops of ``height`` x ``width``; ``mean`` and ``std`` (3,) are in 0..1."""

    def per_channel(values: np.ndarray) -> Tensor:
        return torch.from_numpy(values * 255).to(device, torch.float32).view(1, 3, 1, 1)

    pixels = torch.from_numpy(photographs.pixels).to(device)
    sizes = [(int(h), int(w)) for h, w in photographs.sizes]
    offsets = byte_offsets(photographs.sizes)[:-1].tolist()
    return CropInputs(pixels, sizes, offsets, per_channel(mean), per_channel(std), height, width)


def crop_batch(inputs: CropInputs, index: Tensor, generator: torch.Generator) -> Tensor:
    """Return a normalized float32 batch (B, 3, H, W), channels_last in memory, of random crops, randomly mirrored.

    A box is cut from each photograph and resized by antialiased bilinear interpolation, as the authors' torchvision
    does, but without rounding to whole gray levels. The generator draws all boxes first, then the mirroring.

    Args:
        inputs: photographs in memory.
        index: (B,), their rows.
        generator: on the CPU, whatever the device, so that all devices draw the same numbers.
    """
    shape = (len(index), 3, inputs.height, inputs.width)
    batch = torch.empty(shape, device=inputs.device, memory_format=torch.channels_last)
    for row, photograph in enumerate(index.tolist()):
        height, width = inputs.sizes[photograph]
        box = draw_box(height, width, generator)
        batch[row] = _resized(_pixels_of(inputs, photograph), box, inputs.height, inputs.width)
    return flip(batch.sub_(inputs.mean).div_(inputs.std), generator)


def _pixels_of(inputs: CropInputs, photograph: int) -> Tensor:
    """Return one photograph, uint8 (h, w, 3), without a copy."""
    height, width = inputs.sizes[photograph]
    start = inputs.offsets[photograph]
    return inputs.pixels[start : start + 3 * height * width].view(height, width, 3)


def _resized(pixels: Tensor, box: tuple[int, int, int, int], height: int, width: int) -> Tensor:
    """Cut ``box`` (top, left, height, width) from uint8 (h, w, 3) and resize it: float32 (3, height, width)."""
    top, left, box_height, box_width = box
    crop = pixels[top : top + box_height, left : left + box_width].permute(2, 0, 1)[None].to(torch.float32)
    return F.interpolate(crop, size=(height, width), mode="bilinear", antialias=True)[0]
