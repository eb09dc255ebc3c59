"""Tables of what else could explain a curve: probes, longer training, and audits of the removed pixels."""

from collections.abc import Callable, Sequence

from roar_pipeline.report.grid import Cell, Curve, RemovalAudits, full_labels
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.summaries import longer_training_change, probes_of
from roar_pipeline.report.tables.table import (
    MISSING,
    Table,
    number_text,
    percent_text,
    runs_mark,
    signed_text,
    spread_texts,
    table_of_columns,
    table_of_groups,
    with_marks,
)

__all__ = ["longer_table", "probe_table", "removal_tables", "variation_table"]

Audit = Callable[[RemovalAudits], float | None]


def probe_table(curves: Sequence[Curve], probes: Sequence[Cell], name: str, metrics: Sequence[str]) -> Table | None:
    """Tabulate the scores of networks that see the masks alone, beside the cells'; None without probes."""
    probed = [c for c in curves if any(probes_of(probes, c, percent) for percent in c.percents)]
    percents = [p for p in curves[0].percents if any(probes_of(probes, c, p) for c in probed)]
    if not percents:
        return None
    groups: dict[str, dict[str, list[str]]] = {}
    for metric in metrics:
        for percent in percents:
            point = curves[0].percents.index(percent)
            sets = {
                "masks alone": [probes_of(probes, c, percent) for c in probed],
                "cell": [list(c.cells[point]) for c in probed],
            }
            groups[f"{METRICS[metric].label}, {percent} %"] = {
                title: spread_texts(
                    [mean_std([c.test[metric] for c in cells]) for cells in of_curves],
                    [runs_mark(len(cells), len(c.runs)) for cells, c in zip(of_curves, probed, strict=True)],
                )
                for title, of_curves in sets.items()
            }
    return table_of_groups(f"{name}: a network that sees the masks alone, %", full_labels(probed), groups)


def longer_table(curves: Sequence[Curve], longer: Sequence[Cell], name: str, metrics: Sequence[str]) -> Table | None:
    """Tabulate the change by twice the epochs, in points, beside the spread over seeds; None without such cells."""
    rows: dict[str, list[str]] = {}
    for label, curve in zip(full_labels(curves), curves, strict=True):
        for point, percent in enumerate(curve.percents):
            changes = [longer_training_change(longer, curve, point, percent, metric) for metric in metrics]
            if any(change is not None for change, _ in changes):
                rows[f"{label}, {percent} %"] = [
                    MISSING if change is None else signed_text(100 * change, 1) for change, _ in changes
                ] + [MISSING if spread is None else percent_text(spread) for _, spread in changes]
    if not rows:
        return None
    texts = list(zip(*rows.values(), strict=True))
    names = [METRICS[metric].label for metric in metrics]
    groups = {
        "change": dict(zip(names, map(list, texts[: len(names)]), strict=True)),
        "s.d. over seeds": dict(zip(names, map(list, texts[len(names) :]), strict=True)),
    }
    return table_of_groups(f"{name}: twice the epochs, percentage points", list(rows), groups)


def removal_tables(curves: Sequence[Curve], name: str, *, has_objects: bool = True) -> list[Table]:
    """Tabulate audits of every curve's removed pixels by percentage, means over runs; objects' only if there are."""

    def by_percent(title: str, write: Callable[[Sequence[Cell]], str]) -> Table:
        columns = {
            f"{percent} %": with_marks(
                [write(curve.cells[point]) if curve.cells[point] else MISSING for curve in curves],
                [runs_mark(len(curve.cells[point]), len(curve.runs)) for curve in curves],
            )
            for point, percent in enumerate(curves[0].percents)
        }
        return table_of_columns(f"{name}: {title}", full_labels(curves), columns)

    def object_share(cells: Sequence[Cell]) -> str:
        return percent_text(_mean(cells, lambda a: a.object_share))

    def tied_shares(cells: Sequence[Cell]) -> str:
        train, test = _mean(cells, lambda a: a.tied_share_train), _mean(cells, lambda a: a.tied_share_test)
        return f"{percent_text(train)} / {percent_text(test)}"

    def percents(cells: Sequence[Cell]) -> str:
        train, test = _mean(cells, lambda a: a.actual_percent_train), _mean(cells, lambda a: a.actual_percent_test)
        return f"{number_text(train, 2)} / {number_text(test, 2)}"

    return [
        *([by_percent("object pixels removed, test, %", object_share)] if has_objects else []),
        by_percent("removed pixels decided by ties, train / test, %", tied_shares),
        by_percent("pixels removed, train / test, %", percents),
    ]


def variation_table(curves: Sequence[Curve]) -> Table:
    """Tabulate the total variation of every curve's test maps and the count of empty maps, means over runs."""
    cells = [_cell_of_each_run(curve) for curve in curves]
    marks = [runs_mark(len(of_curve), len(curve.runs)) for of_curve, curve in zip(cells, curves, strict=True)]
    audits: dict[str, tuple[Audit, int]] = {
        "total variation": (lambda a: a.total_variation, 3),
        "empty, train": (lambda a: a.empty_maps_train, 0),
        "empty, test": (lambda a: a.empty_maps_test, 0),
        "explained = labels, train": (lambda a: a.explained_as_labels_train, 3),
        "explained = labels, test": (lambda a: a.explained_as_labels_test, 3),
    }
    columns = {
        title: with_marks([number_text(_mean(of_curve, audit), decimals) for of_curve in cells], marks)
        for title, (audit, decimals) in audits.items()
    }
    return table_of_columns("Maps", full_labels(curves), columns)


def _cell_of_each_run(curve: Curve) -> list[Cell]:
    """Return the first finished cell of every run: all cells of a run have the same maps."""
    return list({cell.run: cell for point in reversed(curve.cells) for cell in point}.values())


def _mean(cells: Sequence[Cell], audit: Audit) -> float | None:
    return mean_std([audit(cell.removal) for cell in cells if cell.removal is not None])[0]
