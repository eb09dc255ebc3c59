"""The report: one HTML page that opens from disk, its figures, and the numbers behind them as CSV and text.

Files written: ``report.html`` (self-contained), ``table.txt`` (for the terminal), ``results.csv`` (a row per retrained
cell), ``probes.csv`` and ``longer.csv`` (the same for networks that saw the masks alone, or trained twice as long),
``curves.csv`` (a row per point of a curve), ``claims.csv``, ``models.csv``, ``localization.csv``, and the figures. The
same input gives the same bytes. In a partial report some results are missing: page and table begin with a list of them,
``missing.csv`` has a row for each, and what cannot be said without them is undefined (``summaries``).
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roar_pipeline import config
from roar_pipeline.cache.files import whole_file
from roar_pipeline.datasets.images import Split, read_info, read_split, read_splits
from roar_pipeline.datasets.overlaps import shared_with_validation
from roar_pipeline.report import caveats, csv_files
from roar_pipeline.report.claims import Claim, claims, model_differences
from roar_pipeline.report.examples import collect, example_figure, shown_rows
from roar_pipeline.report.figures import color, roar_figure
from roar_pipeline.report.findings import findings
from roar_pipeline.report.missing import PARTIAL, missing_lines
from roar_pipeline.report.overview import Overview, gather
from roar_pipeline.report.page import CurveSection, Page, Picture, render
from roar_pipeline.report.results import LEADING, METRICS, Curve, method_label, missing_of, model_label
from roar_pipeline.report.statistics.localization_summaries import OVER
from roar_pipeline.report.statistics.summaries import Summary
from roar_pipeline.report.tables import curve_tables, model_tables, plain_text
from roar_pipeline.report.tables.plain_text import Table

__all__ = ["build"]

_WIDTH = 110
"""Characters of a line of table.txt."""

_NAMES = {"remove": "ROAR", "keep": "KAR"}
_DONE = {"remove": "removed", "keep": "kept"}


def build(
    directory: Path,
    *,
    settings: Mapping[str, Mapping[str, Any]],
    models: Sequence[Mapping[str, Any]],
    cells: Sequence[Mapping[str, Any]],
    probes: Sequence[Mapping[str, Any]],
    longer: Sequence[Mapping[str, Any]],
    localizations: Sequence[Mapping[str, Any]],
    images: Path,
    examples: Sequence[Mapping[str, Any]],
    report: config.Report,
    f1_threshold: float,
    classes: tuple[str, ...],
) -> None:
    """Write the report of a grid into ``directory``.

    A cell whose directory, a model whose metrics, a localization whose path or an example whose levels are None is
    missing, and the report partial.

    Args:
        directory: of the report.
        settings: section to key to value, as printed at the end of the page.
        models: model, seed and the path of metrics.json (metrics) of every trained model.
        cells: model, method, percent, direction, seed, model_seed, directory, settings and fingerprint of every
            retrained cell; those of all curves, at 0 and 100 %, have neither model nor method, controls no model.
        probes: likewise, of the networks that saw the masks alone.
        longer: likewise, of the cells that were trained twice as long.
        localizations: model, method, seed and path of every localization.json; controls have neither model nor seed.
        images: path of images.h5.
        examples: model, method, maps and levels (paths) of the rows of the example figures, in their order.
        report: what to show.
        f1_threshold: probability from which a class counts as predicted.
        classes: names by class index.

    Raises:
        ValueError: the grid lacks a cell, or a direction its random control, that is not even named as missing.
    """
    asked = {
        "cells": cells,
        "probes": probes,
        "longer cells": longer,
        "models": models,
        "localizations": localizations,
        "example maps": examples,
    }
    missing = missing_of(asked)
    test = read_split(images, "test")
    has_seeds = len({cell["seed"] for cell in cells}) > 1 or len({model["seed"] for model in models}) > 1
    resamples = report.bootstrap if has_seeds else 0
    overview = gather(models, cells, probes, longer, localizations, test, resamples, f1_threshold, classes)
    judged = claims(overview, localizations, test.ids, report.par_margin / 100)
    ids = {name: split.ids for name, split in read_splits(images, pixels=False).items()}
    limits = caveats.warnings(settings, overview, shared_with_validation(ids))
    _write_records(directory, overview, judged, missing)
    page = Page(
        audits=[table for direction in overview.directions for table in _audits(overview, direction)],
        cautions=[PARTIAL, *limits] if missing else limits,
        claims=curve_tables.claim_lines(judged),
        classes=classes,
        colors={curve.label: color(curve.model) for curve in overview.grid.curves if not curve.is_control},
        curves=[_curve_section(directory, overview, direction) for direction in overview.directions],
        examples=_examples(directory, overview, images, test, examples, report.examples),
        f1_threshold=f1_threshold,
        facts=_facts(overview, test, len(cells) + len(probes) + len(longer)),
        files=sorted(p.name for p in directory.glob("*.csv")),
        findings=findings(overview),
        localization=_localization_tables(overview),
        missing=missing_lines(asked, missing),
        models=_model_tables(overview),
        intervals=overview.resampled is not None,
        nothing=", ".join(
            f"{METRICS[metric]} is {plain_text.percent_text(overview.spread_of(overview.grid.blank, metric)[0])} %"
            for metric in LEADING
        ),
        options=report,
        over=OVER,
        seeds=overview.seeds,
        settings=settings,
    )
    _write_text(directory / "table.txt", _text(page))
    _write_text(directory / "report.html", render(page))


def _write_records(
    directory: Path,
    overview: Overview,
    judged: Sequence[Claim],
    missing: Mapping[str, Sequence[Mapping[str, Any]]],
) -> None:
    clean, classes = overview.grid.clean, overview.classes
    rows = {
        "results.csv": csv_files.cell_records(overview.cells, clean, classes),
        "probes.csv": csv_files.cell_records(overview.probes, clean, classes),
        "longer.csv": csv_files.cell_records(overview.longer, clean, classes),
        "curves.csv": csv_files.curve_records(overview.grid.curves, overview.summaries),
        "claims.csv": csv_files.claim_records(judged),
        "models.csv": csv_files.model_records(overview.models, classes),
        "localization.csv": csv_files.localization_records(overview.localizations),
        "missing.csv": csv_files.missing_records(missing),
    }
    for name, of_file in rows.items():
        if of_file:
            csv_files.write_csv(directory / name, of_file)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _text(page: Page) -> str:
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
            *(plain_text.to_text(table, _WIDTH) for table in shown),
            *(["Claims", *judged, ""] if judged else []),
            *_bullets(page.cautions),
            "",
        ]
    )


def _bullets(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(f"- {line}", _WIDTH, subsequent_indent="  ") for line in lines]


def _curve_section(directory: Path, overview: Overview, direction: str) -> CurveSection:
    """Draw a figure per metric, as PNG for the page and PDF for a paper, and set the tables beside it."""
    name, done = _NAMES[direction], _DONE[direction]
    ends = overview.grid.clean, overview.grid.blank
    pictures: dict[str, Picture] = {}
    roar: dict[str, list[Table]] = {metric: [] for metric in METRICS}
    against: list[Table] = []
    for metric, label in METRICS.items():
        panels = overview.panels(direction, metric)
        paths = [directory / f"{name.lower()}_{metric}{suffix}" for suffix in (".png", ".pdf")]
        roar_figure(paths, panels, ends, overview.probes, metric)
        pictures[metric] = Picture(paths[0], f"{label} by pixels {done}")
        for method, pairs in panels.items():
            grid, summaries = _unzipped(pairs)
            of_method = f"{name}, {method_label(method)}: {label}"
            roar[metric].append(
                curve_tables.roar_table(grid, summaries, ends, metric, f"{of_method}, %, by pixels {done}")
            )
            if metric in LEADING and not all(curve.is_control for curve in grid):
                against.append(curve_tables.gap_table(grid, summaries, f"{of_method}, differences, percentage points"))
            if metric in LEADING and sum(not curve.is_control for curve in grid) > 1:
                title = f"{of_method}, mean over the curve, percentage points"
                differences = model_differences(overview, direction, method, metric)
                against.append(curve_tables.difference_table(differences, title))
    others = [metric for metric in METRICS if metric not in LEADING]
    wide = len(overview.panels(direction, LEADING[0])) > 1
    return CurveSection(
        name=name,
        wide=wide,
        by_model=[t for metric in LEADING for t in _by_model(overview, direction, metric)] if wide else [],
        leads=[pictures[metric] for metric in LEADING],
        lead_tables=[table for metric in LEADING for table in roar[metric]],
        gap_tables=against,
        others=[pictures[metric] for metric in others],
        other_tables=[table for metric in others for table in roar[metric]],
    )


def _unzipped(pairs: Sequence[tuple[Curve, Summary]]) -> tuple[list[Curve], list[Summary]]:
    return [curve for curve, _ in pairs], [summary for _, summary in pairs]


def _audits(overview: Overview, direction: str) -> list[Table]:
    grid = [curve for curve in overview.grid.curves if curve.direction == direction]
    name = _NAMES[direction]
    beside = [
        curve_tables.probe_table(grid, overview.probes, name),
        curve_tables.longer_table(grid, overview.longer, name),
    ]
    shown = [*(table for table in beside if table is not None), *curve_tables.audit_tables(grid, name)]
    return shown if direction != overview.directions[0] else [*shown, curve_tables.variation_table(grid)]


def _model_tables(overview: Overview) -> list[Table]:
    if not overview.models:
        return []
    models, asked = overview.models, overview.asked_models
    return [
        model_tables.classification_table(models, asked),
        model_tables.class_table(models, overview.classes, asked),
    ]


def _localization_tables(overview: Overview) -> list[Table]:
    rows, asked = overview.localizations, overview.asked_localizations
    if not rows:
        return []
    methods = list(dict.fromkeys(method for model, method in asked if model is not None))
    compared = [model_tables.methods_table(rows, o, asked) for o in ("own", "all")] if len(methods) > 1 else []
    return [*compared, *(model_tables.localization_table(rows, method, asked) for method in methods)]


def _by_model(overview: Overview, direction: str, metric: str) -> list[Table]:
    """Compare the methods of each model, where there are several: one table per model, controls first."""
    chosen = overview.pairs(direction, metric)
    ends = overview.grid.clean, overview.grid.blank
    shown = []
    for model in dict.fromkeys(curve.model for curve, _ in chosen if curve.model is not None):
        grid, summaries = _unzipped([pair for pair in chosen if pair[0].model in (model, None)])
        labels = [method_label(curve.method) for curve in grid]
        title = f"{_NAMES[direction]}, {model_label(model)}: {METRICS[metric]}, %, by pixels {_DONE[direction]}"
        shown.append(curve_tables.roar_table(grid, summaries, ends, metric, title, labels))
    return shown


def _examples(
    directory: Path,
    overview: Overview,
    images: Path,
    test: Split,
    sources: Sequence[Mapping[str, Any]],
    count: int,
) -> list[Picture]:
    """Draw the example images with those maps of ``sources`` that are there, controls last, at the percentages."""
    sources = [source for source in sources if source["levels"] is not None]
    if not sources or not count:
        return []
    first = overview.grid.curves[0]
    direction, percents = first.direction, first.percents
    headers = [f"{percent} % {_DONE[direction]}" for percent in percents]
    rows = shown_rows(test, count)
    ordered = sorted(sources, key=lambda source: source["model"] is None)
    shown = collect(ordered, test, read_info(images), rows, percents, direction)
    pictures = []
    for number, (row, example) in enumerate(zip(rows, shown, strict=True), start=1):
        path = directory / f"examples_{number}.png"
        example_figure(path, example, headers)
        labels = ", ".join(example.labels.values()) or "none of the classes"
        pictures.append(Picture(path, test.ids[row], f"shows {labels}"))
    return pictures


def _facts(overview: Overview, test: Split, asked: int) -> dict[str, str]:
    """Return the size of the experiment, for which ``asked`` networks should be retrained."""
    retrained = len(overview.cells) + len(overview.probes) + len(overview.longer)
    return {
        "models": f"{len(dict.fromkeys(run.model for run in overview.models))}",
        "methods": ", ".join(map(method_label, overview.methods)) or "none",
        "percentages": ", ".join(map(str, overview.grid.curves[0].percents)),
        "seeds": f"{overview.seeds}",
        "networks retrained": f"{retrained}" if retrained == asked else f"{retrained} of {asked}",
        "test images": f"{len(test.ids):,}",
        "classes": f"{len(overview.classes)}",
    }
