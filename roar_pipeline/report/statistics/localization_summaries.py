"""Localization over the pairs that are averaged: own, all and common ones; and differences between models.

Shapes: N test images, B resamples.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roar_pipeline.cache.files import read_json
from roar_pipeline.evaluation import metrics
from roar_pipeline.report.statistics import inference
from roar_pipeline.report.statistics.contrasts import UNDEFINED, Resampled, Run
from roar_pipeline.report.statistics.inference import Estimate

__all__ = ["OVER", "Localization", "auc_difference", "localization"]

OVER = {
    "own": "classes the model itself predicts (score above 0): flatters a weak model, scored on its easy pairs only",
    "all": "every class that is present",
    "common": "classes that every model compared predicts",
}
"""The (image, present class) pairs that localization is averaged over."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Localization:
    """One seed's localization over one choice of pairs.

    ``undefined`` counts chosen pairs whose class covers nothing or everything, ``zero_maps`` the maps of all pairs that
    have no positive value. ``seed`` is None for a control, but for its common pairs, which depend on the models.
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


def localization(files: Iterable[Mapping[str, Any]]) -> list[Localization]:
    """Average each ``localization.json`` over its own, all, and the common pairs.

    Common are the pairs predicted by every model that has the same method and seed. A control predicts nothing: it has
    no own pairs, and is scored on the common pairs of every seed. A file whose path is None is missing; what is common
    to the models of its seed is then not known, and nothing is scored on the common pairs of this seed.
    """
    files = list(files)
    read = [(file, read_json(Path(file["path"]))) for file in files if file["path"] is not None]
    unknown = {file["seed"] for file in files if file["model"] is not None and file["path"] is None}
    predicted: dict[int, set[tuple[str, int]]] = {}
    for file, measured in read:
        if file["model"] is not None:
            own = {_pair(pair) for pair in measured["pairs"] if pair["score"] > 0}
            predicted[file["seed"]] = predicted.get(file["seed"], own) & own
    predicted = {seed: own for seed, own in predicted.items() if seed not in unknown}
    return [row for file, measured in read for row in _localization(file, measured, predicted)]


def _pair(pair: Mapping[str, Any]) -> tuple[str, int]:
    return pair["id"], pair["class_index"]


def _localization(
    file: Mapping[str, Any], measured: Mapping[str, Any], predicted: Mapping[int, set[tuple[str, int]]]
) -> list[Localization]:
    pairs = measured["pairs"]
    auc, pointing = ([pair[key] for pair in pairs] for key in ("auc", "pointing"))
    chosen = [(file["seed"], "all", [True] * len(pairs))]
    if file["model"] is not None:
        chosen.append((file["seed"], "own", [pair["score"] > 0 for pair in pairs]))
    for seed in predicted if file["model"] is None else {file["seed"]} & predicted.keys():
        chosen.append((seed, "common", [_pair(pair) in predicted[seed] for pair in pairs]))
    rows = []
    for seed, over, keep in chosen:
        found = metrics.summarize_pairs(auc, pointing, np.array(keep, dtype=bool))
        rows.append(
            Localization(
                file["model"],
                file["method"],
                seed,
                over,
                found["auc"],
                found["pointing"],
                found["pairs"],
                found["undefined"],
                measured["zero_maps"],
            )
        )
    return rows


def auc_difference(
    files: Iterable[Mapping[str, Any]],
    models: tuple[str, str],
    method: str,
    ids: Sequence[str],
    resampled: Resampled | None,
) -> Estimate:
    """Estimate the AUC over all pairs of one model's maps minus another's, seed by seed and over resampled images.

    Args:
        files: model, method, seed and path of every localization.json; a path that is None is missing.
        models: whose maps; the second's AUC is taken from the first's.
        method: of the maps.
        ids: of the test images, in the order of the resamples.
        resampled: resamples of the test images; None: no interval.
    """
    files = [file for file in files if file["model"] in models and file["method"] == method]
    paths = {(file["model"], file["seed"]): file["path"] for file in files}
    seeds = sorted({seed for _, seed in paths})
    rows = {key: _sums(Path(path), ids) for key, path in paths.items() if path is not None}
    complete = [seed for seed in seeds if all((model, seed) in rows for model in models)]
    if not complete:
        return UNDEFINED
    values: dict[Run, float | None] = {
        (seed, None): _difference(rows, models, seed, np.ones((len(ids), 1)))[0] for seed in complete
    }
    whole = resampled is not None and len(complete) == len(seeds)
    if resampled is None or not whole:
        estimate = inference.estimate(values, None, 0)
        return Estimate(estimate.mean, estimate.std, None, None, estimate.runs)
    drawn = np.sum([_difference(rows, models, seed, resampled.counts) for seed in complete], axis=0) / len(complete)
    return inference.estimate(values, drawn, resampled.images)


def _sums(path: Path, ids: Sequence[str]) -> tuple[Floats, Floats]:
    """Return each image's sum of AUCs and its number of pairs that have one, (N,)."""
    row_of = {image_id: row for row, image_id in enumerate(ids)}
    sums, pairs = np.zeros(len(ids)), np.zeros(len(ids))
    for pair in read_json(path)["pairs"]:
        if pair["auc"] is not None:
            sums[row_of[pair["id"]]] += pair["auc"]
            pairs[row_of[pair["id"]]] += 1
    return sums, pairs


def _difference(
    rows: Mapping[tuple[str, int], tuple[Floats, Floats]], models: tuple[str, str], seed: int, counts: Floats
) -> Floats:
    first, second = (_mean_of_pairs(*rows[model, seed], counts) for model in models)
    return np.asarray(first - second)


def _mean_of_pairs(sums: Floats, pairs: Floats, counts: Floats) -> Floats:
    """Return the mean over the pairs of the images in every resample, NaN where none has a pair: (B,)."""
    total, number = (np.einsum("n,nb->b", each, counts) for each in (sums, pairs))
    mean: Floats = np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)
    return mean
