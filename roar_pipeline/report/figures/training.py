"""The figure of a network's training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from roar_pipeline.report.figures.style import INK, saved_figure
from roar_pipeline.report.labels import METRICS, Metric

__all__ = ["training_curves"]

_INKS = ("#0072B2", "#D55E00", "#E69F00", "#009E73", "#CC79A7")


def training_curves(history: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw the training loss and the validation scores by epoch.

    Args:
        history: rows of epoch, loss and, where measured, validation.
        path: PNG to write.
    """
    with saved_figure(path, dpi=120) as figure:
        figure.set_size_inches(8, 3)
        left, right = figure.subplots(1, 2)
        left.plot([row["epoch"] for row in history], [row["loss"] for row in history], color=INK, marker=".")
        left.set_title("training loss", loc="left", fontsize=10)
        measured = [row for row in history if row.get("validation")]
        for (key, metric), ink in zip(_shares(measured).items(), _INKS, strict=False):
            values = [np.nan if (v := row["validation"].get(key)) is None else 100 * v for row in measured]
            if np.isnan(values).all():
                continue
            right.plot([row["epoch"] for row in measured], values, color=ink, marker=".", label=metric.label)
        right.set_title("validation, %", loc="left", fontsize=10)
        right.set_ylim(0, 103)
        if right.lines:
            right.legend(frameon=False, fontsize=8, loc="lower right")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.grid(axis="y", color="#E6E6E6", linewidth=0.7)
        figure.tight_layout()


def _shares(measured: Sequence[Mapping[str, Any]]) -> dict[str, Metric]:
    """Return the measured validation scores that are shares of 1."""
    keys = {key for row in measured for key in row["validation"]}
    return {key: metric for key, metric in METRICS.items() if key in keys and metric.unit == "%"}
