"""Methods that average gradients over several inputs: integrated gradients and the SmoothGrad family.

Legend: N images, P pairs of (image, class), C channels, H x W pixels. The contract of models, images and pairs is that
of ``attribution.gradients``; a step or sample costs one gradient.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from roar_pipeline.attribution.gradients import differentiate
from roar_pipeline.errors import InputError
from roar_pipeline.seeding import derived_seed

__all__ = ["NOISY", "integrated_gradients", "noisy"]

NOISY = ("smoothgrad", "smoothgrad_sq", "vargrad")
"""What ``noisy`` computes."""


def integrated_gradients(
    model: nn.Module, images: Tensor, image_index: Tensor, class_index: Tensor, *, steps: int = 25, baseline: Tensor
) -> Tensor:
    """Return (image - baseline) times the mean gradient between them, (P, C, H, W) (Sundararajan et al. 2017, eq. 3).

    The mean is over baseline + k / steps (image - baseline), k = 1..steps. For many steps a pair's sum tends to the
    score of its image minus that of the baseline.

    Args:
        model: any classifier.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        steps: 1 at least.
        baseline: broadcasts to the images, such as the normalized black (1, C, 1, 1).
    """
    if steps < 1:
        raise InputError(f"Integrated gradients needs 1 step at least, got {steps}.")
    with torch.no_grad():
        away = images - baseline
        total = images.new_zeros((len(image_index), *images.shape[1:]))
        for step in range(1, steps + 1):
            between = baseline + away * (step / steps)
            total += differentiate(model, between, image_index, class_index, ["gradient"])["gradient"]
        return total.div_(steps).mul_(away[image_index])


def noisy(
    model: nn.Module,
    images: Tensor,
    image_index: Tensor,
    class_index: Tensor,
    ids: Sequence[str],
    *,
    samples: int = 15,
    spread: float = 0.15,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Return mean, mean square and variance of the gradient under noise, (P, C, H, W) by name, of the same samples.

    ``smoothgrad``: the mean (Smilkov et al. 2017). ``smoothgrad_sq``: the mean square (Hooker et al. 2019, 3).
    ``vargrad``: the population variance (Adebayo et al. 2018), their difference: smoothgrad_sq - smoothgrad^2.

    Args:
        model: any classifier.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        ids: (N,), name the images. The noise follows from id, sample and seed, whatever the batch, device and dtype.
        samples: 1 at least.
        spread: standard deviation of the noise in units of the image's own range, its maximum minus its minimum.
        seed: of the noise.
    """
    if samples < 1:
        raise InputError(f"The SmoothGrad family needs 1 sample at least, got {samples}.")
    if not 0 <= spread < float("inf"):
        raise InputError(f"The spread of SmoothGrad's noise must be a number from 0 up, got {spread}.")
    if len(ids) != len(images):
        raise ValueError(f"each of {len(images)} images needs an id, got {len(ids)}")
    with torch.no_grad():
        deviation = spread * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))[:, None, None, None]
        shape = (len(image_index), *images.shape[1:])
        mean, square, scatter = (images.new_zeros(shape) for _ in range(3))
        for sample in range(samples):
            near = images + deviation * _noise(images, ids, sample, seed)
            gradient = differentiate(model, near, image_index, class_index, ["gradient"])["gradient"]
            square.addcmul_(gradient, gradient)
            # Welford 1962: a difference of large means of squares would lose a small variance.
            departure = gradient - mean
            mean.add_(departure, alpha=1 / (sample + 1))
            scatter.addcmul_(departure, gradient - mean)
        return dict(zip(NOISY, (mean, square / samples, scatter / samples), strict=True))


def _noise(images: Tensor, ids: Sequence[str], sample: int, seed: int) -> Tensor:
    """Return standard normal noise like the images, drawn on the CPU in float32, image by image."""
    noise = np.empty(images.shape, dtype=np.float32)
    for row, image_id in zip(noise, ids, strict=True):
        bits = np.random.PCG64(derived_seed(seed, "noise", image_id, sample))
        np.random.Generator(bits).standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(noise).to(images)
