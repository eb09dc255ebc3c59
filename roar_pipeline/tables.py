"""Tables as plain rows of text, and their two forms for people: fixed-width text and, in the report, HTML.

Scores are percent with one decimal, mean ± sample standard deviation over runs. Where some of the runs are missing, the
mean over those there are is marked with their number (``n=2``); without any it is a dash.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from roar_pipeline.curves import mean_std
from roar_pipeline.results import METRICS, Cell, Curve, ModelRun, above_clean, full_labels, method_label, model_label
from roar_pipeline.summaries import OVER, Localization, Summary

__all__ = [
    "MISSING",
    "Table",
    "audit_tables",
    "class_table",
    "classification_table",
    "gap_table",
    "localization_table",
    "methods_table",
    "percent_text",
    "roar_table",
    "to_text",
    "variation_table",
]

MISSING = "–"
FLAG = "†"
"""Marks scores above the clean cell's."""


@dataclass(frozen=True)
class Table:
    """Texts in rows; the first column names the row and is set left, the others right.

    ``groups`` are headings over the columns but the first: (text, number of columns), or none at all. ``notes`` stand
    below.
    """

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    groups: tuple[tuple[str, int], ...] = ()


def percent_text(value: float | None, decimals: int = 1) -> str:
    """Write a share as percent without the sign: .7214 is 72.1."""
    return MISSING if value is None else f"{100 * value:.{decimals}f}"


def _spread_texts(pairs: Sequence[tuple[float | None, float | None]], marks: Sequence[str] | None = None) -> list[str]:
    """Write a column of (mean, std), each with its mark, so that right-aligned cells have their points aligned."""
    marks = marks or [""] * len(pairs)
    stds = ["" if std is None else f" ±{percent_text(std)}" for _, std in pairs]
    return _marked(
        [percent_text(mean) for mean, _ in pairs], [std + mark for std, mark in zip(stds, marks, strict=True)]
    )


def _fewer(count: int, asked: int) -> str:
    """Mark what is over some of the runs asked for."""
    return f" n={count}" if 0 < count < asked else ""


def _marked(texts: Sequence[str], marks: Sequence[str]) -> list[str]:
    width = max(map(len, marks), default=0)
    return [f"{text}{mark:<{width}}" for text, mark in zip(texts, marks, strict=True)]


def _of_columns(title: str, names: Sequence[str], columns: Mapping[str, Sequence[str]], *notes: str) -> Table:
    rows = tuple(zip(names, *columns.values(), strict=True))
    return Table(title, ("", *columns), rows, tuple(note for note in notes if note))


def _of_groups(
    title: str, names: Sequence[str], groups: Mapping[str, Mapping[str, Sequence[str]]], *notes: str
) -> Table:
    columns = [(name, cells) for columns in groups.values() for name, cells in columns.items()]
    rows = tuple(zip(names, *(cells for _, cells in columns), strict=True))
    spans = tuple((name, len(columns)) for name, columns in groups.items())
    return Table(title, ("", *(name for name, _ in columns)), rows, tuple(note for note in notes if note), spans)


def to_text(table: Table, width: int = 110) -> str:
    """Set a table in plain text; columns (or whole groups) that do not fit go below, the first column repeated."""
    cells = [table.header, *table.rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(table.header))]
    lines = [table.title]
    for block in _blocks(table, widths, width):
        columns = [column for _, members in block for column in members]
        rule = "-" * (widths[0] + sum(2 + widths[column] for column in columns))
        if table.groups:
            spans = [sum(2 + widths[column] for column in members) - 2 for _, members in block]
            heads = [f"{name:-^{span}}" for (name, _), span in zip(block, spans, strict=True)]
            lines.append("  ".join([" " * widths[0], *heads]))
        for index, row in enumerate(cells):
            texts = [f"{row[0]:<{widths[0]}}", *(f"{row[column]:>{widths[column]}}" for column in columns)]
            lines += ["  ".join(texts).rstrip(), *([rule] if index == 0 else [])]
        lines.append("")
    return "\n".join([*lines[:-1], *table.notes]) + "\n"


def _blocks(table: Table, widths: Sequence[int], width: int) -> list[list[tuple[str, list[int]]]]:
    """Share out the columns, group by group, over blocks of at most ``width`` characters (or of one group)."""
    units: list[tuple[str, list[int]]] = []
    first = 1
    for name, span in table.groups or [("", 1)] * (len(widths) - 1):
        units.append((name, list(range(first, first + span))))
        first += span
    blocks: list[list[tuple[str, list[int]]]] = []
    used = width
    for unit in units:
        needed = sum(2 + widths[column] for column in unit[1])
        if used + needed > width or not blocks:
            blocks.append([])
            used = widths[0]
        blocks[-1].append(unit)
        used += needed
    return blocks


def classification_table(models: Sequence[ModelRun], asked: Mapping[str, int] | None = None) -> Table:
    """Tabulate what the models score on clean test images, over seeds.

    ``asked`` is how many seeds each model should have; default: as many as there are.
    """
    asked = asked or Counter(run.model for run in models)
    runs = [[run for run in models if run.model == name] for name in asked]
    columns = {"parameters": [f"{of_model[0].parameters:,}" if of_model else MISSING for of_model in runs]}
    marks = [_fewer(len(of_model), count) for of_model, count in zip(runs, asked.values(), strict=True)]
    for metric, label in METRICS.items():
        spread = [mean_std([run.test[metric] for run in of_model]) for of_model in runs]
        columns[label] = _spread_texts(spread, marks)
    labels = [model_label(name) for name in asked]
    return _of_columns("Models on clean test images, %", labels, columns)


def class_table(models: Sequence[ModelRun], classes: Sequence[str], asked: Mapping[str, int] | None = None) -> Table:
    """Tabulate every class's average precision, one column per model, means over seeds.

    ``asked`` is how many seeds each model should have; default: as many as there are.
    """
    columns: dict[str, list[str]] = {}
    for name, count in (asked or Counter(run.model for run in models)).items():
        per_run = [run.test["per_class"] for run in models if run.model == name]
        columns[model_label(name) + _fewer(len(per_run), count)] = [
            percent_text(mean_std([values[index] for values in per_run])[0]) for index in range(len(classes))
        ]
    return _of_columns("Average precision by class, %", classes, columns)


Asked = Mapping[tuple[str | None, str], int]
"""How many seeds the localization of each (model, method) should have; controls have one for all seeds."""


def localization_table(rows: Sequence[Localization], method: str, asked: Asked | None = None) -> Table:
    """Tabulate a method's AUC and pointing accuracy of every model and control over own, all and common pairs.

    Without ``asked``, nothing but the rows is asked for.
    """
    asked = asked or _asked(rows)
    keys = [key for key in asked if key[1] == method or key[0] is None]
    keys.sort(key=lambda key: key[0] is None)
    seeds = max(asked.values())

    def of(over: str) -> list[list[Localization]]:
        return [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]

    groups: dict[str, dict[str, list[str]]] = {name: {} for name in ("AUC", "pointing", "pairs", "maps")}
    for over in OVER:
        marks = [
            _fewer(len(found), seeds if over == "common" else asked[key])
            for key, found in zip(keys, of(over), strict=True)
        ]
        groups["AUC"][over] = _spread_texts([mean_std([r.auc for r in found]) for found in of(over)], marks)
        groups["pointing"][over] = _spread_texts([mean_std([r.pointing for r in found]) for found in of(over)], marks)
        groups["pairs"][over] = [_range_text([r.pairs for r in found]) for found in of(over)]
    groups["maps"]["empty"] = [_range_text([r.zero_maps for r in found]) for found in of("all")]
    names = [method_label(m) if model is None else model_label(model) for model, m in keys]
    undefined = max((r.undefined for found in of("all") for r in found), default=0)
    note = f"Pairs without a value, because their class covers no or every pixel of the resized mask: {undefined}."
    title = f"Localization of {method_label(method)} maps, %"
    return _of_groups(title, names, groups, note if undefined else "")


def _asked(rows: Sequence[Localization]) -> Asked:
    return Counter((row.model, row.method) for row in rows if row.over == "all")


def methods_table(rows: Sequence[Localization], over: str, asked: Asked | None = None) -> Table:
    """Tabulate AUC and pointing accuracy of every method and model over own or all pairs (Park et al. 2020, table 2).

    Controls, which have no model and so no own pairs, stand below with the same score under every model. Without
    ``asked``, nothing but the rows is asked for.
    """
    asked = asked or _asked(rows)
    models = list(dict.fromkeys(model for model, _ in asked if model is not None))
    methods = list(dict.fromkeys(method for model, method in asked if model is not None))
    controls = [method for model, method in asked if model is None] if over == "all" else []
    groups: dict[str, dict[str, list[str]]] = {}
    for model in models:
        keys = [*((model, method) for method in methods), *((None, method) for method in controls)]
        found = [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]
        marks = [_fewer(len(each), asked[key]) for key, each in zip(keys, found, strict=True)]
        groups[model_label(model)] = {
            "AUC": _spread_texts([mean_std([r.auc for r in each]) for each in found], marks),
            "point": _spread_texts([mean_std([r.pointing for r in each]) for each in found], marks),
        }
    names = [method_label(method) for method in [*methods, *controls]]
    return _of_groups(f"Localization by method and model, {over} pairs, %", names, groups)


def _range_text(counts: Sequence[int]) -> str:
    if not counts:
        return MISSING
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"


def roar_table(
    grid: Sequence[Curve],
    summaries: Sequence[Summary],
    clean: Sequence[Cell],
    metric: str,
    title: str,
    labels: Sequence[str] | None = None,
) -> Table:
    """Tabulate a metric by percentage, one row per curve, with the clean score and RACU.

    The rows are named by model (one method's curves), unless ``labels`` name them otherwise.
    """
    columns: dict[str, list[str]] = {}
    whole = mean_std([cell.test[metric] for cell in clean])
    columns["clean"] = _spread_texts([whole] * len(grid), [_fewer(len(clean), len(grid[0].seeds))] * len(grid))
    flagged = False
    for point, percent in enumerate(grid[0].percents):
        flags = [FLAG if any(above_clean(cell, clean, metric) for cell in curve.cells[point]) else "" for curve in grid]
        flagged |= any(flags)
        fewer = [_fewer(s.runs[point], len(curve.runs)) for curve, s in zip(grid, summaries, strict=True)]
        spread = [(s.mean[point], s.std[point]) for s in summaries]
        columns[f"{percent} %"] = _spread_texts(spread, [flag + n for flag, n in zip(flags, fewer, strict=True)])
    shown = [s.racu if curve.model is not None else None for curve, s in zip(grid, summaries, strict=True)]
    columns["RACU"] = _marked(
        [_written(racu, 2) for racu in shown],
        [
            "" if racu is None else _fewer(s.racu_runs, len(curve.runs))
            for racu, curve, s in zip(shown, grid, summaries, strict=True)
        ],
    )
    note = f"{FLAG} above the clean cell of the same seed in at least one run." if flagged else ""
    return _of_columns(title, list(labels or [curve.label for curve in grid]), columns, note)


def gap_table(grid: Sequence[Curve], summaries: Sequence[Summary], title: str) -> Table:
    """Tabulate the paired difference to random removal with its 95 % interval, in percentage points."""
    rows = [(c, s) for c, s in zip(grid, summaries, strict=True) if c.model is not None]
    columns: dict[str, list[str]] = {}
    for point, percent in enumerate(grid[0].percents):
        columns[f"{percent} %"] = _marked(
            [_gap_text(s.gap[point], s.gap_interval[point]) for _, s in rows],
            [_fewer(s.gap_runs[point], len(curve.runs)) for curve, s in rows],
        )
    columns["RACU"] = _marked(
        [_written(s.racu, 2) + _interval_text(s.racu_interval, 1, 2) for _, s in rows],
        ["" if s.racu is None else _fewer(s.racu_runs, len(curve.runs)) for curve, s in rows],
    )
    return _of_columns(title, [c.label for c, _ in rows], columns)


def _gap_text(gap: float | None, interval: tuple[float, float] | None) -> str:
    return MISSING if gap is None else f"{_signed(100 * gap, 1)}{_interval_text(interval, 100, 1)}"


def _interval_text(interval: tuple[float, float] | None, scale: float, decimals: int) -> str:
    if interval is None:
        return ""
    return " [" + ", ".join(_signed(scale * end, decimals) for end in interval) + "]"


def _signed(value: float, decimals: int) -> str:
    return f"{value:.{decimals}f}".replace("-", "−")


def audit_tables(grid: Sequence[Curve], name: str) -> list[Table]:
    """Tabulate the audits of every curve by percentage, means over runs, train and test apart where they may differ."""

    def by_percent(title: str, write: Callable[[Mapping[str, float | None]], str]) -> Table:
        columns = {
            f"{percent} %": _marked(
                [write(_mean_audits(curve.cells[point])) if curve.cells[point] else MISSING for curve in grid],
                [_fewer(len(curve.cells[point]), len(curve.runs)) for curve in grid],
            )
            for point, percent in enumerate(grid[0].percents)
        }
        return _of_columns(f"{name}: {title}", full_labels(grid), columns)

    def both(key: str, decimals: int, scale: float) -> Callable[[Mapping[str, float | None]], str]:
        return lambda audits: " / ".join(
            MISSING if (value := audits[f"{key}_{split}"]) is None else f"{scale * value:.{decimals}f}"
            for split in ("train", "test")
        )

    return [
        by_percent("object pixels removed, test, %", lambda audits: percent_text(audits["object_share"])),
        by_percent("removed pixels decided by ties, train / test, %", both("tied_share", 1, 100)),
        by_percent("pixels removed, train / test, %", both("actual_percent", 2, 1)),
    ]


def variation_table(grid: Sequence[Curve]) -> Table:
    """Tabulate the total variation of every curve's test maps and the count of empty ones, means over runs."""
    cells = [_cell_of_each_run(curve) for curve in grid]
    marks = [_fewer(len(found), len(curve.runs)) for found, curve in zip(cells, grid, strict=True)]
    audits = [_mean_audits(found) for found in cells]
    columns = {
        title: _marked([_written(each.get(key), decimals) for each in audits], marks)
        for title, key, decimals in (
            ("total variation", "total_variation", 3),
            ("empty, train", "empty_maps_train", 0),
            ("empty, test", "empty_maps_test", 0),
        )
    }
    return _of_columns("Maps", full_labels(grid), columns)


def _cell_of_each_run(curve: Curve) -> list[Cell]:
    """Return the first cell there is of every run: all have the same maps."""
    return list({cell.run: cell for point in reversed(curve.cells) for cell in point}.values())


def _written(value: float | None, decimals: int) -> str:
    return MISSING if value is None else f"{value:.{decimals}f}"


def _mean_audits(cells: Sequence[Cell]) -> dict[str, float | None]:
    audits = [cell.removal for cell in cells if cell.removal is not None]
    return {key: mean_std([of_cell[key] for of_cell in audits])[0] for key in audits[0]} if audits else {}
