"""The figure of the curves: a metric against the percentage of removed pixels."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes

from roar_pipeline.report.figures.style import PALE, color, saved_figure
from roar_pipeline.report.grid import Cell, Curve
from roar_pipeline.report.labels import METRICS, method_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.summaries import Summary, probes_of

__all__ = ["roar_figure", "spread_apart"]

_MARKERS = {"teacher": "o", "plain": "P", "naive_kd": "X", "ewa": "s", "swa": "^", "sswa": "D"}
_VARIANT_STYLES = ("-", (0, (5, 1.5)), (0, (3, 1, 1, 1)), (0, (1, 1)))
_CONTROL_STYLES: tuple[Any, ...] = ((0, (5, 2.5)), (0, (1, 1.2)), (0, (4, 1.5, 1, 1.5)), "-")
_NO_SPREAD = ("no run: nothing to show", "one run: no spread")
_MAX_TICKS = 12


def _line_styles(curves: Sequence[Curve]) -> list[dict[str, Any]]:
    """Return each curve's style: color by loss, dashes for further reductions of a loss, black dashes for controls."""
    counts: dict[str, int] = {}
    styles = []
    for curve in curves:
        base = curve.model.partition("/")[0] if curve.model is not None and not curve.is_control else "control"
        index = counts[base] = counts.get(base, -1) + 1
        if curve.is_control:
            style = {"linestyle": _CONTROL_STYLES[index % len(_CONTROL_STYLES)], "marker": "", "linewidth": 1.8}
        else:
            style = {
                "linestyle": _VARIANT_STYLES[index % len(_VARIANT_STYLES)],
                "marker": _MARKERS.get(base, "v"),
                "markerfacecolor": color(curve.model) if index == 0 else "white",
                "linewidth": 1.6,
            }
        ink = color(None if curve.is_control else curve.model)
        styles.append({"color": ink, "markersize": 4.5, "markeredgewidth": 1, **style})
    return styles


def roar_figure(
    paths: Sequence[Path],
    panels: Mapping[str, Sequence[tuple[Curve, Summary]]],
    ends: tuple[Sequence[Cell], Sequence[Cell]],
    probes: Sequence[Cell],
    metric: str,
    unseeing: tuple[str, float | None] | None = None,
) -> None:
    """Draw a metric against the percentage, one panel per method: mean lines, bands of ± one standard deviation.

    A line is interrupted where all runs of a point are missing; a mean over some runs is drawn like the others, and the
    panel's title says how many runs its points have. A probe is a bar at its percentage, in its curve's color.

    Args:
        paths: files to write, by extension.
        panels: method to its curves, the controls among them, all of one direction.
        ends: the clean and the blank cells.
        probes: networks that saw the masks alone.
        metric: a key of ``METRICS``.
        unseeing: name and value of the line for a network that sees nothing; None: the mean of the blank cells.
    """
    columns = min(len(panels), 2)
    rows = -(-len(panels) // columns)
    with saved_figure(*paths) as figure:
        wide, tall = 7.3 * columns, 4.1 * rows
        figure.set_size_inches(wide, tall)
        panel_axes = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for axes, (method, curves) in zip(panel_axes.flat, panels.items(), strict=False):
            _draw_panel(axes, curves, ends, probes, metric, unseeing)
            axes.set_title(method_label(method), loc="left", fontsize=10, fontweight="bold")
            axes.set_ylabel(f"{METRICS[metric].label}, {METRICS[metric].unit}")
        for axes in panel_axes.flat[len(panels) :]:
            axes.set_visible(False)
        for axes in panel_axes.flat[len(panels) - columns : len(panels)]:
            axes.tick_params(labelbottom=True)
        panel_wide, panel_tall = 4.95, 3.2
        figure.subplots_adjust(
            left=0.58 / wide,
            right=1 - 1.77 / wide,
            bottom=0.55 / tall,
            top=1 - 0.35 / tall,
            wspace=(7.3 - panel_wide) / panel_wide,
            hspace=(4.1 - panel_tall) / panel_tall,
        )


def _draw_panel(
    axes: Axes,
    curves: Sequence[tuple[Curve, Summary]],
    ends: tuple[Sequence[Cell], Sequence[Cell]],
    probes: Sequence[Cell],
    metric: str,
    unseeing: tuple[str, float | None] | None,
) -> None:
    scale = METRICS[metric].scale
    clean, (blank, _) = (mean_std([cell.test[metric] for cell in cells]) for cells in ends)
    first = curves[0][0]
    percents = first.percents
    is_removal = first.direction == "remove"
    start = clean[0] if is_removal else blank
    labels: list[tuple[float, bool, str, str]] = []
    top = 0.0
    for style, (curve, summary) in zip(_line_styles([c for c, _ in curves]), curves, strict=True):
        x = np.array([0, *percents], dtype=float)
        mean = scale * np.array([start, *(point.mean for point in summary.points)], dtype=float)
        stds = [clean[1] if is_removal else None, *(point.std for point in summary.points)]
        std = scale * np.array(stds, dtype=float)
        if not all(curve.cells):
            style["marker"] = style["marker"] or "."
        order = 3 if curve.is_control else 4
        axes.plot(x, mean, zorder=order, clip_on=False, markevery=slice(1, None), **style)
        axes.fill_between(x, mean - std, mean + std, color=style["color"], alpha=0.13, linewidth=0, zorder=2)
        defined = mean[1:][~np.isnan(mean[1:])]
        if defined.size:
            labels.append((defined[-1], bool(curve.cells[-1]), curve.label, style["color"]))
        top = max(top, float(np.nanmax(np.append(mean, 0))))
        _draw_probes(axes, curve, probes, metric, style["color"])
    unseeing_text, unseeing_value = unseeing or ("nothing visible", blank)
    for value, text in ((clean[0], "clean image"), (unseeing_value, unseeing_text)):
        if value is not None:
            axes.axhline(scale * value, color=PALE, linestyle=(0, (1, 2)), linewidth=1.1, zorder=1)
            at_end = (text == "clean image") == is_removal
            axes.annotate(
                text,
                (percents[-1] if at_end else 0, scale * value),
                (0, 3) if at_end else (4, 3),
                textcoords="offset points",
                ha="right" if at_end else "left",
                fontsize=8,
                color=PALE,
            )
            top = max(top, scale * value)
    axes.set_xlim(0, percents[-1])
    axes.set_ylim(0, 1.08 * top if top else 1)
    if len(percents) <= _MAX_TICKS:
        axes.set_xticks([0, *percents])
    axes.set_xlabel(f"pixels {'removed' if is_removal else 'kept'}, %, the most relevant first")
    axes.grid(axis="y", color="#E6E6E6", linewidth=0.7, zorder=0)
    axes.set_axisbelow(True)
    _label_ends(axes, labels)
    runs = sorted({len(point) for curve, _ in curves for point in curve.cells} - {0}) or [0]
    note = f"mean ± s.d. of {' or '.join(map(str, runs))} runs" if runs[-1] > 1 else _NO_SPREAD[runs[-1]]
    if any(probes_of(probes, curve, percent) for curve, _ in curves for percent in percents):
        note = f"– masks alone; {note}"
    axes.set_title(note, loc="right", fontsize=8, color=PALE)


def _draw_probes(axes: Axes, curve: Curve, probes: Sequence[Cell], metric: str, ink: str) -> None:
    for percent in curve.percents:
        value = mean_std([probe.test[metric] for probe in probes_of(probes, curve, percent)])[0]
        if value is not None:
            axes.plot(
                [percent],
                [METRICS[metric].scale * value],
                color=ink,
                marker="_",
                markersize=13,
                markeredgewidth=2,
                linestyle="",
                zorder=5,
            )


def _label_ends(axes: Axes, labels: Sequence[tuple[float, bool, str, str]]) -> None:
    """Write each curve's name beside its end, with a leader line; names that would overlap move apart.

    A label is the curve's last finished value, whether that is its end, its name and its color. Where the end is
    missing, the label has no leader line.
    """
    rising = sorted(labels, key=lambda label: label[0])
    low, high = axes.get_ylim()
    gap = 0.058 * (high - low)
    heights = spread_apart([value for value, *_ in rising], gap, low + gap / 3, high)
    for (value, at_end, text, ink), height in zip(rising, heights, strict=True):
        ends = {"xycoords": axes.get_yaxis_transform(), "textcoords": axes.get_yaxis_transform()}
        line = {"arrowstyle": "-", "color": ink, "linewidth": 0.7, "shrinkA": 1, "shrinkB": 4, "relpos": (0, 0.5)}
        axes.annotate(
            text,
            (1, value),
            (1.055, height),
            color=ink,
            va="center",
            fontsize=9,
            fontweight="bold",
            arrowprops=line if at_end else None,
            annotation_clip=False,
            **ends,
        )


def spread_apart(values: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Move rising values as little as possible (least squares) so that neighbors are ``gap`` apart, within bounds.

    This is the pool-adjacent-violators algorithm on ``value - index * gap``.
    """
    pools: list[tuple[float, int]] = []
    for index, value in enumerate(values):
        pools.append((value - index * gap, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (a, m), (b, n) = pools[-2:]
            pools[-2:] = [((a * m + b * n) / (m + n), m + n)]
    ceiling = max(low, high - (len(values) - 1) * gap)
    level = [min(max(mean, low), ceiling) for mean, count in pools for _ in range(count)]
    return [value + index * gap for index, value in enumerate(level)]
