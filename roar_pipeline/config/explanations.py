"""Maps and removal: [maps] and [removal]."""

from dataclasses import dataclass
from typing import Literal

from roar_pipeline.config.fields import setting

__all__ = ["Maps", "Removal"]


@dataclass(frozen=True)
class Maps:
    """Attribution maps."""

    explain: Literal["predicted", "top1", "labels"] = setting(
        "predicted",
        "The explained classes: predicted (with one label per image the same as top1), top1 or labels (which leaks the "
        "label into the test images).",
    )
    layer: str = setting(
        "last_relu",
        "The layer of Grad-CAM and EBP: last_relu (before the last pooling; a ResNet's last block), last_pool (a VGG's "
        "last max-pool), or a module's path, e.g. features.8 or layer3.",
    )
    steps: int = setting(25, "The number of steps of integrated gradients, for an image or a noisy copy of it.", low=1)
    baseline: Literal["black", "mean"] = setting(
        "black", "The start of integrated gradients: black, or mean, the mean color."
    )
    samples: int = setting(
        15,
        "The noisy copies of an image in SmoothGrad methods; with 15, another noise_seed changes 29 % of smoothgrad's "
        "top tenth of pixels.",
        low=1,
    )
    spread: float = setting(0.15, "The standard deviation of that noise, as a share of an image's own range.", low=0)
    noise_seed: int = setting(0, "The seed of that noise.", low=0)
    batch: int = setting(64, "The most images, and pairs of image and class, in one pass.", low=1)
    memory_mb: int = setting(4000, "The estimated memory of a pass in 10^6 bytes, above which batch is lowered.", low=1)


@dataclass(frozen=True)
class Removal:
    """Which pixels are removed, and what replaces them."""

    fill: Literal["mean"] = setting("mean", "The color of removed pixels: mean, the training split's channel means.")
    tie_seed: int = setting(0, "The seed of the order of tied pixels, and of the random control.", low=0)
