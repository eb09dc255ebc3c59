"""The report for a terminal: ``table.txt``."""

import textwrap
from collections.abc import Sequence

from roar_pipeline.report.html import Page
from roar_pipeline.report.tables.plain_text import to_text

__all__ = ["terminal_text"]

_WIDTH = 110
"""Characters per line."""


def terminal_text(page: Page) -> str:
    """Return the report as text: missing results, models, localization, leading metrics, claims and caveats.

    With several methods, one table per model replaces the tables per method, and methods share the lines of claims.
    """
    by_model = [table for section in page.curves for table in section.by_model]
    localization = page.localization[:2] if by_model else page.localization
    tables = [*page.models[:1], *localization, *(by_model or [t for s in page.curves for t in s.lead_tables])]
    missing = [*page.missing[:1], *_bullets(page.missing[1:]), *([""] if page.missing else [])]
    claims = _bullets(page.brief_claims)
    return "\n".join(
        [
            *missing,
            *(to_text(table, _WIDTH) for table in tables),
            *(["Claims", *claims, ""] if claims else []),
            *_bullets(page.caveats),
            "",
        ]
    )


def _bullets(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(f"- {line}", _WIDTH, subsequent_indent="  ") for line in lines]
