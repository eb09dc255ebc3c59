"""The report's files: complete, self-contained, the same bytes again, honest."""

import csv
import itertools
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from grid_results import write_grid, write_images
from PIL import Image

from roar_pipeline import config, images, maps, scenes
from roar_pipeline.examples import collect, shown_rows
from roar_pipeline.figures import color, spread_apart, training_curves
from roar_pipeline.remarks import findings, warnings
from roar_pipeline.removal import removed
from roar_pipeline.report import build
from roar_pipeline.results import group, read_cells
from roar_pipeline.summaries import Summary


@pytest.fixture(scope="module")
def images_path(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, images_path):
    """Build a report with everything in it: two seeds, two directions, two methods, a second reduction."""
    root = tmp_path_factory.mktemp("rich")
    arguments = write_grid(
        root,
        images_path,
        models=("teacher", "sswa", "sswa/8"),
        methods=("gradcam", "ebp"),
        directions=("remove", "keep"),
    )
    return arguments, report_of(root, arguments)


def report_of(root, arguments, name="report"):
    directory = root / name
    directory.mkdir()
    build(directory, **arguments)
    return directory


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there_and_no_scratch(built):
    _, directory = built
    metrics = ("f1_samples", "map_classes", "map_samples")
    figures = {f"{n}_{m}.{s}" for n in ("roar", "kar") for m in metrics for s in ("png", "pdf")}
    tables = {"results.csv", "curves.csv", "models.csv", "localization.csv", "table.txt", "report.html"}
    assert {p.name for p in directory.iterdir()} == figures | tables | {"examples_1.png"}


def test_the_same_input_gives_the_same_bytes(tmp_path, images_path):
    arguments = write_grid(tmp_path, images_path)
    first, second = (report_of(tmp_path, arguments, name) for name in ("a", "b"))
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def test_the_page_needs_no_network_and_no_script(built):
    _, directory = built
    page = (directory / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    outside = [a for a in addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert sorted(outside) == ["curves.csv", "localization.csv", "models.csv", "results.csv", "table.txt"]
    assert "<script" not in page
    assert "url(" not in page
    assert len([a for a in addresses if a.startswith("data:")]) == 7


def test_the_page_is_well_formed_and_its_links_lead_somewhere(built):
    _, directory = built
    page = (directory / "report.html").read_text(encoding="utf-8")
    open_tags: list[str] = []

    class Checker(HTMLParser):
        def handle_starttag(self, tag, attributes):
            if tag not in ("meta", "img", "br", "link"):
                open_tags.append(tag)

        def handle_endtag(self, tag):
            assert open_tags.pop() == tag

    Checker().feed(page)
    assert open_tags == []
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(re.findall(r'id="([^"]+)"', page))


def test_nothing_from_data_or_settings_is_taken_for_html(tmp_path, images_path):
    arguments = write_grid(tmp_path, images_path)
    nasty = "<b onclick='x'>&"
    arguments["settings"]["dataset"]["root"] = nasty
    arguments["classes"] = (nasty, *arguments["classes"][1:])
    page = (report_of(tmp_path, arguments) / "report.html").read_text(encoding="utf-8")
    assert "onclick" in page
    assert "<b onclick" not in page


def test_results_have_a_row_per_cell_with_settings_and_audits(built):
    arguments, directory = built
    rows = read_csv(directory / "results.csv")
    assert len(rows) == len(arguments["cells"])
    for row, cell in zip(rows, arguments["cells"], strict=True):
        measured = json.loads((cell["directory"] / "metrics.json").read_text())
        assert (row["model"], row["method"]) == (cell["model"] or "", cell["method"] or "")
        assert row["fingerprint"] == cell["fingerprint"]
        assert row["result"] == cell["directory"].name
        assert row["retrain.lr"] == "0.01"
        assert row["dataset.mean"] == "0.5 0.25"
        assert float(row["f1_samples"]) == measured["test"]["f1_samples"]
        assert row[f"ap_{scenes.CLASSES[0]}"] == str(measured["test"]["per_class"][0] or "")
        if measured["removal"] is None:
            assert row["actual_percent_test"] == row["above_clean_f1_samples"] == ""
        else:
            assert float(row["actual_percent_test"]) == measured["removal"]["actual_percent_test"]
            clean = next(r for r in rows if r["percent"] == "0" and r["seed"] == row["seed"])
            above = float(row["f1_samples"]) > float(clean["f1_samples"])
            assert row["above_clean_f1_samples"] == str(above)


def test_no_path_of_this_machine_is_in_any_text(built):
    arguments, directory = built
    for path in directory.iterdir():
        assert str(arguments["images"].parent).encode() not in path.read_bytes()


def test_curves_have_a_row_per_metric_and_point(built):
    _, directory = built
    rows = read_csv(directory / "curves.csv")
    assert len(rows) == 3 * 2 * (1 + 2 * 3) * 2
    random = [r for r in rows if r["method"] == "random"]
    assert {float(r["minus_random"]) for r in random} == {0.0}
    assert {r["runs"] for r in rows} == {"2"}
    with_interval = {r["metric"] for r in rows if r["mean_low"]}
    assert with_interval == {"f1_samples"}


def test_models_and_localization_have_a_row_per_seed(built):
    _, directory = built
    assert len(read_csv(directory / "models.csv")) == 3 * 2
    rows = read_csv(directory / "localization.csv")
    assert len(rows) == 3 * 2 * 2 * 3 + 1 + 2
    assert {r["over"] for r in rows if not r["model"]} == {"all", "common"}


def test_the_terminals_table_fits_and_names_everything(built):
    _, directory = built
    text = (directory / "table.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 110
    for needed in (
        "Teacher",
        "SSWA /8",
        "Random",
        "ROAR, Teacher",
        "KAR, SSWA /8",
        "Grad-CAM",
        "EBP",
        "own",
        "all",
        "±",
    ):
        assert needed in text


def test_pictures_can_be_read_and_carry_no_version(built):
    _, directory = built
    for path in directory.glob("*.png"):
        with Image.open(path) as picture:
            picture.load()
            assert set(picture.info) <= {"dpi"}
    for path in directory.glob("*.pdf"):
        assert b"Date" not in path.read_bytes()


def test_one_seed_has_no_spread_and_says_so(tmp_path, images_path):
    directory = report_of(tmp_path, write_grid(tmp_path, images_path, seeds=(3,)))
    text = (directory / "table.txt").read_text(encoding="utf-8")
    assert "±" not in text
    assert "One seed: this shows the picture" in text
    assert {r["std"] for r in read_csv(directory / "curves.csv")} == {""}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert "One run each: no spread over seeds." in page
    assert "bootstrap over test images" in page


def test_without_masks_examples_models_or_bootstrap(tmp_path, images_path):
    arguments = write_grid(tmp_path, images_path, models=(), localized=False)
    arguments |= {"models": [], "examples": [], "report": config.Report(examples=2, bootstrap=0)}
    directory = report_of(tmp_path, arguments)
    names = {p.name for p in directory.iterdir()}
    assert not names & {"localization.csv", "models.csv", "examples_1.png"}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert 'id="localization"' not in page
    assert "bootstrap over" not in page


def cells_of(tmp_path, images_path, **grid):
    return group(read_cells(write_grid(tmp_path, images_path, **grid)["cells"]))


def test_generated_data_is_called_an_illustration(tmp_path, images_path):
    clean, grid = cells_of(tmp_path, images_path)
    assert any("illustration, not evidence" in line for line in warnings({"dataset": {"root": ""}}, clean, grid))
    assert not any("illustration" in line for line in warnings({"dataset": {"root": "/voc"}}, clean, grid))


def test_explaining_the_labels_is_called_a_leak(tmp_path, images_path):
    clean, grid = cells_of(tmp_path, images_path)
    assert any("explain = labels" in line for line in warnings({"maps": {"explain": "labels"}}, clean, grid))
    assert not any("explain" in line for line in warnings({"maps": {"explain": "predicted"}}, clean, grid))


def test_ties_are_named_where_they_decide(tmp_path, images_path):
    clean, grid = cells_of(tmp_path, images_path)
    lines = [line for line in warnings({}, clean, grid) if "ties" in line]
    assert len(lines) == 1
    assert lines[0].startswith("At 50 %, ties decide 25 % of the removed pixels (all models).")


def test_cells_above_clean_are_named(tmp_path, images_path):
    clean, grid = cells_of(tmp_path, images_path)
    low = tuple(replace(cell, test={**cell.test, "f1_samples": 0.0}) for cell in clean)
    assert any("Random 10 %, Random 50 %" in line for line in warnings({}, low, grid) if "†" in line)
    high = {"f1_samples": 2.0, "map_classes": 2.0, "map_samples": 2.0}
    assert not any("†" in line for line in warnings({}, [replace(c, test=high) for c in clean], grid))


def test_enough_seeds_need_no_remark(tmp_path, images_path):
    clean, grid = cells_of(tmp_path, images_path)
    assert any(line.startswith("2 seeds:") for line in warnings({}, clean, grid))
    six = replace(grid[0], cells=(tuple(replace(c, seed=seed) for c in clean for seed in range(6)),))
    assert not any("seeds" in line for line in warnings({}, clean, [six]))


def summary_of(gap, intervals, racu):
    return Summary([], [], [], gap, intervals, racu, None, [2, 2], [2, 2], 2)


def test_findings_claim_only_what_the_intervals_support(tmp_path, images_path):
    _, grid = cells_of(tmp_path, images_path)
    below, unclear = [(-0.5, -0.1)] * 2, [(-0.5, -0.1), (-0.3, 0.1)]
    random, gap = summary_of([0, 0], [(0, 0)] * 2, 0), [-0.3, -0.2]
    both = [random, summary_of(gap, below, 0.8), summary_of(gap, below, 0.5)]
    (line,) = findings(grid, both)
    assert line == (
        "ROAR, Grad-CAM: F1 below random's at every percentage (95 % interval of the difference, over seeds and test "
        "images, excludes 0) for every model. RACU, the higher the better: Teacher 0.80, Naive KD 0.50."
    )
    (line,) = findings(grid, [*both[:2], summary_of(gap, unclear, 0.5)])
    assert "for Teacher; partly for Naive KD (not at 50 %)." in line
    (line,) = findings(grid, [random, summary_of([0.1, 0.1], [None] * 2, None), summary_of(gap, [None] * 2, None)])
    assert (
        line
        == "ROAR, Grad-CAM: F1 below random's at every percentage for Naive KD; partly for Teacher (not at 10, 50 %)."
    )


def test_examples_are_spread_over_images_with_masks():
    split = images.Split(
        ids=[str(n) for n in range(100)],
        images=np.zeros((100, 1, 1, 3), np.uint8),
        labels=np.zeros((100, 1), np.uint8),
        segmentation=np.zeros((50, 1, 1), np.uint8),
        segmentation_rows=np.arange(0, 100, 2),
    )
    assert shown_rows(split, 4) == [20, 40, 58, 78]
    without = replace(split, segmentation=split.segmentation[:0], segmentation_rows=split.segmentation_rows[:0])
    assert shown_rows(without, 1) == [50]
    assert shown_rows(replace(without, ids=["a", "b"]), 4) == [0, 1]
    assert shown_rows(split, 0) == []


def test_examples_show_exactly_what_is_removed(tmp_path, images_path):
    sources = write_grid(tmp_path, images_path)["examples"]
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    fill = np.round(info.mean * 255).astype(np.uint8)
    for direction in ("remove", "keep"):
        (example,) = collect(sources, split, info, [5], (10, 50), direction)
        assert (example.image == split.images[5]).all()
        assert list(example.labels) == np.flatnonzero(split.labels[5]).tolist()
        assert [row.label for row in example.rows] == ["Random", "Teacher", "Naive KD"]
        for row, source in zip(example.rows, sources, strict=True):
            assert (row.map == maps.read_rows(source["maps"], "test").maps[5]).all()
            levels = maps.read_levels(source["levels"], "test").levels[5]
            for percent, picture in zip((10, 50), row.removed, strict=True):
                gone = removed(levels, percent, direction)
                assert (picture[gone] == fill).all()
                assert (picture[~gone] == split.images[5][~gone]).all()


def test_example_rows_name_the_explained_classes(tmp_path, images_path):
    sources = write_grid(tmp_path, images_path, methods=("gradcam", "ebp"))["examples"]
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    (example,) = collect(sources, split, info, [5], (10,), "remove")
    rows = {(row.label, row.caption[:1]): row.caption[1:] for row in example.rows}
    assert set(rows) >= {("Random", ()), ("Teacher", ("Grad-CAM",)), ("Teacher", ("EBP",))}
    assert not any("✗" in line for line in rows["Teacher", ("EBP",)])
    named = sorted(re.sub(r" \d+ %$", "", line) for line in rows["Teacher", ("EBP",)])
    assert named == sorted(example.labels.values())


def test_explained_classes_that_are_not_there_are_marked(tmp_path, images_path):
    source = write_grid(tmp_path, images_path)["examples"][1]
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    absent = replace(split, labels=1 - split.labels)
    (example,) = collect([source], absent, info, [5], (10,), "remove")
    assert all(line.endswith(" ✗") for line in example.rows[0].caption)


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.0], [0.1, 0.2, 9.0], [5.0], [], [8.9, 9.0, 9.1, 9.2]])
def test_labels_are_spread_apart_within_bounds(values):
    placed = spread_apart(values, 1.0, 0.0, 10.0)
    assert all(b - a >= 1 - 1e-9 for a, b in itertools.pairwise(placed))
    assert all(-1e-9 <= place <= 10 + 1e-9 for place in placed)


def test_labels_that_are_apart_stay_where_they_are():
    assert spread_apart([1.0, 3.0, 7.0], 1.0, 0.0, 10.0) == [1.0, 3.0, 7.0]
    assert spread_apart([4.0, 4.0], 1.0, 0.0, 10.0) == [3.5, 4.5]


def test_a_model_keeps_its_color():
    named = [color(m) for m in ("teacher", "plain", "naive_kd", "ewa", "swa", "sswa", None)]
    assert len(set(named)) == 7
    assert color("sswa/8") == color("sswa")
    assert color("something") == color("something")


def test_training_curves_with_and_without_validation(tmp_path):
    scores = {"map_classes": None, "map_samples": 0.5, "f1_samples": 0.25}
    history = [{"epoch": 1, "loss": 0.7, "validation": None}, {"epoch": 2, "loss": 0.5, "validation": scores}]
    for name in ("a.png", "b.png"):
        training_curves(history, tmp_path / name)
    training_curves([], tmp_path / "empty.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
