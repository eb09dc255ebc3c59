"""Statistics over the runs of a curve, of a model and of its localization (PROTOCOL 8).

Shapes: P percentages of a curve, R runs, N test images, K classes, B resamples.

Where cells are missing (partial report), nothing is filled in. A point's mean and deviation are over the runs there
are, which are counted beside it. Comparisons are paired: a point's difference to random is over the *whole* seeds of
this point, those of which random's cell and all of the curve's runs are there, and RACU over the seeds that are whole
at every percentage and have their clean cell; without any, they are undefined. Intervals are for what has every run:
resampling seeds of which some are missing would not tell how far another choice of seeds could lead.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from roar_pipeline import curves, metrics
from roar_pipeline.files import read_json
from roar_pipeline.results import Cell, Curve

__all__ = [
    "OVER",
    "Drawn",
    "Localization",
    "Summary",
    "blank_scores",
    "draw",
    "localization",
    "summarize",
]

OVER = {
    "own": "classes the model itself predicts (score above 0): flatters a weak model, scored on its easy pairs only",
    "all": "every class that is present",
    "common": "classes that every model compared predicts",
}
"""The (image, present class) pairs that localization is averaged over."""

Floats = npt.NDArray[np.float64]
Interval = tuple[float, float]


@dataclass(frozen=True)
class Drawn:
    """Resampled F1: of the clean cells and of a network that sees nothing (B,), of every curve (P, B)."""

    clean: Floats
    blank: Floats
    curves: Mapping[tuple[str, str, str | None], Floats]


@dataclass(frozen=True)
class Summary:
    """A curve's statistics of one metric; lists have one entry per percentage.

    ``gap`` is the curve minus random's; intervals are 95 % and None where nothing was resampled or a run is missing.
    ``runs``, ``gap_runs`` and ``racu_runs`` count the curve's runs behind ``mean``, ``gap`` and ``racu``.
    """

    mean: list[float | None]
    std: list[float | None]
    interval: list[Interval | None]
    gap: list[float | None]
    gap_interval: list[Interval | None]
    racu: float | None
    racu_interval: Interval | None
    runs: list[int]
    gap_runs: list[int]
    racu_runs: int


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


def blank_scores(train_labels: npt.NDArray[np.uint8], count: int) -> npt.NDArray[np.float32]:
    """Return the scores (N, K) of a network that sees nothing: each class at the logit of its training frequency.

    No constant prediction has a lower loss, so this is where every curve ends when all pixels are removed.
    """
    frequency = np.clip(train_labels.mean(0, dtype=float), 1e-6, 1 - 1e-6)
    return np.tile(np.log(frequency / (1 - frequency)), (count, 1)).astype(np.float32)


def draw(
    clean: Sequence[Cell],
    grid: Sequence[Curve],
    labels: npt.NDArray[np.uint8],
    blank: npt.NDArray[np.float32],
    threshold: float,
    count: int,
) -> Drawn:
    """Resample seeds and test images ``count`` times, the same for all cells, and take the F1 of every point.

    Model seeds are drawn by themselves only if they are crossed with the seeds; otherwise run s is one pair. A point
    that lacks a run is NaN.
    """
    runs = {run for curve in grid for run in curve.runs}
    crossed = any(model_seed not in (None, seed) for seed, model_seed in runs)
    model_seeds = {m for _, m in runs if m is not None} if crossed else set[int]()
    seeds = sorted({seed for seed, _ in runs})
    resamples = curves.resample(seeds, sorted(model_seeds), len(labels), count)

    def of_cells(cells: Sequence[Cell], asked: int) -> Floats:
        if len(cells) < asked:
            return np.full(count, np.nan)
        scores = (np.load(cell.directory / "scores.npy") for cell in cells)
        rows = [metrics.per_image_f1(labels, of_cell, threshold) for of_cell in scores]
        return curves.bootstrap_means(rows, [cell.run for cell in cells], resamples)

    of_blank = metrics.per_image_f1(labels, blank, threshold)[None]
    return Drawn(
        clean=of_cells(clean, len(seeds)),
        blank=curves.bootstrap_means(of_blank, [(None, None)], resamples),
        curves={curve.key: np.stack([of_cells(point, len(curve.runs)) for point in curve.cells]) for curve in grid},
    )


def summarize(
    curve: Curve, random: Curve, clean: Sequence[Cell], blank: float | None, metric: str, drawn: Drawn | None
) -> Summary:
    """Sum up one metric of a curve over its runs, alone and against random removal of the same direction.

    What is done where cells are missing stands at the top of the module.

    Args:
        curve: of a method, or random itself.
        random: the control.
        clean: cells at 0 % that are there.
        blank: the metric's value when nothing can be seen.
        metric: a key of ``results.METRICS``.
        drawn: resampled values of this metric; None for no intervals.
    """
    spread = [curves.mean_std(values) for values in curve.values(metric)]
    whole = _whole_seeds(curve, random)
    pairs = [_paired(curve, random, point, seeds, metric) for point, seeds in enumerate(whole)]
    throughout = set.intersection(*whole) & {cell.seed for cell in clean}
    own: Floats | None = None if drawn is None else drawn.curves[curve.key]
    other: Floats | None = None if drawn is None else drawn.curves[random.key]
    common = [_paired(curve, random, point, throughout, metric) for point in range(len(whole))]
    start = _mean(clean, throughout, metric)
    racu = _racu(curve, [baseline for _, baseline in common], [mean for mean, _ in common], start, blank)
    racu_drawn = None if drawn is None else _racu(curve, other, own, drawn.clean, drawn.blank)
    return Summary(
        mean=[mean for mean, _ in spread],
        std=[std for _, std in spread],
        interval=_intervals(own, len(spread)),
        gap=[None if m is None or b is None else m - b for m, b in pairs],
        gap_interval=_intervals(None if own is None or other is None else own - other, len(spread)),
        racu=None if racu is None or np.isnan(racu) else float(racu),
        racu_interval=None if racu_drawn is None else curves.interval(racu_drawn),
        runs=[len(point) for point in curve.cells],
        gap_runs=[_count(curve, seeds) for seeds in whole],
        racu_runs=_count(curve, throughout),
    )


def _whole_seeds(curve: Curve, random: Curve) -> list[set[int]]:
    """Return for every point the seeds of which all runs of both curves are there."""
    seeds = []
    for point in range(len(curve.percents)):
        missing = {
            run[0] for each in (curve, random) for run in set(each.runs) - {cell.run for cell in each.cells[point]}
        }
        seeds.append(set(curve.seeds) - missing)
    return seeds


def _paired(curve: Curve, random: Curve, point: int, seeds: set[int], metric: str) -> tuple[float | None, float | None]:
    """Return the means of a curve and of random over the runs of the same seeds."""
    return _mean(curve.cells[point], seeds, metric), _mean(random.cells[point], seeds, metric)


def _mean(cells: Sequence[Cell], seeds: set[int], metric: str) -> float | None:
    return curves.mean_std([cell.test[metric] for cell in cells if cell.seed in seeds])[0]


def _count(curve: Curve, seeds: set[int]) -> int:
    return sum(seed in seeds for seed, _ in curve.runs)


def _intervals(drawn: Floats | None, points: int) -> list[Interval | None]:
    return [None] * points if drawn is None else [curves.interval(row) for row in drawn]


def _racu(curve: Curve, random: Any, points: Any, whole: Any, blank: Any) -> Floats | None:
    """Return RACU with the ends known without retraining: everything visible, and nothing.

    Keep-and-retrain runs from nothing to everything, and a good method lies above random: the sign turns.
    """
    if whole is None or blank is None or any(value is None for value in (*random, *points)):
        return None
    ends = (whole, blank) if curve.direction == "remove" else (blank, whole)
    area = curves.racu(
        (0, *curve.percents, 100),
        curves.with_ends(ends[0], random, ends[1]),
        curves.with_ends(ends[0], points, ends[1]),
        blank,
    )
    return area if curve.direction == "remove" else -area


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
