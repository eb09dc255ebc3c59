"""Tables of where the models' maps point."""

from collections import Counter
from collections.abc import Mapping, Sequence

from roar_pipeline.report.labels import method_label, model_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization import PAIR_CHOICES, Localization
from roar_pipeline.report.tables.table import MISSING, Table, runs_mark, spread_texts, table_of_groups

__all__ = ["localization_table", "methods_table"]

Expected = Mapping[tuple[str | None, str], int]
"""Number of seeds that the grid asks for, by (model, method); a control has one localization for all seeds."""


def localization_table(rows: Sequence[Localization], method: str, expected: Expected | None = None) -> Table:
    """Tabulate a method's AUC and pointing accuracy of every model and control over own, all and common pairs.

    Without ``expected``, no row is missing.
    """
    expected = expected or _expected(rows)
    keys = [key for key in expected if key[1] == method or key[0] is None]
    keys.sort(key=lambda key: key[0] is None)
    seeds = max(expected.values())

    def rows_over(over: str) -> list[list[Localization]]:
        return [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]

    groups: dict[str, dict[str, list[str]]] = {name: {} for name in ("AUC", "pointing", "pairs", "maps")}
    for over in PAIR_CHOICES:
        marks = [
            runs_mark(len(matches), seeds if over == "common" else expected[key])
            for key, matches in zip(keys, rows_over(over), strict=True)
        ]
        groups["AUC"][over] = spread_texts([mean_std([r.auc for r in matches]) for matches in rows_over(over)], marks)
        groups["pointing"][over] = spread_texts(
            [mean_std([r.pointing for r in matches]) for matches in rows_over(over)], marks
        )
        groups["pairs"][over] = [_range_text([r.pairs for r in matches]) for matches in rows_over(over)]
    groups["maps"]["empty"] = [_range_text([r.zero_maps for r in matches]) for matches in rows_over("all")]
    names = [method_label(m) if model is None else model_label(model) for model, m in keys]
    undefined = max((r.undefined for matches in rows_over("all") for r in matches), default=0)
    note = f"Pairs without a value, because their class covers no or every pixel of the resized mask: {undefined}."
    title = f"Localization of {method_label(method)} maps, %"
    return table_of_groups(title, names, groups, note if undefined else "")


def _expected(rows: Sequence[Localization]) -> Expected:
    return Counter((row.model, row.method) for row in rows if row.over == "all")


def methods_table(rows: Sequence[Localization], over: str, expected: Expected | None = None) -> Table:
    """Tabulate AUC and pointing accuracy of every method and model over own or all pairs (Park et al. 2020, table 2).

    Controls, which have no model and so no own pairs, stand below with the same score under every model. Without
    ``expected``, no row is missing.
    """
    expected = expected or _expected(rows)
    models = list(dict.fromkeys(model for model, _ in expected if model is not None))
    methods = list(dict.fromkeys(method for model, method in expected if model is not None))
    controls = [method for model, method in expected if model is None] if over == "all" else []
    groups: dict[str, dict[str, list[str]]] = {}
    for model in models:
        keys = [*((model, method) for method in methods), *((None, method) for method in controls)]
        cells = [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]
        marks = [runs_mark(len(matches), expected[key]) for key, matches in zip(keys, cells, strict=True)]
        groups[model_label(model)] = {
            "AUC": spread_texts([mean_std([r.auc for r in matches]) for matches in cells], marks),
            "point": spread_texts([mean_std([r.pointing for r in matches]) for matches in cells], marks),
        }
    names = [method_label(method) for method in [*methods, *controls]]
    return table_of_groups(f"Localization by method and model, {over} pairs, %", names, groups)


def _range_text(counts: Sequence[int]) -> str:
    if not counts:
        return MISSING
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"
