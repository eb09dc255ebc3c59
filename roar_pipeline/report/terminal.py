"""The report for a terminal: ``table.txt``."""

import textwrap
from collections.abc import Sequence

from roar_pipeline.report.html import Page
from roar_pipeline.report.tables.plain_text import to_text

__all__ = ["terminal_text"]

_WIDTH = 110
"""Characters of a line."""


def terminal_text(page: Page) -> str:
    """Return what a terminal shows: what is missing, models, localization, the leading metrics, claims and cautions.

    Several methods are compared in one table per model, in place of a table per method.
    """
    several = [table for section in page.curves for table in section.by_model]
    localization = page.localization[:2] if several else page.localization
    shown = [*page.models[:1], *localization, *(several or [t for s in page.curves for t in s.lead_tables])]
    missing = [*page.missing[:1], *_bullets(page.missing[1:]), *([""] if page.missing else [])]
    judged = _bullets([f"{verdict}: {text}" for verdict, text, _ in page.claims])
    return "\n".join(
        [
            *missing,
            *(to_text(table, _WIDTH) for table in shown),
            *(["Claims", *judged, ""] if judged else []),
            *_bullets(page.cautions),
            "",
        ]
    )


def _bullets(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(f"- {line}", _WIDTH, subsequent_indent="  ") for line in lines]
