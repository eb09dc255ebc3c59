"""Estimates of the time and the disk space of results before they are made.

If similar results exist, an estimate is their median. Else it is the stage's work in seconds of one CPU core
(``reference_seconds``), by the multiply-adds of its network, times the time that finished results of other settings or
stages took per such second.
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
"""Multiply-adds per second of a core (AVX-512, float32): 74e9 of vgg16_bn at 227 pixels, 60e9 of the default one."""
_STEP_SECONDS = 3e-3
"""Overhead of a training step; most of the time of small networks at a batch of 16."""
_START_SECONDS = 1.5
"""Overhead of a stage: its process, files and manifest."""
_REPORT_SECONDS = 5.0
_PAIR_SECONDS = 1e-3
"""Overhead of a localized pair."""

_PIXELS_PER_SECOND = {
    "GenerateScenes": 2.4e6,
    "PrepareImages": 5.0e6,
    "DumpMaps": 2.0e7,
    "RankPixels": 1.0e7,
    "EvaluateLocalization": 5.0e6,
}
"""Speed of stages that run no network; that of DumpMaps is for controls."""

_FORWARDS = {"gradcam": 1.0, "ebp": 1.0, "lrp": 3.0, "rap": 4.4}
"""Forward passes that a map costs, if not those of a gradient (``benchmarks/README.md``)."""
_GRADIENT = 2.1
"""Forward passes that a gradient costs; other methods need ``steps`` x ``samples`` gradients."""

_PAIRS = 1.5
"""Explained classes per image, as in PASCAL VOC; exactly 1 where an image has one label."""

_TRAINED = {
    "FineTuneTeacher": "teacher",
    "DistillStudent": "student",
    "Retrain": "retrain",
    "ProbeMasks": "retrain",
}
"""Stages that train a network, and the section of their settings that describes it."""

_MOST_SIMILAR = 20
"""Most recent similar results that an estimate uses."""


@dataclass(frozen=True)
class Scope:
    """The size of the data and the cost of the models, which a result's identity leaves out."""

    size: Size
    explained: Callable[[str], Cost]
    """Function from the name of a model in the grid to its cost per image."""


@dataclass(frozen=True)
class Need:
    """A result to make: its identity, and the fingerprint of the images that it is made from."""

    family: str
    identity: Mapping[str, Any]
    images: str


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of one result, and where they come from."""

    seconds: float
    size: float
    similar: int
    """Number of results that it is taken from; 0: a guess."""
    scaled: bool = False
    """Whether it is scaled, by the work, from results with other settings or of other stages."""
    from_others: bool = False
    """Whether it is taken from results of other stages."""


def estimate(need: Need, manifests: Mapping[str, Sequence[Mapping[str, Any]]], scope: Scope, device: str) -> Estimate:
    """Estimate a result from finished ones.

    Args:
        need: the result to make.
        manifests: of finished results by family, oldest first.
        scope: of the data and the models.
        device: of the networks, ``cpu`` or ``cuda``.
    """
    same_images = {f: [m for m in group if _is_made_from(m, need.images)] for f, group in manifests.items()}
    of_family = same_images.get(need.family, [])
    settings = need.identity.get("settings")
    is_source = need.family in ("GenerateScenes", "PrepareImages")
    candidates = manifests.get(need.family, ()) if is_source else of_family
    if alike := [m for m in candidates if m["identity"].get("settings") == settings][-_MOST_SIMILAR:]:
        return Estimate(median(m["seconds"] for m in alike), median(map(_bytes, alike)), len(alike))
    work = reference_seconds(need.family, need.identity, scope)
    if scaled := of_family[-_MOST_SIMILAR:]:
        return Estimate(work * _pace(scaled, scope), median(map(_bytes, scaled)), len(scaled), scaled=True)
    size = _guessed_bytes(need, scope.size)
    if _runs_network(need.family, need.identity) and (others := _networks(same_images, device)[-_MOST_SIMILAR:]):
        return Estimate(work * _pace(others, scope), size, len(others), scaled=True, from_others=True)
    return Estimate(work, size, 0)


def reference_seconds(family: str, identity: Mapping[str, Any], scope: Scope) -> float:
    """Return the work of a result in seconds of one CPU core of the reference kind, always positive.

    Training: a forward and a backward pass (twice a forward) per image and epoch, the teacher's forward pass per image
    (once without augmentation), predictions, and the overhead of steps. Maps: the forward passes of the method per
    image and explained class; methods computed together take less than their sum.
    """
    size, settings = scope.size, identity.get("settings", {})
    pixels = size.pixels
    if family in _TRAINED:
        return _START_SECONDS + _training_seconds(identity, settings[_TRAINED[family]], scope)
    if _runs_network(family, identity):
        model = identity["parameters"]["model"]
        maps = _pairs(size) * (size.images + size.masks)
        forwards = _method_forwards(identity["parameters"]["method"], settings.get("maps", {}))
        return _START_SECONDS + maps * forwards * scope.explained(model).multiply_adds / _MULTIPLY_ADDS
    if family == "EvaluateLocalization":
        return _START_SECONDS + _pairs(size) * size.masks * (_PAIR_SECONDS + pixels / _PIXELS_PER_SECOND[family])
    if family == "Report":
        return _REPORT_SECONDS
    return _START_SECONDS + size.images * pixels / _PIXELS_PER_SECOND[family]


def _pairs(size: Size) -> float:
    return 1.0 if size.is_single_label else _PAIRS


def _cost(recipe: Mapping[str, Any], size: Size) -> Cost:
    known = ("arch", "width", "pool", "dropout")  # an identity leaves out what its architecture does not read
    network = Network(**{name: recipe[name] for name in known if name in recipe})
    return cost_of(network, size.classes, size.height, size.width, reduction=recipe.get("reduction", 1))


def _training_seconds(identity: Mapping[str, Any], recipe: Mapping[str, Any], scope: Scope) -> float:
    size = scope.size
    cost = _cost(recipe, size)
    if "epochs" not in recipe:  # a finished teacher, which is measured alone
        return (size.test + size.validation) * cost.multiply_adds / _MULTIPLY_ADDS
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
    """Return how often a training predicts the validation split."""
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
    """Return the results that ran a network on this kind of device, oldest first."""
    results = [
        manifest
        for family, group in manifests.items()
        for manifest in group
        if _runs_network(family, manifest["identity"]) and str(manifest.get("device", "")).startswith(device)
    ]
    return sorted(results, key=lambda manifest: str(manifest.get("finished")))


def _pace(manifests: Iterable[Mapping[str, Any]], scope: Scope) -> float:
    """Return the time of results as a multiple of ``reference_seconds``, median."""
    return float(
        median(m["seconds"] / reference_seconds(m["identity"]["stage"], m["identity"], scope) for m in manifests)
    )


def _is_made_from(manifest: Mapping[str, Any], images: str) -> bool:
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
    """Estimate the time of all results together: the longest chain, or the total use of the machine if longer.

    Args:
        seconds: of every result to make, by fingerprint.
        inputs: of every result, the fingerprints of its inputs.
        shares: of the machine that a result occupies: one of four workers is 0.25, three quarters of its memory 0.75.
    """
    ends: dict[str, float] = {}

    def end(key: str) -> float:
        if key not in ends:
            ends[key] = seconds.get(key, 0.0) + max((end(k) for k in inputs.get(key, ())), default=0.0)
        return ends[key]

    longest = max((end(key) for key in seconds), default=0.0)
    return max(longest, sum(took * shares.get(key, 1.0) for key, took in seconds.items()))
