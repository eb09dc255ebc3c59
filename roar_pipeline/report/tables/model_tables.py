"""Tables of what the models score and of where their maps point."""

from collections import Counter
from collections.abc import Mapping, Sequence

from roar_pipeline.report.results import METRICS, ModelRun, method_label, model_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.localization_summaries import OVER, Localization
from roar_pipeline.report.tables.plain_text import (
    MISSING,
    Table,
    fewer,
    of_columns,
    of_groups,
    percent_text,
    spread_texts,
)

__all__ = ["class_table", "classification_table", "localization_table", "methods_table"]


def classification_table(models: Sequence[ModelRun], asked: Mapping[str, int] | None = None) -> Table:
    """Tabulate what the models score on clean test images, over seeds.

    ``asked`` is how many seeds each model should have; default: as many as there are.
    """
    asked = asked or Counter(run.model for run in models)
    runs = [[run for run in models if run.model == name] for name in asked]
    columns = {"parameters": [f"{of_model[0].parameters:,}" if of_model else MISSING for of_model in runs]}
    marks = [fewer(len(of_model), count) for of_model, count in zip(runs, asked.values(), strict=True)]
    for metric, label in METRICS.items():
        spread = [mean_std([run.test[metric] for run in of_model]) for of_model in runs]
        columns[label] = spread_texts(spread, marks)
    labels = [model_label(name) for name in asked]
    return of_columns("Models on clean test images, %", labels, columns)


def class_table(models: Sequence[ModelRun], classes: Sequence[str], asked: Mapping[str, int] | None = None) -> Table:
    """Tabulate every class's average precision, one column per model, means over seeds.

    ``asked`` is how many seeds each model should have; default: as many as there are.
    """
    columns: dict[str, list[str]] = {}
    for name, count in (asked or Counter(run.model for run in models)).items():
        per_run = [run.test["per_class"] for run in models if run.model == name]
        columns[model_label(name) + fewer(len(per_run), count)] = [
            percent_text(mean_std([values[index] for values in per_run])[0]) for index in range(len(classes))
        ]
    return of_columns("Average precision by class, %", classes, columns)


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
            fewer(len(found), seeds if over == "common" else asked[key])
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
        marks = [fewer(len(each), asked[key]) for key, each in zip(keys, found, strict=True)]
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
