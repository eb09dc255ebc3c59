"""The report's page: one HTML file, rendered from a template."""

import base64
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from roar_pipeline import config
from roar_pipeline.architectures import idle_keys
from roar_pipeline.config.fields import identity_of
from roar_pipeline.plain_settings import text_of
from roar_pipeline.report.labels import Scoring
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
        """The PNG as a data URI."""
        return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode()


@dataclass(frozen=True)
class CurveSection:
    """The curves of a direction: the leading metrics with their tables, then the other metrics."""

    name: str
    is_wide: bool
    leads: Sequence[Picture]
    by_model: Sequence[Table]
    lead_tables: Sequence[Table]
    gap_tables: Sequence[Table]
    others: Sequence[Picture]
    other_tables: Sequence[Table]


@dataclass(frozen=True)
class Page:
    """The values that the template shows.

    ``network_terms`` explains by name what is particular to the networks' architectures. ``blank_scores`` says what the
    leading scores are with nothing visible. ``claims`` are verdict, claim and the differences that decide it,
    ``brief_claims`` their verdicts and texts in few lines, ``colors`` are by row name, ``missing`` is a headline and
    its list, or empty.
    """

    audits: Sequence[Table]
    caveats: Sequence[str]
    claims: Sequence[tuple[str, str, str]]
    brief_claims: Sequence[str]
    classes: Sequence[str]
    colors: Mapping[str, str]
    curves: Sequence[CurveSection]
    examples: Sequence[Picture]
    facts: Mapping[str, str]
    files: Sequence[str]
    findings: Sequence[str]
    has_intervals: bool
    localization: Sequence[Table]
    missing: Sequence[str]
    models: Sequence[Table]
    network_terms: Mapping[str, str]
    blank_scores: str
    pair_choices: Mapping[str, str]
    seeds: int
    settings: config.Settings
    scoring: Scoring

    @property
    def settings_texts(self) -> dict[str, dict[str, str]]:
        """The settings that affect the results as text, by section and key; [grid] comes last.

        A network's are those that its architecture reads.

        With one label per image those of F1, of the generated set and, without localization, of masks have no meaning.
        """
        sections = {field.name: getattr(self.settings, field.name) for field in dataclasses.fields(self.settings)}
        relevant = {name: section for name, section in sections.items() if name not in ("paths", "execution", "grid")}
        texts = {
            name: {key: text_of(value) for key, value in identity_of(section).items()}
            for name, section in {**relevant, "grid": self.settings.grid}.items()
        }
        for name in ("teacher", "student", "retrain"):
            for key in idle_keys(getattr(self.settings, name).arch):
                del texts[name][key]
        if self.scoring.is_single_label:
            del texts["metrics"]["f1_threshold"], texts["scenes"]
            if not self.localization:
                del texts["metrics"], texts["dataset"]["segmentation_split"]
        return texts


def render(page: Page) -> str:
    """Return the page as HTML. Texts from data and settings are escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(page=page, settings=page.settings_texts)
