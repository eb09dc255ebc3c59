"""What a reader must know before believing the numbers, and what the curves say, in sentences made from the results."""

from collections.abc import Mapping, Sequence
from typing import Any

from roar_pipeline.results import METRICS, Cell, Curve, above_clean, full_labels, method_label, model_label
from roar_pipeline.summaries import Summary

__all__ = ["PARTIAL", "findings", "missing_lines", "warnings"]

PARTIAL = (
    "The report is partial. A dash is undefined, because a result is missing. n=2: over 2 runs, as the others are "
    "missing; beside a number over other runs it compares unlike seeds. Differences to random and RACU are over the "
    "seeds of which both curves are there, for RACU at every percentage and clean. Intervals stand only where no run "
    "is missing. Cells that failed need not be like those that did not."
)
"""How to read a report of which results are missing."""

_MOST_LINES = 24
"""Curves whose missing cells are listed one by one."""

_ENOUGH_SEEDS = 5
"""Below this many, the spread over seeds is itself uncertain (PROTOCOL 7)."""

_TIED = 0.1
"""Share of removed pixels decided by ties from which a cell is named."""


def warnings(settings: Mapping[str, Mapping[str, Any]], clean: Sequence[Cell], grid: Sequence[Curve]) -> list[str]:
    """Return what limits the results: generated data, few seeds, leaks, ties, cells above clean."""
    lines = []
    if not settings.get("dataset", {}).get("root"):
        lines.append(
            "Measured on the generated set, for which the default settings were tuned: an illustration, not evidence."
        )
    lines += _about_seeds(max(len({cell.seed for cell in point}) for curve in grid for point in curve.cells))
    if settings.get("maps", {}).get("explain") == "labels":
        lines.append(
            "Maps explain the true labels, of test images too (explain = labels): which pixels are gone tells the "
            "retrained network the label, so scores after removal are too high."
        )
    lines += _about_ties(grid)
    dataset = settings.get("dataset", {})
    best = [name for name in ("teacher", "student") if settings.get(name, {}).get("checkpoint") == "best"]
    if best and dataset.get("validation_split") == dataset.get("test_split"):
        lines.append(
            f"The test split is also the validation split that picks the best epoch of {' and '.join(best)}: their own "
            "scores are optimistic. Retrained networks always keep their last epoch."
        )
    above = [
        f"{name} {point[0].percent} %"
        for name, curve in zip(full_labels(grid), grid, strict=True)
        for point in curve.cells
        if any(above_clean(cell, clean, metric) for cell in point for metric in METRICS)
    ]
    if above:
        lines.append(
            f"Cells that score above the clean cell of their seed in some metric (†): {_listed(above, 6)}. Rare and "
            "small, that is seed noise; otherwise the removal tells the label."
        )
    return lines


def _about_seeds(seeds: int) -> list[str]:
    if seeds == 1:
        return [
            "One seed: this shows the picture, it does not support a claim. A retrained network's F1 moves by several "
            "points from seed to seed, and intervals here cover the choice of test images only. "
            f"Set [grid] seeds to {_ENOUGH_SEEDS} seeds or more."
        ]
    if 1 < seeds < _ENOUGH_SEEDS:
        return [
            f"{seeds} seeds: standard deviations are rough, and bootstrap intervals over so few seeds are too narrow. "
            f"{_ENOUGH_SEEDS} seeds or more make a claim."
        ]
    return []


def _about_ties(grid: Sequence[Curve]) -> list[str]:
    tied: dict[tuple[str, int], list[tuple[float, str]]] = {}
    for name, curve in zip(full_labels(grid), grid, strict=True):
        for point in curve.cells:
            share = max((cell.removal["tied_share_test"] for cell in point if cell.removal), default=0)
            if curve.model is not None and share >= _TIED:
                tied.setdefault((curve.direction, point[0].percent), []).append((share, name))
    lines = []
    for (direction, percent), found in tied.items():
        shares = [share for share, _ in found]
        ends = sorted({f"{100 * min(shares):.0f}", f"{100 * max(shares):.0f}"}, key=int)
        size = " to ".join(ends) + " %"
        kept = "" if direction == "remove" else " (KAR)"
        everyone = len(found) == sum(c.model is not None and c.direction == direction for c in grid)
        names = "all models" if everyone else _listed([name for _, name in found], 6)
        lines.append(f"At {percent} %{kept}, ties decide {size} of the removed pixels ({names}).")
    if lines:
        lines[-1] += " Equal values of a map, most often 0, go in random order."
    return lines


def findings(grid: Sequence[Curve], summaries: Sequence[Summary]) -> list[str]:
    """Return what the F1 curves show, method by method: on the expected side of random where, and the order by RACU."""
    lines = []
    for direction, method in dict.fromkeys((c.direction, c.method) for c in grid if c.model is not None):
        chosen = [
            (c, s)
            for c, s in zip(grid, summaries, strict=True)
            if (c.direction, c.method) == (direction, method) and c.model is not None
        ]
        name = f"{'ROAR' if direction == 'remove' else 'KAR'}, {method_label(method)}"
        lines.append(f"{name}: {_against_random(chosen, direction)}.")
        ranked = sorted(((s.racu, c.label, _fewer(c, s)) for c, s in chosen if s.racu is not None), reverse=True)
        if len(ranked) > 1:
            lines[-1] += " RACU, the higher the better: " + ", ".join(f"{n} {r:.2f}{m}" for r, n, m in ranked) + "."
    return lines


def _fewer(curve: Curve, summary: Summary) -> str:
    return "" if summary.racu_runs == len(curve.runs) else f" n={summary.racu_runs}"


def _against_random(chosen: Sequence[tuple[Curve, Summary]], direction: str) -> str:
    """Say which curves differ from random in the expected direction everywhere, and where the others do not.

    Where cells are missing it is not known.
    """
    sign, word = (-1, "below") if direction == "remove" else (1, "above")
    first = chosen[0][0]
    resampled = any(i is not None for _, s in chosen for i in s.gap_interval)
    how = ""
    if resampled:
        drawn = "seeds and test images" if len(first.runs) > 1 else "test images only"
        how = f" (95 % interval of the difference, over {drawn}, excludes 0)"
    fully, partly, unknown = [], [], []
    for curve, summary in chosen:
        clear = [_is_clear(summary, point, sign, resampled) for point in range(len(first.percents))]
        if all(clear):
            fully.append(curve.label)
        elif all(is_clear is None for is_clear in clear):
            unknown.append(curve.label)
        else:
            partly.append(f"{curve.label} ({_exceptions(first.percents, clear)})")
    parts = []
    if fully:
        parts.append(
            f"F1 {word} random's at every percentage{how} for "
            f"{_listed(fully, 12) if partly or unknown else 'every model'}"
        )
    if partly:
        parts.append(
            f"{'partly for' if fully else f'F1 {word} random at some percentages{how} for'} {_listed(partly, 12)}"
        )
    if unknown:
        parts.append(f"not known, as cells are missing, for {_listed(unknown, 12)}")
    return "; ".join(parts)


def _exceptions(percents: Sequence[int], clear: Sequence[bool | None]) -> str:
    """Write at which percentages a curve does not differ from random as expected, and at which it is not known."""
    groups = (("not at", False), ("not known at", None))
    found = {text: [f"{p}" for p, c in zip(percents, clear, strict=True) if c is kind] for text, kind in groups}
    return ", ".join(f"{text} {', '.join(at)} %" for text, at in found.items() if at)


def _is_clear(summary: Summary, point: int, sign: int, resampled: bool) -> bool | None:
    """Tell whether a point differs from random in the expected direction, beyond its interval if there are any.

    None: the difference, or its interval where others have one, is undefined.
    """
    gap, interval = summary.gap[point], summary.gap_interval[point]
    if gap is None or (interval is None and resampled):
        return None
    return sign * gap > 0 if interval is None else min(sign * end for end in interval) > 0


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
        f"{kind}: " + _listed([_of_maps(found) for found in _by(missing[kind], "method", "model")], _MOST_LINES)
        for kind in ("models", "localizations", "example maps")
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
    """Name the missing cells of one curve, percentages with the same seeds together; or of the clean cells."""
    first = found[0]
    if first["method"] is None:
        return f"clean: {_seeds(found)}"
    name = f"{'ROAR' if first['direction'] == 'remove' else 'KAR'}, {_named(first)}"
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


def _listed(names: Sequence[str], most: int) -> str:
    shown = list(names[:most])
    return ", ".join(shown) + (f" and {len(names) - most} more" if len(names) > most else "")
