"""Random crops of photographs against torchvision's."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional

from roar_pipeline.config import Network, Training
from roar_pipeline.datasets.photographs import Photographs, byte_offsets
from roar_pipeline.networks import batches, crops, training, vgg
from roar_pipeline.networks.augmentation import draw_box
from roar_pipeline.networks.checkpoints import Checkpoint

SIZES = [(40, 53), (53, 40), (31, 31), (12, 90), (90, 13), (200, 150), (24, 30), (64, 64)]
MEAN, STD = np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.25, 0.3])
H, W = 32, 24
RNG = np.random.default_rng(0)
IMAGES = [RNG.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]
PHOTOGRAPHS = Photographs(
    np.array(SIZES, dtype=np.int64),
    np.concatenate([image.ravel() for image in IMAGES]),
    (RNG.random((len(SIZES), 3)) < 0.5).astype(np.uint8),
)


def held() -> crops.CropInputs:
    return crops.make_crop_inputs(PHOTOGRAPHS, MEAN, STD, H, W, torch.device("cpu"))


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("size", [(375, 500), (500, 333), (227, 227), (100, 900), (700, 90), (1, 5)])
def test_boxes_are_those_of_torchvision(size: tuple[int, int]) -> None:
    """Draw by draw from the same state, the boxes of very long photographs, which never fit, among them."""
    reference = v2.RandomResizedCrop((227, 227))
    draws = generator(3)
    image = torch.empty(3, *size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        for _ in range(300):
            expected = reference.make_params([image])
            box = dict(zip(("top", "left", "height", "width"), draw_box(*size, draws), strict=True))
            assert box == expected


def references(index: list[int], seed: int, dtype: torch.dtype) -> Tensor:
    """The same boxes and flips by torchvision's functions, photograph by photograph, in 0..255."""
    draws = generator(seed)
    results = []
    for photograph in index:
        image = torch.from_numpy(IMAGES[photograph]).permute(2, 0, 1).to(dtype)
        box = draw_box(*SIZES[photograph], draws)
        results.append(functional.resized_crop(image, *box, [H, W], antialias=True).float())
    mirrored = torch.rand(len(index), generator=draws) < 0.5
    return torch.stack([image.flip(2) if m else image for image, m in zip(results, mirrored, strict=True)])


@pytest.mark.parametrize(("dtype", "gray_levels"), [(torch.float32, 1e-3), (torch.uint8, 1.1)])
@pytest.mark.parametrize("seed", [0, 1])
def test_crops_are_those_of_torchvision(seed: int, dtype: torch.dtype, gray_levels: float) -> None:
    """On whole gray levels torchvision rounds twice, after each of the two directions, and rounds its weights."""
    index = [5, 0, 7, 3, 3, 1, 2, 4, 6] * 2
    batch = batches.batch_of(held(), torch.tensor(index), "resized_crop", generator(seed))
    assert batch.is_contiguous(memory_format=torch.channels_last)
    mean, std = (torch.from_numpy(v).float().view(1, 3, 1, 1) for v in (MEAN, STD))
    values = (batch * std + mean) * 255
    torch.testing.assert_close(values, references(index, seed, dtype), atol=gray_levels, rtol=0)


def test_crops_are_drawn_from_the_generator_alone() -> None:
    index = torch.arange(len(SIZES))
    first, again, other = (batches.batch_of(held(), index, "resized_crop", generator(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    with pytest.raises(ValueError, match="needs a generator"):
        batches.batch_of(held(), index, "resized_crop")


@pytest.mark.parametrize("augment", ["none", "flip", "padded_crop"])
def test_photographs_are_for_crops_only(augment: str) -> None:
    with pytest.raises(ValueError, match=f"different sizes: augment = {augment} cannot"):
        batches.batch_of(held(), torch.arange(2), augment, generator())


def test_photographs_are_held_as_they_were_read() -> None:
    """No copy and no conversion on the CPU: a photograph costs its three bytes per pixel."""
    assert held().pixels.data_ptr() == PHOTOGRAPHS.pixels.ctypes.data
    assert held().pixels.numel() == byte_offsets(PHOTOGRAPHS.sizes)[-1]


def test_a_resumed_training_on_crops_is_the_uninterrupted_one(tmp_path: Path) -> None:
    labels = torch.from_numpy(PHOTOGRAPHS.labels).float()
    recipe = Training(epochs=3, batch=4, augment="resized_crop")

    def fit(name: str, kill_after: int = 0, recipe: Training = recipe) -> tuple[list[Tensor], list[dict[str, Any]]]:
        (tmp_path / name).mkdir(exist_ok=True)
        model = vgg.build(Network(width=2, dropout=0.3), 3)
        ended = 0

        def validate(_: torch.nn.Sequential) -> dict[str, Any]:
            nonlocal ended
            ended += 1
            if ended == kill_after:
                raise KeyboardInterrupt
            return {}

        data, checkpoint = training.TrainingData(held(), labels), Checkpoint(tmp_path / name / "partial-checkpoint.pt")
        history = training.train(model, data, recipe, seed=0, checkpoint=checkpoint, validate=validate)
        return list(model.state_dict().values()), history

    whole, history = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("resumed", kill_after=2)
    resumed, later = fit("resumed")
    assert all(torch.equal(a, b) for a, b in zip(whole, resumed, strict=True))
    assert later == history
    once, _ = fit("once", recipe=dataclasses.replace(recipe, epochs=1))
    assert not torch.equal(once[0], whole[0])
