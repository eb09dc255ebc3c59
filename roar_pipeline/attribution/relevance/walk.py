"""Six attribution maps of a sequential or residual net from one forward pass.

The forward pass records a tape: every layer and its input. A method is a signal that starts at the class's score and
goes down the tape layer by layer, as far as its map needs; in a residual block it goes down both branches. All signals
go down together and share a layer's work. The model itself is never called: its training flags, gradients and hooks
stay untouched, whatever gradient mode the caller is in.

Legend: N images, P pairs of (image, class), K classes, C channels, h x w cells of a layer, H x W pixels.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from roar_pipeline.attribution.relevance.layers import Identity, Relu, Step
from roar_pipeline.attribution.relevance.linear import Weighted
from roar_pipeline.attribution.relevance.residual import Residual
from roar_pipeline.attribution.relevance.sequential import check_layers, check_signs, count_below, layers_of
from roar_pipeline.attribution.relevance.tape import make_tape
from roar_pipeline.errors import InputError

__all__ = ["METHODS", "check", "walk"]

METHODS = {
    "gradient": "gradient",
    "guided": "guided",
    "gradcam": "gradient",
    "ebp": "excitation",
    "lrp": "excitation",
    "rap": "rap",
}
"""Signal of each method. LRP is |score| times the signal of EBP, taken further down."""

_COARSE = {"gradcam", "ebp"}
"""Methods that read the signal at ``layer``; the others read it at the image."""

_RELEVANCE = {"ebp", "lrp", "rap"}


def walk(
    model: nn.Module,
    images: Tensor,
    image_index: Tensor,
    class_index: Tensor,
    names: Sequence[str],
    *,
    layer: str = "last_relu",
) -> dict[str, Tensor]:
    """Compute the maps of all ``names`` from one forward pass, raw and in the dtype of the images.

    - ``gradient``: d score / d image, (P, C, H, W).
    - ``guided``: guided backpropagation (Springenberg et al. 2015), (P, C, H, W): a ReLU passes positive gradients
      only.
    - ``gradcam``: Grad-CAM (Selvaraju et al. 2017), (P, H, W): relu(sum_c w_c A_c) with A the output of ``layer`` and
      w_c the sum over its cells of d score / d A_c, bilinear to the image.
    - ``ebp``: excitation backprop (Zhang et al. 2016), (P, H, W): from the class unit, with 1, to ``layer``, summed
      over channels, clipped at 0, bilinear to the image.
    - ``lrp``: LRP alpha1-beta0 (Bach et al. 2015) to the pixels, (P, H, W), summed over channels. It starts at the
      score and is negated where that is below 0.
    - ``rap``: relative attributing propagation (Nam et al. 2020) to the pixels, (P, H, W), summed over channels,
      clipped at 0. It starts at the score's magnitude. The last layer spreads by |w|, so a class and its negation (its
      row of the last Linear times -1) have the same map. This departs from Park et al. (2020), who start at the score
      and negate the result where that is below 0: hidden layers spread R+ and R- by different rules (``Weighted.rap``),
      so there a class and its negation have different maps.

    Relevance (the last three) ignores biases, goes to the winner of a max-pool, spreads in proportion through average
    pooling, and reaches the image by the z^B rule with that image's own minimum and maximum. It passes through
    BatchNorm unchanged in a sequential net, as Park et al. ran it on VGG. In a net with residual blocks the rules take
    a convolution's weights times the scale of the BatchNorm after it, and ``Residual`` has the rule for sums. A unit
    without any input of the matching sign passes nothing on: a net that is active by its biases alone has all-zero
    maps. Row p depends on its image and class alone.

    Args:
        model: one that ``check`` accepts; its modules are read, not called.
        images: (N, C, H, W), normalized; unchanged.
        image_index: (P,) int64, the image of each pair.
        class_index: (P,) int64, its class.
        names: of ``METHODS``.
        layer: as ``sequential.count_below`` takes it, for Grad-CAM and EBP.

    Raises:
        InputError: as ``check``.
    """
    check(model, names, layer=layer)
    coarse, fine = [n for n in names if n in _COARSE], [n for n in names if n not in _COARSE]
    if len(image_index) == 0 or not names:
        return {
            name: images.new_zeros(0, *images.shape[1 if name in ("gradient", "guided") else 2 :]) for name in names
        }
    with torch.inference_mode(False), torch.no_grad():
        layers = layers_of(model)
        end = count_below(layers, layer) if coarse else 0
        keep_sums = "rap" in names and images.device.type == "cpu"
        tape = make_tape(layers, keep_sums=keep_sums, keep_addends=bool(_RELEVANCE & set(names)))
        scores, activations = _forward(tape, images, end, forget=not fine)
        rows = None if _is_every_row(image_index, len(images)) else image_index
        class_scores = scores[image_index, class_index]
        start = F.one_hot(class_index, scores.shape[1]).to(scores.dtype)
        # RAP goes first: excitation can use the sums that RAP computes, not vice versa.
        signals = {"rap": start * class_scores[:, None].abs()} if "rap" in names else {}
        signals |= {METHODS[name]: start.clone() for name in names if name != "rap"}
        _backward(tape, end, signals, rows)
        maps = {name: _coarse_map(name, signals[METHODS[name]], activations, rows, images) for name in coarse}
        to_image = {METHODS[name] for name in fine}
        signals = {name: signal for name, signal in signals.items() if name in to_image}
        _backward(tape, 0, signals, rows)
        maps |= {name: _FINE_MAPS[name](signals[METHODS[name]], class_scores) for name in fine}
        return {name: maps[name] for name in names}


def check(model: nn.Module, names: Sequence[str], *, layer: str = "last_relu") -> None:
    """Refuse, before any work, a model that ``walk`` would not explain correctly.

    Gradient methods take any sequence of the supported layers and residual blocks. Relevance (``ebp``, ``lrp``,
    ``rap``) also needs a ReLU before every weighted layer but the first, so that its inputs are never negative.

    Raises:
        InputError: names the module by path and class, or the unknown method or layer.
    """
    for name in names:
        if name not in METHODS:
            raise InputError(f"The layer walk has no method '{name}'. Choose of {', '.join(METHODS)}.")
    layers = layers_of(model)
    check_layers(layers, ", ".join(names))
    start = count_below(layers, layer) if _COARSE & set(names) else 0
    relevance = _RELEVANCE & set(names)
    if relevance:
        check_signs(layers, start if relevance == {"ebp"} else 0, ", ".join(n for n in names if n in relevance))


def _forward(tape: list[Step], images: Tensor, end: int, *, forget: bool) -> tuple[Tensor, Tensor]:
    """Run the net, and return its scores (N, K) and the activations (N, C, h, w) before step ``end``.

    Channels last is the faster layout for every convolution here, in both directions.
    """
    x = activations = images.detach().clone(memory_format=torch.channels_last)
    for index, step in enumerate(tape):
        x = step.forward(x)
        if index == end - 1:
            activations = x.clone()
        if forget and index < end:
            tape[index] = Identity()
    if x.ndim != 2:
        raise InputError(
            f"The model's output is {tuple(x.shape)}, not scores (images, classes). Flatten before the last layer."
        )
    return x, activations


def _backward(tape: list[Step], end: int, signals: dict[str, Tensor], rows: Tensor | None) -> None:
    """Take the signals down the tape to step ``end``, and free every step that they passed."""
    while len(tape) > end:
        step = tape.pop()
        for name, signal in signals.items():
            signals[name] = _RULES[name](step, signal, rows)


def _guided(step: Step, signal: Tensor, rows: Tensor | None) -> Tensor:
    if isinstance(step, Residual):
        return step.gradient(signal, rows, _guided)
    down = step.gradient(signal, rows)
    return down.clamp_(min=0) if isinstance(step, Relu) else down


def _rap(step: Step, signal: Tensor, rows: Tensor | None) -> Tensor:
    if isinstance(step, Residual):
        return step.relevance(signal, rows, _rap)
    return step.rap(signal, rows) if isinstance(step, Weighted) else step.relevance(signal, rows)


_RULES: dict[str, Callable[[Step, Tensor, Tensor | None], Tensor]] = {
    "gradient": lambda step, signal, rows: step.gradient(signal, rows),
    "guided": _guided,
    "excitation": lambda step, signal, rows: step.relevance(signal, rows),
    "rap": _rap,
}

_FINE_MAPS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "gradient": lambda signal, class_scores: signal.contiguous(),
    "guided": lambda signal, class_scores: signal.contiguous(),
    "lrp": lambda signal, class_scores: signal.sum(1).mul_(class_scores.abs()[:, None, None]),
    "rap": lambda signal, class_scores: signal.sum(1).clamp_(min=0),
}


def _coarse_map(name: str, signal: Tensor, activations: Tensor, rows: Tensor | None, images: Tensor) -> Tensor:
    """Return the map (P, H, W) of a signal (P, C, h, w) at the layer, without its negative part."""
    if name == "gradcam":
        activations = activations if rows is None else activations[rows]
        cells = torch.einsum("pc,pchw->phw", signal.sum(dim=(2, 3)), activations)
    else:
        cells = signal.sum(dim=1)
    size = images.shape[2], images.shape[3]
    return F.interpolate(cells.relu_()[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def _is_every_row(index: Tensor, images: int) -> bool:
    return len(index) == images and torch.equal(index, torch.arange(images, device=index.device))
