"""Tables of the models' scores on clean images."""

from collections import Counter
from collections.abc import Mapping, Sequence

from roar_pipeline.report.grid import ModelRun
from roar_pipeline.report.labels import METRICS, model_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.tables.table import MISSING, Table, percent_text, runs_mark, spread_texts, table_of_columns

__all__ = ["class_table", "classification_table"]


def classification_table(models: Sequence[ModelRun], expected: Mapping[str, int] | None = None) -> Table:
    """Tabulate the models' scores on clean test images, over seeds.

    ``expected`` is the number of seeds that the grid has of each model; by default no seed is missing.
    """
    expected = expected or Counter(run.model for run in models)
    runs = [[run for run in models if run.model == name] for name in expected]
    columns = {"parameters": [f"{of_model[0].parameters:,}" if of_model else MISSING for of_model in runs]}
    marks = [runs_mark(len(of_model), count) for of_model, count in zip(runs, expected.values(), strict=True)]
    for metric, label in METRICS.items():
        spread = [mean_std([run.test[metric] for run in of_model]) for of_model in runs]
        columns[label] = spread_texts(spread, marks)
    labels = [model_label(name) for name in expected]
    return table_of_columns("Models on clean test images, %", labels, columns)


def class_table(models: Sequence[ModelRun], classes: Sequence[str], expected: Mapping[str, int] | None = None) -> Table:
    """Tabulate every class's average precision, one column per model, means over seeds.

    ``expected`` is the number of seeds that the grid has of each model; by default no seed is missing.
    """
    columns: dict[str, list[str]] = {}
    for name, count in (expected or Counter(run.model for run in models)).items():
        per_run = [run.per_class for run in models if run.model == name]
        columns[model_label(name) + runs_mark(len(per_run), count)] = [
            percent_text(mean_std([values[index] for values in per_run])[0]) for index in range(len(classes))
        ]
    return table_of_columns("Average precision by class, %", classes, columns)
