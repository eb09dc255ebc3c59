"""What a reader must know before believing the numbers, in sentences made from the results."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from roar_pipeline import config
from roar_pipeline.report.grid import Curve, full_labels
from roar_pipeline.report.labels import LEADING, METRICS
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.summaries import Summary, beyond_chance, change_of, lower_is_better, probes_of
from roar_pipeline.report.tables.table import signed
from roar_pipeline.report.wording import listed

__all__ = ["warnings"]

_ENOUGH_SEEDS = 3
"""From this many, intervals are narrow enough to decide anything."""

_SEED_SPREAD = 0.05
"""What seeds move a cell by, where one seed cannot tell."""

_PROBED = 0.02
"""Score above nothing visible from which a probe has learned anything."""

_TIED = 0.1
"""Share of removed pixels decided by ties from which a cell is named."""


def warnings(settings: config.Settings, overview: Overview, shared: Mapping[str, int] | None = None) -> list[str]:
    """Return what limits the results: generated data, few seeds, leaks, ties, unfinished training, mixed machines.

    Args:
        settings: of all results.
        overview: the results.
        shared: images that the validation split shares with ``train`` and ``test``, ``of`` how many; None: not known.
    """
    lines = []
    if not settings.dataset.root:
        lines.append(
            "Measured on the generated set, for which the default settings were tuned: an illustration, not evidence."
        )
    lines += _about_seeds(overview)
    lines += _about_leaks(overview)
    if settings.maps.explain == "labels":
        lines.append(
            "Maps explain the true labels, of test images too (explain = labels): which pixels are gone tells the "
            "retrained network the label, so scores after removal are too high."
        )
    lines += _about_probes(overview)
    lines += _about_longer(overview)
    lines += _about_ties(overview.grid.curves)
    lines += _about_validation(settings) or _about_shared(settings, shared or {})
    lines += _about_origins(overview)
    return lines


def _about_seeds(overview: Overview) -> list[str]:
    if overview.seeds == 1:
        return [
            "One seed: this shows the picture, it supports no claim. A retrained network's score moves by several "
            f"points from seed to seed, so there are no intervals. Set [grid] seeds to {_ENOUGH_SEEDS} seeds or more, "
            "five for publication."
        ]
    if overview.resampled is None:
        return ["No intervals: [report] bootstrap is 0, so nothing is decided about any claim."]
    if overview.seeds < _ENOUGH_SEEDS:
        return [
            f"{overview.seeds} seeds: intervals hold their level but are wide. {_ENOUGH_SEEDS} or more decide more."
        ]
    return []


def _about_leaks(overview: Overview) -> list[str]:
    """Name curves on the wrong side of random's or of the clean cells by more than chance, and a negative RACU.

    Not those of controls whose masks know nothing of their image, and not where there is nothing to remove.
    """
    lines = []
    for metric in LEADING:
        if not overview.has_signal(metric):
            continue
        pairs = zip(overview.grid.curves, overview.summaries[metric], strict=True)
        labels = full_labels(overview.grid.curves)
        informed = [(label, c, s) for label, (c, s) in zip(labels, pairs, strict=True) if c.is_informed]
        if wrong := _wrong_sides(informed):
            lines.append(
                f"{METRICS[metric]} on the wrong side by more than chance: {'; '.join(wrong)}. Either the maps rank "
                "what matters last, or the masks tell the label: compare with the mask-only probe."
            )
        if above := _above_clean(informed):
            lines.append(
                f"{METRICS[metric]} above the clean cells by more than chance: {'; '.join(above)}. The removal tells "
                "the label."
            )
    return lines


def _wrong_sides(informed: Sequence[tuple[str, Curve, Summary]]) -> list[str]:
    texts: dict[str, list[str]] = {}
    for side, sign in (("above", 1), ("below", -1)):
        chosen = [row for row in informed if lower_is_better(row[1].direction) == (sign > 0)]
        for label, points in _points_beyond(chosen, lambda summary: summary.gaps, sign).items():
            texts.setdefault(label, []).append(f"{side} random's at {', '.join(points)}")
    with_interval = [row for row in informed if row[2].racu.interval is not None]
    negative = beyond_chance([summary.racu for _, _, summary in with_interval], -1)
    for (label, _, summary), is_negative in zip(with_interval, negative, strict=True):
        if is_negative and summary.racu.mean is not None:
            texts.setdefault(label, []).append(f"RACU {signed(summary.racu.mean, 2)}")
    return [f"{label} ({', '.join(parts)})" for label, parts in texts.items()]


def _above_clean(informed: Sequence[tuple[str, Curve, Summary]]) -> list[str]:
    beyond = _points_beyond(informed, lambda summary: summary.above_clean, 1)
    return [f"{label} ({', '.join(points)})" for label, points in beyond.items()]


def _points_beyond(
    rows: Sequence[tuple[str, Curve, Summary]], differences: Callable[[Summary], Sequence[Estimate]], sign: int
) -> dict[str, list[str]]:
    """Return, by label, the percentages at which a difference lies on one side of 0 by more than chance."""
    places = [(label, percent) for label, curve, _ in rows for percent in curve.percents]
    beyond = beyond_chance([estimate for _, _, summary in rows for estimate in differences(summary)], sign)
    points: dict[str, list[str]] = {}
    for (label, percent), is_beyond in zip(places, beyond, strict=True):
        if is_beyond:
            points.setdefault(label, []).append(f"{percent} %")
    return points


def _about_probes(overview: Overview) -> list[str]:
    """Say where the masks alone reach most of what the cells score above nothing visible, paired by run."""
    metric = LEADING[0]
    explained = []
    for label, curve in zip(full_labels(overview.grid.curves), overview.grid.curves, strict=True):
        for point, percent in enumerate(curve.percents):
            probe, cell, blank = _probed(overview, curve, point, percent, metric)
            if probe is not None and probe - blank > max(_PROBED, (cell - blank) / 2):
                explained.append(
                    f"{label}, {percent} %: {100 * probe:.1f} of {100 * cell:.1f}"
                    + ("" if curve.direction == "remove" else " (KAR)")
                )
    if not explained:
        return []
    blank = overview.spread_of(overview.grid.blank, metric)[0] or 0.0
    return [
        f"The masks alone explain most of what is left ({METRICS[metric]} of a network that sees nothing but the "
        f"masks, of the cell's; {100 * blank:.1f} with nothing visible): {listed(explained, 8)}. There the curve "
        "shows what the shape of the mask gives away, not what the image still shows."
    ]


def _probed(
    overview: Overview, curve: Curve, point: int, percent: int, metric: str
) -> tuple[float | None, float, float]:
    """Return the means of probe, cell and nothing visible over the runs that have all three; None without any."""
    probes = {probe.run: probe.test[metric] for probe in probes_of(overview.probes, curve, percent)}
    blanks = {cell.seed: cell.test[metric] for cell in overview.grid.blank}
    rows = [
        (probes.get(cell.run), cell.test[metric], blanks.get(cell.seed))
        for cell in curve.cells[point]
        if None not in (probes.get(cell.run), cell.test[metric], blanks.get(cell.seed))
    ]
    if not rows:
        return None, 0.0, 0.0
    probe, cell, blank = np.mean(np.array(rows, dtype=np.float64), axis=0)
    return float(probe), float(cell), float(blank)


def _about_longer(overview: Overview) -> list[str]:
    """Say by how much training twice as long moves the cells that were, beside their spread over seeds."""
    moved, still = [], 0
    for label, curve in zip(full_labels(overview.grid.curves), overview.grid.curves, strict=True):
        for point, percent in enumerate(curve.percents):
            for metric in LEADING:
                change, spread = change_of(overview.longer, curve, point, percent, metric)
                if change is None:
                    continue
                if abs(change) > (_SEED_SPREAD if spread is None else spread):
                    beside = "" if spread is None else f" (± {100 * spread:.1f} over seeds)"
                    moved.append(
                        f"{label}, {percent} %: {METRICS[metric]} {'+' * (change > 0)}{signed(100 * change, 1)}{beside}"
                    )
                else:
                    still += 1
    if not moved:
        return []
    kept = f" {still} of {still + len(moved)} scores moved by less than seeds do." if still else ""
    return [
        f"Retraining is not converged: twice the epochs move {listed(moved, 8)}.{kept} An unfinished training "
        "exaggerates falls; raise [retrain] epochs."
    ]


def _about_validation(settings: config.Settings) -> list[str]:
    dataset = settings.dataset
    if dataset.validation_split not in (dataset.test_split, dataset.train_split):
        return []
    if dataset.validation_split == dataset.train_split:
        return [
            f"The training split is also the validation split: the threshold of {METRICS['f1_tuned']} was chosen on "
            "images that the networks were trained on, where they are surer than on others."
        ]
    return [
        f"The test split is also the validation split: the threshold of {METRICS['f1_tuned']} was chosen on the images "
        f"it is measured on{_best_epochs(settings)}. Such scores are optimistic."
    ]


def _about_shared(settings: config.Settings, shared: Mapping[str, int]) -> list[str]:
    """Name a validation split that shares some of its images with another split."""
    lines = []
    if count := shared.get("test", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also test images: the threshold of "
            f"{METRICS['f1_tuned']} was chosen on them, too{_best_epochs(settings)}. Such scores are optimistic."
        )
    if count := shared.get("train", 0):
        lines.append(
            f"{count} of {shared['of']} validation images are also training images: the threshold of "
            f"{METRICS['f1_tuned']} was chosen on images that the networks were trained on, too, where they are surer."
        )
    return lines


def _best_epochs(settings: config.Settings) -> str:
    networks = {"teacher": settings.teacher, "student": settings.student}
    best = [name for name, network in networks.items() if network.checkpoint == "best"]
    return f", as was the best epoch of {' and '.join(best)}" if best else ""


def _about_origins(overview: Overview) -> list[str]:
    """Name the machines and libraries where results of several kinds meet, with their counts."""
    cells = (*overview.cells, *overview.probes, *overview.longer)
    origins = [*(cell.origin for cell in cells), *(run.origin for run in overview.models)]
    counts = Counter(origin or "an unknown machine" for origin in origins)
    if len(counts) < 2:
        return []
    kinds = "; ".join(f"{count} by {origin}" for origin, count in counts.most_common())
    return [
        f"Networks of several kinds of machine meet: {kinds}. The same settings and seed give other last bits there, "
        "and after training scores that differ as between seeds. Differences between cells of different kinds are less "
        "paired than they seem."
    ]


def _about_ties(curves: Sequence[Curve]) -> list[str]:
    tied: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for name, curve in zip(full_labels(curves), curves, strict=True):
        for point in curve.cells:
            share = max((cell.removal.tied_share_test for cell in point if cell.removal), default=0)
            if not curve.is_control and share >= _TIED:
                tied.setdefault((curve.direction, point[0].percent), []).append((share, name))
    lines = []
    for (direction, percent), shares_of in tied.items():
        shares = [share for share, _ in shares_of]
        ends = sorted({f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"}, key=int)
        size = " to ".join(ends) + " %"
        kept = "" if direction == "remove" else " (KAR)"
        everyone = len(shares_of) == sum(not c.is_control and c.direction == direction for c in curves)
        names = "all models" if everyone else listed([name for _, name in shares_of], 6)
        lines.append(f"At {percent} %{kept}, ties decide {size} of the removed pixels ({names}).")
    if lines:
        lines[-1] += " Equal values of a map, most often 0, go in random order."
    return lines
