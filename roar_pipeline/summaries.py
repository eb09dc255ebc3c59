"""Statistics over the runs of a curve, of a model and of its localization (PROTOCOL 8).

Shapes: P percentages of a curve, R runs, N test images, K classes, B resamples.
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

    ``gap`` is the curve minus random's; intervals are 95 % and None where nothing was resampled.
    """

    mean: list[float | None]
    std: list[float | None]
    interval: list[Interval | None]
    gap: list[float | None]
    gap_interval: list[Interval | None]
    racu: float | None
    racu_interval: Interval | None


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

    Model seeds are drawn by themselves only if they are crossed with the seeds; otherwise run s is one pair.
    """
    runs = {cell.run for curve in grid for point in curve.cells for cell in point}
    crossed = any(model_seed not in (None, seed) for seed, model_seed in runs)
    model_seeds = {m for _, m in runs if m is not None} if crossed else set[int]()
    resamples = curves.resample([cell.seed for cell in clean], sorted(model_seeds), len(labels), count)

    def of_cells(cells: Sequence[Cell]) -> Floats:
        scores = (np.load(cell.directory / "scores.npy") for cell in cells)
        rows = [metrics.per_image_f1(labels, of_cell, threshold) for of_cell in scores]
        return curves.bootstrap_means(rows, [cell.run for cell in cells], resamples)

    of_blank = metrics.per_image_f1(labels, blank, threshold)[None]
    return Drawn(
        clean=of_cells(clean),
        blank=curves.bootstrap_means(of_blank, [(None, None)], resamples),
        curves={curve.key: np.stack([of_cells(point) for point in curve.cells]) for curve in grid},
    )


def summarize(
    curve: Curve, random: Curve, clean: Sequence[Cell], blank: float | None, metric: str, drawn: Drawn | None
) -> Summary:
    """Sum up one metric of a curve over its runs, alone and against random removal of the same direction.

    Args:
        curve: of a method, or random itself.
        random: the control.
        clean: cells at 0 %.
        blank: the metric's value when nothing can be seen.
        metric: a key of ``results.METRICS``.
        drawn: resampled values of this metric; None for no intervals.
    """
    spread = [curves.mean_std(values) for values in curve.values(metric)]
    mean = [pair[0] for pair in spread]
    baseline = [curves.mean_std(values)[0] for values in random.values(metric)]
    whole = curves.mean_std([cell.test[metric] for cell in clean])[0]
    own: Floats | None = None if drawn is None else drawn.curves[curve.key]
    other: Floats | None = None if drawn is None else drawn.curves[random.key]
    racu = _racu(curve, baseline, mean, whole, blank)
    racu_drawn = None if drawn is None else _racu(curve, other, own, drawn.clean, drawn.blank)
    return Summary(
        mean=mean,
        std=[pair[1] for pair in spread],
        interval=_intervals(own, len(mean)),
        gap=[None if m is None or b is None else m - b for m, b in zip(mean, baseline, strict=True)],
        gap_interval=_intervals(None if own is None or other is None else own - other, len(mean)),
        racu=None if racu is None or np.isnan(racu) else float(racu),
        racu_interval=None if racu_drawn is None else curves.interval(racu_drawn),
    )


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
    no own pairs, and is scored on the common pairs of every seed.
    """
    read = [(file, read_json(Path(file["path"]))) for file in files]
    predicted: dict[int, set[tuple[str, int]]] = {}
    for file, measured in read:
        if file["model"] is not None:
            own = {_pair(pair) for pair in measured["pairs"] if pair["score"] > 0}
            predicted[file["seed"]] = predicted.get(file["seed"], own) & own
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
    for seed in predicted if file["model"] is None else [file["seed"]]:
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
