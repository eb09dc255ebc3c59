"""What the curves say, in sentences made from the results."""

from collections.abc import Sequence

from roar_pipeline.report.grid import Curve
from roar_pipeline.report.labels import LEADING, METRICS, method_label
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics.summaries import WIDE_MARGIN, Summary, lower_is_better
from roar_pipeline.report.wording import listed

__all__ = ["findings"]


def findings(overview: Overview) -> list[str]:
    """Return what the curves show by each leading metric: against random, against the best control, and RACU."""
    lines = []
    for direction in overview.directions:
        for metric in LEADING:
            for method in overview.methods:
                chosen = [
                    (c, s) for c, s in overview.pairs(direction, metric) if c.method == method and not c.is_control
                ]
                name = f"{'ROAR' if direction == 'remove' else 'KAR'}, {method_label(method)}, {METRICS[metric]}"
                lines.append(f"{name}: {_against_random(chosen, direction)}.{_against_best(chosen, direction)}")
                lines[-1] += _ranked(overview, chosen, metric)
    return lines


def _ranked(overview: Overview, chosen: Sequence[tuple[Curve, Summary]], metric: str) -> str:
    """Write RACU by model with its interval; where the clean network has learned nothing, say that there is none."""
    if not overview.has_signal(metric):
        clean, blank = (overview.spread_of(c, metric)[0] or 0.0 for c in (overview.grid.clean, overview.grid.blank))
        return f" The clean network is hardly above one that sees nothing ({100 * clean:.1f} and {100 * blank:.1f})."
    ranked = [(s.racu.mean, f"{c.label} {_racu_text(s)}{_fewer(c, s)}") for c, s in chosen if s.racu.mean is not None]
    if len(ranked) < 2:
        return ""
    return " RACU, the higher the better: " + ", ".join(text for _, text in sorted(ranked, reverse=True)) + "."


def _racu_text(summary: Summary) -> str:
    text = f"{summary.racu.mean:.2f}"
    if summary.racu.interval is not None:
        text += f" [{summary.racu.interval[0]:.2f}, {summary.racu.interval[1]:.2f}]"
    return text.replace("-", "−")


def _fewer(curve: Curve, summary: Summary) -> str:
    return "" if summary.racu.runs == len(curve.runs) else f" n={summary.racu.runs}"


def _against_random(chosen: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say at which percentages the curves are on the expected side of random, by their intervals if there are any."""
    side = "below" if lower_is_better(direction) else "above"
    by_interval = any(gap.interval is not None for _, s in chosen for gap in s.gaps)
    is_known = any(gap.mean is not None for _, s in chosen for gap in s.gaps)
    margin = f" (no interval: differences above {100 * WIDE_MARGIN:.0f} points)" if is_known else ""
    how = " (95 % interval of the paired difference)" if by_interval else margin
    texts: dict[str, list[str]] = {}
    for curve, summary in chosen:
        sides = [_side(gap.mean, gap.interval, direction, by_interval=by_interval) for gap in summary.gaps]
        texts.setdefault(_sides_text(curve.percents, sides, side), []).append(curve.label)
    everyone = len(texts) == 1
    parts = [
        f"{text} for {'every model' if everyone and len(names) > 1 else listed(names, 12)}"
        for text, names in texts.items()
    ]
    return f"against random{how}, " + "; ".join(parts)


def _sides_text(percents: Sequence[int], sides: Sequence[str], side: str) -> str:
    """Write ``below at 10, 30 %, undecided at 50 %`` from good, bad, open or missing at each percentage."""
    names = {
        "good": side,
        "bad": "above" if side == "below" else "below",
        "open": "undecided",
        "missing": "not known, as cells are missing,",
    }
    parts = []
    for kind, name in names.items():
        at = [f"{percent}" for percent, of_point in zip(percents, sides, strict=True) if of_point == kind]
        if at:
            parts.append(f"{name} at {'every percentage' if len(at) == len(percents) else ', '.join(at) + ' %'}")
    return ", ".join(parts)


def _side(mean: float | None, interval: tuple[float, float] | None, direction: str, *, by_interval: bool) -> str:
    if mean is None or (interval is None and by_interval):
        return "missing"
    wide = abs(mean) > WIDE_MARGIN
    ends = interval if interval is not None else (mean, mean) if wide else (-1.0, 1.0)
    if lower_is_better(direction):
        ends = (-ends[1], -ends[0])
    return "good" if ends[0] > 0 else "bad" if ends[1] < 0 else "open"


def _against_best(chosen: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say where a control that is harder to beat than random is beaten, wins, or neither."""
    by_interval = any(best[1].interval is not None for _, s in chosen for best in s.best if best)
    lines = []
    for point, percent in enumerate(chosen[0][0].percents if chosen else ()):
        sides: dict[str, list[str]] = {}
        names = []
        for curve, summary in chosen:
            if (best := summary.best[point]) is not None:
                names.append(best[0])
                side = _side(best[1].mean, best[1].interval, direction, by_interval=by_interval)
                sides.setdefault(side, []).append(curve.label)
        if not names:
            continue
        words = {"good": "beaten by", "bad": "wins over", "open": "undecided for", "missing": "not known for"}
        parts = [
            f"{words[kind]} {'every model' if len(sides) == 1 and len(who) > 1 else listed(who, 12)}"
            for kind in words
            if (who := sides.get(kind))
        ]
        lines.append(f"{names[0]} at {percent} %: {', '.join(parts)}")
    return f" Best other control, {'; '.join(lines)}." if lines else ""
