"""The report: one HTML page that opens from disk, its figures, and the numbers behind them as CSV and text.

Files written: ``report.html`` (self-contained), ``table.txt`` (for the terminal), ``results.csv`` (a row per retrained
cell), ``probes.csv`` and ``longer.csv`` (the same for networks that saw the masks alone, or trained twice as long),
``curves.csv`` (a row per point of a curve), ``claims.csv``, ``models.csv``, ``localization.csv``, and the figures. The
same input gives the same bytes. In a partial report some results are missing: page and table begin with a list of them,
``missing.csv`` has a row for each, and what cannot be said without them is undefined (``summaries``).
"""

from collections.abc import Sequence
from pathlib import Path

from roar_pipeline.cache.files import whole_file
from roar_pipeline.datasets import images
from roar_pipeline.datasets.overlaps import shared_with_validation
from roar_pipeline.report import caveats, csv_files, sections
from roar_pipeline.report.claims import Claim, claims
from roar_pipeline.report.figures.style import color
from roar_pipeline.report.findings import findings
from roar_pipeline.report.html import Page, render
from roar_pipeline.report.inputs import ReportInputs
from roar_pipeline.report.missing import PARTIAL, Requested, missing_lines, requested
from roar_pipeline.report.overview import Overview, gather
from roar_pipeline.report.statistics.localization import OVER
from roar_pipeline.report.tables.claims import claim_lines
from roar_pipeline.report.terminal import terminal_text

__all__ = ["build"]


def build(directory: Path, inputs: ReportInputs) -> None:
    """Write the report of a grid into ``directory``.

    Raises:
        ValueError: the grid lacks a cell, or a direction its random control, that is not even named as missing.
    """
    info, test = images.read_info(inputs.images_path), images.read_split(inputs.images_path, "test")
    overview = gather(inputs, test, info.classes)
    judged = claims(overview, inputs.settings.report.par_margin / 100)
    results = requested(inputs)
    _write_records(directory, overview, judged, results)
    curves = [sections.curve_section(directory, overview, direction) for direction in overview.directions]
    examples = sections.example_pictures(directory, overview, inputs, test, info)
    page = Page(
        audits=[table for direction in overview.directions for table in sections.audits(overview, direction)],
        cautions=_cautions(inputs, overview, results),
        claims=claim_lines(judged),
        classes=overview.classes,
        colors={curve.label: color(curve.model) for curve in overview.grid.curves if not curve.is_control},
        curves=curves,
        examples=examples,
        facts=sections.facts(overview, inputs, len(test.ids)),
        files=sorted(path.name for path in directory.glob("*.csv")),
        findings=findings(overview),
        localization=sections.localization_tables(overview),
        missing=missing_lines(results),
        models=sections.model_tables(overview),
        intervals=overview.resampled is not None,
        nothing=sections.scores_of_nothing(overview),
        over=OVER,
        seeds=overview.seeds,
        settings=inputs.settings,
    )
    _write_text(directory / "table.txt", terminal_text(page))
    _write_text(directory / "report.html", render(page))


def _cautions(inputs: ReportInputs, overview: Overview, results: Sequence[Requested]) -> list[str]:
    ids = {name: split.ids for name, split in images.read_splits(inputs.images_path, pixels=False).items()}
    cautions = caveats.warnings(inputs.settings, overview, shared_with_validation(ids))
    return [PARTIAL, *cautions] if any(result.is_missing for result in results) else cautions


def _write_records(directory: Path, overview: Overview, judged: Sequence[Claim], results: Sequence[Requested]) -> None:
    clean, classes = overview.grid.clean, overview.classes
    rows = {
        "results.csv": csv_files.cell_records(overview.cells, clean, classes),
        "probes.csv": csv_files.cell_records(overview.probes, clean, classes),
        "longer.csv": csv_files.cell_records(overview.longer, clean, classes),
        "curves.csv": csv_files.curve_records(overview.grid.curves, overview.summaries),
        "claims.csv": csv_files.claim_records(judged),
        "models.csv": csv_files.model_records(overview.models, classes),
        "localization.csv": csv_files.localization_records(overview.localizations),
        "missing.csv": csv_files.missing_records(results),
    }
    for name, of_file in rows.items():
        if of_file:
            csv_files.write_csv(directory / name, of_file)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
