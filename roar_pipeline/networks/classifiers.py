"""Build, save and load a classifier of any architecture.

Shapes: N images, K classes, H x W pixels. A classifier maps (N, 3, H, W) to scores (N, K).
"""

import dataclasses
import io
from pathlib import Path

import torch
from torch import nn

from roar_pipeline.architectures import CIFAR_RESNETS, VGGS, is_custom
from roar_pipeline.cache.files import write_bytes
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import cifar_resnet, own_models, torchvision_models, vgg

__all__ = ["build", "check_size", "load", "parameter_count", "save"]


def build(network: Network, classes: int, *, reduction: int = 1, seed: int = 0) -> nn.Module:
    """Build a classifier of ``network.arch`` with weights drawn from ``seed``; torch's generators are restored.

    Raises:
        InputError: ``reduction`` does not divide the width, or the architecture has no width; or a function of the
            user's own does not return a model.
    """
    if network.arch in VGGS:
        return vgg.build(network, classes, reduction=reduction, seed=seed)
    if network.arch in CIFAR_RESNETS:
        return cifar_resnet.build(network, classes, reduction=reduction, seed=seed)
    if reduction > 1:
        raise InputError(
            f"reduction = {reduction} divides widths, and those of {network.arch} are fixed. Set reduction = 1, and a "
            "smaller arch for the student."
        )
    if is_custom(network.arch):
        return own_models.build(network, classes, seed=seed)
    return torchvision_models.build(network, classes, seed=seed)


def check_size(network: Network, classes: int, height: int, width: int) -> None:
    """Refuse images that an architecture cannot take, or would reduce to nothing; and wrong models of the user's own.

    Raises:
        InputError: names the smallest size that works, if it is known.
    """
    if network.arch in VGGS:
        vgg.check_size(network.arch, height, width)
    elif is_custom(network.arch):
        own_models.check(build(network, classes), network.arch, classes, height, width)
    elif network.arch not in CIFAR_RESNETS:  # those take any size
        torchvision_models.check_size(network, height, width)


def parameter_count(model: nn.Module) -> int:
    """Count the parameters."""
    return sum(p.numel() for p in model.parameters())


def save(path: Path, model: nn.Module, network: Network, classes: int, reduction: int) -> None:
    """Write a model together with the settings that ``load`` rebuilds it from."""
    plain = {f.name: getattr(network, f.name) for f in dataclasses.fields(Network)}
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    content = io.BytesIO()
    torch.save({"network": plain, "classes": classes, "reduction": reduction, "state": state}, content)
    write_bytes(path, content)


def load(path: Path, device: torch.device | None = None) -> nn.Module:
    """Rebuild a saved model, in eval mode, on ``device`` (default: the CPU).

    Raises:
        InputError: the file is not one that ``save`` wrote.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        model = build(Network(**saved["network"]), saved["classes"], reduction=saved["reduction"])
        model.load_state_dict(saved["state"])
    except FileNotFoundError:
        raise
    except Exception as error:
        raise InputError(
            f"{path} does not hold a model of this project ({error}). Remove its folder and rerun."
        ) from error
    return model.to(device or torch.device("cpu")).eval()
