"""Localization averaged over own, all and common pairs, and its differences between models.

Shapes: P pairs of (test image with a mask, class present in it), N test images, B resamples.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from roar_pipeline.evaluation.map_metrics import summarize_pairs
from roar_pipeline.report.inputs import LocalizationInput, Run
from roar_pipeline.report.labels import Scoring
from roar_pipeline.report.results import LocalizedMaps
from roar_pipeline.report.statistics import inference
from roar_pipeline.report.statistics.contrasts import UNDEFINED, Resampled
from roar_pipeline.report.statistics.inference import Estimate

__all__ = ["PAIR_CHOICES", "Localization", "PairScores", "auc_difference", "pair_choices", "summarize_localization"]

PAIR_CHOICES = ("own", "all", "common")
"""The choices of (image, present class) pairs that localization is averaged over."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Localization:
    """One seed's localization over one choice of pairs.

    ``undefined`` counts chosen pairs whose class covers no or every pixel, ``zero_maps`` maps without a positive value,
    of all pairs. A control has no seed, except over the common pairs, which depend on the models.
    """

    model: str | None
    method: str
    seed: int | None
    over: str
    auc: float | None
    pointing: float | None
    pairs: int
    undefined: int
    zero_maps: int


@dataclass(frozen=True)
class PairScores:
    """Every localization of a grid, pair by pair.

    ``expected`` are all localizations of the grid, ``measured`` the finished ones; ``image_ids`` (N,) are the test
    images in the order of the resamples.
    """

    expected: Sequence[LocalizationInput]
    measured: Sequence[LocalizedMaps]
    image_ids: Sequence[str]


def pair_choices(scoring: Scoring) -> dict[str, str]:
    """Return what each of ``PAIR_CHOICES`` means."""
    own = f"classes the model itself predicts ({scoring.own_classes})"
    return {
        "own": f"{own}: flatters a weak model, scored on its easy pairs only",
        "all": "every class that is present",
        "common": "classes that every model compared predicts",
    }


def summarize_localization(scores: PairScores) -> list[Localization]:
    """Average the localization of every model's maps over its own, all, and the common pairs.

    Every model of the same method and seed predicts the common pairs. A control predicts nothing: it has no own pairs,
    and is scored on the common pairs of every seed. Where a model's localization is missing, the common pairs of its
    seed are not known, and nothing is scored on them.
    """
    incomplete_seeds = {maps.seed for maps in scores.expected if maps.model is not None and maps.is_missing}
    predicted: dict[int, set[tuple[str, int]]] = {}
    for maps in scores.measured:
        if maps.seed is not None and maps.is_predicted is not None and maps.seed not in incomplete_seeds:
            own = {pair for pair, is_own in zip(maps.pairs, maps.is_predicted, strict=True) if is_own}
            predicted[maps.seed] = predicted.get(maps.seed, own) & own
    return [row for maps in scores.measured for row in _summaries(maps, predicted)]


def _summaries(maps: LocalizedMaps, predicted: Mapping[int, set[tuple[str, int]]]) -> list[Localization]:
    """Summarize one model's maps; ``predicted`` are the common pairs by seed."""
    chosen: list[tuple[int | None, str, npt.NDArray[np.bool_]]] = [
        (maps.seed, "all", np.ones(len(maps.pairs), dtype=bool))
    ]
    if maps.is_predicted is not None:
        chosen.append((maps.seed, "own", maps.is_predicted))
    for seed, common in predicted.items():
        if maps.model is None or seed == maps.seed:
            chosen.append((seed, "common", np.array([pair in common for pair in maps.pairs], dtype=bool)))
    rows = []
    for of_seed, over, keep in chosen:
        means = summarize_pairs(maps.auc, maps.pointing, keep)
        rows.append(Localization(maps.model, maps.method, of_seed, over, zero_maps=maps.zero_maps, **means))
    return rows


def auc_difference(scores: PairScores, models: tuple[str, str], method: str, resampled: Resampled | None) -> Estimate:
    """Estimate the difference of two models' AUC over all pairs, seed by seed and over resampled images.

    Args:
        scores: of every pair.
        models: the first minus the second.
        method: of the maps.
        resampled: resamples of the test images; None: no interval.
    """
    expected = [maps for maps in scores.expected if maps.model in models and maps.method == method]
    seeds = sorted({maps.seed for maps in expected if maps.seed is not None})
    row_of = {image_id: row for row, image_id in enumerate(scores.image_ids)}
    chosen = [maps for maps in scores.measured if maps.model in models and maps.method == method]
    sums = {(maps.model, maps.seed): _sums(maps, row_of) for maps in chosen}
    complete = [seed for seed in seeds if all((model, seed) in sums for model in models)]
    if not complete:
        return UNDEFINED
    once = np.ones((len(row_of), 1))

    def difference(seed: int, counts: Floats) -> Floats:
        first, second = (_mean_of_pairs(*sums[model, seed], counts) for model in models)
        return np.asarray(first - second)

    values: dict[Run, float | None] = {(seed, None): difference(seed, once)[0] for seed in complete}
    if resampled is None or len(complete) < len(seeds):
        estimate = inference.estimate(values, None, 0)
        return Estimate(estimate.mean, estimate.std, None, None, estimate.runs)
    resampled_mean = np.sum([difference(seed, resampled.counts) for seed in complete], axis=0) / len(complete)
    return inference.estimate(values, resampled_mean, resampled.images)


def _sums(maps: LocalizedMaps, row_of: Mapping[str, int]) -> tuple[Floats, Floats]:
    """Return each image's sum of AUCs and its number of pairs with an AUC, both (N,)."""
    sums, counts = np.zeros(len(row_of)), np.zeros(len(row_of))
    for (image_id, _), auc in zip(maps.pairs, maps.auc, strict=True):
        if not np.isnan(auc):
            sums[row_of[image_id]] += auc
            counts[row_of[image_id]] += 1
    return sums, counts


def _mean_of_pairs(sums: Floats, pairs: Floats, counts: Floats) -> Floats:
    """Return the mean over the pairs of the images in every resample (B,); NaN in a resample without pairs."""
    total, number = (np.einsum("n,nb->b", of_images, counts) for of_images in (sums, pairs))
    mean: Floats = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return mean
