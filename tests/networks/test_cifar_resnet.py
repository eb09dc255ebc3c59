"""CIFAR's ResNets against the published counts and a plain forward pass."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline.architectures import CIFAR_RESNETS
from roar_pipeline.config import Network
from roar_pipeline.networks import cifar_resnet

PUBLISHED = {"resnet20": 0.27, "resnet32": 0.46, "resnet44": 0.66, "resnet56": 0.85, "resnet110": 1.7}
"""Millions of parameters (He et al. 2016, table 6)."""


def test_every_arch_has_a_published_count() -> None:
    assert set(PUBLISHED) == set(CIFAR_RESNETS)


@pytest.mark.parametrize("arch", CIFAR_RESNETS)
def test_parameters_are_the_papers(arch: str) -> None:
    model = cifar_resnet.build(Network(arch=arch), 10)
    millions = sum(p.numel() for p in model.parameters()) / 1e6
    assert float(f"{millions:.2g}") == PUBLISHED[arch]
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == int(arch.removeprefix("resnet"))


def weights(channels_in: int, channels_out: int, generator: torch.Generator) -> dict[str, Tensor]:
    """Convolution and BatchNorm, of which nothing is trivial."""
    rand = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    return {
        "conv": rand(channels_out, channels_in, 3, 3) - 0.5,
        "weight": rand(channels_out) + 0.5,
        "bias": rand(channels_out) - 0.5,
        "running_mean": rand(channels_out) - 0.5,
        "running_var": rand(channels_out) + 0.5,
    }


def normalized(x: Tensor, w: dict[str, Tensor], stride: int) -> Tensor:
    x = F.conv2d(x, w["conv"], stride=stride, padding=1)
    shape = (1, -1, 1, 1)
    x = (x - w["running_mean"].view(shape)) / (w["running_var"].view(shape) + 1e-5).sqrt()
    return x * w["weight"].view(shape) + w["bias"].view(shape)


def shortcut(x: Tensor, channels: int, stride: int) -> Tensor:
    """Cell by cell; zeros before and after the old channels."""
    n, old, height, width = x.shape
    result = x.new_zeros(n, channels, -(-height // stride), -(-width // stride))
    for row in range(result.shape[2]):
        for column in range(result.shape[3]):
            result[:, (channels - old) // 2 : (channels - old) // 2 + old, row, column] = x[
                :, :, row * stride, column * stride
            ]
    return result


@pytest.mark.parametrize(("width", "reduction", "side"), [(4, 1, 12), (6, 2, 11)])
def test_forward_is_the_papers(width: int, reduction: int, side: int) -> None:
    """resnet20 written out: a convolution, 3 x 3 blocks, the mean of all cells, a Linear layer."""
    generator = torch.Generator().manual_seed(0)
    model = cifar_resnet.build(Network(arch="resnet20", width=width), 5, reduction=reduction).double().eval()
    state = model.state_dict()
    base = width // reduction
    images = torch.randn(2, 3, side, side, dtype=torch.float64, generator=generator)

    def layer(x: Tensor, conv: str, norm: str, outputs: int, stride: int) -> Tensor:
        drawn = weights(x.shape[1], outputs, generator)
        state[f"{conv}.weight"].copy_(drawn.pop("conv"))
        x_new = normalized(x, {"conv": state[f"{conv}.weight"], **drawn}, stride)
        for name, value in drawn.items():
            state[f"{norm}.{name}"].copy_(value)
        return x_new

    x = layer(images, "conv1", "bn1", base, 1).relu()
    for stage in (1, 2, 3):
        for block in (0, 1, 2):
            path, channels = f"layer{stage}.{block}", base * 2 ** (stage - 1)
            stride = 2 if stage > 1 and block == 0 else 1
            inner = layer(x, f"{path}.conv1", f"{path}.bn1", channels, stride).relu()
            outer = layer(inner, f"{path}.conv2", f"{path}.bn2", channels, 1)
            x = (outer + shortcut(x, channels, stride)).relu()
    scores = x.mean((2, 3)) @ state["fc.weight"].T + state["fc.bias"]
    torch.testing.assert_close(model(images), scores)


def test_every_relu_is_a_module_that_runs_once_and_not_in_place() -> None:
    """So that hooks and walks see each: 1 + 2 per block."""
    model = cifar_resnet.build(Network(arch="resnet20", width=2), 5)
    relus = [module for module in model.modules() if isinstance(module, nn.ReLU)]
    runs: list[int] = []
    for module in relus:
        module.register_forward_hook(lambda m, *_: runs.append(id(m)))
    model(torch.randn(2, 3, 8, 8))
    assert len(relus) == len(set(runs)) == len(runs) == 19
    assert not any(module.inplace for module in relus)


def test_convolutions_are_drawn_by_their_fan_in() -> None:
    model = cifar_resnet.build(Network(arch="resnet20", width=64), 5)
    weight = model.get_parameter("layer3.1.conv1.weight")
    assert weight.std().item() == pytest.approx((2 / (9 * 256)) ** 0.5, rel=0.01)
