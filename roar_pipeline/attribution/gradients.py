"""Gradient, guided backprop and Grad-CAM by autograd, of any classifier that maps (N, C, H, W) to scores (N, K).

Legend: N images, K classes, P pairs of (image, class), C channels, h x w cells of a layer, H x W pixels. Pair p is
class ``class_index[p]`` of image ``images[image_index[p]]``; the pairs of one image share its forward pass.

The model runs in eval mode, and its state (training flags, parameters, buffers, gradients, hooks) is restored. The
images are not changed. Results are detached and have the images' dtype, and row p depends on its own image and class
alone.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from roar_pipeline.errors import InputError
from roar_pipeline.networks.layers import channel_maps, find_layer, graph_above

__all__ = ["NAMES", "differentiate", "evaluating", "find_layer", "gradcam"]

NAMES = ("gradient", "guided")
"""Kinds of gradients that ``differentiate`` computes."""

_RELUS = {torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu}
"""All functions that compute ReLU; ``nn.ReLU`` calls the last. ReLU6, GELU and the like are no ReLUs here."""


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Put the model in eval mode, and restore every module's training flag, also after an error."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, flag in training.items():
            module.training = flag


def differentiate(
    model: nn.Module, images: Tensor, image_index: Tensor, class_index: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Return d score / d image of every pair, (P, C, H, W) for each of ``names``, signed.

    ``gradient``: unchanged (Simonyan et al. 2014, 3). ``guided``: every ReLU passes positive gradients only
    (Springenberg et al. 2015, figure 1c). Both together share the forward pass.

    Args:
        model: any classifier; ``guided`` needs one with a ReLU.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        names: of ``NAMES``.

    Raises:
        InputError: ``guided`` of a model without a ReLU, for which it would equal the gradient.
    """
    unknown = [name for name in names if name not in NAMES]
    if unknown:
        raise ValueError(f"names must be of {', '.join(NAMES)}, got {', '.join(unknown)}")
    relus = _Relus()
    with evaluating(model), torch.inference_mode(False), torch.enable_grad():
        gradients = {name: images.new_empty((len(image_index), *images.shape[1:])) for name in names}
        for rows, pairs in _by_image(image_index, len(images)):
            pixels = images.detach()[rows].requires_grad_()
            with relus if "guided" in names else contextlib.nullcontext():
                # A copy, so that a model that begins in place changes neither the images nor a leaf.
                scores = model(pixels.clone())
            if "guided" in names and not relus.count:
                raise InputError(_no_relu(model))
            backward = _Backward(scores, pixels, class_index, len(names) * pairs.shape[1])
            for name in names:
                relus.guided = name == "guided"
                for column in pairs.unbind(1):
                    gradients[name][column] = backward(column)
    return gradients


def gradcam(model: nn.Module, images: Tensor, image_index: Tensor, class_index: Tensor, *, layer: str) -> Tensor:
    """Return relu(sum_c w_c A_c), enlarged bilinearly to the image, (P, H, W) (Selvaraju et al., ICCV 2017).

    A is the output of ``layer``, the last if it runs several times, and w_c the sum over its cells of d score / d A_c
    (their eq. 1 has the mean: the same map up to the number of cells). The forward pass runs once per image; only the
    modules above the layer keep a graph, and only their backward pass runs once per pair.

    Args:
        model: any classifier.
        images: (N, C, H, W).
        image_index: (P,) int64.
        class_index: (P,) int64.
        layer: as ``find_layer`` takes it.

    Raises:
        InputError: the model has no such layer, or its output is not (N, C, h, w).
    """
    module = find_layer(model, layer)
    size = (images.shape[2], images.shape[3])
    with evaluating(model), torch.inference_mode(False):
        maps = images.new_empty((len(image_index), *size))
        for rows, pairs in _by_image(image_index, len(images)):
            with graph_above(module) as outputs:
                scores = model(images.detach()[rows].clone())
            activations = channel_maps(outputs, layer, len(rows), "Grad-CAM")
            backward = _Backward(scores, activations, class_index, pairs.shape[1])
            for column in pairs.unbind(1):
                weights = backward(column).sum(dim=(2, 3))
                coarse = torch.einsum("nc,nchw->nhw", weights, activations.detach()).relu()
                fine = F.interpolate(coarse[:, None], size=size, mode="bilinear", align_corners=False)
                maps[column] = fine[:, 0].to(maps.dtype)
    return maps


def _by_image(image_index: Tensor, images: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for every m > 0, the rows (n,) of the images that have m pairs, and the indices (n, m) of these pairs.

    One forward pass of the rows and m backward passes then do no superfluous work.
    """
    order = image_index.argsort(stable=True)
    counts = image_index.bincount(minlength=images)
    for m in counts.unique().tolist():
        if m:
            rows = (counts == m).nonzero()[:, 0]
            yield rows, order[counts[image_index[order]] == m].view(-1, m)


class _Backward:
    """Differentiate the scores of one pair per image, ``passes`` times on one graph, which the last pass frees."""

    def __init__(self, scores: Tensor, inputs: Tensor, class_index: Tensor, passes: int) -> None:
        self.scores, self.inputs, self.class_index, self.remaining = scores, inputs, class_index, passes

    def __call__(self, pairs: Tensor) -> Tensor:
        """Return d score / d inputs in the shape of the inputs; row n is of pair ``pairs[n]``."""
        self.remaining -= 1
        class_scores = self.scores.gather(1, self.class_index[pairs][:, None]).sum()
        (gradient,) = torch.autograd.grad(class_scores, self.inputs, retain_graph=self.remaining > 0)
        return gradient


class _Relus(TorchFunctionMode):
    """While entered, make every ReLU drop negative gradients in those backward passes in which ``guided`` is set.

    The forward pass is unchanged, in place or not: guided backprop clips the gradient that enters a ReLU's own backward
    pass.
    """

    def __init__(self) -> None:
        super().__init__()
        self.guided = False
        self.count = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if func in _RELUS:
            self.count += 1
            if result.requires_grad:
                result.register_hook(self._clip)
        return result

    def _clip(self, gradient: Tensor) -> Tensor:
        return gradient.clamp(min=0) if self.guided else gradient


def _no_relu(model: nn.Module) -> str:
    activations = {*nn.modules.activation.__all__} - {"MultiheadAttention"}
    others = {type(module).__name__ for module in model.modules()} & activations
    return (
        f"guided backprop needs a ReLU, and {type(model).__name__} has none"
        + (f" (it has {', '.join(sorted(others))})" if others else "")
        + ". Take the gradient, integrated_gradients or smoothgrad."
    )
