"""A table as rows of text, and the format of its numbers.

Scores are percent with one decimal, mean ± sample standard deviation over runs. Where runs are missing, the mean over
the others is marked with their number (``n=2``); without any run it is a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "MISSING",
    "Table",
    "number_text",
    "percent_text",
    "runs_mark",
    "signed_text",
    "spread_texts",
    "table_of_columns",
    "table_of_groups",
    "with_marks",
]

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row and is aligned left, the others right.

    ``groups`` are headings over the columns after the first: (text, number of columns), or none. ``notes`` come below.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()


def percent_text(value: float | None, decimals: int = 1) -> str:
    """Return a share in percent without the sign: .7214 is 72.1."""
    return MISSING if value is None else f"{100 * value:.{decimals}f}"


def spread_texts(
    pairs: Sequence[tuple[float | None, float | None]],
    marks: Sequence[str] | None = None,
    scale: float = 100,
    decimals: int = 1,
) -> list[str]:
    """Return a column of mean ± std with marks, padded so that the points of right-aligned cells align.

    ``scale`` multiplies the numbers before writing; the default makes percent of shares.
    """
    marks = marks or [""] * len(pairs)
    means = [number_text(None if mean is None else scale * mean, decimals) for mean, _ in pairs]
    stds = ["" if std is None else f" ±{number_text(scale * std, decimals)}" for _, std in pairs]
    return with_marks(means, [std + mark for std, mark in zip(stds, marks, strict=True)])


def runs_mark(count: int, expected: int) -> str:
    """Return the mark of a mean over fewer runs than expected: `` n=2``; empty where all or none are present."""
    return f" n={count}" if 0 < count < expected else ""


def with_marks(texts: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Append a mark to each text; all marks are padded to the widest."""
    width = max(map(len, marks), default=0)
    return [f"{text}{mark:<{width}}" for text, mark in zip(texts, marks, strict=True)]


def table_of_columns(title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]], *notes: str) -> Table:
    """Return a table of named columns; empty notes are left out."""
    rows = tuple(zip(names, *columns.values(), strict=True))
    return Table(title, ("", *columns), rows, tuple(note for note in notes if note))


def table_of_groups(
    title: str, names: Sequence[str], groups: Mapping[str, Mapping[str, Sequence[str]]], *notes: str
) -> Table:
    """Return a table of named groups of columns; empty notes are left out."""
    columns = [(name, cells) for columns in groups.values() for name, cells in columns.items()]
    rows = tuple(zip(names, *(cells for _, cells in columns), strict=True))
    spans = tuple((name, len(columns)) for name, columns in groups.items())
    return Table(title, ("", *(name for name, _ in columns)), rows, tuple(note for note in notes if note), spans)


def signed_text(value: float, decimals: int) -> str:
    """Return a number with a real minus sign, and without one where it rounds to 0."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def number_text(value: float | None, decimals: int) -> str:
    """Return a number, or a dash where it is undefined."""
    return MISSING if value is None else f"{value:.{decimals}f}"
