"""Results read back, grouped and summed up, against the numbers that went in."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support.grid_results import write_grid, write_images

from roar_pipeline import config
from roar_pipeline.datasets import images
from roar_pipeline.evaluation import prediction_metrics
from roar_pipeline.report.grid import full_labels, group_cells, is_above_clean
from roar_pipeline.report.inputs import LocalizationInput
from roar_pipeline.report.labels import SEVERAL_LABELS, method_label, model_label
from roar_pipeline.report.overview import Overview, gather
from roar_pipeline.report.results import read_cells, read_localizations
from roar_pipeline.report.statistics.contrasts import UNDEFINED, Resampled
from roar_pipeline.report.statistics.curves import mean_std
from roar_pipeline.report.statistics.inference import Estimate
from roar_pipeline.report.statistics.localization import PairScores, auc_difference, summarize_localization
from roar_pipeline.report.statistics.summaries import (
    area_difference,
    best_control,
    beyond_chance,
    other_controls,
    summarize,
)


@pytest.fixture(scope="module")
def images_path(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def gathered(root, images_path, *, resamples=50, **grid) -> Overview:
    inputs = write_grid(root, images_path, **grid)
    report = replace(inputs.settings.report, bootstrap=resamples)
    inputs = replace(inputs, settings=replace(inputs.settings, report=report))
    return gather(inputs, images.read_split(images_path, "test"), images.read_info(images_path))


def grid_of(root, images_path, **grid):
    return group_cells(read_cells(write_grid(root, images_path, **grid).cells))


def test_labels_for_people():
    assert [model_label(m) for m in ("teacher", "sswa/8", "mine")] == ["Teacher", "SSWA /8", "mine"]
    assert [method_label(m) for m in ("gradcam", "random", "guided+blur", "gradcam+shuffled")] == [
        "Grad-CAM",
        "Random",
        "Guided backprop, blurred",
        "Grad-CAM, shuffled",
    ]


def test_curves_hold_their_cells_by_percentage_and_run(tmp_path, images_path):
    methods = ("gradcam", "gradcam+shuffled", "ebp")
    grid = grid_of(tmp_path, images_path, seeds=(1, 0), methods=methods, models=("teacher",))
    assert [cell.run for cell in grid.clean] == [cell.run for cell in grid.blank] == [(0, None), (1, None)]
    assert {cell.percent for cell in grid.blank} == {100}
    curves = grid.curves
    assert [c.key for c in curves] == [
        ("remove", "random", None),
        ("remove", "gradcam", "teacher"),
        ("remove", "gradcam+shuffled", "teacher"),
        ("remove", "ebp", "teacher"),
    ]
    assert all(c.percents == (10, 50) for c in curves)
    assert [[cell.run for cell in point] for point in curves[1].cells] == [[(0, 0), (1, 1)]] * 2
    assert [c.is_control for c in curves] == [True, False, True, False]
    assert [c.masks_depend_on_image for c in curves] == [False, True, False, True]
    assert full_labels(curves)[:3] == ["Random", "Teacher (Grad-CAM)", "Shuffled (Teacher) (Grad-CAM)"]
    assert full_labels(curves[:3]) == ["Random", "Teacher", "Shuffled (Teacher)"]


def test_a_missing_cell_is_named(tmp_path, images_path):
    cells = read_cells(write_grid(tmp_path, images_path).cells)
    without = [c for c in cells if (c.model, c.percent, c.seed) != ("naive_kd", 50, 1)]
    with pytest.raises(ValueError, match="cells are missing: remove gradcam of naive_kd has percents"):
        group_cells(without)


def test_a_missing_control_is_named(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path)
    lost = replace(inputs, cells=tuple(cell for cell in inputs.cells if cell.method != "random"))
    test = images.read_split(images_path, "test")
    with pytest.raises(ValueError, match="random control are missing: direction remove"):
        gather(lost, test, images.read_info(images_path))


def test_above_clean_compares_within_the_seed(tmp_path, images_path):
    grid = grid_of(tmp_path, images_path)
    cell = grid.curves[1].cells[0][1]
    reference = grid.clean[1].test["f1_samples"]
    for value, expected in ((reference + 0.01, True), (reference, False), (reference - 0.01, False), (None, None)):
        assert is_above_clean(replace(cell, test={"f1_samples": value}), grid.clean, "f1_samples") is expected


def test_a_difference_is_beyond_chance_by_its_corrected_p_or_by_a_wide_margin():
    def difference(mean, p):
        return Estimate(mean, 0.01, None if p is None else (mean - 0.1, mean + 0.1), p, 3)

    assert beyond_chance([difference(0.02, 0.01)], 1) == [True]
    assert beyond_chance([difference(0.02, 0.01)], -1) == [False]
    assert beyond_chance([difference(-0.02, 0.01)], -1) == [True]
    assert beyond_chance([difference(0.02, 0.01), *[difference(0.01, 0.5)] * 9], 1) == [False] * 10
    assert beyond_chance([difference(0.176, 0.03), *[difference(0.01, 0.5)] * 9], 1)[0]
    assert beyond_chance([difference(0.176, 0.2)], 1) == [False]
    assert beyond_chance([difference(0.176, None), difference(0.08, None), UNDEFINED], 1) == [True, False, False]


def test_summary_against_the_cells(tmp_path, images_path):
    overview = gathered(tmp_path, images_path, seeds=(0, 1, 2))
    random = overview.grid.curves[0]
    clean = {cell.seed: cell for cell in overview.grid.clean}
    assert list(overview.summaries) == list(SEVERAL_LABELS.metrics)
    for metric, summaries in overview.summaries.items():
        for curve, summary in zip(overview.grid.curves, summaries, strict=True):
            for point, cells in enumerate(curve.cells):
                values = [cell.test[metric] for cell in cells]
                assert (summary.points[point].mean, summary.points[point].std) == mean_std(values)
                gaps = [a.test[metric] - b.test[metric] for a, b in zip(cells, random.cells[point], strict=True)]
                assert (summary.minus_random[point].mean, summary.minus_random[point].std) == pytest.approx(
                    mean_std(gaps)
                )
                over = [cell.test[metric] - clean[cell.seed].test[metric] for cell in cells]
                assert (summary.minus_clean[point].mean, summary.minus_clean[point].std) == pytest.approx(
                    mean_std(over)
                )


def test_every_metric_has_an_interval_that_holds_its_mean(tmp_path, images_path):
    overview = gathered(tmp_path, images_path, seeds=(0, 1, 2))
    for metric in SEVERAL_LABELS.metrics:
        for summary in overview.summaries[metric]:
            for estimate in (*summary.points, *summary.minus_random, summary.racu, summary.area_minus_random):
                low, high = estimate.interval
                assert low <= estimate.mean <= high
    random = overview.summaries["map_classes"][0]
    assert [gap.interval for gap in random.minus_random] == [(0, 0), (0, 0)]


def test_an_interval_covers_seeds_and_images(tmp_path, images_path):
    """Wider than Student's over the seeds alone, as the images are resampled too; none with one seed."""
    overview = gathered(tmp_path, images_path, seeds=(0, 1, 2), resamples=200)
    summary = overview.summaries["f1_samples"][1]
    values = overview.grid.curves[1].values("f1_samples")[1]
    seeds_only = stats.t.ppf(0.975, 2) * np.std(values, ddof=1) / 3**0.5
    low, high = summary.points[1].interval
    assert (high - low) / 2 > 1.05 * seeds_only
    alone = gathered(tmp_path / "one", images_path, seeds=(4,))
    for one in alone.summaries["f1_samples"]:
        assert [e.interval for e in (*one.points, *one.minus_random, one.racu)] == [None] * 5


def test_racu_is_the_mean_over_seeds_with_measured_ends(tmp_path, images_path):
    overview = gathered(tmp_path, images_path)
    for metric in ("f1_samples", "map_classes"):
        curve, random = overview.grid.curves[1], overview.grid.curves[0]
        x = [0, *curve.percents, 100]
        by_hand = []
        for run in range(2):
            clean, blank = (cells[run].test[metric] for cells in (overview.grid.clean, overview.grid.blank))
            a = [clean, *(point[run].test[metric] for point in random.cells), blank]
            b = [clean, *(point[run].test[metric] for point in curve.cells), blank]
            area = sum((x[i + 1] - x[i]) * (a[i] - b[i] + a[i + 1] - b[i + 1]) / 2 for i in range(3))
            by_hand.append(area / sum((x[i + 1] - x[i]) * (a[i] + a[i + 1] - 2 * blank) / 2 for i in range(3)))
        assert overview.summaries[metric][1].racu.mean == pytest.approx(np.mean(by_hand))
        assert overview.summaries[metric][1].racu.std == pytest.approx(np.std(by_hand, ddof=1))
        assert overview.summaries[metric][0].racu.mean == pytest.approx(0)


def test_keeping_turns_the_sign_of_racu(tmp_path, images_path):
    """Curves far below random: a good map if its pixels were removed, a bad one if they were kept.

    What a kept curve can gain is the area between random's and the clean score.
    """
    overview = gathered(tmp_path, images_path, seeds=(0,), directions=("remove", "keep"))
    by_key = {c.key: (c, s) for c, s in zip(overview.grid.curves, overview.summaries["f1_samples"], strict=True)}
    assert by_key["remove", "gradcam", "teacher"][1].racu.mean > 0 > by_key["keep", "gradcam", "teacher"][1].racu.mean
    clean, blank = (cells[0].test["f1_samples"] for cells in (overview.grid.clean, overview.grid.blank))
    lines = [
        [blank, *(point[0].test["f1_samples"] for point in by_key[key][0].cells), clean]
        for key in (("keep", "random", None), ("keep", "gradcam", "teacher"))
    ]
    area = lambda line: np.trapezoid(line, [0, 10, 50, 100])  # noqa: E731
    racu = (area(lines[1]) - area(lines[0])) / (100 * clean - area(lines[0]))
    assert by_key["keep", "gradcam", "teacher"][1].racu.mean == pytest.approx(racu)


def test_area_difference_is_the_mean_gap_from_0_to_100(tmp_path, images_path):
    """Both ends are shared, so that the gap is 0 there."""
    grid = grid_of(tmp_path, images_path)
    a, b = grid.curves[1], grid.curves[2]
    gaps = [np.mean([x.test["f1_samples"] for x in p]) for p in a.cells]
    gaps = [gap - np.mean([x.test["f1_samples"] for x in p]) for gap, p in zip(gaps, b.cells, strict=True)]
    expected = (10 * gaps[0] / 2 + 40 * (gaps[0] + gaps[1]) / 2 + 50 * gaps[1] / 2) / 100
    assert area_difference(a, b, "f1_samples", None).mean == pytest.approx(expected)
    assert area_difference(b, a, "f1_samples", None).mean == pytest.approx(-expected)


def test_the_best_control_is_the_one_that_hurts_most(tmp_path, images_path):
    """Random is not among them; where pixels are kept, it is the one that keeps most."""
    grid = grid_of(
        tmp_path,
        images_path,
        controls=("center", "sobel"),
        methods=("gradcam", "gradcam+shuffled"),
        models=("teacher",),
        directions=("remove", "keep"),
    )
    for direction, choose in (("remove", min), ("keep", max)):
        curves = {c.method: c for c in grid.curves if c.direction == direction}
        for point in range(2):
            controls = ("center", "sobel", "gradcam+shuffled")
            means = {name: np.mean(curves[name].values("map_classes")[point]) for name in controls}
            best = best_control(curves["gradcam"], grid, point, "map_classes")
            assert best.method == choose(means, key=means.get)
    alone = grid_of(tmp_path / "alone", images_path)
    assert best_control(alone.curves[1], alone, 0, "map_classes") is None


def test_a_method_is_held_against_its_own_shuffled_maps(tmp_path, images_path):
    methods = ("gradcam", "gradcam+shuffled", "lrp", "lrp+shuffled")
    grid = grid_of(tmp_path, images_path, controls=("center",), methods=methods, models=("teacher",), seeds=(0,))
    assert [c.method for c in other_controls(grid, "remove", "lrp")] == ["center", "lrp+shuffled"]


def test_crossed_model_seeds_are_paired_with_the_control_of_their_seed(tmp_path, images_path):
    overview = gathered(tmp_path, images_path, seeds=(0, 1), model_seeds=(4, 7))
    curve, random = overview.grid.curves[1], overview.grid.curves[0]
    assert curve.runs == ((0, 4), (0, 7), (1, 4), (1, 7))
    by_seed = {cell.seed: cell.test["f1_samples"] for cell in random.cells[0]}
    gaps = [cell.test["f1_samples"] - by_seed[cell.seed] for cell in curve.cells[0]]
    assert overview.summaries["f1_samples"][1].minus_random[0].mean == pytest.approx(np.mean(gaps))
    assert overview.summaries["f1_samples"][1].minus_random[0].runs == 4


def test_resampling_every_image_once_is_the_metric(tmp_path, images_path):
    grid = grid_of(tmp_path, images_path)
    labels = images.read_split(images_path, "test").labels
    resampled = Resampled(labels, 3, 0.5)
    resampled.counts = np.ones((len(labels), 1))
    for cell in (*grid.clean, *grid.blank, *grid.curves[1].cells[0]):
        for metric in SEVERAL_LABELS.metrics:
            assert resampled.of(cell, metric) == pytest.approx([cell.test[metric]])


def test_an_undefined_metric_stays_undefined(tmp_path, images_path):
    grid = grid_of(tmp_path, images_path)
    curve = grid.curves[1]
    cells = tuple(tuple(replace(c, test={**c.test, "map_classes": None}) for c in p) for p in curve.cells)
    summary = summarize(replace(curve, cells=cells), grid, "map_classes", None)
    assert [e.mean for e in (*summary.points, *summary.minus_random, summary.racu)] == [None] * 5


def test_f1_at_the_reports_threshold_comes_from_the_scores(tmp_path, images_path):
    inputs = write_grid(tmp_path, images_path)
    test = images.read_split(images_path, "test")
    inputs = replace(inputs, settings=replace(inputs.settings, metrics=config.Metrics(f1_threshold=0.9)))
    overview = gather(inputs, test, images.read_info(images_path))
    cell = overview.grid.clean[0]
    scores = np.load(cell.directory / "scores.npy")
    assert cell.test["f1_samples"] == prediction_metrics.f1_samples(test.labels, scores, 0.9)
    assert cell.test["f1_tuned"] == prediction_metrics.f1_samples(test.labels, scores, cell.tuned_threshold)


def localized(root, model, seed, scores, auc):
    pairs = [
        {"id": f"i{n}", "class_index": n % 2, "score": s, "auc": a, "pointing": None if a is None else 1.0}
        for n, (s, a) in enumerate(zip(scores, auc, strict=True))
    ]
    path = root / f"{model}_{seed}.json"
    path.write_text(json.dumps({"zero_maps": 1, "pairs": pairs}))
    return LocalizationInput(model, "gradcam" if model else "random", seed, path)


def pair_scores(files: Sequence[LocalizationInput], images_count: int = 4) -> PairScores:
    return PairScores(files, read_localizations(files), [f"i{n}" for n in range(images_count)])


def test_localization_over_own_all_and_common_pairs(tmp_path):
    files = [
        localized(tmp_path, "teacher", 0, [1, 2, 3, -1], [0.9, 0.8, 0.7, None]),
        localized(tmp_path, "ewa", 0, [1, -2, 3, -1], [0.6, 0.5, 0.4, None]),
        localized(tmp_path, "teacher", 1, [-1, 2, -3, 1], [0.2, 0.4, 0.6, None]),
        localized(tmp_path, None, None, [None] * 4, [0.5, 0.1, 0.3, None]),
    ]
    rows = summarize_localization(pair_scores(files))
    found = {(r.model, r.seed, r.over): (r.auc, r.pairs, r.undefined) for r in rows}
    assert found["teacher", 0, "own"] == (pytest.approx(0.8), 3, 0)
    assert found["teacher", 0, "all"] == (pytest.approx(0.8), 3, 1)
    assert found["teacher", 0, "common"] == (pytest.approx(0.8), 2, 0)
    assert found["ewa", 0, "own"] == (pytest.approx(0.5), 2, 0)
    assert found["ewa", 0, "common"] == (pytest.approx(0.5), 2, 0)
    assert found["teacher", 1, "common"] == (pytest.approx(0.4), 1, 1)
    assert found[None, None, "all"] == (pytest.approx(0.3), 3, 1)
    assert found[None, 0, "common"] == (pytest.approx(0.4), 2, 0)
    assert found[None, 1, "common"] == (pytest.approx(0.1), 1, 1)
    assert not any(r.over == "own" for r in rows if r.model is None)


def test_no_localization_at_all():
    assert summarize_localization(pair_scores([])) == []


def test_difference_of_auc_is_paired_by_seed_and_by_image(tmp_path):
    aucs = {
        ("teacher", 0): [0.9, 0.8, 0.7, None],
        ("teacher", 1): [0.6, 0.9, 0.8, None],
        ("ewa", 0): [0.8, 0.7, 0.6, None],
        ("ewa", 1): [0.4, 0.7, 0.6, None],
    }
    files = [localized(tmp_path, *key, [1] * 4, auc) for key, auc in aucs.items()]
    resampled = Resampled(np.ones((4, 2), np.uint8), 100, 0.5)
    difference = auc_difference(pair_scores(files), ("teacher", "ewa"), "gradcam", resampled)
    assert difference.mean == pytest.approx(0.15)
    assert difference.std == pytest.approx(np.std([0.1, 0.2], ddof=1))
    assert difference.interval is not None
    assert auc_difference(pair_scores(files), ("teacher", "ewa"), "gradcam", None).interval is None
    lost = [file if (file.model, file.seed) != ("ewa", 1) else replace(file, path=None) for file in files]
    partial = auc_difference(pair_scores(lost), ("teacher", "ewa"), "gradcam", resampled)
    assert (partial.mean, partial.interval, partial.runs) == (pytest.approx(0.1), None, 1)
    assert auc_difference(pair_scores([]), ("teacher", "ewa"), "gradcam", resampled) == UNDEFINED
