"""Tables as plain rows of text, and their form for a terminal: fixed width.

Scores are percent with one decimal, mean ± sample standard deviation over runs. Where some of the runs are missing, the
mean over those there are is marked with their number (``n=2``); without any it is a dash.
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
    "to_text",
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


def fewer(count: int, asked: int) -> str:
    """Mark what is over some of the runs asked for."""
    return f" n={count}" if 0 < count < asked else ""


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


def to_text(table: Table, width: int = 110) -> str:
    """Set a table in plain text; columns (or whole groups) that do not fit go below, the first column repeated."""
    cells = [table.header, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    lines = [table.title]
    for block in _blocks(table, widths, width):
        columns = [column for _, members in block for column in members]
        rule = "-" * (widths[0] + sum(2 + widths[column] for column in columns))
        if table.groups:
            spans = [sum(2 + widths[column] for column in members) - 2 for _, members in block]
            heads = [f"{name:-^{span}}" for (name, _), span in zip(block, spans, strict=True)]
            lines.append("  ".join([" " * widths[0], *heads]))
        for index, row in enumerate(cells):
            texts = [f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in columns)]
            lines += ["  ".join(texts).rstrip(), *([rule] if index == 0 else [])]
        lines.append("")
    return "\n".join([*lines[:-1], *table.notes]) + "\n"


def _blocks(table: Table, widths: Sequence[int], width: int) -> list[list[tuple[str, list[int]]]]:
    """Share out the columns, group by group, over blocks of at most ``width`` characters (or of one group)."""
    units: list[tuple[str, list[int]]] = []
    first = 1
    for name, span in table.groups or [("", 1)] * (len(widths) - 1):
        units.append((name, list(range(first, first + span))))
        first += span
    blocks: list[list[tuple[str, list[int]]]] = []
    used = width
    for unit in units:
        needed = sum(2 + widths[column] for column in unit[1])
        if used + needed > width or not blocks:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(unit)
        used += needed
    return blocks
