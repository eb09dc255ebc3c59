import numpy as np
import pytest
import torch

from roar_pipeline.networks import batches
from roar_pipeline.networks.augmentation import AUGMENTATIONS
from roar_pipeline.removal.ranking import removal_levels

N, H, W = 6, 16, 24
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
CPU = torch.device("cpu")
RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (N, H, W, 3), dtype=np.uint8)
LEVELS = np.stack([removal_levels(RNG.normal(size=(H, W)), str(i), 0) for i in range(N)])
ALL = torch.arange(N)


def held() -> batches.Inputs:
    return batches.make_inputs(IMAGES, MEAN, STD, CPU)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_clean_batch_is_normalized_and_channels_last() -> None:
    batch = batches.batch_of(held(), ALL)
    expected = (IMAGES / 255 - MEAN) / STD
    np.testing.assert_allclose(batch.permute(0, 2, 3, 1).numpy(), expected, atol=1e-5)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    assert held().images.dtype == torch.uint8


@pytest.mark.parametrize("direction", ["remove", "keep"])
def test_removed_pixels_are_exactly_zero_and_the_others_untouched(direction: str) -> None:
    batch = batches.batch_of(batches.with_removal(held(), LEVELS, 30, direction), ALL)
    gone = torch.from_numpy(LEVELS <= 30 if direction == "remove" else LEVELS > 30)[:, None].expand(-1, 3, -1, -1)
    assert (batch[gone] == 0).all()
    clean = batches.batch_of(held(), ALL)
    assert torch.equal(batch[~gone], clean[~gone])


def test_zero_percent_is_the_clean_batch_byte_for_byte() -> None:
    assert torch.equal(
        batches.batch_of(batches.with_removal(held(), LEVELS, 0, "remove"), ALL), batches.batch_of(held(), ALL)
    )


def test_hundred_percent_leaves_nothing() -> None:
    assert not batches.batch_of(batches.with_removal(held(), LEVELS, 100, "remove"), ALL).any()


@pytest.mark.parametrize("augment", AUGMENTATIONS)
def test_augmentation_is_drawn_from_the_generator_alone(augment: str) -> None:
    first, again, other = (batches.batch_of(held(), ALL, augment, generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (N, 3, H, W)
    with pytest.raises(ValueError, match="needs a generator"):
        batches.batch_of(held(), ALL, augment)


def test_flip_mirrors_about_half_of_the_images() -> None:
    many = batches.make_inputs(np.repeat(IMAGES, 50, 0), MEAN, STD, CPU)
    index = torch.arange(len(many))
    clean, flipped = batches.batch_of(many, index), batches.batch_of(many, index, "flip", generator())
    same = (clean == flipped).flatten(1).all(1)
    mirrored = (clean.flip(3) == flipped).flatten(1).all(1)
    assert (same ^ mirrored).all()
    assert 0.4 < mirrored.float().mean() < 0.6


def test_padded_crop_moves_whole_pixels_over_the_fill_color() -> None:
    clean = batches.batch_of(held(), ALL)
    moved = batches.batch_of(held(), ALL, "padded_crop", generator(3))
    for before, after in zip(clean, moved, strict=True):
        found = False
        for image in (before, before.flip(2)):
            padded = torch.nn.functional.pad(image, (W // 8, W // 8, H // 8, H // 8))
            windows = [
                padded[:, y : y + H, x : x + W] for y in range(2 * (H // 8) + 1) for x in range(2 * (W // 8) + 1)
            ]
            found |= any(torch.allclose(after, window, atol=1e-4) for window in windows)
            mirrored = [window.flip(2) for window in windows]
            found |= any(torch.allclose(after, window, atol=1e-4) for window in mirrored)
        assert found


def test_padding_is_the_fill_which_normalizes_to_zero() -> None:
    white = batches.make_inputs(np.full((64, H, W, 3), 255, np.uint8), MEAN, STD, CPU)
    moved = batches.batch_of(white, torch.arange(64), "padded_crop", generator())
    values = torch.unique(moved[:, 0])
    assert len(values) == 2
    assert values[0] == 0


def test_resized_crop_stays_inside_the_image() -> None:
    """A horizontal ramp stays a ramp: the crop's columns are an affine function of the column."""
    ramp = np.broadcast_to(np.linspace(0, 255, W).round().astype(np.uint8)[None, None, :, None], (N, H, W, 3)).copy()
    batch = batches.batch_of(batches.make_inputs(ramp, MEAN, STD, CPU), ALL, "resized_crop", generator(5))
    low, high = (0 - MEAN[0]) / STD[0], (1 - MEAN[0]) / STD[0]
    assert batch[:, 0].min() >= low - 1e-4
    assert batch[:, 0].max() <= high + 1e-4
    rows = batch[:, 0]
    assert torch.allclose(rows, rows[:, :1].expand_as(rows), atol=1e-4)
    steps = rows[:, 0].diff(dim=1)
    assert ((steps > -0.05).all(1) | (steps < 0.05).all(1)).all()
    spans = (rows[:, 0, -1] - rows[:, 0, 0]).abs() / (high - low)
    assert (spans < 0.99).any()
