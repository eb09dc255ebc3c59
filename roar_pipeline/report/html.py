"""The report's page: a template filled with tables and pictures, all in one HTML file."""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from roar_pipeline import config
from roar_pipeline.report.tables.table import Table

__all__ = ["CurveSection", "Page", "Picture", "render"]

_TEMPLATE = "report.html.jinja"


@dataclass(frozen=True)
class Picture:
    """A PNG with its caption."""

    path: Path
    title: str
    caption: str = ""

    @property
    def uri(self) -> str:
        """The picture itself, as an address that needs no file and no network."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class CurveSection:
    """The curves of a direction: the leading metrics with their tables, then the other metrics."""

    name: str
    wide: bool
    leads: Sequence[Picture]
    by_model: Sequence[Table]
    lead_tables: Sequence[Table]
    gap_tables: Sequence[Table]
    others: Sequence[Picture]
    other_tables: Sequence[Table]


@dataclass(frozen=True)
class Page:
    """What the template is filled with.

    ``nothing`` says what the leading scores are with nothing visible. ``claims`` are verdict, claim and the differences
    behind it, ``colors`` are of row names, ``missing`` is a headline with its list, or empty.
    """

    audits: Sequence[Table]
    cautions: Sequence[str]
    claims: Sequence[tuple[str, str, str]]
    classes: Sequence[str]
    colors: Mapping[str, str]
    curves: Sequence[CurveSection]
    examples: Sequence[Picture]
    facts: Mapping[str, str]
    files: Sequence[str]
    findings: Sequence[str]
    intervals: bool
    localization: Sequence[Table]
    missing: Sequence[str]
    models: Sequence[Table]
    nothing: str
    over: Mapping[str, str]
    seeds: int
    settings: config.Settings


def render(page: Page) -> str:
    """Return the page as HTML. Whatever comes from data or settings is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(page=page, settings=_shown_settings(page.settings))


def _shown_settings(settings: config.Settings) -> dict[str, dict[str, str]]:
    """Return every setting that has a bearing on the results as text, by section and key; [grid] stands last."""
    sections = {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)}
    shown = {name: section for name, section in sections.items() if name not in ("paths", "execution", "grid")}
    return {
        name: {key: _plain(value) for key, value in dataclasses.asdict(section).items()}
        for name, section in {**shown, "grid": settings.grid}.items()
    }


def _plain(value: object) -> str:
    """Write a setting as the settings file would."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return str(value).lower() if isinstance(value, bool) else str(value) or "–"
