"""CIFAR's residual networks (He et al. 2016, section 4.2), of any width.

Shapes: N images, K classes, C channels, h x w cells of a feature map.
A net has 6n + 2 layers: a convolution, three stages of n blocks of two convolutions, and a Linear layer. The stages
(``layer1``, ``layer2``, ``layer3``) have width, 2 width and 4 width channels; the second and the third halve the cells.
Every ReLU is a module that runs once, not in place.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.estimates.cifar_cost import blocks_per_stage
from roar_pipeline.seeds import derived_seed

__all__ = ["BasicBlock", "CifarResNet", "Subsample", "build"]


class Subsample(nn.Module):
    """The shortcut without parameters (option A of He et al.): every ``stride``-th cell, with zeros for new channels.

    (N, C, h, w) -> (N, ``outputs``, ceil(h / stride), ceil(w / stride)). Half of the zeros come before the C channels
    and half after them. The paper leaves their position open; this is the one of public PyTorch weights (Idelbayev,
    pytorch_resnet_cifar10), which therefore load.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.before = (outputs - inputs) // 2
        self.after = outputs - inputs - self.before

    def forward(self, cells: Tensor) -> Tensor:
        """Subsample and pad."""
        return F.pad(cells[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.before, self.after))

    def extra_repr(self) -> str:
        """Name what is not a module."""
        return f"stride={self.stride}, before={self.before}, after={self.after}"


class BasicBlock(nn.Module):
    """relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        is_same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if is_same else Subsample(inputs, outputs, stride)
        self.relu2 = nn.ReLU()

    def forward(self, cells: Tensor) -> Tensor:
        """(N, inputs, h, w) -> (N, outputs, ceil(h / stride), ceil(w / stride))."""
        changed = self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(cells)))))
        result: Tensor = self.relu2(changed + self.shortcut(cells))
        return result


class CifarResNet(nn.Module):
    """Images (N, 3, H, W) -> scores (N, K)."""

    def __init__(self, blocks: int, width: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.layer1 = _stage(blocks, width, width, stride=1)
        self.layer2 = _stage(blocks, width, 2 * width, stride=2)
        self.layer3 = _stage(blocks, 2 * width, 4 * width, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.flatten = nn.Flatten()
        self.fc = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """Return the scores."""
        cells = self.relu(self.bn1(self.conv1(images)))
        cells = self.layer3(self.layer2(self.layer1(cells)))
        scores: Tensor = self.fc(self.flatten(self.avgpool(cells)))
        return scores


def _stage(blocks: int, inputs: int, outputs: int, stride: int) -> nn.Sequential:
    first = BasicBlock(inputs, outputs, stride)
    return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))


def build(network: Network, classes: int, *, reduction: int = 1, seed: int = 0) -> CifarResNet:
    """Build a net with weights drawn from ``seed``.

    Convolutions are drawn from N(0, 2 / fan in) (He et al. 2015, which the paper follows); the Linear layer is torch's
    own.

    Raises:
        InputError: ``reduction`` does not divide the width.
    """
    if network.width % reduction:
        raise InputError(f"reduction {reduction} does not divide the width {network.width}. Choose one that does.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(seed, "initialization"))
        model = CifarResNet(blocks_per_stage(network.arch), network.width // reduction, classes)
        for module in model.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
    return model.to(memory_format=torch.channels_last)
