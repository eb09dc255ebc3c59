"""The report on images that have exactly one label each: accuracy leads, no F1, mAP or threshold."""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.grid_results import write_grid
from support.one_label import write_images

from roar_pipeline import config
from roar_pipeline.attribution import map_store
from roar_pipeline.datasets import images
from roar_pipeline.evaluation import one_label
from roar_pipeline.report.build import build
from roar_pipeline.report.caveats import caveats
from roar_pipeline.report.examples import read_examples
from roar_pipeline.report.grid import Cell, Curve, Grid, ModelRun
from roar_pipeline.report.inputs import LocalizationInput
from roar_pipeline.report.labels import METRICS, SEVERAL_LABELS, leading_metric, scoring_of
from roar_pipeline.report.networks import network_terms
from roar_pipeline.report.overview import gather
from roar_pipeline.report.results import read_localizations
from roar_pipeline.report.split_caveats import split_caveats
from roar_pipeline.report.statistics.contrasts import Resampled
from roar_pipeline.report.statistics.localization import pair_choices
from roar_pipeline.report.statistics.summaries import summarize
from roar_pipeline.report.tables.curves import roar_table
from roar_pipeline.report.tables.models import class_table, classification_table

CLASSES = 12
OF_SEVERAL = re.compile(r"\bF1\b|\bmAP\b|[Tt]hreshold|[Ss]igmoid|\bap_|f1_|map_(?:classes|samples|voc)")
ONE_LABEL = scoring_of(is_single_label=True, classes=CLASSES)


@pytest.fixture(scope="module")
def images_path(tmp_path_factory) -> Path:
    unequal = {"train": 24, "validation": 8, "test": 18}
    return write_images(tmp_path_factory.mktemp("images"), unequal, classes=CLASSES)


@pytest.fixture(scope="module")
def built(tmp_path_factory, images_path):
    root = tmp_path_factory.mktemp("grid")
    inputs = write_grid(root, images_path, controls=("sobel",), localized=False, audited=50)
    settings = replace(inputs.settings, dataset=replace(inputs.settings.dataset, root="cifar"))
    inputs = replace(inputs, settings=settings)
    directory = root / "report"
    directory.mkdir()
    build(directory, inputs)
    return inputs, directory


def read_csv(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def page_text(directory):
    """Return the page without pictures and styles."""
    page = (directory / "report.html").read_text(encoding="utf-8")
    return re.sub(r"<style>.*?</style>|data:image/png;base64,[^\"]*", "", page, flags=re.DOTALL)


def test_no_file_names_a_metric_of_several_labels(built):
    _, directory = built
    texts = {path.name: path.read_text(encoding="utf-8") for path in directory.glob("*.csv")}
    texts |= {"report.html": page_text(directory), "table.txt": (directory / "table.txt").read_text(encoding="utf-8")}
    assert {name: OF_SEVERAL.findall(text) for name, text in texts.items()} == {name: [] for name in texts}
    assert not [path.name for path in directory.iterdir() if OF_SEVERAL.search(path.name)]


def test_every_metric_of_one_label_has_a_figure_and_a_table(built):
    _, directory = built
    assert ONE_LABEL.metrics == ("accuracy", "top5", "balanced_accuracy", "nll")
    assert {p.name for p in directory.glob("roar_*.png")} == {f"roar_{metric}.png" for metric in ONE_LABEL.metrics}
    page = page_text(directory)
    for metric in ONE_LABEL.metrics:
        unit = "nats" if metric == "nll" else "%"
        assert f"ROAR, Grad-CAM: {METRICS[metric].label}, {unit}, by pixels removed" in page
    assert page.index("Grad-CAM: accuracy, %") < page.index("Grad-CAM: top-5 accuracy, %")
    for words in (
        "Recall by class, %",
        "Accuracy by pixels removed",
        "NLL by pixels removed",
        "<dt>NLL</dt>",
        "Accuracy, top-5 accuracy",
        "labels of an image",
        "Masks alone",
    ):
        assert words in page
    for words in ("[metrics]", "[scenes]", "segmentation", "objects", 'id="localization"'):
        assert words not in page
    assert "[retrain]" in page


def test_where_classes_are_equally_frequent_balanced_accuracy_has_no_curves_of_its_own(tmp_path):
    inputs = write_grid(tmp_path, write_images(tmp_path), seeds=(0,), models=("teacher",), localized=False)
    (tmp_path / "report").mkdir()
    build(tmp_path / "report", replace(inputs, settings=replace(inputs.settings, report=config.Report(examples=0))))
    assert {p.name for p in (tmp_path / "report").glob("*.png")} == {"roar_accuracy.png", "roar_nll.png"}
    page = page_text(tmp_path / "report")
    assert "Grad-CAM: balanced accuracy" not in page
    assert "has no curves of its own" in page
    rows = read_csv(tmp_path / "report" / "results.csv")
    assert all(float(row["balanced_accuracy"]) == pytest.approx(float(row["accuracy"])) for row in rows)


def test_masks_bring_localization_and_its_settings(tmp_path):
    path = write_images(tmp_path, masks=6)
    inputs = write_grid(tmp_path, path, seeds=(0,), models=("teacher",))
    (tmp_path / "report").mkdir()
    build(tmp_path / "report", replace(inputs, settings=replace(inputs.settings, report=config.Report(examples=0))))
    page = page_text(tmp_path / "report")
    for words in (
        "Localization of Grad-CAM maps",
        "highest score of all classes",
        "object pixels removed",
        "<dt>void</dt>",
    ):
        assert words in page
    assert OF_SEVERAL.findall(page) == []
    assert {row["over"] for row in read_csv(tmp_path / "report" / "localization.csv")} == {"own", "all", "common"}
    assert "top-5" not in page


def test_findings_claims_and_audits_are_of_accuracy(built):
    _, directory = built
    page = page_text(directory)
    assert "ROAR, Grad-CAM, accuracy: against random" in page
    claims = {row["claim"]: row["measure"] for row in read_csv(directory / "claims.csv")}
    assert claims["Grad-CAM removal, every model: the curve lies below random's"] == "mean accuracy over the curve"
    assert set(claims.values()) == {"mean accuracy over the curve"}
    assert "<span>accuracy, 50 %</span>" in page
    assert "twice the epochs, percentage points" in page


def test_rows_have_the_stored_scores_of_every_cell(built):
    inputs, directory = built
    for row, cell in zip(read_csv(directory / "results.csv"), inputs.cells, strict=True):
        test = json.loads((cell.directory / "metrics.json").read_text())["test"]
        assert {m: float(row[m]) for m in ONE_LABEL.metrics} == {m: test[m] for m in ONE_LABEL.metrics}
        assert float(row["recall_class 3"]) == test["per_class"][3]
        assert "above_clean_nll" not in row
    curves = read_csv(directory / "curves.csv")
    assert {row["metric"] for row in curves} == set(ONE_LABEL.metrics)
    assert {row["metric"] for row in curves if row["minus_random_low"]} == set(ONE_LABEL.metrics)


def test_seeing_nothing_is_the_training_splits_most_frequent_class(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path, localized=False)
    with h5py.File(images_path) as file:
        train, test = file["train/labels"][:].argmax(axis=1), file["test/labels"][:].argmax(axis=1)
    expected = float((test == np.bincount(train).argmax()).mean())
    info = images.read_info(images_path)
    overview = gather(inputs, images.read_split(images_path, "test"), info)
    assert overview.unseeing("accuracy") == overview.majority == expected
    blank = [cell.test["nll"] for cell in overview.grid.blank]
    assert overview.unseeing("nll") == pytest.approx(np.mean(blank))


def run(model, seed, accuracy, nll, recalls):
    test = {"accuracy": accuracy, "top5": 0.9, "balanced_accuracy": accuracy, "nll": nll}
    return ModelRun(model, seed, 1000, test, recalls, Path(), None, "")


def test_models_are_tabulated_in_percent_and_nll_in_nats():
    runs = [run("teacher", 0, 0.8, 0.5, (1.0, None)), run("teacher", 1, 0.9, 0.75, (0.5, None))]
    table = classification_table(runs, ONE_LABEL)
    assert table.header[1:] == ("parameters", "accuracy", "top-5 accuracy", "balanced accuracy", "NLL, nats")
    assert table.rows == (("Teacher", "1,000", "85.0 ±7.1", "90.0 ±0.0", "85.0 ±7.1", "0.625 ±0.177"),)
    by_class = class_table(runs, ("cat", "dog"), ONE_LABEL)
    assert (by_class.title, by_class.rows) == ("Recall by class, %", (("cat", "75.0"), ("dog", "–")))


def cell(method, model, percent, seed, accuracy):
    """Make a cell whose NLL falls as its accuracy rises: both curves are one, turned over."""
    name = Path(f"{method}_{model}_{percent}_{seed}")
    test = {"accuracy": accuracy, "nll": 2 - accuracy}
    model_seed = seed if model else None
    return Cell(model, method, percent, "remove", seed, model_seed, name, "", {}, test, (), None, None, "")


def grid_of(scores, clean=0.9, blank=0.1):
    ends = [
        tuple(cell(None, None, percent, seed, value) for seed in (0, 1))
        for percent, value in ((0, clean), (100, blank))
    ]
    curves = [
        Curve(
            "remove",
            method,
            model,
            (30, 50),
            tuple((seed, seed if model else None) for seed in (0, 1)),
            tuple(
                tuple(cell(method, model, percent, seed, value + seed / 50) for seed in (0, 1))
                for percent, value in zip((30, 50), values, strict=True)
            ),
        )
        for (method, model), values in scores.items()
    ]
    return Grid(*ends, curves)


SCORES = {
    ("random", None): (0.8, 0.7),
    ("sobel", None): (0.6, 0.5),
    ("center", None): (0.5, 0.6),
    ("gradcam", "teacher"): (0.4, 0.3),
}


def test_a_curve_of_nll_says_what_the_same_curve_turned_over_says():
    grid = grid_of(SCORES)
    for curve in grid.curves:
        accuracy, nll = (summarize(curve, grid, metric, None) for metric in ("accuracy", "nll"))
        assert nll.racu.mean == pytest.approx(accuracy.racu.mean)
        for pair, turned in zip(accuracy.minus_best, nll.minus_best, strict=True):
            assert (pair is None) == (turned is None) == curve.is_control
            if pair is not None and turned is not None:
                assert (turned[0], turned[1].mean) == (pair[0], pytest.approx(-(pair[1].mean or 0)))
    best = summarize(grid.curves[-1], grid, "nll", None).minus_best
    assert [pair[0] for pair in best if pair] == ["Center", "Sobel"]


def test_racu_of_nll_by_hand():
    grid = grid_of({("random", None): (0.7, 0.5), ("gradcam", "teacher"): (0.4, 0.3)})
    racu = summarize(grid.curves[1], grid, "nll", None).racu.mean
    # NLL of seed 0 at 0, 30, 50, 100 %: clean 1.1, random 1.3 1.5, method 1.6 1.7, blank 1.9.
    gained = 30 * 0.3 / 2 + 20 * (0.3 + 0.2) / 2 + 50 * 0.2 / 2
    possible = [30 * (0.8 + 0.6 + n) / 2 + 20 * (1.0 + 2 * n) / 2 + 50 * (0.4 + n) / 2 for n in (0, 0.02)]
    assert racu == pytest.approx(np.mean([gained / area for area in possible]))


def test_nll_is_written_in_nats_and_is_never_flagged():
    grid = grid_of({("random", None): (0.8, 0.7), ("gradcam", "teacher"): (1.5, 0.3)}, clean=0.9)
    ends, curves = (grid.clean, grid.blank), grid.curves
    tables = {}
    for metric in ("accuracy", "nll"):
        summaries = [summarize(curve, grid, metric, None) for curve in curves]
        tables[metric] = roar_table(curves, summaries, ends, metric, "")
    assert [text.strip() for text in tables["nll"].rows[1][1:5]] == [
        "1.100 ±0.000",
        "0.490 ±0.014",
        "1.690 ±0.014",
        "1.900 ±0.000",
    ]
    assert tables["accuracy"].rows[1][2].startswith("151.0 ±1.4†")
    assert tables["nll"].notes == ()


def test_resampling_every_image_once_is_the_metric(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path, localized=False, models=("teacher",), seeds=(0,))
    test = images.read_split(images_path, "test")
    resampled = Resampled(test.labels, 3, 0.5, is_single_label=True)
    resampled.counts = np.ones((len(test.labels), 1))
    overview = gather(inputs, test, images.read_info(images_path))
    for finished in overview.cells:
        for metric in ONE_LABEL.metrics:
            assert resampled.of(finished, metric) == pytest.approx([finished.test[metric]])


def test_example_captions_are_softmax_probabilities(tmp_path, images_path):
    source = write_grid(tmp_path, images_path, localized=False).examples[1]
    split, info = images.read_split(images_path, "test"), images.read_info(images_path)
    (example,) = read_examples([source], split, info, [5], (10,), "remove")
    scores = map_store.read_rows(source.maps_path, "test", slice(5, 6)).scores[0].astype(float)
    truth = split.labels[5].argmax()
    probability = np.exp(scores[truth]) / np.exp(scores).sum()
    assert example.rows[0].caption == (f"{info.classes[truth]} {100 * probability:.0f} %",)


def test_own_pairs_are_the_stored_ones(tmp_path):
    pairs = [
        {"id": "a", "class_index": 0, "score": -1.0, "auc": 0.5, "pointing": 1.0, "is_predicted": True},
        {"id": "b", "class_index": 1, "score": 3.0, "auc": 0.5, "pointing": 1.0, "is_predicted": False},
    ]
    path = tmp_path / "localization.json"
    path.write_text(json.dumps({"zero_maps": 0, "pairs": pairs}))
    (maps,) = read_localizations([LocalizationInput("teacher", "gradcam", 0, path)])
    assert maps.is_predicted is not None
    assert maps.is_predicted.tolist() == [True, False]
    assert "highest score" in pair_choices(ONE_LABEL)["own"]
    assert "score above 0" in pair_choices(SEVERAL_LABELS)["own"]


def test_top5_needs_as_many_classes_as_its_metric():
    labels = np.eye(11, dtype=np.uint8)
    for classes in (10, 11):
        measured = one_label.evaluate(labels[:classes, :classes], labels[:classes, :classes].astype(float))
        has_top5 = "top5" in scoring_of(is_single_label=True, classes=classes).metrics
        assert has_top5 == (measured["top5"] is not None) == (classes == 11)
        assert leading_metric(measured) == "accuracy"
    assert scoring_of(is_single_label=False, classes=20) is SEVERAL_LABELS


def test_the_true_classes_leak_is_told_with_its_known_size(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path, localized=False, models=("teacher",))
    overview = gather(inputs, images.read_split(images_path, "test"), images.read_info(images_path))
    maps = replace(inputs.settings.maps, explain="labels")
    (line,) = [text for text in caveats(replace(inputs.settings, maps=maps), overview) if "explain = labels" in text]
    assert "75 % to 89 %" in line
    assert not [text for text in caveats(inputs.settings, overview) if "explain = labels" in text]


def settings_with(checkpoint="last", **dataset):
    defaults = config.Settings()
    return replace(
        defaults,
        dataset=replace(defaults.dataset, **dataset),
        teacher=replace(defaults.teacher, checkpoint=checkpoint),
    )


def test_only_the_best_epoch_can_be_chosen_on_other_splits():
    same = {"validation_split": "test"}
    assert split_caveats(settings_with(**same), {}, None, is_single_label=True) == []
    (line,) = split_caveats(settings_with("best", **same), {}, None, is_single_label=True)
    assert "best epoch of teacher was chosen on the images it is measured on" in line
    (line,) = split_caveats(settings_with("best", validation_split="train"), {}, None, is_single_label=True)
    assert "on images that the networks were trained on" in line
    shared = {"train": 2, "test": 3, "of": 8}
    lines = split_caveats(settings_with("best"), shared, None, is_single_label=True)
    assert [text[:6] for text in lines] == ["3 of 8", "2 of 8"]
    assert not [text for text in lines if "threshold" in text]
    assert all("threshold" in text for text in split_caveats(settings_with(), shared, None, is_single_label=False))


def test_held_out_and_shared_images_are_told(images_path):
    info = images.read_info(images_path)
    assert split_caveats(settings_with(), {}, info, is_single_label=True) == []
    (line,) = split_caveats(settings_with(), {}, replace(info, held_out=(0.1, 5000)), is_single_label=True)
    assert "5,000 of its training images, 10 % of every class, are held out" in line
    (line,) = split_caveats(settings_with(), {}, replace(info, overlaps=(0, 3, 1)), is_single_label=True)
    assert "3 of train and test, 1 of validation and test" in line
    assert "too good" in line


def terms(
    teacher, student, models=("teacher", "swa"), methods=("gradcam", "ebp", "lrp"), *, one=True, layer="last_relu"
):
    defaults = config.Settings()
    settings = replace(
        defaults,
        teacher=replace(defaults.teacher, arch=teacher),
        student=replace(defaults.student, arch=student),
        maps=replace(defaults.maps, layer=layer),
    )
    return network_terms(settings, models, methods, is_single_label=one)


def test_layers_and_batch_norm_are_told_by_architecture():
    of_resnets = terms("resnet56", "resnet20")
    assert of_resnets["Networks"] == "Teacher: resnet56. Students: resnet20. Retrained network: vgg11_small."
    block = "the last residual block (layer3)"
    assert of_resnets["Layers"] == (
        f"Grad-CAM and EBP read {block}. SWA matches maps of the teacher at {block} and of the student at {block}."
    )
    folds = "In resnet56 and resnet20, EBP and LRP fold a BatchNorm into the convolution before it."
    assert of_resnets["BatchNorm under relevance"] == folds
    mixed = terms("resnet50", "vgg11_small", methods=("gradcam", "rap"), models=("teacher", "plain"))
    relu = "the last ReLU before the last max-pool (last_relu)"
    assert (
        mixed["Layers"] == f"Grad-CAM reads the last residual block (layer4) of the teacher and {relu} of the students."
    )
    assert mixed["BatchNorm under relevance"] == (
        "In resnet50, RAP folds a BatchNorm into the convolution before it. In vgg11_small, RAP passes through a "
        "BatchNorm unchanged, as Park et al. ran them."
    )
    assert terms("resnet18", "x", models=("teacher",), methods=("gradcam",), layer="layer3")["Layers"] == (
        "Grad-CAM reads the module layer3."
    )
    assert "the last maps before the pooling (features)" in terms("densenet121", "x", models=("teacher",))["Layers"]
    assert set(terms("densenet121", "x", models=("teacher",), methods=("gradient",))) == {"Networks"}
    assert terms("vgg16_bn", "vgg16_bn", one=False) == {}
    assert terms("vgg16_bn", "vgg16_bn")["BatchNorm under relevance"].startswith(
        "In vgg16_bn, EBP and LRP pass through"
    )
