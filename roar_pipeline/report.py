"""The report: one HTML page that opens from disk, its figures, and the numbers behind them as CSV and text.

Files written: ``report.html`` (self-contained), ``table.txt`` (for the terminal), ``results.csv`` (a row per retrained
cell), ``curves.csv`` (a row per point of a curve), ``models.csv``, ``localization.csv``, and the figures. The same
input gives the same bytes. In a partial report some results are missing: page and table begin with a list of them,
``missing.csv`` has a row for each, and what cannot be said without them is undefined (``summaries``).
"""

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from roar_pipeline import config, records, remarks, tables
from roar_pipeline.examples import collect, example_figure, shown_rows
from roar_pipeline.figures import color, roar_figure
from roar_pipeline.files import whole_file
from roar_pipeline.images import Split, read_info, read_split
from roar_pipeline.overview import LEADING, Overview, gather
from roar_pipeline.page import CurveSection, Page, Picture, render
from roar_pipeline.results import METRICS, method_label, missing_of, model_label
from roar_pipeline.summaries import OVER
from roar_pipeline.tables import Table

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
            retrained cell; the clean cells have neither model nor method, controls no model.
        localizations: model, method, seed and path of every localization.json; controls have neither model nor seed.
        images: path of images.h5.
        examples: model, method, maps and levels (paths) of the rows of the example figures, in their order.
        report: what to show.
        f1_threshold: probability from which a class counts as predicted.
        classes: names by class index.

    Raises:
        ValueError: the grid lacks a cell, or a direction its random control, that is not even named as missing.
    """
    asked = {"cells": cells, "models": models, "localizations": localizations, "example maps": examples}
    missing = missing_of(asked)
    test = read_split(images, "test")
    overview = gather(models, cells, localizations, images, test, report.bootstrap, f1_threshold, classes)
    cautions = remarks.warnings(settings, overview.clean, overview.grid)
    _write_records(directory, overview, missing)
    page = Page(
        audits=[table for direction in overview.directions for table in _audits(overview, direction)],
        cautions=[remarks.PARTIAL, *cautions] if missing else cautions,
        classes=classes,
        colors={curve.label: color(curve.model) for curve in overview.grid},
        curves=[_curve_section(directory, overview, direction) for direction in overview.directions],
        examples=_examples(directory, overview, images, test, examples, report.examples),
        f1_threshold=f1_threshold,
        facts=_facts(overview, test, len(cells)),
        files=sorted(p.name for p in directory.glob("*.csv")),
        findings=remarks.findings(overview.grid, overview.summaries[LEADING]),
        localization=_localization_tables(overview),
        missing=remarks.missing_lines(asked, missing),
        models=_model_tables(overview),
        options=report,
        over=OVER,
        seeds=overview.seeds,
        settings=settings,
    )
    _write_text(directory / "table.txt", _text(page))
    _write_text(directory / "report.html", render(page))


def _write_records(directory: Path, overview: Overview, missing: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    rows = {
        "results.csv": records.cell_records(overview.cells, overview.clean, overview.classes),
        "curves.csv": records.curve_records(overview.grid, overview.summaries, partial=bool(missing)),
        "models.csv": records.model_records(overview.models, overview.classes),
        "localization.csv": records.localization_records(overview.localizations),
        "missing.csv": records.missing_records(missing),
    }
    for name, of_file in rows.items():
        if of_file:
            records.write_csv(directory / name, of_file)


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def _text(page: Page) -> str:
    """Return what a terminal shows: what is missing, models, localization, the leading metric's curves, the cautions.

    Several methods are compared in one table per model, in place of a table per method.
    """
    several = [table for section in page.curves for table in section.by_model]
    localization = page.localization[:2] if several else page.localization
    shown = [*page.models[:1], *localization, *(several or [t for s in page.curves for t in s.lead_tables])]
    missing = [*page.missing[:1], *_bullets(page.missing[1:]), *([""] if page.missing else [])]
    return "\n".join([*missing, *(tables.to_text(table, _WIDTH) for table in shown), *_bullets(page.cautions), ""])


def _bullets(lines: Sequence[str]) -> list[str]:
    return [textwrap.fill(f"- {line}", _WIDTH, subsequent_indent="  ") for line in lines]


def _curve_section(directory: Path, overview: Overview, direction: str) -> CurveSection:
    """Draw a figure per metric, as PNG for the page and PDF for a paper, and set the tables beside it."""
    panels = overview.panels(direction)
    pictures: dict[str, Picture] = {}
    roar: dict[str, list[Table]] = {metric: [] for metric in METRICS}
    gaps: list[Table] = []
    for metric, label in METRICS.items():
        stem = f"{_NAMES[direction].lower()}_{metric}"
        paths = [directory / f"{stem}{suffix}" for suffix in (".png", ".pdf")]
        drawn = {method: [(curve, s[metric]) for curve, s in pairs] for method, pairs in panels.items()}
        roar_figure(paths, drawn, overview.spread_of_clean(metric), overview.blank[metric], metric)
        pictures[metric] = Picture(paths[0], f"{label} by pixels {_DONE[direction]}")
        for method, pairs in drawn.items():
            grid, summaries = [curve for curve, _ in pairs], [summary for _, summary in pairs]
            title = f"{_NAMES[direction]}, {method_label(method)}: {label}, %, by pixels {_DONE[direction]}"
            roar[metric].append(tables.roar_table(grid, summaries, overview.clean, metric, title))
            if metric == LEADING and any(curve.model is not None for curve in grid):
                title = f"{_NAMES[direction]}, {method_label(method)}: F1 minus random's, percentage points"
                gaps.append(tables.gap_table(grid, summaries, title))
    others = [metric for metric in METRICS if metric != LEADING]
    return CurveSection(
        name=_NAMES[direction],
        wide=len(panels) > 1,
        by_model=_by_model(overview, direction) if len(panels) > 1 else [],
        lead=pictures[LEADING],
        lead_tables=roar[LEADING],
        gap_tables=gaps,
        others=[pictures[metric] for metric in others],
        other_tables=[table for metric in others for table in roar[metric]],
    )


def _audits(overview: Overview, direction: str) -> list[Table]:
    grid = [curve for curve in overview.grid if curve.direction == direction]
    found = tables.audit_tables(grid, _NAMES[direction])
    return found if direction != overview.directions[0] else [*found, tables.variation_table(grid)]


def _model_tables(overview: Overview) -> list[Table]:
    if not overview.models:
        return []
    found, asked = overview.models, overview.asked_models
    return [tables.classification_table(found, asked), tables.class_table(found, overview.classes, asked)]


def _localization_tables(overview: Overview) -> list[Table]:
    rows, asked = overview.localizations, overview.asked_localizations
    if not rows:
        return []
    methods = list(dict.fromkeys(method for model, method in asked if model is not None))
    compared = [tables.methods_table(rows, over, asked) for over in ("own", "all")] if len(methods) > 1 else []
    return [*compared, *(tables.localization_table(rows, method, asked) for method in methods)]


def _by_model(overview: Overview, direction: str) -> list[Table]:
    """Compare the methods of each model, where there are several: one table per model, controls first."""
    chosen = [
        (c, s) for c, s in zip(overview.grid, overview.summaries[LEADING], strict=True) if c.direction == direction
    ]
    found = []
    for model in dict.fromkeys(curve.model for curve, _ in chosen if curve.model is not None):
        pairs = [(curve, summary) for curve, summary in chosen if curve.model in (model, None)]
        grid, summaries = [curve for curve, _ in pairs], [summary for _, summary in pairs]
        labels = [method_label(curve.method) for curve in grid]
        title = f"{_NAMES[direction]}, {model_label(model)}: {METRICS[LEADING]}, %, by pixels {_DONE[direction]}"
        found.append(tables.roar_table(grid, summaries, overview.clean, LEADING, title, labels))
    return found


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
    direction, percents = overview.grid[0].direction, overview.grid[0].percents
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
    """Return the size of the experiment, of which ``asked`` cells should be there."""
    retrained = len(overview.cells)
    methods = dict.fromkeys(curve.method for curve in overview.grid if curve.model is not None)
    return {
        "models": f"{len(dict.fromkeys(run.model for run in overview.models))}",
        "methods": ", ".join(map(method_label, methods)) or "none",
        "percentages": ", ".join(map(str, overview.grid[0].percents)),
        "seeds": f"{overview.seeds}",
        "networks retrained": f"{retrained}" if retrained == asked else f"{retrained} of {asked}",
        "test images": f"{len(test.ids):,}",
        "classes": f"{len(overview.classes)}",
    }
