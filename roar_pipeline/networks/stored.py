"""Inputs whose images stay on disk, and the batches of any inputs.

Where a stage's arrays do not fit in memory, a thread reads the rows of the next batches while the network computes. The
batches are equal, byte for byte, to those of images in memory.

Shapes: B images of a batch, N images of a split, H x W pixels.
"""

import logging
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import numpy as np
import torch
from torch import Tensor

from roar_pipeline.cache.rows import Rows, StoredRows
from roar_pipeline.datasets.photographs import Photographs, byte_offsets
from roar_pipeline.estimates.memory import READ_AHEAD, array_limit
from roar_pipeline.networks.batches import Inputs, make_inputs, with_removal
from roar_pipeline.networks.crops import CropInputs, make_crop_inputs

__all__ = [
    "AnyInputs",
    "HeldBatch",
    "StoredCrops",
    "StoredInputs",
    "fits",
    "held_rows",
    "in_batches",
    "inputs_of",
    "inputs_of_crops",
    "removed_inputs",
    "room",
]

_log = logging.getLogger("roar")


@dataclass(frozen=True)
class StoredInputs:
    """Images of one split on disk, and which pixels to remove from them."""

    images: StoredRows
    """(N, H, W, 3)."""
    empty: Inputs
    """Without images: their device, normalization and removal."""
    levels: Rows | None = None
    """Removal levels (N, H, W); None for clean images."""

    def __len__(self) -> int:
        return len(self.images)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.empty.device

    def read(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Read the rows (B,) of images, and of levels if there are any, in any thread."""
        sources: list[Rows] = [self.images] if self.levels is None else [self.images, self.levels]
        return tuple(torch.from_numpy(source[rows]) for source in sources)

    def hold(self, rows: np.ndarray, images: Tensor, levels: Tensor | None = None) -> Inputs:
        """Return the inputs of what ``read`` returned for the rows (B,), once it is on the device."""
        return replace(self.empty, images=images, levels=levels)


@dataclass(frozen=True)
class StoredCrops:
    """Photographs on disk, with the size and the normalization of their crops."""

    pixels: StoredRows
    """The RGB (h, w, 3) of all photographs one after the other."""
    sizes: np.ndarray
    """(N, 2), height and width."""
    offsets: np.ndarray
    """(N,), first byte of every photograph in ``pixels``."""
    empty: CropInputs
    """Without photographs: the device, size and normalization of crops."""

    def __len__(self) -> int:
        return len(self.sizes)

    @property
    def device(self) -> torch.device:
        """Device of the batches."""
        return self.empty.device

    def read(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """Read the photographs at the rows (B,), in any thread."""
        counts = 3 * self.sizes[rows].prod(axis=1)
        pieces = zip(self.offsets[rows].tolist(), counts.tolist(), strict=True)
        return (torch.from_numpy(self.pixels.read_pieces(pieces)),)

    def hold(self, rows: np.ndarray, pixels: Tensor) -> CropInputs:
        """Return the inputs of what ``read`` returned for the rows (B,), once it is on the device."""
        sizes = self.sizes[rows]
        pairs = [(int(h), int(w)) for h, w in sizes]
        return replace(self.empty, pixels=pixels, sizes=pairs, offsets=byte_offsets(sizes)[:-1].tolist())


AnyInputs: TypeAlias = Inputs | CropInputs | StoredInputs | StoredCrops


class HeldBatch(NamedTuple):
    """A batch of a split whose images are in memory and on the device."""

    in_split: Tensor
    """(B,), its rows in the split."""
    inputs: Inputs | CropInputs
    """The whole split, or what was read of it."""
    in_inputs: Tensor
    """(B,), its rows in ``inputs``."""


def room(share: float, device: torch.device) -> int:
    """Return the bytes that arrays of a stage may take: a share of main memory, and on a GPU of its memory."""
    limit = array_limit(share)
    if device.type == "cuda":
        limit = min(limit, int(share * torch.cuda.get_device_properties(device).total_memory))
    return limit


def fits(count: int, share: float, device: torch.device) -> bool:
    """Tell whether arrays of ``count`` bytes fit in their ``room``; if not, the stage's log says so."""
    limit = room(share, device)
    if count > limit:
        message = "Images are read from disk: they take %.1f GB, and [execution] memory_share = %g allows %.1f GB."
        _log.debug(message, count / 1e9, share, limit / 1e9)
    return count <= limit


def inputs_of(
    images: np.ndarray | StoredRows, mean: np.ndarray, std: np.ndarray, device: torch.device
) -> Inputs | StoredInputs:
    """Return inputs on the device: of images in memory as ``make_inputs`` does, of images on disk batch by batch."""
    if not isinstance(images, StoredRows):
        return make_inputs(images, mean, std, device)
    return StoredInputs(images, make_inputs(np.empty((0, *images.shape[1:]), np.uint8), mean, std, device))


def inputs_of_crops(
    photographs: Photographs, mean: np.ndarray, std: np.ndarray, height: int, width: int, device: torch.device
) -> CropInputs | StoredCrops:
    """Return inputs on the device: of photographs in memory as ``make_crop_inputs`` does, or on disk."""
    pixels, sizes = photographs.pixels, photographs.sizes
    if not isinstance(pixels, StoredRows):
        return make_crop_inputs(photographs, mean, std, height, width, device)
    nothing = replace(photographs, pixels=np.empty(0, np.uint8), sizes=sizes[:0])
    return StoredCrops(
        pixels, sizes, byte_offsets(sizes)[:-1], make_crop_inputs(nothing, mean, std, height, width, device)
    )


def removed_inputs(
    inputs: Inputs | StoredInputs,
    levels: np.ndarray | StoredRows,
    percent: int,
    direction: str,
    *,
    fill: str = "mean",
    masks_only: bool = False,
) -> Inputs | StoredInputs:
    """Return the same images, of whose pixels ``percent`` are removed, as ``with_removal`` does."""
    if isinstance(inputs, StoredInputs):
        none = np.empty((0, *levels.shape[1:]), np.uint8)
        empty = with_removal(inputs.empty, none, percent, direction, fill=fill, masks_only=masks_only)
        return replace(inputs, levels=levels, empty=empty)
    return with_removal(
        inputs, np.require(levels[:], requirements=["C", "W"]), percent, direction, fill=fill, masks_only=masks_only
    )


def in_batches(inputs: AnyInputs, order: Tensor, batch: int) -> Iterator[HeldBatch]:
    """Yield the images at ``order`` (on the CPU), ``batch`` at a time.

    A thread reads the next ``READ_AHEAD`` batches of images that are on disk. On a GPU they come from pinned memory,
    so that their transfer does not wait for the network.
    """
    if isinstance(inputs, Inputs | CropInputs):
        for index in order.to(inputs.device).split(batch):
            yield HeldBatch(index, inputs, index)
        return
    pending: deque[tuple[Tensor, Future[list[Tensor]]]] = deque()
    pool = ThreadPoolExecutor(1, thread_name_prefix="read-ahead")
    try:
        for index in order.split(batch):
            pending.append((index, pool.submit(_read, inputs, index)))
            if len(pending) > READ_AHEAD:
                first, read = pending.popleft()
                yield _held(inputs, first, read.result())
        while pending:
            first, read = pending.popleft()
            yield _held(inputs, first, read.result())
    finally:
        pool.shutdown(cancel_futures=True)


def held_rows(inputs: AnyInputs, index: Tensor) -> HeldBatch:
    """Return the images at ``index`` (on the CPU) as one batch."""
    if isinstance(inputs, Inputs | CropInputs):
        index = index.to(inputs.device)
        return HeldBatch(index, inputs, index)
    return _held(inputs, index, _read(inputs, index))


def _read(inputs: StoredInputs | StoredCrops, index: Tensor) -> list[Tensor]:
    """Read a batch, in any thread: its rows and what ``inputs.read`` returns, on the CPU."""
    tensors = [index, *inputs.read(index.numpy())]
    return [tensor.pin_memory() for tensor in tensors] if inputs.device.type == "cuda" else tensors


def _held(inputs: StoredInputs | StoredCrops, index: Tensor, read: list[Tensor]) -> HeldBatch:
    """Move a batch to the device. From pinned memory nothing waits for the GPU's earlier work."""
    in_split, *tensors = (tensor.to(inputs.device, non_blocking=True) for tensor in read)
    held = inputs.hold(index.numpy(), *tensors)
    return HeldBatch(in_split, held, torch.arange(len(index), device=inputs.device))
