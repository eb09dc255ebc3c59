"""Inputs on disk against the same inputs in memory: batches equal to the byte, read ahead, and no more than that."""

import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest
import torch

from roar_pipeline.cache import hdf5
from roar_pipeline.cache.rows import StoredRows
from roar_pipeline.datasets.photographs import Photographs, byte_offsets
from roar_pipeline.estimates.memory import READ_AHEAD
from roar_pipeline.networks import stored
from roar_pipeline.networks.batches import batch_of

CPU = torch.device("cpu")
N, H, W = 23, 6, 8
RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (N, H, W, 3), np.uint8)
LEVELS = RANDOM.integers(1, 101, (N, H, W), np.uint8)
SIZES = RANDOM.integers(9, 20, (N, 2))
PIXELS = RANDOM.integers(0, 256, int(byte_offsets(SIZES)[-1]), np.uint8)
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
ORDER = torch.randperm(N, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def disk(tmp_path: Path) -> dict[str, StoredRows]:
    arrays = {"images": IMAGES, "levels": LEVELS, "pixels": PIXELS}
    with hdf5.created(tmp_path / "some.h5") as file:
        for name, array in arrays.items():
            hdf5.allocate(file, name, array.shape, np.uint8)[...] = array
    with h5py.File(tmp_path / "some.h5", "r") as file:
        return {name: StoredRows(file[name]) for name in arrays}


def images(array: Any) -> stored.AnyInputs:
    return stored.inputs_of(array, MEAN, STD, CPU)


def removal(array: Any, levels: Any, **settings: Any) -> stored.AnyInputs:
    inputs = images(array)
    assert isinstance(inputs, stored.Inputs | stored.StoredInputs)
    return stored.removed_inputs(inputs, levels, 30, "keep", **settings)


def crops(pixels: Any) -> stored.AnyInputs:
    photographs = Photographs(SIZES, pixels, np.zeros((N, 2), np.uint8))
    return stored.inputs_of_crops(photographs, MEAN, STD, H, W, CPU)


def batches(inputs: stored.AnyInputs, augment: str, batch: int = 5) -> list[tuple[np.ndarray, np.ndarray]]:
    generator = torch.Generator().manual_seed(3)
    held = stored.in_batches(inputs, ORDER, batch)
    return [(b.in_split.numpy(), batch_of(b.inputs, b.in_inputs, augment, generator).numpy()) for b in held]


@pytest.mark.parametrize(
    ("kind", "augment"),
    [
        ("images", "none"),
        ("images", "flip"),
        ("removal", "flip"),
        ("masks", "none"),
        ("all", "none"),
        ("crops", "resized_crop"),
    ],
)
def test_batches_from_disk_equal_those_from_memory(disk: dict[str, StoredRows], kind: str, augment: str) -> None:
    everything = np.broadcast_to(np.uint8(1), LEVELS.shape)
    pairs = {
        "images": (images(IMAGES), images(disk["images"])),
        "removal": (removal(IMAGES, LEVELS), removal(disk["images"], disk["levels"])),
        "masks": (
            removal(IMAGES, LEVELS, masks_only=True),
            removal(disk["images"], disk["levels"], masks_only=True),
        ),
        "all": (removal(IMAGES, everything), removal(disk["images"], everything)),
        "crops": (crops(PIXELS), crops(disk["pixels"])),
    }
    held, on_disk = pairs[kind]
    assert isinstance(on_disk, stored.StoredInputs | stored.StoredCrops)
    assert len(held) == len(on_disk) == N
    got, expected = batches(on_disk, augment), batches(held, augment)
    assert [len(index) for index, _ in got] == [5, 5, 5, 5, 3]
    for (index, batch), (same_index, same_batch) in zip(got, expected, strict=True):
        assert index.tolist() == same_index.tolist()
        assert batch.tobytes() == same_batch.tobytes()


def test_rows_of_one_batch(disk: dict[str, StoredRows]) -> None:
    index = torch.tensor([7, 2, 2])
    got, expected = (stored.held_rows(inputs, index) for inputs in (images(disk["images"]), images(IMAGES)))
    assert got.in_split.tolist() == expected.in_split.tolist() == [7, 2, 2]
    assert len(got.inputs) == 3
    assert torch.equal(batch_of(got.inputs, got.in_inputs), batch_of(expected.inputs, expected.in_inputs))


def test_a_thread_reads_ahead_and_no_further(disk: dict[str, StoredRows], monkeypatch: pytest.MonkeyPatch) -> None:
    """As the network works on a batch, the next ones are read, by another thread."""
    read, threads = stored.StoredInputs.read, []
    due = threading.Semaphore(0)

    def note(self: stored.StoredInputs, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        threads.append(threading.current_thread())
        due.release()
        return read(self, rows)

    monkeypatch.setattr(stored.StoredInputs, "read", note)
    stream = stored.in_batches(images(disk["images"]), ORDER, 2)
    next(stream)
    for _ in range(1 + READ_AHEAD):
        assert due.acquire(timeout=20)
    assert not due.acquire(timeout=0.05)
    assert len(threads) == 1 + READ_AHEAD
    assert threading.main_thread() not in threads
    stream.close()
    assert not threads[0].is_alive()


def test_an_error_of_the_thread_is_raised(disk: dict[str, StoredRows], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: stored.StoredInputs, rows: np.ndarray) -> tuple[torch.Tensor, ...]:
        raise OSError("the disk is gone")

    monkeypatch.setattr(stored.StoredInputs, "read", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        list(stored.in_batches(images(disk["images"]), ORDER, 2))


def test_what_fits_in_a_share_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    total = psutil.virtual_memory().total
    assert stored.room(0.25, CPU) == total // 4
    with caplog.at_level("DEBUG", logger="roar"):
        assert stored.fits(total // 4, 0.25, CPU)
        assert not caplog.records
        assert not stored.fits(total // 4 + 1, 0.25, CPU)
    assert "memory_share = 0.25" in caplog.text
    assert stored.fits(0, 0, CPU)
    assert not stored.fits(1, 0, CPU)
