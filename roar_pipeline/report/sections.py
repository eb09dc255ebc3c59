"""The sections of the report: the figures and tables of each."""

from collections.abc import Sequence
from pathlib import Path

from roar_pipeline.datasets.images import Info, Split
from roar_pipeline.report.claims import model_differences
from roar_pipeline.report.examples import choose_rows, read_examples
from roar_pipeline.report.figures.curves import roar_figure
from roar_pipeline.report.figures.examples import example_figure
from roar_pipeline.report.grid import Curve
from roar_pipeline.report.html import CurveSection, Picture
from roar_pipeline.report.inputs import ReportInputs
from roar_pipeline.report.labels import METRICS, method_label, model_label
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics.summaries import Summary
from roar_pipeline.report.tables import audits as audit_tables
from roar_pipeline.report.tables.claims import difference_table
from roar_pipeline.report.tables.curves import gap_table, roar_table
from roar_pipeline.report.tables.localization import localization_table, methods_table
from roar_pipeline.report.tables.models import class_table, classification_table
from roar_pipeline.report.tables.table import Table, percent_text

__all__ = [
    "audits",
    "blank_scores",
    "curve_section",
    "example_pictures",
    "facts",
    "localization_tables",
    "model_tables",
]

_DIRECTION_LABELS = {"remove": "ROAR", "keep": "KAR"}
_PARTICIPLES = {"remove": "removed", "keep": "kept"}


def curve_section(directory: Path, overview: Overview, direction: str) -> CurveSection:
    """Draw a figure per metric that has curves, as PNG for the page and PDF for a paper, and build its tables."""
    scoring, metrics = overview.scoring, overview.drawn_metrics
    pictures = {metric: _curve_picture(directory, overview, direction, metric) for metric in metrics}
    tables = {metric: _roar_tables(overview, direction, metric) for metric in metrics}
    others = [metric for metric in metrics if metric not in scoring.leading]
    is_wide = len(overview.panels(direction, scoring.leading[0])) > 1
    by_model = [table for metric in scoring.leading for table in _tables_by_model(overview, direction, metric)]
    return CurveSection(
        name=_DIRECTION_LABELS[direction],
        is_wide=is_wide,
        by_model=by_model if is_wide else [],
        leads=[pictures[metric] for metric in scoring.leading],
        lead_tables=[table for metric in scoring.leading for table in tables[metric]],
        gap_tables=[table for metric in scoring.leading for table in _gap_tables(overview, direction, metric)],
        others=[pictures[metric] for metric in others],
        other_tables=[table for metric in others for table in tables[metric]],
    )


def _curve_picture(directory: Path, overview: Overview, direction: str, metric: str) -> Picture:
    ends = overview.grid.clean, overview.grid.blank
    stem = f"{_DIRECTION_LABELS[direction].lower()}_{metric}"
    paths = [directory / f"{stem}{suffix}" for suffix in (".png", ".pdf")]
    unseeing = ("most frequent class", overview.majority) if metric == "accuracy" else None
    roar_figure(paths, overview.panels(direction, metric), ends, overview.probes, metric, unseeing)
    label = METRICS[metric].label
    return Picture(paths[0], f"{label.capitalize() if label.islower() else label} by pixels {_PARTICIPLES[direction]}")


def _roar_tables(overview: Overview, direction: str, metric: str) -> list[Table]:
    """Tabulate a metric of every method's curves."""
    ends = overview.grid.clean, overview.grid.blank
    tables = []
    for method, pairs in overview.panels(direction, metric).items():
        title = f"{_title(direction, method, metric)}, {METRICS[metric].unit}, by pixels {_PARTICIPLES[direction]}"
        tables.append(roar_table(*_unzip(pairs), ends, metric, title))
    return tables


def _gap_tables(overview: Overview, direction: str, metric: str) -> list[Table]:
    """Tabulate the differences of every method's curves from the controls and from each other."""
    tables: list[Table] = []
    for method, pairs in overview.panels(direction, metric).items():
        curves, summaries = _unzip(pairs)
        title = _title(direction, method, metric)
        of_models = sum(not curve.is_control for curve in curves)
        if of_models:
            tables.append(gap_table(curves, summaries, f"{title}, differences, percentage points"))
        if of_models > 1:
            differences = model_differences(overview, direction, method, metric)
            tables.append(difference_table(differences, f"{title}, mean over the curve, percentage points"))
    return tables


def _tables_by_model(overview: Overview, direction: str, metric: str) -> list[Table]:
    """Compare the methods: one table per model, controls first."""
    pairs = overview.summarized_curves(direction, metric)
    ends = overview.grid.clean, overview.grid.blank
    tables = []
    for model in dict.fromkeys(curve.model for curve, _ in pairs if curve.model is not None):
        curves, summaries = _unzip([pair for pair in pairs if pair[0].model in (model, None)])
        labels = [method_label(curve.method) for curve in curves]
        title = (
            f"{_DIRECTION_LABELS[direction]}, {model_label(model)}: {METRICS[metric].label}, {METRICS[metric].unit}, "
            f"by pixels {_PARTICIPLES[direction]}"
        )
        tables.append(roar_table(curves, summaries, ends, metric, title, labels))
    return tables


def _title(direction: str, method: str, metric: str) -> str:
    return f"{_DIRECTION_LABELS[direction]}, {method_label(method)}: {METRICS[metric].label}"


def _unzip(pairs: Sequence[tuple[Curve, Summary]]) -> tuple[list[Curve], list[Summary]]:
    return [curve for curve, _ in pairs], [summary for _, summary in pairs]


def audits(overview: Overview, direction: str) -> list[Table]:
    """Tabulate what else could explain a direction's curves; the first direction has the table of maps, too."""
    curves = [curve for curve in overview.grid.curves if curve.direction == direction]
    name = _DIRECTION_LABELS[direction]
    network_tables = [
        audit_tables.probe_table(curves, overview.probes, name, overview.scoring.leading),
        audit_tables.longer_table(curves, overview.longer, name, overview.scoring.leading),
    ]
    tables = [
        *(table for table in network_tables if table is not None),
        *audit_tables.removal_tables(curves, name, has_objects=_has_objects(overview)),
    ]
    return tables if direction != overview.directions[0] else [*tables, audit_tables.variation_table(curves)]


def _has_objects(overview: Overview) -> bool:
    """Return whether to tabulate the removed share of objects; with one label per image, only if there are masks."""
    removals = [cell.removal for cell in overview.cells if cell.removal is not None]
    return not overview.scoring.is_single_label or any(removal.object_share is not None for removal in removals)


def model_tables(overview: Overview) -> list[Table]:
    """Tabulate the models' scores on clean images, if any model is finished."""
    models, expected = overview.models, overview.expected_models
    if not models:
        return []
    scoring = overview.scoring
    return [classification_table(models, scoring, expected), class_table(models, overview.classes, scoring, expected)]


def localization_tables(overview: Overview) -> list[Table]:
    """Tabulate the localization of every method; with several methods, a comparison of them comes first."""
    rows, expected = overview.localizations, overview.expected_localizations
    if not rows:
        return []
    methods = list(dict.fromkeys(method for model, method in expected if model is not None))
    comparisons = [methods_table(rows, over, expected) for over in ("own", "all")] if len(methods) > 1 else []
    return [*comparisons, *(localization_table(rows, method, expected) for method in methods)]


def example_pictures(
    directory: Path, overview: Overview, inputs: ReportInputs, test: Split, info: Info
) -> list[Picture]:
    """Draw the example images with all finished maps, controls last, at the percentages of the grid."""
    sources = [source for source in inputs.examples if not source.is_missing]
    count = inputs.settings.report.examples
    if not sources or not count:
        return []
    first = overview.grid.curves[0]
    headers = [f"{percent} % {_PARTICIPLES[first.direction]}" for percent in first.percents]
    rows = choose_rows(test, count)
    models_first = sorted(sources, key=lambda source: source.model is None)
    examples = read_examples(models_first, test, info, rows, first.percents, first.direction)
    pictures = []
    for number, (row, example) in enumerate(zip(rows, examples, strict=True), start=1):
        path = directory / f"examples_{number}.png"
        example_figure(path, example, headers)
        labels = ", ".join(example.labels.values()) or "none of the classes"
        pictures.append(Picture(path, test.ids[row], f"shows {labels}"))
    return pictures


def facts(overview: Overview, inputs: ReportInputs, test_images: int) -> dict[str, str]:
    """Return the size of the experiment; a partial report counts finished networks of all networks."""
    expected = len(inputs.cells) + len(inputs.probes) + len(inputs.longer)
    retrained = len(overview.cells) + len(overview.probes) + len(overview.longer)
    return {
        "models": f"{len(dict.fromkeys(run.model for run in overview.models))}",
        "methods": ", ".join(map(method_label, overview.methods)) or "none",
        "percentages": ", ".join(map(str, overview.grid.curves[0].percents)),
        "seeds": f"{overview.seeds}",
        "networks retrained": f"{retrained}" if retrained == expected else f"{retrained} of {expected}",
        "test images": f"{test_images:,}",
        "classes": f"{len(overview.classes)}",
        **({"labels of an image": "one"} if overview.scoring.is_single_label else {}),
    }


def blank_scores(overview: Overview) -> str:
    """Return a text of the leading scores with nothing visible."""
    means = {metric: overview.spread_of(overview.grid.blank, metric)[0] for metric in overview.scoring.leading}
    return ", ".join(f"{METRICS[metric].label} is {percent_text(mean)} %" for metric, mean in means.items())
