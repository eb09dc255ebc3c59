"""Methods that average gradients over several inputs: integrated gradients, and SmoothGrad of three base methods.

Legend: N images, P pairs of (image, class), C channels, H x W pixels. The contract of models, images and pairs is that
of ``attribution.gradients``. Integrated gradients cost ``steps`` gradients; SmoothGrad costs ``samples`` times its base
method. SmoothGrad of integrated gradients therefore costs samples x steps = 375 gradients by default.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from roar_pipeline.attribution.gradients import NAMES, differentiate
from roar_pipeline.errors import InputError
from roar_pipeline.seeds import derived_seed

__all__ = ["NOISY", "Noise", "StraightPath", "integrated_gradients", "noisy"]

_STATISTICS = ("smoothgrad", "smoothgrad_sq", "vargrad")

_PREFIXES = {"gradient": "", "guided": "guided_", "integrated_gradients": "integrated_gradients_"}

NOISY = {prefix + statistic: (base, statistic) for base, prefix in _PREFIXES.items() for statistic in _STATISTICS}
"""Base method, and statistic over the noisy copies of an image, by the name that ``noisy`` takes."""


@dataclass(frozen=True)
class StraightPath:
    """The straight line from a baseline to an image, in equal steps.

    Raises:
        InputError: there are fewer than one step.
    """

    baseline: Tensor
    """The first point; it broadcasts to the images, such as the normalized black (1, C, 1, 1)."""
    steps: int = 25

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f"Integrated gradients needs 1 step at least, got {self.steps}.")

    def points(self, images: Tensor) -> Iterator[Tensor]:
        """Yield baseline + k / steps (image - baseline), k = 1..steps, in the shape of the images."""
        difference = images - self.baseline
        for step in range(1, self.steps + 1):
            yield self.baseline + difference * (step / self.steps)


@dataclass(frozen=True)
class Noise:
    """Normal noise for every image of a batch. It depends on id, sample and seed, not on batch, device or dtype.

    Raises:
        InputError: there are fewer than one sample, or the spread is no number from 0 up.
    """

    ids: Sequence[str]
    """(N,), the images' ids."""
    samples: int = 15
    """Noisy copies of each image."""
    spread: float = 0.15
    """Standard deviation in units of the image's own range, its maximum minus its minimum."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.samples < 1:
            raise InputError(f"The SmoothGrad family needs 1 sample at least, got {self.samples}.")
        if not 0 <= self.spread < float("inf"):
            raise InputError(f"The spread of SmoothGrad's noise must be a number from 0 up, got {self.spread}.")

    def copies(self, images: Tensor) -> Iterator[Tensor]:
        """Yield the noisy copies of the images (N, C, H, W), one of each at a time."""
        if len(self.ids) != len(images):
            raise ValueError(f"each of {len(images)} images needs an id, got {len(self.ids)}")
        deviation = self.spread * (images.amax(dim=(1, 2, 3)) - images.amin(dim=(1, 2, 3)))[:, None, None, None]
        for sample in range(self.samples):
            yield images + deviation * self._draw(images, sample)

    def _draw(self, images: Tensor, sample: int) -> Tensor:
        """Return standard normal noise like the images, drawn on the CPU in float32, image by image."""
        noise = np.empty(images.shape, dtype=np.float32)
        for row, image_id in zip(noise, self.ids, strict=True):
            bits = np.random.PCG64(derived_seed(self.seed, "noise", image_id, sample))
            np.random.Generator(bits).standard_normal(dtype=np.float32, out=row)
        return torch.from_numpy(noise).to(images)


def integrated_gradients(
    model: nn.Module, images: Tensor, image_index: Tensor, class_index: Tensor, path: StraightPath
) -> Tensor:
    """Return (image - baseline) times the mean gradient between them, (P, C, H, W) (Sundararajan et al. 2017, eq. 3).

    The mean is over the points of the path. With many steps a pair's sum tends to score(image) - score(baseline).

    Args:
        model: any classifier.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        path: from the baseline to every image.
    """
    with torch.no_grad():
        total = images.new_zeros((len(image_index), *images.shape[1:]))
        for point in path.points(images):
            total += differentiate(model, point, image_index, class_index, ["gradient"])["gradient"]
        return total.div_(path.steps).mul_((images - path.baseline)[image_index])


def noisy(
    model: nn.Module,
    images: Tensor,
    image_index: Tensor,
    class_index: Tensor,
    names: Sequence[str],
    noise: Noise,
    path: StraightPath | None = None,
) -> dict[str, Tensor]:
    """Return statistics of a base method's attributions of noisy copies of each image, (P, C, H, W) by name.

    ``smoothgrad``: the mean (Smilkov et al. 2017). ``smoothgrad_sq``: the mean square (Hooker et al. 2019, 3).
    ``vargrad``: the population variance (Adebayo et al. 2018), their difference: smoothgrad_sq - smoothgrad^2.
    Their base method is the gradient without a prefix, guided backprop with ``guided_``, and integrated gradients with
    ``integrated_gradients_``, whose paths lead from one baseline to every noisy copy.

    All names share the noisy copies. All statistics of a base method share its attributions. Gradient and guided
    backprop share the forward pass.

    Args:
        model: any classifier; guided backprop needs one with a ReLU.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        names: of ``NOISY``.
        noise: of these images.
        path: of integrated gradients, which need one.
    """
    bases = list(dict.fromkeys(NOISY[name][0] for name in names))
    attribute = _attribution(bases, model, image_index, class_index, path)
    with torch.no_grad():
        zeros = images.new_zeros((len(image_index), *images.shape[1:]))
        moments = {base: _Moments(zeros.clone(), zeros.clone(), zeros.clone()) for base in bases}
        for noisy_images in noise.copies(images):
            for base, attributions in attribute(noisy_images).items():
                moments[base].add(attributions)
        statistics = {base: moment.statistics() for base, moment in moments.items()}
        return {name: statistics[NOISY[name][0]][NOISY[name][1]] for name in names}


def _attribution(
    bases: Sequence[str], model: nn.Module, image_index: Tensor, class_index: Tensor, path: StraightPath | None
) -> Callable[[Tensor], dict[str, Tensor]]:
    """Return a function from images (N, C, H, W) to the attributions (P, C, H, W) by every base method."""
    if "integrated_gradients" in bases and path is None:
        raise ValueError("integrated gradients need a path")
    single_pass = [base for base in bases if base in NAMES]

    def attribute(images: Tensor) -> dict[str, Tensor]:
        attributions = differentiate(model, images, image_index, class_index, single_pass) if single_pass else {}
        if "integrated_gradients" in bases and path is not None:
            attributions["integrated_gradients"] = integrated_gradients(model, images, image_index, class_index, path)
        return attributions

    return attribute


@dataclass
class _Moments:
    """Running sums over samples (P, C, H, W)."""

    mean: Tensor
    squares: Tensor
    """Sum of the squared samples."""
    scatter: Tensor
    """Sum of the squared deviations from the mean."""
    count: int = 0

    def add(self, values: Tensor) -> None:
        """Add a sample."""
        self.count += 1
        self.squares.addcmul_(values, values)
        # Welford 1962: a difference of large means of squares would lose a small variance.
        deviation = values - self.mean
        self.mean.add_(deviation, alpha=1 / self.count)
        self.scatter.addcmul_(deviation, values - self.mean)

    def statistics(self) -> dict[str, Tensor]:
        """Return mean, mean square and population variance, in the order of ``_STATISTICS``."""
        values = self.mean, self.squares / self.count, self.scatter / self.count
        return dict(zip(_STATISTICS, values, strict=True))
