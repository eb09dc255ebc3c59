"""The numbers behind the report as CSV: shares of 1, not percent, in full precision; an empty field is undefined."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path

from roar_pipeline.cache.files import whole_file
from roar_pipeline.report.claims import Claim
from roar_pipeline.report.grid import Cell, Curve, ModelRun, RemovalAudits, above_clean
from roar_pipeline.report.labels import METRICS
from roar_pipeline.report.missing import Requested
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
    """Write records, whole; the header is every key in order of first appearance."""
    rows = list(records)
    header = list(dict.fromkeys(key for row in rows for key in row))
    with whole_file(path) as scratch, scratch.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def cell_records(cells: Sequence[Cell], clean: Sequence[Cell], classes: Sequence[str]) -> list[Record]:
    """Return a row per retrained cell: what it is, what it scores, its audits, every setting, its result's name."""
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
            "tuned_threshold": cell.tuned_threshold,
            "origin": cell.origin,
            **{metric: cell.test[metric] for metric in METRICS},
            **{f"above_clean_{metric}": above_clean(cell, clean, metric) for metric in METRICS if cell.method},
            **{key: getattr(cell.removal, key, None) for key in audits},
            **_per_class(cell.per_class, classes),
            **{key: _flat(cell.settings.get(key)) for key in settings},
            "result": cell.directory.name,
            "fingerprint": cell.fingerprint,
        }
        for cell in cells
    ]


def curve_records(grid: Sequence[Curve], summaries: Mapping[str, Sequence[Summary]]) -> list[Record]:
    """Return a row per metric and point of every curve; the counts of runs differ where results are missing."""
    return [
        {
            "direction": curve.direction,
            "method": curve.method,
            "model": curve.model,
            "metric": metric,
            "percent": percent,
            **_estimated("mean", summary.points[point], named=False),
            **_estimated("minus_random", summary.gaps[point]),
            "best_control": best[0] if (best := summary.best[point]) else None,
            **_estimated("minus_best_control", best[1] if best else None),
            **_estimated("minus_clean", summary.above_clean[point]),
            **_estimated("area_minus_random", summary.area),
            **_estimated("racu", summary.racu),
        }
        for metric, of_metric in summaries.items()
        for curve, summary in zip(grid, of_metric, strict=True)
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
            **_estimated("mean", difference.estimate, named=False),
            "p": difference.estimate.p,
            "corrected_p": difference.corrected_p,
        }
        for claim in claims
        for difference in claim.differences
    ]


def _estimated(name: str, estimate: Estimate | None, *, named: bool = True) -> Record:
    """Return an estimate's columns; those of spread and runs have its name in front, unless the row is about it."""
    front = f"{name}_" if named else ""
    if estimate is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None, f"{front}runs": None}
    return {
        f"{front}runs": estimate.runs,
        name: estimate.mean,
        f"{front}std": estimate.std,
        **_ends(name, estimate.interval),
    }


def model_records(models: Sequence[ModelRun], classes: Sequence[str]) -> list[Record]:
    """Return a row per trained teacher and student."""
    return [
        {
            "model": run.model,
            "seed": run.seed,
            "parameters": run.parameters,
            **{metric: run.test[metric] for metric in METRICS},
            **_per_class(run.per_class, classes),
        }
        for run in models
    ]


def localization_records(rows: Sequence[Localization]) -> list[Record]:
    """Return a row per model, seed and choice of pairs."""
    return [asdict(row) for row in rows]


def missing_records(results: Sequence[Requested]) -> list[Record]:
    """Return a row per result that is missing."""
    keys = ("kind", "direction", "method", "model", "percent", "seed", "model_seed")
    return [{key: getattr(result, key) for key in keys} for result in results if result.is_missing]


def _per_class(values: Sequence[float | None], classes: Sequence[str]) -> Record:
    return {f"ap_{name}": value for name, value in zip(classes, values, strict=True)}


def _ends(name: str, interval: tuple[float, float] | None) -> Record:
    low, high = interval or (None, None)
    return {f"{name}_low": low, f"{name}_high": high}


def _flat(value: object) -> object:
    return " ".join(map(str, value)) if isinstance(value, (list, tuple)) else value
