"""Attribution methods by name. Nothing here imports torch: methods are loaded when they are computed.

A name is a method's or a control's, and may end in a variant: ``gradcam``, ``gradient_abs``, ``lrp+blur``, ``random``.
``module:function`` names a custom function, called as ``function(model, images, image_index, class_index)``.

Legend: N images, P pairs of (image, class), C channels, H x W pixels.

- ``model``: a copy of the classifier in eval mode, on its device.
- ``images``: (N, C, H, W), normalized.
- ``image_index``, ``class_index``: (P,) int64. Pair p is the map of class ``class_index[p]`` on image
  ``image_index[p]``; the classes of one image share its forward pass.
- returns maps (P, H, W), raw: no scaling, no color. Row p depends on its image and class (and id and seed) alone.

A custom function returns finite floating point maps. It gets copies, and the global generators are seeded by the
images' ids, so that it cannot affect other methods.

A control has no model: ``control(ids, images, seed) -> maps`` (N, H, W), images uint8 (N, H, W, 3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from roar_pipeline.custom_functions import source_digest, source_file
from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened

__all__ = [
    "CONTROLS",
    "METHODS",
    "RANDOM",
    "SHUFFLED",
    "VARIANTS",
    "Method",
    "MethodName",
    "check_method",
]


@dataclass(frozen=True)
class Method:
    """A method: its title, its computation, and the reduction of channels."""

    title: str
    raw: str
    """Name of the computation in ``engine``, which several methods may share."""
    reduction: str | None = None
    """How channels become one map: ``signed`` or ``abs`` sums; None where the raw maps have none."""
    keys: tuple[str, ...] = ()
    """Keys of [maps] that this method reads, besides ``explain`` and ``batch``."""
    version: int = 1
    """Version, raised by hand when this method's maps change for the same settings, and the other methods' do not."""


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
"""Titles of the functions of ``attribution.controls``, which need no model and are computed once for all models."""

RANDOM = "random"
"""The control that every curve is compared with."""

VARIANTS = {"blur": "blurred", "max": "3 x 3 maximum"}
"""Titles of the functions of ``attribution.postprocess``.

They add no information, so a better score is a warning about the score.
"""

SHUFFLED = "shuffled"
"""The variant that gives every image another image's map: a control for the typical shape and position of its maps.

It needs no maps of its own: the base method's maps rank the pixels of other images of the split.
"""

_SEEDED = {RANDOM}
"""Controls that depend on the seed."""
_OWN_VERSION = 2
"""Version of custom functions' maps, raised by hand when these change for the same source."""
_BLIND = {RANDOM, "center"}
"""Controls whose masks are the same whatever the image shows."""


@dataclass(frozen=True)
class MethodName:
    """A parsed name: ``lrp+blur`` has the base ``lrp`` and the variant ``blur``."""

    base: str
    """A method, a control, or ``module:function``."""
    variant: str | None = None
    """The text after the plus; None without a plus."""

    @classmethod
    def parse(cls, text: str) -> "MethodName":
        """Parse any text, also one that ``check`` refuses."""
        base, plus, variant = text.partition("+")
        return cls(base, variant if plus else None)

    def __str__(self) -> str:
        return self.base if self.variant is None else f"{self.base}+{self.variant}"

    @property
    def is_control(self) -> bool:
        """Whether the maps depend on no model."""
        return self.base in CONTROLS

    @property
    def needs_model(self) -> bool:
        """Whether the maps depend on a model, also if shuffled."""
        return not self.is_control

    @property
    def is_custom(self) -> bool:
        """Whether it is a custom function, perhaps with a variant."""
        return ":" in self.base

    @property
    def is_seeded(self) -> bool:
        """Whether it is a control whose maps depend on the seed."""
        return self.base in _SEEDED

    @property
    def is_shuffled(self) -> bool:
        """Whether every image gets another image's map."""
        return self.variant == SHUFFLED

    @property
    def unshuffled(self) -> "MethodName":
        """The method whose maps rank the pixels: this one, or the base of a shuffled one."""
        return MethodName(self.base) if self.is_shuffled else self

    @property
    def shuffled(self) -> "MethodName":
        """The shuffled control of this base."""
        return MethodName(self.base, SHUFFLED)

    @property
    def masks_depend_on_image(self) -> bool:
        """Whether a mask of this method can carry information on its image."""
        return not self.is_shuffled and self.base not in _BLIND

    @property
    def title(self) -> str:
        """The name in reports."""
        title = CONTROLS.get(self.base) or (METHODS[self.base].title if self.base in METHODS else self.base)
        return f"{title}, {VARIANTS.get(self.variant, self.variant)}" if self.variant else title

    @property
    def raw(self) -> str:
        """Name of its computation in ``engine``, which several methods may share."""
        return METHODS[self.base].raw if self.base in METHODS else self.base

    def check(self) -> None:
        """Refuse a name that is neither a method nor a control, nor a variant of one.

        Raises:
            InputError: lists the known names.
        """
        variants = (*VARIANTS, SHUFFLED)
        if self.variant is not None and self.variant not in variants:
            raise InputError(f"unknown variant '+{self.variant}' of '{self.base}'. Known: +{', +'.join(variants)}.")
        if self.is_custom:
            source_file(self.base)
        elif self.base not in METHODS and self.base not in CONTROLS:
            raise InputError(
                f"unknown attribution method '{shortened(self.base)}'. Known: {', '.join(METHODS)}; controls without a "
                f"model: {', '.join(CONTROLS)}; variants of each: +{', +'.join(variants)}; your own as module:function."
            )

    def keys(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Return all that the maps of a method that needs a model depend on.

        These are keys of [maps], and the method's version if above 1, or the content of a custom function's module.
        """
        if self.is_custom:
            content = {"source": source_digest(self.base)}
            return {key: settings[key] for key in ("explain", "batch")} | content | {"method_version": _OWN_VERSION}
        method = METHODS[self.base]
        keys = {key: settings[key] for key in ("explain", "batch", *method.keys)}
        return keys | ({"method_version": method.version} if method.version > 1 else {})


def check_method(text: str) -> None:
    """Refuse a text that names no method, as ``MethodName.check`` does."""
    MethodName.parse(text).check()
