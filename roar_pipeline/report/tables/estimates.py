"""Texts of estimates: means of differences with their intervals and p-values."""

from collections.abc import Sequence

from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.tables.table import MISSING, runs_mark, signed_text, with_marks

__all__ = ["estimate_texts", "p_text"]


def estimate_texts(
    estimates: Sequence[Estimate], expected: Sequence[int], *, scale: float = 100, decimals: int = 1
) -> list[str]:
    """Return a column of estimates with their intervals; estimates over fewer runs than expected are marked.

    Args:
        estimates: one per row.
        expected: number of runs that the grid asks for, by row.
        scale: factor before writing; the default makes percentage points of shares.
        decimals: of the numbers.
    """
    texts = [
        MISSING
        if e.mean is None
        else signed_text(scale * e.mean, decimals) + _interval_text(e.interval, scale, decimals)
        for e in estimates
    ]
    marks = ["" if e.mean is None else runs_mark(e.runs, n) for e, n in zip(estimates, expected, strict=True)]
    return with_marks(texts, marks)


def _interval_text(interval: tuple[float, float] | None, scale: float, decimals: int) -> str:
    if interval is None:
        return ""
    return " [" + ", ".join(signed_text(scale * end, decimals) for end in interval) + "]"


def p_text(p: float | None) -> str:
    """Return a p-value with three decimals and no leading zero."""
    return MISSING if p is None else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")
