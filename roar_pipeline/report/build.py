"""The report: one HTML page that opens from disk, its figures, and the numbers behind them as CSV and text.

Files written: ``report.html`` (self-contained), ``table.txt`` (for the terminal), ``results.csv`` (a row per retrained
cell), ``probes.csv`` and ``longer.csv`` (the same for networks that saw the masks alone, or trained twice as long),
``curves.csv`` (a row per point of a curve), ``claims.csv``, ``models.csv``, ``localization.csv``, and the figures. The
same input gives the same bytes. A partial report lacks some results: page and table begin with a list of them,
``missing.csv`` has a row for each, and a statistic that needs one of them is undefined (``summaries``).
"""

from collections.abc import Sequence
from pathlib import Path

from roar_pipeline.cache.files import whole_file
from roar_pipeline.datasets import images
from roar_pipeline.datasets.overlaps import shared_with_validation
from roar_pipeline.report import csv_files, sections
from roar_pipeline.report.caveats import caveats
from roar_pipeline.report.claims import Claim, judge_claims
from roar_pipeline.report.figures.style import color
from roar_pipeline.report.findings import findings
from roar_pipeline.report.html import Page, render
from roar_pipeline.report.inputs import ReportInputs
from roar_pipeline.report.missing import PARTIAL, RequestedResult, missing_lines, requested_results
from roar_pipeline.report.networks import network_terms
from roar_pipeline.report.overview import Overview, gather
from roar_pipeline.report.statistics.localization import pair_choices
from roar_pipeline.report.tables.claims import brief_claims, claim_lines
from roar_pipeline.report.terminal import terminal_text

__all__ = ["build"]


def build(directory: Path, inputs: ReportInputs) -> None:
    """Write the report of a grid into ``directory``.

    Raises:
        ValueError: a cell, or a direction's random control, is neither a result nor a missing one.
    """
    info, test = images.read_info(inputs.images_path), images.read_split(inputs.images_path, "test", pixels=False)
    overview = gather(inputs, test, info)
    claims = judge_claims(overview, inputs.settings.report.par_margin / 100)
    results = requested_results(inputs)
    _write_csv_files(directory, overview, claims, results)
    curves = [sections.curve_section(directory, overview, direction) for direction in overview.directions]
    examples = sections.example_pictures(directory, overview, inputs, test, info)
    page = Page(
        audits=[table for direction in overview.directions for table in sections.audits(overview, direction)],
        caveats=_caveats(inputs, overview, info, results),
        claims=claim_lines(claims),
        brief_claims=brief_claims(claims),
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
        network_terms=network_terms(
            inputs.settings,
            list(overview.expected_models),
            overview.methods,
            is_single_label=info.is_single_label,
        ),
        has_intervals=overview.resampled is not None,
        blank_scores=sections.blank_scores(overview),
        pair_choices=pair_choices(overview.scoring),
        seeds=overview.seeds,
        settings=inputs.settings,
        scoring=overview.scoring,
    )
    _write_text(directory / "table.txt", terminal_text(page))
    _write_text(directory / "report.html", render(page))


def _caveats(
    inputs: ReportInputs, overview: Overview, info: images.Info, results: Sequence[RequestedResult]
) -> list[str]:
    ids = {name: split.ids for name, split in images.read_splits(inputs.images_path, pixels=False).items()}
    lines = caveats(inputs.settings, overview, shared_with_validation(ids), info)
    return [PARTIAL, *lines] if any(result.is_missing for result in results) else lines


def _write_csv_files(
    directory: Path, overview: Overview, claims: Sequence[Claim], results: Sequence[RequestedResult]
) -> None:
    clean, classes, scoring = overview.grid.clean, overview.classes, overview.scoring
    records_by_file = {
        "results.csv": csv_files.cell_records(overview.cells, clean, classes, scoring),
        "probes.csv": csv_files.cell_records(overview.probes, clean, classes, scoring),
        "longer.csv": csv_files.cell_records(overview.longer, clean, classes, scoring),
        "curves.csv": csv_files.curve_records(overview.grid.curves, overview.summaries),
        "claims.csv": csv_files.claim_records(claims),
        "models.csv": csv_files.model_records(overview.models, classes, scoring),
        "localization.csv": csv_files.localization_records(overview.localizations),
        "missing.csv": csv_files.missing_records(results),
    }
    for name, records in records_by_file.items():
        if records:
            csv_files.write_csv(directory / name, records)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")
