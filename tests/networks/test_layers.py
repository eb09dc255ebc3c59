from typing import Any

import pytest
from torch import nn

from roar_pipeline.networks.layers import LAYERS, count_to

KINDS = {"conv": lambda: nn.Conv2d(1, 1, 1), "norm": lambda: nn.BatchNorm2d(1), "relu": nn.ReLU}
KINDS |= {"pool": lambda: nn.MaxPool2d(2), "average": lambda: nn.AvgPool2d(2)}


@pytest.mark.parametrize(
    ("kinds", "last_relu", "last_pool"),
    [
        ("conv relu pool", 2, 3),
        ("relu pool conv norm relu pool average", 5, 6),
        ("conv relu norm pool relu", 2, 4),
        ("relu relu pool relu conv", 2, 3),
        ("conv pool relu", None, 2),
        ("pool", None, 1),
        ("conv relu average", None, None),
        ("", None, None),
    ],
)
def test_the_last_relu_before_the_last_max_pool_and_that_pool(kinds: str, last_relu: Any, last_pool: Any) -> None:
    modules = [KINDS[kind]() for kind in kinds.split()]
    assert [count_to(layer, modules) for layer in LAYERS] == [last_relu, last_pool]
