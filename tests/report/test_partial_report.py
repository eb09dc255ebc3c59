"""Reports with results missing: what is left is right, what depends on the missing is undefined, and both are said."""

import csv
import functools
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from luigi.configuration import get_config
from luigi.task_register import Register
from support.grid_results import PERCENTS, without, write_grid, write_images

import tasks
from roar_pipeline.datasets import images
from roar_pipeline.errors import InputError
from roar_pipeline.report.build import build
from roar_pipeline.report.findings import findings
from roar_pipeline.report.grid import Curve, group_cells
from roar_pipeline.report.inputs import CellInput, ReportInputs
from roar_pipeline.report.missing import missing_lines, requested_results
from roar_pipeline.report.overview import Overview, gather
from roar_pipeline.report.results import read_cells
from roar_pipeline.report.statistics.contrasts import UNDEFINED
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.summaries import Summary
from roar_pipeline.report.tables.audits import removal_tables, variation_table
from roar_pipeline.report.tables.models import class_table, classification_table
from roar_pipeline.report.tables.table import MISSING
from tasks.chain.base import ManifestTarget
from tasks.configuration.settings import settings

SEEDS = (0, 1, 2)
Key = tuple[str, str, str | None]
RANDOM, TEACHER, NAIVE = (
    ("remove", "random", None),
    ("remove", "gradcam", "teacher"),
    ("remove", "gradcam", "naive_kd"),
)


@pytest.fixture(scope="module")
def images_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, images_path: Path) -> ReportInputs:
    return write_grid(tmp_path_factory.mktemp("whole"), images_path, seeds=SEEDS)


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory, images_path: Path) -> ReportInputs:
    return write_grid(tmp_path_factory.mktemp("crossed"), images_path, seeds=SEEDS, model_seeds=(5, 6))


def overview_of(inputs: ReportInputs) -> Overview:
    return gather(inputs, images.read_split(inputs.images_path, "test"), images.read_info(inputs.images_path))


def sums(overview: Overview, metric: str = "f1_samples") -> dict[Key, Summary]:
    return {curve.key: s for curve, s in zip(overview.grid.curves, overview.summaries[metric], strict=True)}


def curves(overview: Overview) -> dict[Key, Curve]:
    return {curve.key: curve for curve in overview.grid.curves}


def is_cell(method: str | None = "gradcam", model: str | None = None, **places: int) -> Callable[..., bool]:
    def chosen(cell: CellInput) -> bool:
        return (cell.method, cell.model) == (method, model) and all(getattr(cell, k) == v for k, v in places.items())

    return chosen


def scores(inputs: ReportInputs, key: Key, percent: int, metric: str = "f1_samples") -> dict[int, float]:
    """Return a metric of one point by seed, by hand."""
    chosen = [c for c in inputs.cells if (c.method, c.model, c.percent) == (*key[1:], percent)]
    return {cell.seed: cell.test[metric] for cell in read_cells(chosen)}


def shared_scores(inputs: ReportInputs, percent: int) -> dict[int, float]:
    """Return F1 of the cells of all curves by seed: clean ones, or those that see nothing."""
    chosen = [c for c in inputs.cells if c.method is None and c.percent == percent]
    return {c.seed: c.test["f1_samples"] for c in read_cells(chosen)}


def racu_by_hand(inputs: ReportInputs, key: Key, seeds: tuple[int, ...]) -> float:
    x = [0, *PERCENTS, 100]

    def line(of: Key, seed: int) -> Any:
        ends = [shared_scores(inputs, percent)[seed] for percent in (0, 100)]
        return np.array([ends[0], *(scores(inputs, of, p)[seed] for p in PERCENTS), ends[1]])

    def area(gap: Any) -> float:
        return float(sum((x[i + 1] - x[i]) * (gap[i] + gap[i + 1]) / 2 for i in range(len(x) - 1)))

    def of_seed(seed: int) -> float:
        random, curve = line(RANDOM, seed), line(key, seed)
        return area(random - curve) / area(random - random[-1])

    return float(np.mean([of_seed(seed) for seed in seeds]))


def means(estimates: tuple[Estimate, ...]) -> list[float | None]:
    return [estimate.mean for estimate in estimates]


def runs(estimates: tuple[Estimate, ...]) -> list[int]:
    return [estimate.runs for estimate in estimates]


def report_of(tmp_path: Path, inputs: ReportInputs) -> Path:
    directory = tmp_path / "report"
    directory.mkdir()
    build(directory, inputs)
    return directory


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_point_that_lacks_a_seed_is_the_mean_of_the_others_and_compared_with_theirs(whole: ReportInputs) -> None:
    full = overview_of(whole)
    partial = overview_of(without(whole, "cells", is_cell(model="teacher", percent=50, seed=1)))
    before, after = sums(full)[TEACHER], sums(partial)[TEACHER]
    assert runs(after.points) == runs(after.minus_random) == [3, 2]
    own, random = scores(whole, TEACHER, 50), scores(whole, RANDOM, 50)
    assert after.points[1].mean == pytest.approx((own[0] + own[2]) / 2)
    assert after.points[1].std == pytest.approx(abs(own[0] - own[2]) / 2**0.5)
    assert after.minus_random[1].mean == pytest.approx((own[0] - random[0] + own[2] - random[2]) / 2)
    assert after.racu.mean == pytest.approx(racu_by_hand(whole, TEACHER, (0, 2)))
    assert after.racu.mean != before.racu.mean
    assert after.racu.runs == after.area_minus_random.runs == 2
    for estimate in (after.points[1], after.minus_random[1], after.racu, after.area_minus_random):
        assert (estimate.interval, estimate.p) == (None, None)
    assert (after.points[0], after.minus_random[0]) == (before.points[0], before.minus_random[0])
    assert before.points[0].interval is not None
    for key in (RANDOM, NAIVE):
        assert sums(partial)[key] == sums(full)[key]


def test_the_control_of_one_seed_missing_takes_that_seed_out_of_comparisons_only(whole: ReportInputs) -> None:
    full = overview_of(whole)
    partial = overview_of(without(whole, "cells", is_cell("random", percent=10, seed=0)))
    before, after = sums(full)[TEACHER], sums(partial)[TEACHER]
    assert (after.points, after.minus_clean) == (before.points, before.minus_clean)
    own, random = scores(whole, TEACHER, 10), scores(whole, RANDOM, 10)
    assert after.minus_random[0].mean == pytest.approx((own[1] - random[1] + own[2] - random[2]) / 2)
    assert after.minus_random[1] == before.minus_random[1]
    assert after.minus_random[0].interval is None
    assert (runs(after.minus_random), after.racu.runs) == ([2, 3], 2)
    assert after.racu.mean == pytest.approx(racu_by_hand(whole, TEACHER, (1, 2)))
    assert means(sums(partial)[RANDOM].minus_random) == [0, 0]


def test_seeds_that_do_not_meet_are_not_compared(whole: ReportInputs) -> None:
    inputs = without(whole, "cells", is_cell("random", percent=10, seed=0))
    inputs = without(inputs, "cells", lambda c: is_cell(model="teacher", percent=10)(c) and c.seed != 0)
    after = sums(overview_of(inputs))[TEACHER]
    assert after.points[0].mean == scores(whole, TEACHER, 10)[0]
    assert after.points[0].std is None
    assert (after.minus_random[0], after.racu) == (UNDEFINED, UNDEFINED)
    assert runs(after.minus_random) == [0, 3]


@pytest.mark.parametrize("percent", [0, 100])
def test_an_end_that_is_missing_takes_its_seed_out_of_racu_only(whole: ReportInputs, percent: int) -> None:
    full, partial = overview_of(whole), overview_of(without(whole, "cells", is_cell(None, percent=percent, seed=2)))
    assert partial.seeds == full.seeds == 3
    for key in (RANDOM, TEACHER, NAIVE):
        before, after = sums(full)[key], sums(partial)[key]
        assert (after.points, after.minus_random, after.area_minus_random) == (
            before.points,
            before.minus_random,
            before.area_minus_random,
        )
        assert runs(after.minus_clean) == ([2, 2] if percent == 0 else [3, 3])
        assert after.racu.mean == pytest.approx(racu_by_hand(whole, key, (0, 1)))
        assert (after.racu.runs, after.racu.interval) == (2, None)


@pytest.mark.parametrize("kept", [(), (1,)])
def test_without_random_there_is_nothing_to_compare_with(whole: ReportInputs, kept: tuple[int, ...]) -> None:
    lost = without(whole, "cells", lambda c: is_cell("random")(c) and c.seed not in kept)
    before, after = sums(overview_of(whole))[TEACHER], sums(overview_of(lost))[TEACHER]
    assert after.points == before.points
    assert [gap.interval for gap in after.minus_random] == [None, None]
    assert runs(after.minus_random) == [len(kept)] * 2
    if kept:
        assert after.minus_random[0].mean == scores(whole, TEACHER, 10)[1] - scores(whole, RANDOM, 10)[1]
    else:
        assert (*after.minus_random, after.racu, after.area_minus_random) == (UNDEFINED,) * 4


def test_a_missing_curve_keeps_its_place_and_says_nothing(whole: ReportInputs) -> None:
    full, partial = overview_of(whole), overview_of(without(whole, "cells", is_cell(model="teacher")))
    assert [c.key for c in partial.grid.curves] == [c.key for c in full.grid.curves]
    nothing = (UNDEFINED,) * 2
    assert sums(partial)[TEACHER] == Summary(nothing, nothing, nothing, (None, None), UNDEFINED, UNDEFINED)
    for key in (RANDOM, NAIVE):
        assert sums(partial)[key] == sums(full)[key]


def test_a_missing_percentage_is_not_bridged(whole: ReportInputs) -> None:
    """RACU over the other percentages would be another number: it is undefined."""
    full, partial = overview_of(whole), overview_of(without(whole, "cells", lambda c: c.percent == 50))
    for key in (RANDOM, TEACHER, NAIVE):
        before, after = sums(full)[key], sums(partial)[key]
        assert curves(partial)[key].percents == PERCENTS
        assert (after.points[0], after.minus_random[0]) == (before.points[0], before.minus_random[0])
        assert (after.points[1], after.minus_random[1], after.racu, after.area_minus_random) == (UNDEFINED,) * 4


def test_crossed_seeds_are_compared_run_by_run(crossed: ReportInputs) -> None:
    lost = without(crossed, "cells", is_cell(model="teacher", percent=10, seed=1, model_seed=6))
    full, partial = overview_of(crossed), overview_of(lost)
    after = sums(partial)[TEACHER]
    assert (runs(after.points), runs(after.minus_random), after.racu.runs) == ([5, 6], [5, 6], 5)
    cells, random = curves(full)[TEACHER].cells[0], scores(crossed, RANDOM, 10)
    kept = [c for c in cells if c.run != (1, 6)]
    assert after.points[0].mean == pytest.approx(np.mean([c.test["f1_samples"] for c in kept]))
    assert after.minus_random[0].mean == pytest.approx(np.mean([c.test["f1_samples"] - random[c.seed] for c in kept]))
    assert after.minus_random[1] == sums(full)[TEACHER].minus_random[1]


def test_other_metrics_follow_the_same_rule(whole: ReportInputs) -> None:
    partial = overview_of(without(whole, "cells", is_cell(model="teacher", percent=50, seed=1)))
    for metric in ("map_classes", "map_samples"):
        own, random = (scores(whole, key, 50, metric) for key in (TEACHER, RANDOM))
        gap = sums(partial, metric)[TEACHER].minus_random[1]
        assert gap.mean == pytest.approx(np.mean([own[s] - random[s] for s in (0, 2)]))


def test_what_is_not_named_as_missing_is_still_an_error(whole: ReportInputs) -> None:
    lost = without(whole, "cells", is_cell(model="teacher", percent=50, seed=1))
    cells = [c for c in lost.cells if not is_cell(model="naive_kd", percent=50, seed=1)(c)]
    with pytest.raises(ValueError, match="cells are missing: remove gradcam of naive_kd"):
        group_cells(read_cells(cells))


def test_common_pairs_need_every_model(whole: ReportInputs) -> None:
    """Pairs common to fewer models would be other pairs."""
    lost = without(whole, "localizations", lambda each: (each.model, each.seed) == ("teacher", 1))
    before, after = (overview_of(inputs).localizations for inputs in (whole, lost))
    assert {row for row in before if row not in after} == {
        row for row in before if (row.seed == 1 and row.over == "common") or (row.seed == 1 and row.model == "teacher")
    }
    assert not [row for row in after if row not in before]


def test_models_that_are_missing_are_dashes_and_means_over_fewer_are_marked(whole: ReportInputs) -> None:
    lost = without(whole, "models", lambda m: m.model == "teacher" or (m.model, m.seed) == ("naive_kd", 0))
    full, partial = overview_of(whole), overview_of(lost)
    table = classification_table(partial.models, partial.scoring, partial.expected_models)
    assert table.rows[0] == ("Teacher", MISSING, *(cell for cell in table.rows[0][2:]))
    assert {cell.strip() for cell in table.rows[0][1:]} == {MISSING}
    mean = np.mean([run.test["f1_samples"] for run in full.models if run.model == "naive_kd" and run.seed != 0])
    assert re.fullmatch(rf"{100 * mean:.1f} ±\d+\.\d n=2", table.rows[1][3])
    assert class_table(partial.models, partial.classes, partial.scoring, partial.expected_models).header == (
        "",
        "Teacher",
        "Naive KD n=2",
    )


def test_audits_are_of_the_cells_there_are(whole: ReportInputs) -> None:
    lost = without(whole, "cells", lambda c: is_cell(model="teacher", percent=10)(c) and c.seed > 0)
    lost = without(lost, "cells", is_cell(model="naive_kd", percent=10))
    grid = overview_of(lost).grid.curves
    removed = removal_tables(grid, "ROAR")[2]
    assert [row[1].strip() for row in removed.rows] == ["10.05 / 10.05", "10.05 / 10.05 n=1", MISSING]
    assert [row[2].strip() for row in removed.rows] == ["50.05 / 50.05"] * 3
    assert variation_table(grid).rows == variation_table(overview_of(whole).grid.curves).rows
    nothing = overview_of(without(whole, "cells", is_cell(model="naive_kd"))).grid.curves
    assert [cell.strip() for cell in variation_table(nothing).rows[2]] == ["Naive KD", *[MISSING] * 5]


def test_findings_do_not_count_the_unknown_as_not_below(whole: ReportInputs) -> None:
    def about_f1(inputs: ReportInputs) -> str:
        (line,) = [line for line in findings(overview_of(inputs)) if ", F1: " in line]
        return line

    unknown = "not known, as cells are missing, at"
    assert "not known" not in about_f1(whole)
    line = about_f1(without(whole, "cells", is_cell(model="teacher", percent=50, seed=1)))
    assert f"{unknown} 50 % for Teacher" in line
    assert re.search(r"Teacher −?\d\.\d\d n=2", line)
    assert re.search(r"Naive KD −?\d\.\d\d \[", line)
    line = about_f1(without(whole, "cells", is_cell(model="teacher")))
    assert f"{unknown} every percentage for Teacher" in line
    line = about_f1(without(whole, "cells", is_cell("random")))
    assert line == f"ROAR, Grad-CAM, F1: against random, {unknown} every percentage for every model."


def lines_of(inputs: ReportInputs) -> list[str]:
    return missing_lines(requested_results(inputs))


def test_what_is_missing_is_listed(whole: ReportInputs, crossed: ReportInputs) -> None:
    assert lines_of(whole) == []
    one = without(whole, "cells", is_cell(None, percent=0, seed=2))
    assert lines_of(one) == ["Partial report: 1 of 24 cells is missing", "all curves: 0 % of seed 2"]
    lost = without(one, "cells", lambda c: is_cell(model="teacher")(c) and (c.percent, c.seed) != (50, 1))
    lost = without(lost, "cells", is_cell(model="naive_kd"))
    lost = without(lost, "cells", is_cell("random", seed=0))
    lost = without(lost, "models", lambda each: each.seed > 0)
    lost = without(lost, "localizations", lambda each: each.seed in (0, None))
    lost = without(lost, "examples", lambda each: each.model == "naive_kd")
    assert lines_of(lost) == [
        "Partial report: 14 of 24 cells, 4 of 6 models, 3 of 7 localizations, 1 of 3 example maps are missing",
        "ROAR, Random: 10, 50 % of seed 0",
        "all curves: 0 % of seed 2",
        "ROAR, Grad-CAM of Teacher: 10 % of seeds 0, 1, 2; 50 % of seeds 0, 2",
        "ROAR, Grad-CAM of Naive KD: all 6 cells",
        "models: Teacher (seeds 1, 2), Naive KD (seeds 1, 2)",
        "localizations: Random, Grad-CAM of Teacher (seed 0), Grad-CAM of Naive KD (seed 0)",
        "example maps: Grad-CAM of Naive KD",
    ]
    lost = without(crossed, "cells", is_cell(model="teacher", percent=10, seed=1, model_seed=6))
    assert lines_of(lost)[1] == "ROAR, Grad-CAM of Teacher: 10 % of seed 1 (models' 6)"


def test_a_long_list_is_cut_and_its_end_is_in_the_file(whole: ReportInputs) -> None:
    last = whole.cells[-1]
    cells = (replace(last, model=f"ewa/{n}", percent=p, directory=None) for n in range(40) for p in (1, 2))
    lines = lines_of(replace(whole, cells=(*whole.cells, *cells)))
    assert len(lines) == 26
    assert lines[-1] == "cells of 16 more curves: see missing.csv"


def test_files_of_a_partial_report(tmp_path: Path, whole: ReportInputs) -> None:
    lost = without(whole, "cells", is_cell(model="teacher", percent=50, seed=1))
    lost = without(lost, "cells", is_cell(None, percent=0, seed=0))
    lost = without(lost, "models", lambda each: (each.model, each.seed) == ("teacher", 2))
    lost = without(lost, "localizations", lambda each: each.model == "teacher")
    lost = without(lost, "examples", lambda each: each.model == "teacher")
    directory = report_of(tmp_path, lost)
    headline = "Partial report: 2 of 24 cells, 1 of 6 models, 3 of 7 localizations, 1 of 3 example maps are missing"
    text = (directory / "table.txt").read_text(encoding="utf-8")
    assert text.startswith(f"{headline}\n- all curves: 0 % of seed 0\n- ROAR, Grad-CAM of Teacher: 50 % of seed 1\n")
    assert max(map(len, text.splitlines())) <= 110
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert page.index(headline) < page.index("ROAR curves</h2>")
    assert "22 of 24" in page
    assert 'href="missing.csv"' in page
    row = r"Teacher +\S+ ±\S+ n=2 +\S+ ±\S+ +\S+ ±\S+ n=2 +\S+ ±\S+ +\S+ n=1\n"
    assert re.search(row, text), "clean, 10 %, 50 %, nothing, RACU"
    present = [c.fingerprint for c in lost.cells if c.directory]
    assert [row["fingerprint"] for row in read_csv(directory / "results.csv")] == present
    missing = [tuple(row.values()) for row in read_csv(directory / "missing.csv")]
    assert missing[:3] == [
        ("cells", "", "", "", "0", "0", ""),
        ("cells", "remove", "gradcam", "teacher", "50", "1", "1"),
        ("models", "", "", "teacher", "", "2", ""),
    ]
    assert len(missing) == 2 + 1 + 3 + 1
    point = {(r["model"], r["percent"]): r for r in read_csv(directory / "curves.csv") if r["metric"] == "f1_samples"}
    counts = [point["teacher", "50"][key] for key in ("runs", "minus_random_runs", "racu_runs", "mean_low")]
    assert counts == ["2", "2", "1", ""]
    assert point["naive_kd", "50"]["mean_low"] != ""


PATTERNS: dict[str, Callable[[CellInput], bool]] = {
    "the whole teacher": is_cell(model="teacher"),
    "all of random": is_cell("random"),
    "all clean": is_cell(None),
    "a seed": lambda c: c.seed == 1,
    "the first percentage": lambda c: c.percent == 10,
    "the last percentage": lambda c: c.percent == 50,
    "all but clean": lambda c: c.method is not None,
    "all but one": lambda c: not is_cell(model="teacher", percent=50, seed=1)(c),
    "all": lambda _: True,
}


@pytest.mark.parametrize("name", PATTERNS)
def test_any_pattern_makes_a_report(tmp_path: Path, whole: ReportInputs, name: str) -> None:
    lost = without(whole, "cells", PATTERNS[name])
    directory = report_of(tmp_path, lost)
    gone = sum(cell.directory is None for cell in lost.cells)
    assert len(read_csv(directory / "missing.csv")) == gone
    text = (directory / "table.txt").read_text(encoding="utf-8")
    assert text.startswith(f"Partial report: {gone} of 24 cells are missing\n")
    assert "nan" not in text.lower()
    assert not [row for row in read_csv(directory / "curves.csv") if "nan" in row.values()]


@pytest.mark.parametrize("kind", ["models", "localizations", "examples"])
def test_all_of_a_kind_can_be_missing(tmp_path: Path, whole: ReportInputs, kind: str) -> None:
    directory = report_of(tmp_path, without(whole, kind, lambda _: True))
    names = {path.name for path in directory.iterdir()}
    file = {"models": "models.csv", "localizations": "localization.csv", "examples": "examples_1.png"}[kind]
    assert file not in names
    assert "missing.csv" in names


def test_a_complete_report_looks_as_it_did(tmp_path: Path, whole: ReportInputs) -> None:
    directory = report_of(tmp_path, whole)
    assert not (directory / "missing.csv").exists()
    for name in ("report.html", "table.txt"):
        shown = re.sub(r'src="[^"]*"', "", (directory / name).read_text(encoding="utf-8")).lower()
        assert not [word for word in ("partial", "missing", " n=", "not known") if word in shown]
    assert list(read_csv(directory / "curves.csv")[0])[:14] == [
        *("direction", "method", "model", "metric", "percent", "runs", "mean", "std", "mean_low", "mean_high"),
        *("minus_random_runs", "minus_random", "minus_random_std", "minus_random_low"),
    ]


@pytest.fixture
def done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """The results that are there, by the names of their folders; a small grid is set."""
    saved = {name: dict(get_config()[name]) for name in get_config().sections()}

    def forget() -> None:
        settings.cache_clear()
        Register.clear_instance_cache()

    for section, keys in {
        "paths": {"data": tmp_path},
        "grid": {
            "models": "teacher, sswa",
            "methods": "gradcam",
            "shuffled": "none",
            "percents": "30, 60",
            "probe_percents": "60",
            "longer_percents": "60",
            "seeds": "0, 1",
        },
    }.items():
        for key, value in keys.items():
            get_config().set(section, key, str(value))
    forget()
    there: set[str] = set()
    monkeypatch.setattr(ManifestTarget, "exists", lambda self: Path(self.path).parent.name in there)
    yield there
    for name in get_config().sections():
        get_config().remove_section(name)
    get_config().read_dict(saved)
    forget()


def look(**options: Any) -> tasks.Report:
    """Return a partial report that looks now."""
    Register.clear_instance_cache()
    return tasks.Report(partial=True, **options)


def folder(task: Any) -> str:
    return str(task.directory.name)


def test_a_report_that_is_not_partial_is_what_it_was(done: set[str]) -> None:
    identity = tasks.Report().identity
    assert identity["parameters"] == {}
    assert set(identity["settings"]) == {"report", "metrics", "grid"}
    assert list(identity["settings"]["grid"]) == [
        "models",
        "methods",
        "shuffled",
        "percents",
        "probe_percents",
        "longer_percents",
        "directions",
        "seeds",
        "model_seeds",
    ]
    rankings, localizations, cells, probes, longer = 6, 5, 16, 4, 4
    assert len(tasks.Report().requires()) == 1 + 4 + rankings + localizations + cells + probes + longer
    assert tasks.Report(partial=False).fingerprint == tasks.Report().fingerprint


def test_a_partial_report_takes_what_is_done_and_names_what_is_not(done: set[str]) -> None:
    required = tasks.Report().requires()
    cells = [task for task in required if isinstance(task, tasks.Retrain)]
    lost = {folder(cells[0]), folder(cells[3]), folder(required[1])}
    done |= {folder(task) for task in required} - lost
    done |= {folder(task) for ranking in required for task in ranking.deps()}
    done -= lost
    report = look()
    assert report.directory.name.startswith("partial=true__")
    assert {folder(task) for task in report.requires()} == {folder(task) for task in required} - lost
    assert report.identity["settings"]["partial"] is True
    assert len(report.identity["settings"]["missing"]) == 3
    inputs = report.arguments()["inputs"]
    assert [n for n, cell in enumerate(inputs.cells) if cell.is_missing] == [0, 3]
    assert [n for n, model in enumerate(inputs.models) if model.is_missing] == [0]
    assert not [row for row in inputs.examples if row.is_missing]


def test_more_done_is_another_report_and_one_task_does_not_change(done: set[str]) -> None:
    required = tasks.Report().requires()
    cells = [task for task in required if isinstance(task, tasks.Retrain) and task.longer == 1]
    done |= {folder(required[0]), folder(cells[-1])}
    first = look()
    before, shown = first.fingerprint, len(first.requires())
    done.add(folder(cells[-2]))
    assert (first.fingerprint, len(first.requires())) == (before, shown)
    assert [cell.is_missing for cell in first.arguments()["inputs"].cells].count(False) == 1
    second = look()
    assert second.fingerprint != before
    assert len(second.requires()) == shown + 1


def test_a_partial_report_of_everything_shows_the_same(done: set[str]) -> None:
    done |= {folder(task) for each in tasks.Report().requires() for task in (each, *each.deps())}
    whole, partial = tasks.Report(), look()
    assert partial.arguments() == whole.arguments()
    assert partial.fingerprint != whole.fingerprint


def test_a_ranking_without_its_maps_is_no_example(done: set[str]) -> None:
    required = tasks.Report().requires()
    done |= {folder(task) for task in required}
    assert {row.levels_path for row in look().arguments()["inputs"].examples} == {None}
    assert not any(isinstance(task, tasks.RankPixels) for task in look().requires())


def test_the_grid_is_given_as_ever(done: set[str]) -> None:
    done |= {folder(task) for task in tasks.Report().requires()}
    assert look(percents="30").grid == tasks.Report(percents="30").grid
    assert tasks.Report(percents="30", seeds="0, 1").grid.percents == (30,)


def test_nothing_to_show_is_refused(done: set[str]) -> None:
    with pytest.raises(InputError, match=r"not even the images are prepared .* Run Report without --partial"):
        look()
    done.add(folder(tasks.PrepareImages()))
    with pytest.raises(InputError, match="of the grid's 4 models, 5 localizations and 16 cells none is done"):
        look()
    done |= {folder(task) for task in tasks.Report().requires() if isinstance(task, tasks.FineTuneTeacher)}
    assert len(look().requires()) == 3


def test_a_partial_report_from_the_command_line(pristine: Any, tmp_path: Path) -> None:
    """Of two seeds one was never begun, and a cell of the other is deleted: nothing but the report is made."""
    place = type(pristine)(tmp_path / "copy")
    shutil.copytree(pristine.folder, place.folder)
    shutil.rmtree(place.results("Retrain")[0])
    before = place.counts()
    partial = functools.partial(place.luigi, "Report", "--partial", "--seeds", "0,1")
    code, output = partial()
    assert code == 0, output
    assert {k: v - before[k] for k, v in place.counts().items() if v != before[k]} == {"Report": 1}
    report = place.results("Report")[-1]
    assert report.name.startswith("partial=true__")
    text = (report / "table.txt").read_text(encoding="utf-8")
    assert re.match(r"Partial report: 9 of 16 cells, 2 of 4 models, 2 of 5 localizations are missing\n", text)
    code, output = partial()
    assert code == 0, output
    assert len(place.results("Report")) == 2
    code, output = place.luigi("Report", "--partial", "--dataset-height", "40")
    assert code == 40
    assert "not even the images are prepared" in output
