"""Sentences that say what limits the results."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from roar_pipeline import config
from roar_pipeline.datasets.images import Info
from roar_pipeline.report.grid import Curve, full_labels
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.split_caveats import split_caveats
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.summaries import (
    Summary,
    beyond_chance,
    longer_training_change,
    lower_is_better,
    probes_of,
)
from roar_pipeline.report.tables.table import signed_text
from roar_pipeline.report.wording import join_names

__all__ = ["caveats"]

_DECISIVE_SEEDS = 3
"""Fewest seeds whose intervals are narrow enough to decide anything."""

_SEED_SPREAD = 0.05
"""Assumed spread of a cell over seeds where there is only one."""

_MIN_PROBE_SCORE = 0.02
"""Least gain over a blank network from which a probe has learned anything."""

_MIN_TIED_SHARE = 0.1
"""Least share of removed pixels decided by ties that is worth a caveat."""

_KNOWN_LEAK = (
    " On CIFAR-10, maps of the true class of test images are known to lift accuracy from 75 % to 89 % at 50 % removed."
)


def caveats(
    settings: config.Settings,
    overview: Overview,
    shared: Mapping[str, int] | None = None,
    info: Info | None = None,
) -> list[str]:
    """Return what limits the results: generated data, few seeds, leaks, ties, unfinished training, mixed machines.

    Args:
        settings: of all results.
        overview: all results.
        shared: number of images that the validation split shares with ``train`` and with ``test``, and ``of``, its
            size; None: not known.
        info: of the images, with what was held out and what splits share; None: not known.
    """
    lines = []
    is_single_label = overview.scoring.is_single_label
    if not settings.dataset.root:
        lines.append(
            "Measured on the generated set, for which the default settings were tuned: an illustration, not evidence."
        )
    lines += _seed_caveats(overview)
    lines += _leak_caveats(overview)
    if settings.maps.explain == "labels":
        lines.append(
            "Maps explain the true labels, of test images too (explain = labels): which pixels are gone tells the "
            "retrained network the label, so scores after removal are too high."
            + (_KNOWN_LEAK if is_single_label else "")
        )
    lines += _probe_caveats(overview)
    lines += _convergence_caveats(overview)
    lines += _tie_caveats(overview.grid.curves)
    lines += split_caveats(settings, shared or {}, info, is_single_label=is_single_label)
    lines += _origin_caveats(overview)
    return lines


def _seed_caveats(overview: Overview) -> list[str]:
    if overview.seeds == 1:
        return [
            "One seed: this shows the picture, it supports no claim. A retrained network's score moves by several "
            f"points from seed to seed, so there are no intervals. Set [grid] seeds to {_DECISIVE_SEEDS} seeds or "
            "more, five for publication."
        ]
    if overview.resampled is None:
        return ["No intervals: [report] bootstrap is 0, so nothing is decided about any claim."]
    if overview.seeds < _DECISIVE_SEEDS:
        return [
            f"{overview.seeds} seeds: intervals hold their level but are wide. {_DECISIVE_SEEDS} or more decide more."
        ]
    return []


def _leak_caveats(overview: Overview) -> list[str]:
    """Name curves on the wrong side of random's or of the clean cells by more than chance, and those of negative RACU.

    Controls whose masks do not depend on the image are left out, and so are metrics with nothing to remove.
    """
    lines = []
    for metric in overview.scoring.leading:
        if not overview.has_signal(metric):
            continue
        pairs = zip(overview.grid.curves, overview.summaries[metric], strict=True)
        labels = full_labels(overview.grid.curves)
        informed = [(label, c, s) for label, (c, s) in zip(labels, pairs, strict=True) if c.masks_depend_on_image]
        if wrong_sides := _wrong_sides(informed):
            lines.append(
                f"{METRICS[metric].label} on the wrong side by more than chance: {'; '.join(wrong_sides)}. Either the "
                "maps rank what matters last, or the masks tell the label: compare with the mask-only probe."
            )
        if above := _above_clean(informed):
            lines.append(
                f"{METRICS[metric].label} above the clean cells by more than chance: {'; '.join(above)}. The removal "
                "tells the label."
            )
    return lines


def _wrong_sides(informed: Sequence[tuple[str, Curve, Summary]]) -> list[str]:
    texts: dict[str, list[str]] = {}
    for side, sign in (("above", 1), ("below", -1)):
        chosen = [row for row in informed if lower_is_better(row[1].direction) == (sign > 0)]
        for label, points in _points_beyond(chosen, lambda summary: summary.minus_random, sign).items():
            texts.setdefault(label, []).append(f"{side} random's at {', '.join(points)}")
    with_interval = [row for row in informed if row[2].racu.interval is not None]
    negative = beyond_chance([summary.racu for _, _, summary in with_interval], -1)
    for (label, _, summary), is_negative in zip(with_interval, negative, strict=True):
        if is_negative and summary.racu.mean is not None:
            texts.setdefault(label, []).append(f"RACU {signed_text(summary.racu.mean, 2)}")
    return [f"{label} ({', '.join(parts)})" for label, parts in texts.items()]


def _above_clean(informed: Sequence[tuple[str, Curve, Summary]]) -> list[str]:
    beyond = _points_beyond(informed, lambda summary: summary.minus_clean, 1)
    return [f"{label} ({', '.join(points)})" for label, points in beyond.items()]


def _points_beyond(
    rows: Sequence[tuple[str, Curve, Summary]], differences: Callable[[Summary], Sequence[Estimate]], sign: int
) -> dict[str, list[str]]:
    """Return by label the percentages at which a difference lies on one side of 0 by more than chance."""
    keys = [(label, percent) for label, curve, _ in rows for percent in curve.percents]
    beyond = beyond_chance([estimate for _, _, summary in rows for estimate in differences(summary)], sign)
    points: dict[str, list[str]] = {}
    for (label, percent), is_beyond in zip(keys, beyond, strict=True):
        if is_beyond:
            points.setdefault(label, []).append(f"{percent} %")
    return points


def _probe_caveats(overview: Overview) -> list[str]:
    """Say where the masks alone reach most of a cell's gain over a blank network, paired by run."""
    metric = overview.scoring.leading[0]
    exceeding = []
    for label, curve in zip(full_labels(overview.grid.curves), overview.grid.curves, strict=True):
        for point, percent in enumerate(curve.percents):
            probe, cell, blank = _probed(overview, curve, point, percent, metric)
            if probe is not None and probe - blank > max(_MIN_PROBE_SCORE, (cell - blank) / 2):
                exceeding.append(
                    f"{label}, {percent} %: {100 * probe:.1f} of {100 * cell:.1f}"
                    + ("" if curve.direction == "remove" else " (KAR)")
                )
    if not exceeding:
        return []
    blank = overview.spread_of(overview.grid.blank, metric)[0] or 0.0
    return [
        f"The masks alone explain most of what is left ({METRICS[metric].label} of a network that sees nothing but the "
        f"masks, of the cell's; {100 * blank:.1f} with nothing visible): {join_names(exceeding, 8)}. There the curve "
        "shows what the shape of the mask gives away, not what the image still shows."
    ]


def _probed(
    overview: Overview, curve: Curve, point: int, percent: int, metric: str
) -> tuple[float | None, float, float]:
    """Return the mean scores of probe, cell and blank network over the runs that have all three; None if no run has."""
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


def _convergence_caveats(overview: Overview) -> list[str]:
    """Say by how much twice the epochs move a cell, beside its spread over seeds."""
    moved, steady = [], 0
    for label, curve in zip(full_labels(overview.grid.curves), overview.grid.curves, strict=True):
        for point, percent in enumerate(curve.percents):
            for metric in overview.scoring.leading:
                change, spread = longer_training_change(overview.longer, curve, point, percent, metric)
                if change is None:
                    continue
                if abs(change) > (_SEED_SPREAD if spread is None else spread):
                    beside = "" if spread is None else f" (± {100 * spread:.1f} over seeds)"
                    moved.append(
                        f"{label}, {percent} %: {METRICS[metric].label} {'+' * (change > 0)}"
                        f"{signed_text(100 * change, 1)}{beside}"
                    )
                else:
                    steady += 1
    if not moved:
        return []
    kept = f" {steady} of {steady + len(moved)} scores moved by less than seeds do." if steady else ""
    return [
        f"Retraining is not converged: twice the epochs move {join_names(moved, 8)}.{kept} An unfinished training "
        "exaggerates falls; raise [retrain] epochs."
    ]


def _origin_caveats(overview: Overview) -> list[str]:
    """Count the networks by machine and libraries, where these differ."""
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


def _tie_caveats(curves: Sequence[Curve]) -> list[str]:
    tied: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for name, curve in zip(full_labels(curves), curves, strict=True):
        for point in curve.cells:
            share = max((cell.removal.tied_share_test for cell in point if cell.removal), default=0)
            if not curve.is_control and share >= _MIN_TIED_SHARE:
                tied.setdefault((curve.direction, point[0].percent), []).append((share, name))
    lines = []
    for (direction, percent), labeled_shares in tied.items():
        shares = [share for share, _ in labeled_shares]
        ends = sorted({f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"}, key=int)
        size = " to ".join(ends) + " %"
        kept = "" if direction == "remove" else " (KAR)"
        is_every_model = len(labeled_shares) == sum(not c.is_control and c.direction == direction for c in curves)
        names = "all models" if is_every_model else join_names([name for _, name in labeled_shares], 6)
        lines.append(f"At {percent} %{kept}, ties decide {size} of the removed pixels ({names}).")
    if lines:
        lines[-1] += " Equal values of a map, most often 0, go in random order."
    return lines
