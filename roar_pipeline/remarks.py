"""What a reader must know before believing the numbers, and what the curves say, in sentences made from the results."""

from collections.abc import Mapping, Sequence
from typing import Any

from roar_pipeline.results import METRICS, Cell, Curve, above_clean, full_labels, method_label
from roar_pipeline.summaries import Summary

__all__ = ["findings", "warnings"]

_ENOUGH_SEEDS = 5
"""Below this many, the spread over seeds is itself uncertain (PROTOCOL 7)."""

_TIED = 0.1
"""Share of removed pixels decided by ties from which a cell is named."""


def warnings(settings: Mapping[str, Mapping[str, Any]], clean: Sequence[Cell], grid: Sequence[Curve]) -> list[str]:
    """Return what limits the results: generated data, few seeds, leaks, ties, cells above clean."""
    lines = []
    if not settings.get("dataset", {}).get("root"):
        lines.append(
            "Measured on the generated set, for which the default settings were tuned: an illustration, not evidence."
        )
    lines += _about_seeds(len(clean))
    if settings.get("maps", {}).get("explain") == "labels":
        lines.append(
            "Maps explain the true labels, of test images too (explain = labels): which pixels are gone tells the "
            "retrained network the label, so scores after removal are too high."
        )
    lines += _about_ties(grid)
    dataset = settings.get("dataset", {})
    best = [name for name in ("teacher", "student") if settings.get(name, {}).get("checkpoint") == "best"]
    if best and dataset.get("validation_split") == dataset.get("test_split"):
        lines.append(
            f"The test split is also the validation split that picks the best epoch of {' and '.join(best)}: their own "
            "scores are optimistic. Retrained networks always keep their last epoch."
        )
    above = [
        f"{name} {point[0].percent} %"
        for name, curve in zip(full_labels(grid), grid, strict=True)
        for point in curve.cells
        if any(above_clean(cell, clean, metric) for cell in point for metric in METRICS)
    ]
    if above:
        lines.append(
            f"Cells that score above the clean cell of their seed in some metric (†): {_listed(above, 6)}. Rare and "
            "small, that is seed noise; otherwise the removal tells the label."
        )
    return lines


def _about_seeds(seeds: int) -> list[str]:
    if seeds == 1:
        return [
            "One seed: this shows the picture, it does not support a claim. A retrained network's F1 moves by several "
            "points from seed to seed, and intervals here cover the choice of test images only. "
            f"Set [grid] seeds to {_ENOUGH_SEEDS} seeds or more."
        ]
    if seeds < _ENOUGH_SEEDS:
        return [
            f"{seeds} seeds: standard deviations are rough, and bootstrap intervals over so few seeds are too narrow. "
            f"{_ENOUGH_SEEDS} seeds or more make a claim."
        ]
    return []


def _about_ties(grid: Sequence[Curve]) -> list[str]:
    tied: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for name, curve in zip(full_labels(grid), grid, strict=True):
        for point in curve.cells:
            share = max((cell.removal["tied_share_test"] for cell in point if cell.removal), default=0)
            if curve.model is not None and share >= _TIED:
                tied.setdefault((curve.direction, point[0].percent), []).append((share, name))
    lines = []
    for (direction, percent), found in tied.items():
        shares = [share for share, _ in found]
        ends = sorted({f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"}, key=int)
        size = " to ".join(ends) + " %"
        kept = "" if direction == "remove" else " (KAR)"
        everyone = len(found) == sum(c.model is not None and c.direction == direction for c in grid)
        names = "all models" if everyone else _listed([name for _, name in found], 6)
        lines.append(f"At {percent} %{kept}, ties decide {size} of the removed pixels ({names}).")
    if lines:
        lines[-1] += " Equal values of a map, most often 0, go in random order."
    return lines


def findings(grid: Sequence[Curve], summaries: Sequence[Summary]) -> list[str]:
    """Return what the F1 curves show, method by method: on the expected side of random where, and the order by RACU."""
    lines = []
    for direction, method in dict.fromkeys((c.direction, c.method) for c in grid if c.model is not None):
        chosen = [
            (c, s)
            for c, s in zip(grid, summaries, strict=True)
            if (c.direction, c.method) == (direction, method) and c.model is not None
        ]
        name = f"{'ROAR' if direction == 'remove' else 'KAR'}, {method_label(method)}"
        lines.append(f"{name}: {_against_random(chosen, direction)}.")
        ranked = sorted(((s.racu, c.label) for c, s in chosen if s.racu is not None), reverse=True)
        if len(ranked) > 1:
            lines[-1] += " RACU, the higher the better: " + ", ".join(f"{n} {r:.2f}" for r, n in ranked) + "."
    return lines


def _against_random(chosen: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say which curves differ from random in the expected direction everywhere, and where the others do not."""
    sign, word = (-1, "below") if direction == "remove" else (1, "above")
    first = chosen[0][0]
    resampled = any(i is not None for _, s in chosen for i in s.gap_interval)
    how = ""
    if resampled:
        drawn = "seeds and test images" if len(first.cells[0]) > 1 else "test images only"
        how = f" (95 % interval of the difference, over {drawn}, excludes 0)"
    fully, partly = [], []
    for curve, summary in chosen:
        clear = [_is_clear(summary, point, sign) for point in range(len(first.percents))]
        missed = [f"{p}" for p, is_clear in zip(first.percents, clear, strict=True) if not is_clear]
        if missed:
            partly.append(f"{curve.label} (not at {', '.join(missed)} %)")
        else:
            fully.append(curve.label)
    parts = []
    if fully:
        parts.append(
            f"F1 {word} random's at every percentage{how} for {_listed(fully, 12) if partly else 'every model'}"
        )
    if partly:
        parts.append(
            f"{'partly for' if fully else f'F1 {word} random at some percentages{how} for'} {_listed(partly, 12)}"
        )
    return "; ".join(parts)


def _is_clear(summary: Summary, point: int, sign: int) -> bool:
    """Tell whether a point differs from random in the expected direction, beyond its interval if there is one."""
    gap, interval = summary.gap[point], summary.gap_interval[point]
    if gap is None:
        return False
    return sign * gap > 0 if interval is None else min(sign * end for end in interval) > 0


def _listed(names: Sequence[str], most: int) -> str:
    shown = list(names[:most])
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
