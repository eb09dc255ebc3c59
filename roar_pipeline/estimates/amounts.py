"""Amounts that costs are made of: the size of the data, and the cost of a network per image."""

from dataclasses import dataclass

__all__ = ["Cost", "Size"]


@dataclass(frozen=True)
class Size:
    """Size of the data."""

    train: int
    test: int
    height: int
    width: int
    """Width in pixels, as ``height``."""
    classes: int
    validation: int = 0
    """Validation images; 0 if they are those of the test split."""
    masks: int = 0
    photograph_bytes: int = 0
    """Total of the training photographs stored for random crops; 0 if there are none."""
    is_single_label: bool = False
    """Whether every image has exactly one label."""

    @property
    def images(self) -> int:
        """Number of images in all distinct splits."""
        return self.train + self.test + self.validation

    @property
    def pixels(self) -> int:
        """H x W."""
        return self.height * self.width


@dataclass(frozen=True)
class Cost:
    """Costs per image, and ``parameters``."""

    multiply_adds: int
    """Multiply-adds of a forward pass: convolutions and Linear layers."""
    parameters: int
    """Number of trainable parameters."""
    saved_bytes: int
    """Bytes of the activations that autograd keeps from a forward pass for the backward pass, in float32."""
    tape_bytes: int
    """Bytes of the activations that the layer walk of the attribution methods keeps."""
    sums_bytes: int
    """Bytes of the sums of products of the convolutions, which the walk also keeps for RAP."""
    widest_bytes: int
    """Bytes of the largest activation."""
    matched: dict[str, int]
    """By layer (last_relu, last_pool, some paths): numbers of its activation, C x h x w."""

    def matched_at(self, layer: str) -> int:
        """Return the numbers of a layer's activation; of an unknown one, those of the largest."""
        return self.matched.get(layer, self.widest_bytes // 4)
