"""How long results will take, and how large they will be, before anything is started.

What like results took, if there are any. Else the stage's work in seconds of one CPU core (``reference_seconds``), by
the multiply-adds of its network, times what finished results of other settings or stages took per such second.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from roar_pipeline.config import Network
from roar_pipeline.estimates.cost import Cost, Size, cost_of
from roar_pipeline.methods import MethodName

__all__ = ["Estimate", "Need", "Scope", "estimate", "reference_seconds", "wall_seconds"]

_MULTIPLY_ADDS = 70e9
"""Per second of one core (AVX-512, float32): vgg16_bn trains at 74e9 on 227 pixels, the default teacher at 60e9."""
_STEP_SECONDS = 3e-3
"""Of a training step beside its multiply-adds; small networks at a batch of 16 spend most of theirs here."""
_START_SECONDS = 1.5
"""Of a stage's process, its files and its manifest."""
_REPORT_SECONDS = 5.0
_PAIR_SECONDS = 1e-3
"""Of a pair that is localized, beside its pixels."""

_PIXELS_PER_SECOND = {
    "GenerateScenes": 2.4e6,
    "PrepareImages": 5.0e6,
    "DumpMaps": 2.0e7,
    "RankPixels": 1.0e7,
    "EvaluateLocalization": 5.0e6,
}
"""Of stages that run no network; DumpMaps stands here for its controls."""

_FORWARDS = {"gradcam": 1.0, "ebp": 1.0, "lrp": 3.0, "rap": 4.4}
"""Cost of a map in forward passes where it is not that of a gradient (``benchmarks/README.md``)."""
_GRADIENT = 2.1
"""The same of a gradient, which others take ``steps`` or ``samples`` times."""

_PAIRS = 1.5
"""Explained classes per image, as in PASCAL VOC."""

_TRAINED = {
    "FineTuneTeacher": "teacher",
    "DistillStudent": "student",
    "Retrain": "retrain",
    "ProbeMasks": "retrain",
}
"""Stages that train a network, and the setting in their identity that says which and how."""

_LIKE = 20
"""Like results that an estimate is taken from."""


@dataclass(frozen=True)
class Scope:
    """What is worked on, and what the identity of a result leaves out."""

    size: Size
    explained: Callable[[str], Cost]
    """From the name of a model in the grid to its cost per image."""


@dataclass(frozen=True)
class Need:
    """A result that is to be made: its identity, and the fingerprint of the images it goes back to."""

    family: str
    identity: Mapping[str, Any]
    images: str


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of one result, and where they come from."""

    seconds: float
    size: float
    like: int
    """Results that it is taken from; 0: a guess."""
    scaled: bool = False
    """From results with other settings or of other stages, by the work in them."""
    from_others: bool = False
    """Of other stages."""


def estimate(need: Need, manifests: Mapping[str, Sequence[Mapping[str, Any]]], scope: Scope, device: str) -> Estimate:
    """Estimate a result from finished ones.

    Args:
        need: what is to be made.
        manifests: of finished results by family, oldest first.
        scope: what is worked on.
        device: on which networks will run, ``cpu`` or ``cuda``.
    """
    same_images = {f: [m for m in given if _goes_back_to(m, need.images)] for f, given in manifests.items()}
    of_family = same_images.get(need.family, [])
    settings = need.identity.get("settings")
    is_source = need.family in ("GenerateScenes", "PrepareImages")
    candidates = manifests.get(need.family, ()) if is_source else of_family
    if alike := [m for m in candidates if m["identity"].get("settings") == settings][-_LIKE:]:
        return Estimate(median(m["seconds"] for m in alike), median(map(_bytes, alike)), len(alike))
    work = reference_seconds(need.family, need.identity, scope)
    if scaled := of_family[-_LIKE:]:
        return Estimate(work * _pace(scaled, scope), median(map(_bytes, scaled)), len(scaled), scaled=True)
    size = _guessed_bytes(need, scope.size)
    if _runs_network(need.family, need.identity) and (others := _networks(same_images, device)[-_LIKE:]):
        return Estimate(work * _pace(others, scope), size, len(others), scaled=True, from_others=True)
    return Estimate(work, size, 0)


def reference_seconds(family: str, identity: Mapping[str, Any], scope: Scope) -> float:
    """Return the work of a result in seconds of one CPU core of the kind that it was measured on, never 0.

    Training: a forward and a backward pass (twice a forward) per image and epoch, the teacher's forward pass per image
    (once if nothing is augmented), predictions, and what a step costs beside. Maps: by method, in forward passes per
    image and explained class; together they take less than their sum.
    """
    size, settings = scope.size, identity.get("settings", {})
    pixels = size.pixels
    if family in _TRAINED:
        return _START_SECONDS + _training_seconds(identity, settings[_TRAINED[family]], scope)
    if _runs_network(family, identity):
        model = identity["parameters"]["model"]
        maps = _PAIRS * (size.images + size.masks)
        forwards = _method_forwards(identity["parameters"]["method"], settings.get("maps", {}))
        return _START_SECONDS + maps * forwards * scope.explained(model).multiply_adds / _MULTIPLY_ADDS
    if family == "EvaluateLocalization":
        return _START_SECONDS + _PAIRS * size.masks * (_PAIR_SECONDS + pixels / _PIXELS_PER_SECOND[family])
    if family == "Report":
        return _REPORT_SECONDS
    return _START_SECONDS + size.images * pixels / _PIXELS_PER_SECOND[family]


def _cost(recipe: Mapping[str, Any], size: Size) -> Cost:
    network = Network(**{name: recipe[name] for name in ("arch", "width", "pool", "dropout")})
    return cost_of(network, size.classes, size.height, size.width, reduction=recipe.get("reduction", 1))


def _training_seconds(identity: Mapping[str, Any], recipe: Mapping[str, Any], scope: Scope) -> float:
    size = scope.size
    cost = _cost(recipe, size)
    forwards = float(3 * recipe["epochs"] * size.train + size.test)
    if identity["stage"] not in ("Retrain", "ProbeMasks"):
        forwards += _validations(recipe) * (size.validation or size.test)
    work = forwards * cost.multiply_adds
    if identity["parameters"].get("loss", "plain") != "plain":
        passes = 1 if recipe["augment"] == "none" else recipe["epochs"]
        work += passes * size.train * scope.explained("teacher").multiply_adds
    steps = recipe["epochs"] * max(1, size.train // recipe["batch"])
    return float(work / _MULTIPLY_ADDS + steps * _STEP_SECONDS)


def _validations(recipe: Mapping[str, Any]) -> int:
    """Return how often a training looks at the validation split."""
    epochs: int = recipe["epochs"]
    return epochs if recipe["checkpoint"] == "best" else min(epochs, 20)


def _method_forwards(method: str, keys: Mapping[str, Any]) -> float:
    base = MethodName.parse(method).base
    return float(_FORWARDS.get(base, _GRADIENT * keys.get("steps", 1) * keys.get("samples", 1)))


def _runs_network(family: str, identity: Mapping[str, Any]) -> bool:
    return family in _TRAINED or (
        family == "DumpMaps" and MethodName.parse(identity["parameters"]["method"]).needs_model
    )


def _networks(manifests: Mapping[str, Sequence[Mapping[str, Any]]], device: str) -> list[Mapping[str, Any]]:
    """Return the results that a network was run for, on this kind of device, oldest first."""
    chosen = [
        manifest
        for family, given in manifests.items()
        for manifest in given
        if _runs_network(family, manifest["identity"]) and str(manifest.get("device", "")).startswith(device)
    ]
    return sorted(chosen, key=lambda manifest: str(manifest.get("finished")))


def _pace(manifests: Iterable[Mapping[str, Any]], scope: Scope) -> float:
    """Return how much longer results took than a core of the kind that the work was measured on."""
    return float(
        median(m["seconds"] / reference_seconds(m["identity"]["stage"], m["identity"], scope) for m in manifests)
    )


def _goes_back_to(manifest: Mapping[str, Any], images: str) -> bool:
    return images in manifest["identity"].get("inputs", ())


def _bytes(manifest: Mapping[str, Any]) -> int:
    return sum(entry["bytes"] for entry in manifest["files"].values())


def _guessed_bytes(need: Need, size: Size) -> float:
    per_image = {
        "GenerateScenes": 1.2 * size.pixels,
        "PrepareImages": 3.0 * size.pixels,
        "DumpMaps": 6.0 * size.pixels,
        "RankPixels": 1.0 * size.pixels,
        "EvaluateLocalization": 300.0,
    }
    if need.family in per_image:
        kept = size.photograph_bytes if need.family == "PrepareImages" else 0
        return per_image[need.family] * size.images + kept
    recipe = need.identity.get("settings", {}).get(_TRAINED.get(need.family, ""))
    is_saved = recipe is not None and recipe.get("save_model", True)
    return 4.0 * size.test * size.classes + 4e3 + (4.0 * _cost(recipe, size).parameters if is_saved else 0)


def wall_seconds(
    seconds: Mapping[str, float], inputs: Mapping[str, Iterable[str]], shares: Mapping[str, float]
) -> float:
    """Return about how long results take together: no less than the longest chain, nor than what they occupy.

    Args:
        seconds: of every result to be made, by fingerprint.
        inputs: of each, the fingerprints of what it waits for.
        shares: of the machine that each occupies: one of four workers is 0.25, three quarters of its memory 0.75.
    """
    ends: dict[str, float] = {}

    def end(key: str) -> float:
        if key not in ends:
            ends[key] = seconds.get(key, 0.0) + max((end(k) for k in inputs.get(key, ())), default=0.0)
        return ends[key]

    longest = max((end(key) for key in seconds), default=0.0)
    return max(longest, sum(took * shares.get(key, 1.0) for key, took in seconds.items()))
