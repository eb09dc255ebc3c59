"""Tables of the models' scores on clean images."""

from collections import Counter
from collections.abc import Mapping, Sequence

from roar_pipeline.report.grid import ModelRun
from roar_pipeline.report.labels import METRICS, Scoring, model_label
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.tables.table import MISSING, Table, percent_text, runs_mark, spread_texts, table_of_columns

__all__ = ["class_table", "classification_table"]


def classification_table(
    models: Sequence[ModelRun], scoring: Scoring, expected: Mapping[str, int] | None = None
) -> Table:
    """Tabulate the models' scores on clean test images, over seeds.

    A score that is no share of 1 has its unit in its heading.

    ``expected`` is the number of seeds that the grid has of each model; by default no seed is missing.
    """
    expected = expected or Counter(run.model for run in models)
    runs = [[run for run in models if run.model == name] for name in expected]
    columns = {"parameters": [f"{of_model[0].parameters:,}" if of_model else MISSING for of_model in runs]}
    marks = [runs_mark(len(of_model), count) for of_model, count in zip(runs, expected.values(), strict=True)]
    for key in scoring.metrics:
        metric = METRICS[key]
        spread = [mean_std([run.test[key] for run in of_model]) for of_model in runs]
        name = metric.label if metric.unit == "%" else f"{metric.label}, {metric.unit}"
        columns[name] = spread_texts(spread, marks, metric.scale, metric.decimals)
    labels = [model_label(name) for name in expected]
    return table_of_columns("Models on clean test images, %", labels, columns)


def class_table(
    models: Sequence[ModelRun], classes: Sequence[str], scoring: Scoring, expected: Mapping[str, int] | None = None
) -> Table:
    """Tabulate every class's score, one column per model, means over seeds.

    ``expected`` is the number of seeds that the grid has of each model; by default no seed is missing.
    """
    columns: dict[str, list[str]] = {}
    for name, count in (expected or Counter(run.model for run in models)).items():
        per_run = [run.per_class for run in models if run.model == name]
        columns[model_label(name) + runs_mark(len(per_run), count)] = [
            percent_text(mean_std([values[index] for values in per_run])[0]) for index in range(len(classes))
        ]
    return table_of_columns(f"{scoring.class_score} by class, %", classes, columns)
