"""A table as rows of text, and how its numbers are written.

Scores are percent with one decimal, mean ± sample standard deviation over runs. Where some of the runs are missing, the
mean over the others is marked with their number (``n=2``); without any it is a dash.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

__all__ = [
    "MISSING",
    "Table",
    "fewer",
    "marked",
    "of_columns",
    "of_groups",
    "percent_text",
    "signed",
    "spread_texts",
    "written",
]

MISSING = "–"


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row and is set left, the others right.

    ``groups`` are headings over the columns but the first: (text, number of columns), or none at all. ``notes`` stand
    below.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()


def percent_text(value: float | None, decimals: int = 1) -> str:
    """Write a share as percent without the sign: .7214 is 72.1."""
    return MISSING if value is None else f"{100 * value:.{decimals}f}"


def spread_texts(pairs: Sequence[tuple[float | None, float | None]], marks: Sequence[str] | None = None) -> list[str]:
    """Write a column of (mean, std), each with its mark, so that right-aligned cells have their points aligned."""
    marks = marks or [""] * len(pairs)
    stds = ["" if std is None else f" ±{percent_text(std)}" for _, std in pairs]
    return marked(
        [percent_text(mean) for mean, _ in pairs], [std + mark for std, mark in zip(stds, marks, strict=True)]
    )


def fewer(count: int, expected: int) -> str:
    """Mark a mean over some of the runs that the grid asks for; no mark where all are there, or none."""
    return f" n={count}" if 0 < count < expected else ""


def marked(texts: Sequence[str], marks: Sequence[str]) -> list[str]:
    """Append each text's mark, all marks set as wide as the widest."""
    width = max(map(len, marks), default=0)
    return [f"{text}{mark:<{width}}" for text, mark in zip(texts, marks, strict=True)]


def of_columns(title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]], *notes: str) -> Table:
    """Return a table of named columns; empty notes are left out."""
    rows = tuple(zip(names, *columns.values(), strict=True))
    return Table(title, ("", *columns), rows, tuple(note for note in notes if note))


def of_groups(
    title: str, names: Sequence[str], groups: Mapping[str, Mapping[str, Sequence[str]]], *notes: str
) -> Table:
    """Return a table whose columns stand in named groups; empty notes are left out."""
    columns = [(name, cells) for columns in groups.values() for name, cells in columns.items()]
    rows = tuple(zip(names, *(cells for _, cells in columns), strict=True))
    spans = tuple((name, len(columns)) for name, columns in groups.items())
    return Table(title, ("", *(name for name, _ in columns)), rows, tuple(note for note in notes if note), spans)


def signed(value: float, decimals: int) -> str:
    """Write a number with a real minus, and no minus in front of what rounds to 0."""
    return f"{round(value, decimals) + 0.0:.{decimals}f}".replace("-", "−")


def written(value: float | None, decimals: int) -> str:
    """Write a number, or a dash where it is undefined."""
    return MISSING if value is None else f"{value:.{decimals}f}"
