"""Tables for a terminal: plain text of fixed width."""

from collections.abc import Sequence

from roar_pipeline.report.tables.table import Table

__all__ = ["to_text"]


def to_text(table: Table, width: int = 110) -> str:
    """Format a table as text; columns or groups that do not fit go into further blocks below."""
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
    """Distribute the columns, group by group, over blocks of at most ``width`` characters, or of one wider group."""
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
