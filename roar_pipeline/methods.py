"""Attribution methods by name. Nothing here imports torch: methods are loaded when they are computed.

A name is a method's or a control's, and may end in a variant: ``gradcam``, ``gradient_abs``, ``lrp+blur``, ``random``.
``module:function`` names a function of one's own, called as ``function(model, images, image_index, class_index)``.

Legend: N images, P pairs of (image, class), C channels, H x W pixels.

- ``model``: the classifier, lent in eval mode on its device.
- ``images``: (N, C, H, W), normalized.
- ``image_index``, ``class_index``: (P,) int64. Pair p asks for the map of class ``class_index[p]`` on image
  ``image_index[p]``; the classes of one image share its forward pass.
- returns maps (P, H, W), raw: no scaling, no color. Row p depends on its image and class (and id and seed) alone.

A function of one's own returns finite floating point maps. It gets copies, and the global generators are seeded by the
images' ids: nothing that it does to either reaches other methods.

A control has no model: ``control(ids, images, seed) -> maps`` (N, H, W), images uint8 (N, H, W, 3).
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened

__all__ = [
    "CONTROLS",
    "METHODS",
    "RANDOM",
    "SHUFFLED",
    "VARIANTS",
    "Method",
    "base_of",
    "check_method",
    "is_control",
    "is_own",
    "is_seeded",
    "is_shuffled",
    "load",
    "masks_depend_on_image",
    "method_keys",
    "title_of",
    "unshuffled",
]


@dataclass(frozen=True)
class Method:
    """A method: what people call it, what is computed, and what becomes of signs and channels."""

    title: str
    raw: str
    """What ``engine`` computes: several methods may share it."""
    reduction: str | None = None
    """How channels become one map: ``signed`` or ``abs`` sums; None where the raw maps have none."""
    keys: tuple[str, ...] = ()
    """Keys of [maps] that this method reads beside ``explain`` and ``batch``."""
    version: int = 1
    """Raised by hand when this method's maps change for the same settings, and the other methods' do not."""


_PATH = ("steps", "baseline")
_NOISE = ("samples", "spread", "noise_seed")

METHODS: dict[str, Method] = {
    "gradcam": Method("Grad-CAM", "gradcam", keys=("layer",)),
    "ebp": Method("EBP", "ebp", keys=("layer",)),
    "lrp": Method("LRP", "lrp"),
    "rap": Method("RAP", "rap", version=2),
    "gradient": Method("Gradient", "gradient", "signed"),
    "gradient_abs": Method("|Gradient|", "gradient", "abs"),
    "input_x_gradient": Method("Input x gradient", "input_x_gradient", "signed"),
    "input_x_gradient_abs": Method("|Input x gradient|", "input_x_gradient", "abs"),
    "guided": Method("Guided backprop", "guided", "signed"),
    "guided_abs": Method("|Guided backprop|", "guided", "abs"),
    "integrated_gradients": Method("Integrated gradients", "integrated_gradients", "signed", _PATH),
    "smoothgrad": Method("SmoothGrad", "smoothgrad", "signed", _NOISE),
    "smoothgrad_sq": Method("SmoothGrad squared", "smoothgrad_sq", "signed", _NOISE),
    "vargrad": Method("VarGrad", "vargrad", "signed", _NOISE),
    "guided_smoothgrad": Method("SmoothGrad of guided backprop", "guided_smoothgrad", "signed", _NOISE),
    "guided_smoothgrad_sq": Method("SmoothGrad squared of guided backprop", "guided_smoothgrad_sq", "signed", _NOISE),
    "guided_vargrad": Method("VarGrad of guided backprop", "guided_vargrad", "signed", _NOISE),
    "integrated_gradients_smoothgrad": Method(
        "SmoothGrad of integrated gradients", "integrated_gradients_smoothgrad", "signed", (*_PATH, *_NOISE)
    ),
    "integrated_gradients_smoothgrad_sq": Method(
        "SmoothGrad squared of integrated gradients", "integrated_gradients_smoothgrad_sq", "signed", (*_PATH, *_NOISE)
    ),
    "integrated_gradients_vargrad": Method(
        "VarGrad of integrated gradients", "integrated_gradients_vargrad", "signed", (*_PATH, *_NOISE)
    ),
}
"""Methods that explain a model."""

CONTROLS = {"random": "Random", "sobel": "Sobel", "center": "Center"}
"""Functions of ``attribution.controls``, which need no model and are computed once for all of them."""

RANDOM = "random"
"""The control that every curve is compared with."""

VARIANTS = {"blur": "blurred", "max": "3 x 3 maximum"}
"""Functions of ``attribution.variants``: no more information, blurrier maps. A better score is a warning about it."""

SHUFFLED = "shuffled"
"""The variant that gives every image another image's map: a control for the typical shape and place of a method's maps.

It needs no maps of its own: pixels are ranked by the base method's maps, moved to other images of the split.
"""

_SEEDED = {RANDOM}
"""Controls that are drawn anew for every seed of the grid."""
_OWN_VERSION = 2
"""Raised by hand when the maps of functions of one's own change for the same source."""
_BLIND = {RANDOM, "center"}
"""Controls whose masks are the same whatever the image shows."""


def base_of(name: str) -> str:
    """Return a name without its variant."""
    return name.partition("+")[0]


def is_control(name: str) -> bool:
    """Tell whether a name's maps depend on no model."""
    return base_of(name) in CONTROLS


def is_own(name: str) -> bool:
    """Tell whether a name is a function of one's own, perhaps with a variant."""
    return ":" in base_of(name)


def is_seeded(name: str) -> bool:
    """Tell whether a control's maps are drawn anew for every seed of the grid."""
    return base_of(name) in _SEEDED


def is_shuffled(name: str) -> bool:
    """Tell whether every image gets another image's map."""
    return name.partition("+")[2] == SHUFFLED


def unshuffled(name: str) -> str:
    """Return the method whose maps a name ranks pixels by: itself, or the base of a shuffled one."""
    return base_of(name) if is_shuffled(name) else name


def masks_depend_on_image(name: str) -> bool:
    """Tell whether a mask of this method can carry information on the image that it covers."""
    return not is_shuffled(name) and base_of(name) not in _BLIND


def title_of(name: str) -> str:
    """Return what people call it."""
    base, _, variant = name.partition("+")
    title = CONTROLS.get(base) or (METHODS[base].title if base in METHODS else base)
    return f"{title}, {VARIANTS.get(variant, variant)}" if variant else title


def check_method(name: str) -> None:
    """Refuse a name that is neither a method nor a control, nor a variant of one.

    Raises:
        InputError: lists the known names.
    """
    base, plus, variant = name.partition("+")
    variants = (*VARIANTS, SHUFFLED)
    if plus and variant not in variants:
        raise InputError(f"unknown variant '+{variant}' of '{base}'. Known: +{', +'.join(variants)}.")
    if ":" in base:
        _source(base)
    elif base not in METHODS and base not in CONTROLS:
        raise InputError(
            f"unknown attribution method '{shortened(base)}'. Known: {', '.join(METHODS)}; controls without a model: "
            f"{', '.join(CONTROLS)}; variants of each: +{', +'.join(variants)}; your own as module:function."
        )


def method_keys(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model-dependent method's maps depend on.

    That is keys of [maps], and the version of a method that has a second one, or the content of one's own module.
    """
    base = base_of(name)
    if ":" in base:
        content = {"source": hashlib.sha256(_source(base).read_bytes()).hexdigest()}
        return {key: settings[key] for key in ("explain", "batch")} | content | {"method_version": _OWN_VERSION}
    method = METHODS[base]
    keys = {key: settings[key] for key in ("explain", "batch", *method.keys)}
    return keys | ({"method_version": method.version} if method.version > 1 else {})


def load(reference: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names.

    Raises:
        InputError: the module cannot be imported, or has no such function.
    """
    module, _, function = reference.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise InputError(f"{reference} cannot be loaded: {type(error).__name__}: {error}.") from error
    if not callable(loaded):
        raise InputError(f"{reference} is a {type(loaded).__name__}, not a function.")
    found: Callable[..., Any] = loaded
    return found


def _source(reference: str) -> Path:
    """Find the file of ``module:function`` without importing it."""
    module, _, function = reference.partition(":")
    try:
        spec = importlib.util.find_spec(module) if module and function.isidentifier() else None
    except Exception:  # of a module in a package, Python imports the package
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(
            f"{shortened(reference)} names no function of a module that Python finds. Write module:function, with the "
            "module's folder on PYTHONPATH."
        )
    if not (spec.has_location and spec.origin.endswith(".py")):
        raise InputError(
            f"{reference}: module {module} is built into Python or compiled, and maps are identified by the content "
            "of a Python file. Call it from a function in a file of your own, and name that."
        )
    return Path(spec.origin)
