"""Every fill of the settings has a function, which changes removed pixels and no others."""

import typing

import pytest
import torch

from roar_pipeline import config
from roar_pipeline.removal.fills import FILLS


def test_the_settings_name_the_fills_that_there_are() -> None:
    named = typing.get_args(typing.get_type_hints(config.Removal)["fill"])
    assert set(named) == set(FILLS)


@pytest.mark.parametrize("fill", FILLS)
def test_what_stays_is_untouched(fill: str) -> None:
    pixels = torch.randn(3, 5, 4, 3, generator=torch.Generator().manual_seed(0))
    gone = torch.rand(3, 5, 4, generator=torch.Generator().manual_seed(1)) < 0.4
    filled = FILLS[fill](pixels.clone(), gone.clone())
    assert filled.shape == pixels.shape
    assert torch.equal(filled[~gone], pixels[~gone])


def test_mean_is_zero_once_normalized() -> None:
    gone = torch.tensor([[[True, False]]])
    assert FILLS["mean"](torch.full((1, 1, 2, 3), -2.0), gone).tolist() == [[[[0.0] * 3, [-2.0] * 3]]]
