"""What a partial report does without, in sentences."""

from collections.abc import Mapping, Sequence
from typing import Any

from roar_pipeline.report.results import method_label, model_label
from roar_pipeline.report.wording import listed

__all__ = ["PARTIAL", "missing_lines"]

PARTIAL = (
    "The report is partial. A dash is undefined, because a result is missing. n=2: over 2 runs, as the others are "
    "missing; beside a number over other runs it compares unlike seeds. Differences and RACU are over the runs of "
    "which both curves are there, for RACU at every percentage, clean and with nothing visible. Intervals stand only "
    "where no run is missing. Cells that failed need not be like those that did not."
)
"""How to read a report of which results are missing."""

_MOST_LINES = 24
"""Curves whose missing cells are listed one by one."""


def missing_lines(
    asked: Mapping[str, Sequence[Mapping[str, Any]]], missing: Mapping[str, Sequence[Mapping[str, Any]]]
) -> list[str]:
    """Say how much is missing of what is asked for, and then what, a line per curve and per kind of result.

    Both are by kind (cells, models, localizations, example maps); the missing ones are as in ``asked``. Nothing
    missing, no lines.
    """
    if not missing:
        return []
    counts = [f"{len(found)} of {len(asked[kind])} {kind}" for kind, found in missing.items()]
    verb = "is" if sum(map(len, missing.values())) == 1 else "are"
    cells = [
        _of_curve(found, asked["cells"]) for found in _by(missing.get("cells", ()), "direction", "method", "model")
    ]
    shown = cells[:_MOST_LINES]
    if len(cells) > len(shown):
        shown.append(f"cells of {len(cells) - len(shown)} more curves: see missing.csv")
    rest = [
        f"{kind}: " + listed([_of_maps(found) for found in _by(missing[kind], "method", "model")], _MOST_LINES)
        for kind in ("probes", "longer cells", "models", "localizations", "example maps")
        if kind in missing
    ]
    return [f"Partial report: {', '.join(counts)} {verb} missing", *shown, *rest]


def _by(found: Sequence[Mapping[str, Any]], *keys: str) -> list[list[Mapping[str, Any]]]:
    """Put together what has the same values of the keys, in order of first appearance."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for each in found:
        groups.setdefault(tuple(each.get(key) for key in keys), []).append(each)
    return list(groups.values())


def _of_curve(found: Sequence[Mapping[str, Any]], asked: Sequence[Mapping[str, Any]]) -> str:
    """Name the missing cells of one curve, or of all curves (0 and 100 %); percentages with the same seeds together."""
    first = found[0]
    name = f"{'ROAR' if first['direction'] == 'remove' else 'KAR'}, {_named(first)}"
    if first["method"] is None:
        name = "all curves"
    keys = ("direction", "method", "model")
    if len(found) == sum(all(each[key] == first[key] for key in keys) for each in asked):
        return f"{name}: all {len(found)} cells"
    percents: dict[str, list[str]] = {}
    for point in _by(found, "percent"):
        percents.setdefault(_seeds(point), []).append(f"{point[0]['percent']}")
    return f"{name}: " + "; ".join(f"{', '.join(at)} % of {seeds}" for seeds, at in percents.items())


def _of_maps(found: Sequence[Mapping[str, Any]]) -> str:
    """Name the seeds of a model, or of a method's maps of it; controls' maps have none."""
    seeds = [each for each in found if each.get("seed") is not None]
    return _named(found[0]) + (f" ({_seeds(seeds)})" if seeds else "")


def _named(each: Mapping[str, Any]) -> str:
    labels = [label(each[key]) for key, label in (("method", method_label), ("model", model_label)) if each.get(key)]
    return " of ".join(labels)


def _seeds(found: Sequence[Mapping[str, Any]]) -> str:
    names = [
        f"{each['seed']}" + (f" (models' {model_seed})" if model_seed not in (None, each["seed"]) else "")
        for each in found
        for model_seed in [each.get("model_seed")]
    ]
    return f"seed{'s' if len(names) > 1 else ''} {', '.join(names)}"
