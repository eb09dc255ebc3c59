"""A cell of the grid. Nothing here imports torch."""

from dataclasses import dataclass

from roar_pipeline import config

__all__ = ["Cell"]


@dataclass(frozen=True)
class Cell:
    """A network trained from scratch on images with pixels removed, and tested on such images."""

    percent: int
    """Percentage of every image's pixels that is removed, or kept if ``direction`` is keep; 0 is the clean cell."""
    direction: str
    """``remove`` (ROAR) or ``keep`` (KAR)."""
    recipe: config.Retrain
    """Architecture and training of the network."""
    seed: int
    """Seed of the network's initialization and of its training."""
    fill: str = "mean"
    """Fill of removed pixels, a key of ``removal.fills.FILLS``."""
    masks_only: bool = False
    """Train on the masks instead of the images (Rong et al. 2022): 1 where a pixel is kept, 0 where it is removed."""
