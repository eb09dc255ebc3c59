"""The numbers behind the report as CSV: shares of 1, not percent, in full precision; an empty field is undefined."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from roar_pipeline.cache.files import whole_file
from roar_pipeline.report.claims import Claim
from roar_pipeline.report.grid import Cell, Curve, ModelRun, RemovalAudits, is_above_clean
from roar_pipeline.report.labels import METRICS, Scoring
from roar_pipeline.report.missing import RequestedResult
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.localization import Localization
from roar_pipeline.report.statistics.summaries import Summary

__all__ = [
    "cell_records",
    "claim_records",
    "curve_records",
    "localization_records",
    "missing_records",
    "model_records",
    "write_csv",
]

Record = Mapping[str, object]
"""A row: column to value, as ``csv`` writes it; None is an empty field."""


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write records atomically; the header has every key, in order of first appearance."""
    rows = list(records)
    header = list(dict.fromkeys(key for row in rows for key in row))
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cell_records(
    cells: Sequence[Cell], clean: Sequence[Cell], classes: Sequence[str], scoring: Scoring
) -> list[Record]:
    """Return a row per retrained cell: its key, scores, audits, settings, directory name and fingerprint."""
    shares = [metric for metric in scoring.metrics if METRICS[metric].unit == "%"]
    audits = [field.name for field in fields(RemovalAudits)] if any(cell.removal for cell in cells) else []
    settings = sorted({key for cell in cells for key in cell.settings})
    return [
        {
            "direction": cell.direction if cell.method else "",
            "method": cell.method,
            "model": cell.model,
            "percent": cell.percent,
            "seed": cell.seed,
            "model_seed": cell.model_seed,
            **({} if scoring.is_single_label else {"tuned_threshold": cell.tuned_threshold}),
            "origin": cell.origin,
            **{metric: cell.test[metric] for metric in scoring.metrics},
            **{f"above_clean_{metric}": is_above_clean(cell, clean, metric) for metric in shares if cell.method},
            **{key: getattr(cell.removal, key, None) for key in audits},
            **_class_columns(cell.per_class, classes, scoring),
            **{key: _csv_value(cell.settings.get(key)) for key in settings},
            "result": cell.directory.name,
            "fingerprint": cell.fingerprint,
        }
        for cell in cells
    ]


def curve_records(curves: Sequence[Curve], summaries: Mapping[str, Sequence[Summary]]) -> list[Record]:
    """Return a row per metric and point of every curve; where results are missing, the counts of runs differ."""
    return [
        {
            "direction": curve.direction,
            "method": curve.method,
            "model": curve.model,
            "metric": metric,
            "percent": percent,
            **_estimate_columns("mean", summary.points[point], has_prefix=False),
            **_estimate_columns("minus_random", summary.minus_random[point]),
            "best_control": best[0] if (best := summary.minus_best[point]) else None,
            **_estimate_columns("minus_best_control", best[1] if best else None),
            **_estimate_columns("minus_clean", summary.minus_clean[point]),
            **_estimate_columns("area_minus_random", summary.area_minus_random),
            **_estimate_columns("racu", summary.racu),
        }
        for metric, of_curves in summaries.items()
        for curve, summary in zip(curves, of_curves, strict=True)
        for point, percent in enumerate(curve.percents)
    ]


def claim_records(claims: Sequence[Claim]) -> list[Record]:
    """Return a row per difference that decides a claim."""
    return [
        {
            "claim": claim.text,
            "measure": claim.measure,
            "verdict": claim.verdict,
            "difference": difference.label,
            **_estimate_columns("mean", difference.estimate, has_prefix=False),
            "p": difference.estimate.p,
            "corrected_p": difference.corrected_p,
        }
        for claim in claims
        for difference in claim.differences
    ]


def _estimate_columns(name: str, estimate: Estimate | None, *, has_prefix: bool = True) -> Record:
    """Return an estimate's columns; ``has_prefix`` puts the name before ``runs`` and ``std``, too."""
    prefix = f"{name}_" if has_prefix else ""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{prefix}runs": None}
    return {
        f"{prefix}runs": estimate.runs,
        name: estimate.mean,
        f"{prefix}std": estimate.std,
        **_interval_columns(name, estimate.interval),
    }


def model_records(models: Sequence[ModelRun], classes: Sequence[str], scoring: Scoring) -> list[Record]:
    """Return a row per trained teacher and student."""
    return [
        {
            "model": run.model,
            "seed": run.seed,
            "parameters": run.parameters,
            **{metric: run.test[metric] for metric in scoring.metrics},
            **_class_columns(run.per_class, classes, scoring),
        }
        for run in models
    ]


def localization_records(rows: Sequence[Localization]) -> list[Record]:
    """Return a row per model, seed and choice of pairs."""
    return [asdict(row) for row in rows]


def missing_records(results: Sequence[RequestedResult]) -> list[Record]:
    """Return a row per result that is missing."""
    keys = ("kind", "direction", "method", "model", "percent", "seed", "model_seed")
    return [{key: getattr(result, key) for key in keys} for result in results if result.is_missing]


def _class_columns(values: Sequence[float | None], classes: Sequence[str], scoring: Scoring) -> Record:
    return {f"{scoring.class_column}_{name}": value for name, value in zip(classes, values, strict=True)}


def _interval_columns(name: str, interval: tuple[float, float] | None) -> Record:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _csv_value(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
