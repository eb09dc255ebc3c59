"""Training curves as lines for an SVG."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from roar_pipeline.report.labels import METRICS

__all__ = ["HEIGHT", "WIDTH", "Panel", "panels"]

WIDTH, HEIGHT = 380, 170
"""Size of the area between the axes, in units of the drawing."""
_STEPS = (1, 2, 2.5, 5, 10)


@dataclass(frozen=True)
class Panel:
    """A pair of axes with their curves, in units of the drawing, y downwards."""

    title: str
    lines: Sequence[tuple[str, Sequence[tuple[float, float]]]]
    """Name and points (x, y) of every curve."""
    x_ticks: Sequence[tuple[float, str]]
    y_ticks: Sequence[tuple[float, str]]


def panels(history: Any) -> list[Panel]:
    """Return the curves over the epochs: the training loss, and the validation scores if there are any.

    Args:
        history: rows of epoch, loss and validation, as of ``metrics.json``; anything else gives no panel.
    """
    if not isinstance(history, list) or not all(
        isinstance(row, dict) and _is_number(row.get("epoch")) for row in history
    ):
        return []
    losses = {"training loss": [(row["epoch"], row.get("loss")) for row in history]}
    validations = [(row["epoch"], row.get("validation")) for row in history]
    scores = {
        metric.label: [(epoch, _percent(v.get(key))) for epoch, v in validations if isinstance(v, dict)]
        for key, metric in METRICS.items()
        if metric.unit == "%"
    }
    return [p for p in (_panel("Training loss", losses), _panel("Validation, %", scores, top=100.0)) if p.lines]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and math.isfinite(value)


def _percent(value: Any) -> Any:
    return 100 * value if _is_number(value) else None


def _panel(title: str, series: Mapping[str, Iterable[tuple[float, Any]]], top: float | None = None) -> Panel:
    curves = {name: [(x, y) for x, y in points if _is_number(y)] for name, points in series.items()}
    curves = {name: points for name, points in curves.items() if points}
    xs = [x for points in curves.values() for x, _ in points]
    ys = [y for points in curves.values() for _, y in points]
    if not xs:
        return Panel(title, (), (), ())
    left, right = min(xs), max(max(xs), min(xs) + 1)
    bottom: float = min(0.0, *ys)
    ceiling: float = top or max(*ys, 1e-9)

    def horizontal(x: float) -> float:
        return round(WIDTH * (x - left) / (right - left), 1)

    def vertical(y: float) -> float:
        return round(HEIGHT * (ceiling - y) / (ceiling - bottom), 1)

    return Panel(
        title,
        [(name, [(horizontal(x), vertical(y)) for x, y in points]) for name, points in curves.items()],
        [(horizontal(x), f"{x:g}") for x in _ticks(left, max(xs), 8) if x == int(x)],
        [(vertical(y), f"{y:g}") for y in _ticks(bottom, ceiling, 5)],
    )


def _ticks(low: float, high: float, most: int) -> list[float]:
    """Return the multiples of a round step from low to high, at most ``most + 1``."""
    span = max(high - low, 1e-9)
    power = 10 ** math.floor(math.log10(span / most))
    step = next(factor * power for factor in _STEPS if factor * power * most >= span)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]
