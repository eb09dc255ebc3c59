"""Sentences that say what the curves show."""

from collections.abc import Sequence

from roar_pipeline.report.grid import Curve
from roar_pipeline.report.labels import METRICS, method_label
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics.summaries import WIDE_MARGIN, Summary, lower_is_better
from roar_pipeline.report.wording import join_names

__all__ = ["findings"]


def findings(overview: Overview) -> list[str]:
    """Return a line per direction, leading metric and method: against random, against the best control, and RACU."""
    lines = []
    for direction in overview.directions:
        for metric in overview.scoring.leading:
            for method in overview.methods:
                curves = [
                    (c, s)
                    for c, s in overview.summarized_curves(direction, metric)
                    if c.method == method and not c.is_control
                ]
                name = f"{'ROAR' if direction == 'remove' else 'KAR'}, {method_label(method)}, {METRICS[metric].label}"
                lines.append(f"{name}: {_against_random(curves, direction)}.{_against_best(curves, direction)}")
                lines[-1] += _racu_sentence(overview, curves, metric)
    return lines


def _racu_sentence(overview: Overview, curves: Sequence[tuple[Curve, Summary]], metric: str) -> str:
    """Rank the models by RACU, with intervals; say so where the clean network has learned nothing to remove."""
    if not overview.has_signal(metric):
        clean, blank = overview.spread_of(overview.grid.clean, metric)[0] or 0.0, overview.unseeing(metric) or 0.0
        return f" The clean network is hardly above one that sees nothing ({100 * clean:.1f} and {100 * blank:.1f})."
    ranked = [
        (s.racu.mean, f"{c.label} {_racu_text(s)}{_runs_mark(c, s)}") for c, s in curves if s.racu.mean is not None
    ]
    if len(ranked) < 2:
        return ""
    return " RACU, the higher the better: " + ", ".join(text for _, text in sorted(ranked, reverse=True)) + "."


def _racu_text(summary: Summary) -> str:
    text = f"{summary.racu.mean:.2f}"
    if summary.racu.interval is not None:
        text += f" [{summary.racu.interval[0]:.2f}, {summary.racu.interval[1]:.2f}]"
    return text.replace("-", "−")


def _runs_mark(curve: Curve, summary: Summary) -> str:
    return "" if summary.racu.runs == len(curve.runs) else f" n={summary.racu.runs}"


def _against_random(curves: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say at which percentages the curves lie on the expected side of random, by intervals where they exist."""
    side = "below" if lower_is_better(direction) else "above"
    by_interval = any(gap.interval is not None for _, s in curves for gap in s.minus_random)
    is_defined = any(gap.mean is not None for _, s in curves for gap in s.minus_random)
    margin = f" (no interval: differences above {100 * WIDE_MARGIN:.0f} points)" if is_defined else ""
    how = " (95 % interval of the paired difference)" if by_interval else margin
    texts: dict[str, list[str]] = {}
    for curve, summary in curves:
        sides = [
            _side_of_random(gap.mean, gap.interval, direction, by_interval=by_interval) for gap in summary.minus_random
        ]
        texts.setdefault(_sides_text(curve.percents, sides, side), []).append(curve.label)
    is_every_model = len(texts) == 1
    parts = [
        f"{text} for {'every model' if is_every_model and len(names) > 1 else join_names(names, 12)}"
        for text, names in texts.items()
    ]
    return f"against random{how}, " + "; ".join(parts)


def _sides_text(percents: Sequence[int], sides: Sequence[str], side: str) -> str:
    """Return ``below at 10, 30 %, undecided at 50 %`` from good, bad, open or missing at each percentage."""
    names = {
        "good": side,
        "bad": "above" if side == "below" else "below",
        "open": "undecided",
        "missing": "not known, as cells are missing,",
    }
    parts = []
    for kind, name in names.items():
        matches = [f"{percent}" for percent, point_side in zip(percents, sides, strict=True) if point_side == kind]
        if matches:
            parts.append(
                f"{name} at {'every percentage' if len(matches) == len(percents) else ', '.join(matches) + ' %'}"
            )
    return ", ".join(parts)


def _side_of_random(
    mean: float | None, interval: tuple[float, float] | None, direction: str, *, by_interval: bool
) -> str:
    if mean is None or (interval is None and by_interval):
        return "missing"
    is_wide = abs(mean) > WIDE_MARGIN
    ends = interval if interval is not None else (mean, mean) if is_wide else (-1.0, 1.0)
    if lower_is_better(direction):
        ends = (-ends[1], -ends[0])
    return "good" if ends[0] > 0 else "bad" if ends[1] < 0 else "open"


def _against_best(curves: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say where the best other control is beaten, where it wins, and where that is undecided."""
    by_interval = any(best[1].interval is not None for _, s in curves for best in s.minus_best if best)
    lines = []
    for point, percent in enumerate(curves[0][0].percents if curves else ()):
        sides: dict[str, list[str]] = {}
        names = []
        for curve, summary in curves:
            if (best := summary.minus_best[point]) is not None:
                names.append(best[0])
                side = _side_of_random(best[1].mean, best[1].interval, direction, by_interval=by_interval)
                sides.setdefault(side, []).append(curve.label)
        if not names:
            continue
        words = {"good": "beaten by", "bad": "wins over", "open": "undecided for", "missing": "not known for"}
        parts = [
            f"{words[kind]} {'every model' if len(sides) == 1 and len(labels) > 1 else join_names(labels, 12)}"
            for kind in words
            if (labels := sides.get(kind))
        ]
        lines.append(f"{names[0]} at {percent} %: {', '.join(parts)}")
    return f" Best other control, {'; '.join(lines)}." if lines else ""
