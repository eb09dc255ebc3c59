"""Tables of where the models' maps point."""

from collections import Counter
from collections.abc import Mapping, Sequence

from roar_pipeline.report.labels import method_label, model_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization import OVER, Localization
from roar_pipeline.report.tables.table import MISSING, Table, fewer, of_groups, spread_texts

__all__ = ["localization_table", "methods_table"]

Expected = Mapping[tuple[str | None, str], int]
"""How many seeds the localization of each (model, method) should have; controls have one for all seeds."""


def localization_table(rows: Sequence[Localization], method: str, expected: Expected | None = None) -> Table:
    """Tabulate a method's AUC and pointing accuracy of every model and control over own, all and common pairs.

    Without ``expected``, nothing but the rows is expected.
    """
    expected = expected or _expected(rows)
    keys = [key for key in expected if key[1] == method or key[0] is None]
    keys.sort(key=lambda key: key[0] is None)
    seeds = max(expected.values())

    def of(over: str) -> list[list[Localization]]:
        return [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]

    groups: dict[str, dict[str, list[str]]] = {name: {} for name in ("AUC", "pointing", "pairs", "maps")}
    for over in OVER:
        marks = [
            fewer(len(found), seeds if over == "common" else expected[key])
            for key, found in zip(keys, of(over), strict=True)
        ]
        groups["AUC"][over] = spread_texts([mean_std([r.auc for r in found]) for found in of(over)], marks)
        groups["pointing"][over] = spread_texts([mean_std([r.pointing for r in found]) for found in of(over)], marks)
        groups["pairs"][over] = [_range_text([r.pairs for r in found]) for found in of(over)]
    groups["maps"]["empty"] = [_range_text([r.zero_maps for r in found]) for found in of("all")]
    names = [method_label(m) if model is None else model_label(model) for model, m in keys]
    undefined = max((r.undefined for found in of("all") for r in found), default=0)
    note = f"Pairs without a value, because their class covers no or every pixel of the resized mask: {undefined}."
    title = f"Localization of {method_label(method)} maps, %"
    return of_groups(title, names, groups, note if undefined else "")


def _expected(rows: Sequence[Localization]) -> Expected:
    return Counter((row.model, row.method) for row in rows if row.over == "all")


def methods_table(rows: Sequence[Localization], over: str, expected: Expected | None = None) -> Table:
    """Tabulate AUC and pointing accuracy of every method and model over own or all pairs (Park et al. 2020, table 2).

    Controls, which have no model and so no own pairs, stand below with the same score under every model. Without
    ``expected``, nothing but the rows is expected.
    """
    expected = expected or _expected(rows)
    models = list(dict.fromkeys(model for model, _ in expected if model is not None))
    methods = list(dict.fromkeys(method for model, method in expected if model is not None))
    controls = [method for model, method in expected if model is None] if over == "all" else []
    groups: dict[str, dict[str, list[str]]] = {}
    for model in models:
        keys = [*((model, method) for method in methods), *((None, method) for method in controls)]
        found = [[r for r in rows if (r.model, r.method) == key and r.over == over] for key in keys]
        marks = [fewer(len(each), expected[key]) for key, each in zip(keys, found, strict=True)]
        groups[model_label(model)] = {
            "AUC": spread_texts([mean_std([r.auc for r in each]) for each in found], marks),
            "point": spread_texts([mean_std([r.pointing for r in each]) for each in found], marks),
        }
    names = [method_label(method) for method in [*methods, *controls]]
    return of_groups(f"Localization by method and model, {over} pairs, %", names, groups)


def _range_text(counts: Sequence[int]) -> str:
    if not counts:
        return MISSING
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)}–{max(counts)}"
