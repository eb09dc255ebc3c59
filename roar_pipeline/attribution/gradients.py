"""Gradient, guided backprop and Grad-CAM by autograd, of any classifier that maps (N, C, H, W) to scores (N, K).

Legend: N images, K classes, P pairs of (image, class), C channels, h x w cells of a layer, H x W pixels. Pair p is
class ``class_index[p]`` of image ``images[image_index[p]]``; the pairs of one image share its forward pass.

The model runs in eval mode, and its state (training flags, parameters, buffers, gradients, hooks) is restored. The
images are not changed. Results are detached and have the images' dtype, and row p depends on its own image and class
alone.
"""

import contextlib
import difflib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from roar_pipeline.errors import InputError
from roar_pipeline.networks.layers import LAYERS, count_to

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
            with _graph_above(module) as outputs:
                scores = model(images.detach()[rows].clone())
            activations = _one_map_per_channel(outputs, layer, len(rows))
            backward = _Backward(scores, activations, class_index, pairs.shape[1])
            for column in pairs.unbind(1):
                weights = backward(column).sum(dim=(2, 3))
                coarse = torch.einsum("nc,nchw->nhw", weights, activations.detach()).relu()
                fine = F.interpolate(coarse[:, None], size=size, mode="bilinear", align_corners=False)
                maps[column] = fine[:, 0].to(maps.dtype)
    return maps


def find_layer(model: nn.Module, layer: str) -> nn.Module:
    """Return the module that ``layer`` names.

    Args:
        model: any classifier.
        layer: a module's dotted path, such as ``layer4``; or, where ``model.features`` is a plain sequence of layers
            (VGG, AlexNet, this project's nets), ``last_relu``, the last ReLU before its last max-pool, or
            ``last_pool``, that max-pool.

    Raises:
        InputError: there is none; the message lists the existing ones.
    """
    if layer in LAYERS:
        return _around_last_pool(model, layer)
    try:
        return model.get_submodule(layer)
    except AttributeError:
        paths = [path for path, _ in model.named_modules(remove_duplicate=False) if path]
        near = difflib.get_close_matches(layer, paths, n=5) or [name for name, _ in model.named_children()]
        raise InputError(
            f"{type(model).__name__} has no layer '{layer}'. Near names: {', '.join(near)}. "
            "Name one by its dotted path."
        ) from None


def _around_last_pool(model: nn.Module, layer: str) -> nn.Module:
    features = getattr(model, "features", None)
    layers = list(features) if isinstance(features, nn.Sequential) else []
    # In nested features (DenseNet, SqueezeNet) the last max-pool at this level is one of the first layers.
    is_flat = not any(True for module in layers for _ in module.children())
    count = count_to(layer, layers) if is_flat else None
    if count is None:
        names = ", ".join(name for name, _ in model.named_children())
        raise InputError(
            f"{type(model).__name__} has no layer '{layer}': its features are not a plain sequence of layers with a "
            f"ReLU and a max-pool. Name a layer by its dotted path, such as 'layer4' of a ResNet; it has {names}."
        )
    return layers[count - 1]


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


@contextlib.contextmanager
def _graph_above(module: nn.Module) -> Iterator[list[Any]]:
    """Record the graph only above ``module``; yield a list of its last output.

    The output is a leaf. The layers above get a copy, as they may work in place.
    """
    outputs: list[Any] = []

    def begin(_: nn.Module, __: Any, output: Any) -> Any:
        if not isinstance(output, Tensor):
            outputs[:] = [output]
            return output
        torch.set_grad_enabled(True)
        outputs[:] = [output.detach().requires_grad_()]
        return outputs[0].clone()

    handle = module.register_forward_hook(begin)
    try:
        with torch.no_grad():
            yield outputs
    finally:
        handle.remove()


def _one_map_per_channel(outputs: list[Any], layer: str, rows: int) -> Tensor:
    if not outputs:
        raise InputError(f"Layer '{layer}' does not run when the model is evaluated. Name one that does.")
    (output,) = outputs
    if not isinstance(output, Tensor) or output.dim() != 4 or len(output) != rows:
        got = f"a tensor {tuple(output.shape)}" if isinstance(output, Tensor) else f"a {type(output).__name__}"
        raise InputError(
            f"Grad-CAM needs a layer that puts out (N, C, h, w); '{layer}' puts out {got} for {rows} images. "
            "Name a convolutional layer."
        )
    return output
