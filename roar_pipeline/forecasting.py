"""How long results will take, and how large they will be, before anything is started.

What like results took, if there are any; else a stated guess: units of work (images x epochs x pixels x width) at the
pace that was measured for the default experiment on one CPU core.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

__all__ = ["Estimate", "Need", "Size", "estimate", "wall_seconds"]

_UNITS_PER_SECOND = {
    "GenerateScenes": 2.4e6,
    "PrepareImages": 5.0e6,
    "FineTuneTeacher": 4.5e7,
    "DistillStudent": 1.2e7,
    "DumpMaps": 3.5e7,
    "RankPixels": 3.3e6,
    "EvaluateLocalization": 1.2e6,
    "Retrain": 4.0e7,
    "Report": 1.0e6,
}
"""Pace of each stage in the default experiment; a GPU is far faster, other nets may be slower."""

_LIKE = 20
"""Like results that an estimate is taken from."""


@dataclass(frozen=True)
class Size:
    """How much there is to work on."""

    train: int
    test: int
    pixels: int
    """H x W."""
    classes: int

    @property
    def images(self) -> int:
        """Train and test."""
        return self.train + self.test


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
    """From results with other settings, by units of work."""


def estimate(need: Need, manifests: Sequence[Mapping[str, Any]], size: Size) -> Estimate:
    """Estimate a result from finished ones of its family.

    Args:
        need: what is to be made.
        manifests: of finished results of the same family.
        size: of the data.
    """
    settings = need.identity.get("settings")
    same_images = [m for m in manifests if need.images in m["identity"].get("inputs", ())]
    alike = [m for m in same_images or manifests if m["identity"].get("settings") == settings][-_LIKE:]
    units = _units(need.family, need.identity, size)
    if alike and (same_images or need.family in ("GenerateScenes", "PrepareImages")):
        return Estimate(median(m["seconds"] for m in alike), median(map(_bytes, alike)), len(alike))
    if scaled := same_images[-_LIKE:]:
        pace = median(m["seconds"] / _units(need.family, m["identity"], size) for m in scaled)
        return Estimate(pace * units, median(map(_bytes, scaled)), len(scaled), scaled=True)
    return Estimate(units / _UNITS_PER_SECOND[need.family], _guessed_bytes(need, size), 0)


def _bytes(manifest: Mapping[str, Any]) -> int:
    return sum(entry["bytes"] for entry in manifest["files"].values())


def _units(family: str, identity: Mapping[str, Any], size: Size) -> float:
    """Return the units of work of a result, never 0."""
    settings = identity.get("settings", {})
    recipe: Mapping[str, Any] = next((settings[s] for s in ("teacher", "student", "retrain") if s in settings), {})
    width = recipe.get("width", 1) / recipe.get("reduction", 1)
    if family in ("FineTuneTeacher", "DistillStudent", "Retrain"):
        return float(max(1, recipe.get("epochs", 1) * size.train * size.pixels * width))
    if family == "DumpMaps":
        maps = settings.get("maps", {})
        return float(max(1, size.images * size.pixels * (2 + maps.get("steps", 0) + maps.get("samples", 0))))
    if family == "Report":
        return 5.0e6
    return float(max(1, size.images * size.pixels))


def _guessed_bytes(need: Need, size: Size) -> float:
    per_image = {
        "GenerateScenes": 1.2 * size.pixels,
        "PrepareImages": 3.0 * size.pixels,
        "DumpMaps": 6.0 * size.pixels,
        "RankPixels": 1.0 * size.pixels,
        "EvaluateLocalization": 300.0,
    }
    scores = 4.0 * size.test * size.classes + 4e3
    return per_image[need.family] * size.images if need.family in per_image else scores


def wall_seconds(seconds: Mapping[str, float], inputs: Mapping[str, Iterable[str]], workers: int) -> float:
    """Return about how long results take together: no less than the longest chain, nor than their sum by workers.

    Args:
        seconds: of every result to be made, by fingerprint.
        inputs: of each, the fingerprints of what it waits for.
        workers: results at a time.
    """
    ends: dict[str, float] = {}

    def end(key: str) -> float:
        if key not in ends:
            ends[key] = seconds.get(key, 0.0) + max((end(k) for k in inputs.get(key, ())), default=0.0)
        return ends[key]

    longest = max((end(key) for key in seconds), default=0.0)
    return max(longest, sum(seconds.values()) / max(1, workers))
