"""Tables of the retrained networks: curves, differences, claims, and the audits beside them."""

from collections.abc import Callable, Mapping, Sequence

from roar_pipeline.report.claims import Claim, Difference
from roar_pipeline.report.results import LEADING, METRICS, Cell, Curve, full_labels
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.summaries import Summary, beyond_chance, change_of, probes_of
from roar_pipeline.report.tables.plain_text import (
    MISSING,
    Table,
    fewer,
    marked,
    of_columns,
    of_groups,
    percent_text,
    signed,
    spread_texts,
    written,
)

__all__ = [
    "audit_tables",
    "claim_lines",
    "difference_table",
    "gap_table",
    "longer_table",
    "probe_table",
    "roar_table",
    "variation_table",
]

FLAG = "†"
"""Marks scores above the clean cells'."""


def roar_table(
    grid: Sequence[Curve],
    summaries: Sequence[Summary],
    ends: tuple[Sequence[Cell], Sequence[Cell]],
    metric: str,
    title: str,
    labels: Sequence[str] | None = None,
) -> Table:
    """Tabulate a metric by percentage, one row per curve, with both ends and RACU.

    ``ends`` are the cells of all curves, clean and with nothing visible. The rows are named by model (one method's
    curves), unless ``labels`` name them otherwise.
    """
    columns: dict[str, list[str]] = {}
    seeds = len(grid[0].seeds)

    def of_end(cells: Sequence[Cell]) -> list[str]:
        whole = mean_std([cell.test[metric] for cell in cells])
        return spread_texts([whole] * len(grid), [fewer(len(cells), seeds)] * len(grid))

    columns["clean"] = of_end(ends[0])
    flagged = False
    above = [beyond_chance(summary.above_clean, 1) for summary in summaries]
    for point, percent in enumerate(grid[0].percents):
        flags = [
            FLAG if curve.is_informed and is_above[point] else "" for curve, is_above in zip(grid, above, strict=True)
        ]
        flagged |= any(flags)
        marks = [fewer(s.points[point].runs, len(curve.runs)) for curve, s in zip(grid, summaries, strict=True)]
        spread = [(s.points[point].mean, s.points[point].std) for s in summaries]
        columns[f"{percent} %"] = spread_texts(spread, [flag + n for flag, n in zip(flags, marks, strict=True)])
    columns["nothing"] = of_end(ends[1])
    shown = [s.racu.mean if not curve.is_control else None for curve, s in zip(grid, summaries, strict=True)]
    columns["RACU"] = marked(
        [MISSING if racu is None else signed(racu, 2) for racu in shown],
        [
            "" if racu is None else fewer(s.racu.runs, len(curve.runs))
            for racu, curve, s in zip(shown, grid, summaries, strict=True)
        ],
    )
    note = f"{FLAG} above the clean cells by more than chance." if flagged else ""
    return of_columns(title, list(labels or [curve.label for curve in grid]), columns, note)


def gap_table(grid: Sequence[Curve], summaries: Sequence[Summary], title: str) -> Table:
    """Tabulate the paired differences to random and to the best other control with 95 % intervals, in points."""
    rows = [(c, s) for c, s in zip(grid, summaries, strict=True) if not c.is_control]
    random: dict[str, list[str]] = {}
    best: dict[str, list[str]] = {}
    for point, percent in enumerate(grid[0].percents):
        random[f"{percent} %"] = _estimates([s.gaps[point] for _, s in rows], [len(c.runs) for c, _ in rows])
        named = [s.best[point] for _, s in rows]
        if all(named):
            others = [pair for pair in named if pair is not None]
            best[f"{percent} %, {others[0][0]}"] = _estimates([e for _, e in others], [len(c.runs) for c, _ in rows])
    racu = {"": _estimates([s.racu for _, s in rows], [len(c.runs) for c, _ in rows], scale=1, decimals=2)}
    groups = {"minus random": random, **({"minus the best other control": best} if best else {}), "RACU": racu}
    return of_groups(title, [c.label for c, _ in rows], groups)


def _estimates(
    estimates: Sequence[Estimate], asked: Sequence[int], *, scale: float = 100, decimals: int = 1
) -> list[str]:
    texts = [
        MISSING if e.mean is None else signed(scale * e.mean, decimals) + _interval_text(e.interval, scale, decimals)
        for e in estimates
    ]
    marks = ["" if e.mean is None else fewer(e.runs, n) for e, n in zip(estimates, asked, strict=True)]
    return marked(texts, marks)


def _interval_text(interval: tuple[float, float] | None, scale: float, decimals: int) -> str:
    if interval is None:
        return ""
    return " [" + ", ".join(signed(scale * end, decimals) for end in interval) + "]"


def difference_table(differences: Sequence[Difference], title: str) -> Table:
    """Tabulate differences between models, in points, with 95 % intervals and p-values corrected for their number."""
    columns = {
        "difference [95 %]": _estimates([d.estimate for d in differences], [d.estimate.runs for d in differences]),
        "p (Holm)": [_p_text(d.corrected_p) for d in differences],
    }
    return of_columns(title, [d.label for d in differences], columns)


def _p_text(p: float | None) -> str:
    return MISSING if p is None else "< .001" if p < 0.001 else f"{p:.3f}".removeprefix("0")


def claim_lines(claims: Sequence[Claim]) -> list[tuple[str, str, str]]:
    """Return verdict, claim and the differences behind it, in points, of every claim."""
    return [
        (
            claim.verdict,
            f"{claim.text} ({claim.measure})",
            "; ".join(
                f"{d.label} {_estimates([d.estimate], [d.estimate.runs])[0]}"
                + ("" if d.corrected_p is None else f", p {_p_text(d.corrected_p)}")
                for d in claim.differences
            ),
        )
        for claim in claims
    ]


def probe_table(grid: Sequence[Curve], probes: Sequence[Cell], name: str) -> Table | None:
    """Tabulate what a network reaches that sees the masks alone, beside the cell; None where nothing was probed."""
    curves = [c for c in grid if any(probes_of(probes, c, percent) for percent in c.percents)]
    percents = [p for p in grid[0].percents if any(probes_of(probes, c, p) for c in curves)]
    if not percents:
        return None
    groups: dict[str, dict[str, list[str]]] = {}
    for metric in LEADING:
        for percent in percents:
            point = grid[0].percents.index(percent)
            sets = {
                "masks alone": [probes_of(probes, c, percent) for c in curves],
                "cell": [list(c.cells[point]) for c in curves],
            }
            groups[f"{METRICS[metric]}, {percent} %"] = {
                title: spread_texts(
                    [mean_std([c.test[metric] for c in cells]) for cells in of_curves],
                    [fewer(len(cells), len(c.runs)) for cells, c in zip(of_curves, curves, strict=True)],
                )
                for title, of_curves in sets.items()
            }
    return of_groups(f"{name}: a network that sees the masks alone, %", full_labels(curves), groups)


def longer_table(grid: Sequence[Curve], longer: Sequence[Cell], name: str) -> Table | None:
    """Tabulate what twice the epochs change, in points, beside the spread over seeds; None where nothing was."""
    rows: dict[str, list[str]] = {}
    for label, curve in zip(full_labels(grid), grid, strict=True):
        for point, percent in enumerate(curve.percents):
            moved = [change_of(longer, curve, point, percent, metric) for metric in LEADING]
            if any(change is not None for change, _ in moved):
                rows[f"{label}, {percent} %"] = [
                    MISSING if change is None else signed(100 * change, 1) for change, _ in moved
                ] + [MISSING if spread is None else percent_text(spread) for _, spread in moved]
    if not rows:
        return None
    texts = list(zip(*rows.values(), strict=True))
    names = [METRICS[metric] for metric in LEADING]
    groups = {
        "change": dict(zip(names, map(list, texts[: len(names)]), strict=True)),
        "s.d. over seeds": dict(zip(names, map(list, texts[len(names) :]), strict=True)),
    }
    return of_groups(f"{name}: twice the epochs, percentage points", list(rows), groups)


def audit_tables(grid: Sequence[Curve], name: str) -> list[Table]:
    """Tabulate the audits of every curve by percentage, means over runs, train and test apart where they may differ."""

    def by_percent(title: str, write: Callable[[Mapping[str, float | None]], str]) -> Table:
        columns = {
            f"{percent} %": marked(
                [write(_mean_audits(curve.cells[point])) if curve.cells[point] else MISSING for curve in grid],
                [fewer(len(curve.cells[point]), len(curve.runs)) for curve in grid],
            )
            for point, percent in enumerate(grid[0].percents)
        }
        return of_columns(f"{name}: {title}", full_labels(grid), columns)

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
    marks = [fewer(len(found), len(curve.runs)) for found, curve in zip(cells, grid, strict=True)]
    audits = [_mean_audits(found) for found in cells]
    columns = {
        title: marked([written(each.get(key), decimals) for each in audits], marks)
        for title, key, decimals in (
            ("total variation", "total_variation", 3),
            ("empty, train", "empty_maps_train", 0),
            ("empty, test", "empty_maps_test", 0),
            ("explained = labels, train", "explained_as_labels_train", 3),
            ("explained = labels, test", "explained_as_labels_test", 3),
        )
    }
    return of_columns("Maps", full_labels(grid), columns)


def _cell_of_each_run(curve: Curve) -> list[Cell]:
    """Return the first cell there is of every run: all have the same maps."""
    return list({cell.run: cell for point in reversed(curve.cells) for cell in point}.values())


def _mean_audits(cells: Sequence[Cell]) -> dict[str, float | None]:
    audits = [cell.removal for cell in cells if cell.removal is not None]
    return {key: mean_std([of_cell[key] for of_cell in audits])[0] for key in audits[0]} if audits else {}
