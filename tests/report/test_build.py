"""The report's files: complete, self-contained, the same bytes again, honest."""

import csv
import html
import itertools
import json
import re
import shutil
from contextlib import nullcontext
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import h5py
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.grid_results import write_grid, write_images

from roar_pipeline import config
from roar_pipeline.attribution import map_store
from roar_pipeline.datasets import images, scenes
from roar_pipeline.removal.level_store import read_levels
from roar_pipeline.removal.ranking import removed
from roar_pipeline.report.build import build
from roar_pipeline.report.examples import choose_rows, read_examples
from roar_pipeline.report.figures.curves import roar_figure, spread_apart
from roar_pipeline.report.figures.style import color
from roar_pipeline.report.figures.training import training_curves
from roar_pipeline.report.labels import SEVERAL_LABELS
from roar_pipeline.report.overview import gather


@pytest.fixture(scope="module")
def images_path(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def built(tmp_path_factory, images_path):
    """Build a report with everything in it: two seeds, two directions, two methods, a second reduction."""
    root = tmp_path_factory.mktemp("rich")
    inputs = write_grid(
        root,
        images_path,
        models=("teacher", "sswa", "sswa/8"),
        methods=("gradcam", "ebp"),
        controls=("sobel",),
        directions=("remove", "keep"),
        audited=50,
    )
    return inputs, report_of(root, inputs)


def report_of(root, inputs, name="report"):
    directory = root / name
    directory.mkdir()
    build(directory, inputs)
    return directory


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_file_is_there_and_no_scratch(built):
    _, directory = built
    figures = {f"{n}_{m}.{s}" for n in ("roar", "kar") for m in SEVERAL_LABELS.metrics for s in ("png", "pdf")}
    names = ("results", "probes", "longer", "curves", "claims", "models", "localization")
    tables = {*(f"{name}.csv" for name in names), "table.txt", "report.html"}
    assert {p.name for p in directory.iterdir()} == figures | tables | {"examples_1.png"}


def test_the_same_input_gives_the_same_bytes(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path)
    first, second = (report_of(tmp_path, inputs, name) for name in ("a", "b"))
    assert {p.name: p.read_bytes() for p in first.iterdir()} == {p.name: p.read_bytes() for p in second.iterdir()}


def test_the_page_needs_no_network_and_no_script(built):
    _, directory = built
    page = (directory / "report.html").read_text(encoding="utf-8")
    addresses = re.findall(r"""(?:src|href)=["']([^"']*)""", page)
    outside = [a for a in addresses if not a.startswith(("data:image/png;base64,", "#"))]
    assert sorted(outside) == sorted(p.name for p in directory.iterdir() if p.suffix in (".csv", ".txt"))
    assert "<script" not in page
    assert "url(" not in page
    assert len([a for a in addresses if a.startswith("data:")]) == 2 * len(SEVERAL_LABELS.metrics) + 1


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
    nasty = "<b onclick='x'>&"
    copied = tmp_path / "images.h5"
    shutil.copy(images_path, copied)
    with h5py.File(copied, "r+") as file:
        file.attrs["classes"] = [nasty, *scenes.CLASSES[1:]]
    inputs = write_grid(tmp_path, copied)
    dataset = replace(inputs.settings.dataset, root=nasty)
    inputs = replace(inputs, settings=replace(inputs.settings, dataset=dataset))
    page = (report_of(tmp_path, inputs) / "report.html").read_text(encoding="utf-8")
    assert page.count("onclick") > 2
    assert "<b onclick" not in page


def test_results_have_a_row_per_cell_with_settings_and_audits(built):
    inputs, directory = built
    rows = read_csv(directory / "results.csv")
    assert len(rows) == len(inputs.cells)
    for row, cell in zip(rows, inputs.cells, strict=True):
        measured = json.loads((cell.directory / "metrics.json").read_text())
        assert (row["model"], row["method"]) == (cell.model or "", cell.method or "")
        assert row["fingerprint"] == cell.fingerprint
        assert row["result"] == cell.directory.name
        assert row["retrain.lr"] == "0.01"
        assert row["dataset.mean"] == "0.5 0.25"
        assert float(row["f1_samples"]) == measured["test"]["f1_samples"]
        assert row[f"ap_{scenes.CLASSES[0]}"] == str(measured["test"]["per_class"][0] or "")
        assert float(row["f1_tuned"]) == measured["test"]["f1_tuned"]
        assert float(row["tuned_threshold"]) == 0.3
        if measured["removal"] is None:
            assert row["actual_percent_test"] == row["above_clean_f1_samples"] == ""
            assert row["percent"] in ("0", "100")
        else:
            assert float(row["actual_percent_test"]) == measured["removal"]["actual_percent_test"]
            clean = next(r for r in rows if r["percent"] == "0" and r["seed"] == row["seed"])
            above = float(row["f1_samples"]) > float(clean["f1_samples"])
            assert row["above_clean_f1_samples"] == str(above)


def test_no_path_of_this_machine_is_in_any_text(built):
    inputs, directory = built
    for path in directory.iterdir():
        assert str(inputs.images_path.parent).encode() not in path.read_bytes()


def test_probes_and_longer_cells_have_their_own_files(built):
    inputs, directory = built
    for name in ("probes", "longer"):
        rows = read_csv(directory / f"{name}.csv")
        assert [row["fingerprint"] for row in rows] == [cell.fingerprint for cell in getattr(inputs, name)]
        assert {row["percent"] for row in rows} == {"50"}
    assert "random" not in {row["method"] for row in read_csv(directory / "probes.csv")}
    assert {row["method"] for row in read_csv(directory / "longer.csv")} == {"random", "gradcam", "ebp"}


def test_curves_have_a_row_per_metric_and_point(built):
    _, directory = built
    rows = read_csv(directory / "curves.csv")
    assert len(rows) == len(SEVERAL_LABELS.metrics) * 2 * (2 + 2 * 3) * 2
    random = [r for r in rows if r["method"] == "random"]
    assert {float(r["minus_random"]) for r in random} == {0.0}
    assert {r["runs"] for r in rows} == {"2"}
    for name in ("mean", "minus_random", "minus_clean", "racu"):
        assert {r["metric"] for r in rows if r[f"{name}_low"]} == set(SEVERAL_LABELS.metrics)
    assert {r["best_control"] for r in rows if r["method"] == "gradcam"} == {"Sobel"}


def test_claims_have_a_row_per_difference(built):
    _, directory = built
    rows = read_csv(directory / "claims.csv")
    assert {row["verdict"] for row in rows} <= {"held", "not held", "undecided"}
    below = [r for r in rows if r["claim"] == "Grad-CAM removal, every model: the curve lies below random's"]
    assert [r["difference"] for r in below] == ["Teacher", "SSWA", "SSWA /8"] * 2
    for row in rows:
        assert float(row["mean_low"]) <= float(row["mean"]) <= float(row["mean_high"])
        assert row["corrected_p"] == "" if "on par" in row["claim"] else float(row["corrected_p"]) >= float(row["p"])


def test_models_and_localization_have_a_row_per_seed(built):
    _, directory = built
    assert len(read_csv(directory / "models.csv")) == 3 * 2
    rows = read_csv(directory / "localization.csv")
    assert len(rows) == 3 * 2 * 2 * 3 + (1 + 2)
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
    assert "No intervals: one seed does not tell" in page
    rows = read_csv(directory / "curves.csv")
    assert {row[key] for row in rows for key in row if key.endswith(("_low", "_high"))} == {""}
    assert {row["verdict"] for row in read_csv(directory / "claims.csv")} == {"undecided"}


def test_without_masks_examples_models_or_bootstrap(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path, models=(), localized=False)
    settings = replace(inputs.settings, report=config.Report(examples=2, bootstrap=0))
    directory = report_of(tmp_path, replace(inputs, examples=(), settings=settings))
    names = {p.name for p in directory.iterdir()}
    assert not names & {"localization.csv", "models.csv", "examples_1.png"}
    page = (directory / "report.html").read_text(encoding="utf-8")
    assert 'id="localization"' not in page
    assert "resamples of the images" not in page


def test_examples_are_spread_over_images_with_masks():
    split = images.Split(
        ids=[str(n) for n in range(100)],
        images=np.zeros((100, 1, 1, 3), np.uint8),
        labels=np.zeros((100, 1), np.uint8),
        segmentation=np.zeros((50, 1, 1), np.uint8),
        segmentation_rows=np.arange(0, 100, 2),
    )
    assert choose_rows(split, 4) == [20, 40, 58, 78]
    without = replace(split, segmentation=split.segmentation[:0], segmentation_rows=split.segmentation_rows[:0])
    assert choose_rows(without, 1) == [50]
    assert choose_rows(replace(without, ids=["a", "b"]), 4) == [0, 1]
    assert choose_rows(split, 0) == []


def test_examples_show_exactly_what_is_removed(tmp_path, images_path):
    sources = write_grid(tmp_path, images_path).examples
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    fill = np.round(info.mean * 255).astype(np.uint8)
    for direction in ("remove", "keep"):
        (example,) = read_examples(sources, split, info, [5], (10, 50), direction)
        assert (example.image == split.images[5]).all()
        assert list(example.labels) == np.flatnonzero(split.labels[5]).tolist()
        assert [row.label for row in example.rows] == ["Random", "Teacher", "Naive KD"]
        for row, source in zip(example.rows, sources, strict=True):
            assert (row.map == map_store.read_rows(source.maps_path, "test").maps[5]).all()
            levels = read_levels(source.levels_path, "test").levels[5]
            for percent, picture in zip((10, 50), row.removed, strict=True):
                gone = removed(levels, percent, direction)
                assert (picture[gone] == fill).all()
                assert (picture[~gone] == split.images[5][~gone]).all()


def test_example_rows_name_the_explained_classes(tmp_path, images_path):
    sources = write_grid(tmp_path, images_path, methods=("gradcam", "ebp")).examples
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    (example,) = read_examples(sources, split, info, [5], (10,), "remove")
    rows = {(row.label, row.caption[:1]): row.caption[1:] for row in example.rows}
    assert set(rows) >= {("Random", ()), ("Teacher", ("Grad-CAM",)), ("Teacher", ("EBP",))}
    assert not any("✗" in line for line in rows["Teacher", ("EBP",)])
    named = sorted(re.sub(r" \d+ %$", "", line) for line in rows["Teacher", ("EBP",)])
    assert named == sorted(example.labels.values())


def test_long_names_of_methods_take_two_lines(tmp_path, images_path):
    sources = write_grid(tmp_path, images_path, methods=("gradcam", "guided_smoothgrad")).examples
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    (example,) = read_examples(sources, split, info, [5], (10,), "remove")
    assert ("SmoothGrad of guided", "backprop") in [row.caption[:2] for row in example.rows]


def test_explained_classes_that_are_not_there_are_marked(tmp_path, images_path):
    source = write_grid(tmp_path, images_path).examples[1]
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    absent = replace(split, labels=1 - split.labels)
    (example,) = read_examples([source], absent, info, [5], (10,), "remove")
    assert all(line.endswith(" ✗") for line in example.rows[0].caption)


def test_methods_share_the_lines_of_what_is_said_of_all(tmp_path, images_path):
    methods = ("gradcam", "ebp", "lrp")
    inputs = write_grid(tmp_path, images_path, seeds=(0,), models=("teacher",), methods=methods, localized=False)
    directory = report_of(tmp_path, inputs)
    text = " ".join((directory / "table.txt").read_text(encoding="utf-8").split())
    claim = "removal, every model: the curve lies below random's (mean mAP (classes) over the curve)"
    assert text.count(f"- undecided: Grad-CAM, EBP, LRP {claim}") == text.count(claim) == 1
    page = html.unescape((directory / "report.html").read_text(encoding="utf-8"))
    assert all(f"<td>{name} {claim}</td>" in page for name in ("Grad-CAM", "EBP", "LRP"))


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_lowest_panel_of_every_column_has_percentages(tmp_path, images_path, monkeypatch, count):
    methods = ("gradcam", "ebp", "lrp", "rap")[:count]
    inputs = write_grid(tmp_path, images_path, seeds=(0,), models=("teacher",), methods=methods, localized=False)
    overview = gather(inputs, images.read_split(images_path, "test"), images.read_info(images_path))
    figure = Figure()
    monkeypatch.setattr("roar_pipeline.report.figures.curves.saved_figure", lambda *paths: nullcontext(figure))
    ends = overview.grid.clean, overview.grid.blank
    roar_figure([], overview.panels("remove", "map_classes"), ends, (), "map_classes")
    shown = [axes for axes in figure.axes if axes.get_visible()]
    assert len(shown) == count
    for axes in shown[-min(count, 2) :]:
        assert axes.xaxis.get_tick_params()["labelbottom"]


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
    scores = {"map_classes": None, "map_samples": 0.5, "map_voc": None, "f1_samples": 0.25, "f1_tuned": None}
    history = [{"epoch": 1, "loss": 0.7, "validation": None}, {"epoch": 2, "loss": 0.5, "validation": scores}]
    for name in ("a.png", "b.png"):
        training_curves(history, tmp_path / name)
    training_curves([], tmp_path / "empty.png")
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
