"""Results read back, grouped and summed up, against the numbers that went in."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from grid_results import write_grid, write_images

from roar_pipeline import images, metrics
from roar_pipeline.curves import mean_std, resample
from roar_pipeline.overview import gather
from roar_pipeline.results import above_clean, full_labels, group, method_label, model_label, read_cells
from roar_pipeline.summaries import blank_scores, draw, localization, summarize


@pytest.fixture(scope="module")
def images_path(tmp_path_factory) -> Path:
    return write_images(tmp_path_factory.mktemp("images"))


def gathered(root, images_path, **grid):
    arguments = write_grid(root, images_path, **grid)
    test = images.read_split(images_path, "test")
    keys = ("models", "cells", "localizations", "images")
    return gather(*(arguments[key] for key in keys), test, 50, 0.5, arguments["classes"])


def test_labels_for_people():
    assert [model_label(m) for m in ("teacher", "sswa/8", "mine")] == ["Teacher", "SSWA /8", "mine"]
    assert [method_label(m) for m in ("gradcam", "random", "guided+blur")] == [
        "Grad-CAM",
        "Random",
        "Guided backprop, blurred",
    ]


def test_curves_hold_their_cells_by_percentage_and_run(tmp_path, images_path):
    cells = read_cells(write_grid(tmp_path, images_path, seeds=(1, 0), methods=("gradcam", "ebp"))["cells"])
    clean, grid = group(cells)
    assert [cell.run for cell in clean] == [(0, None), (1, None)]
    assert [c.key for c in grid] == [
        ("remove", "random", None),
        ("remove", "gradcam", "teacher"),
        ("remove", "gradcam", "naive_kd"),
        ("remove", "ebp", "teacher"),
        ("remove", "ebp", "naive_kd"),
    ]
    assert all(c.percents == (10, 50) for c in grid)
    assert [[cell.run for cell in point] for point in grid[1].cells] == [[(0, 0), (1, 1)]] * 2
    assert full_labels(grid)[:2] == ["Random", "Teacher (Grad-CAM)"]
    assert full_labels(grid[:3]) == ["Random", "Teacher", "Naive KD"]


def test_a_missing_cell_is_named(tmp_path, images_path):
    cells = read_cells(write_grid(tmp_path, images_path)["cells"])
    without = [c for c in cells if (c.model, c.percent, c.seed) != ("naive_kd", 50, 1)]
    with pytest.raises(ValueError, match="cells are missing: remove gradcam of naive_kd has percents"):
        group(without)


def test_a_missing_control_is_named(tmp_path, images_path):
    arguments = write_grid(tmp_path, images_path)
    cells = [c for c in arguments["cells"] if c["method"] != "random"]
    with pytest.raises(ValueError, match="random control are missing: direction remove"):
        gather([], cells, [], images_path, images.read_split(images_path, "test"), 0, 0.5, arguments["classes"])


def test_above_clean_compares_within_the_seed(tmp_path, images_path):
    clean, grid = group(read_cells(write_grid(tmp_path, images_path)["cells"]))
    cell = grid[1].cells[0][1]
    reference = clean[1].test["f1_samples"]
    for value, expected in ((reference + 0.01, True), (reference, False), (reference - 0.01, False), (None, None)):
        assert above_clean(replace(cell, test={"f1_samples": value}), clean, "f1_samples") is expected


def test_blank_scores_are_the_best_constant_prediction():
    """No constant score has a lower mean binary cross-entropy on the training labels."""
    labels = np.array([[1, 0, 1], [1, 1, 0], [0, 0, 1], [1, 0, 0]], dtype=np.uint8)
    scores = blank_scores(labels, 2).astype(float)
    assert scores.shape == (2, 3)
    assert (scores[0] == scores[1]).all()

    def loss(constant):
        return np.mean(np.log1p(np.exp(constant)) - labels * constant)

    for shift in (-0.1, 0.1):
        for column in range(3):
            assert loss(scores[0] + shift * np.eye(3)[column]) > loss(scores[0])


def test_blank_scores_are_finite_without_examples_of_a_class():
    scores = blank_scores(np.array([[0, 1]], dtype=np.uint8), 1)
    assert np.isfinite(scores).all()
    assert scores[0, 0] < 0 < scores[0, 1]


def test_summary_against_the_cells(tmp_path, images_path):
    overview = gathered(tmp_path, images_path, seeds=(0, 1, 2))
    for metric, summaries in overview.summaries.items():
        random = overview.grid[0]
        for curve, summary in zip(overview.grid, summaries, strict=True):
            for point, cells in enumerate(curve.cells):
                values = [cell.test[metric] for cell in cells]
                assert (summary.mean[point], summary.std[point]) == mean_std(values)
                assert summary.gap[point] == pytest.approx(
                    np.mean(values) - np.mean([c.test[metric] for c in random.cells[point]])
                )


def test_racu_of_a_curve_takes_the_known_ends(tmp_path, images_path):
    overview = gathered(tmp_path, images_path)
    curve, summary = overview.grid[1], overview.summaries["f1_samples"][1]
    clean, blank = overview.spread_of_clean("f1_samples")[0], overview.blank["f1_samples"]
    random = [clean, *overview.summaries["f1_samples"][0].mean, blank]
    points = [clean, *summary.mean, blank]
    x = [0, *curve.percents, 100]
    area = sum((x[i + 1] - x[i]) * (random[i] - points[i] + random[i + 1] - points[i + 1]) / 2 for i in range(3))
    possible = sum((x[i + 1] - x[i]) * (random[i] + random[i + 1] - 2 * blank) / 2 for i in range(3))
    assert summary.racu == pytest.approx(area / possible)
    assert overview.summaries["f1_samples"][0].racu == pytest.approx(0)


def test_keeping_turns_the_sign_of_racu(tmp_path, images_path):
    """Curves far below random: a good map if its pixels were removed, a bad one if they were kept."""
    overview = gathered(tmp_path, images_path, directions=("remove", "keep"))
    by_key = {c.key: s for c, s in zip(overview.grid, overview.summaries["f1_samples"], strict=True)}
    assert by_key["remove", "gradcam", "teacher"].racu > 0 > by_key["keep", "gradcam", "teacher"].racu


def test_intervals_hold_the_mean_and_only_f1_has_them(tmp_path, images_path):
    overview = gathered(tmp_path, images_path, seeds=(0, 1, 2))
    for summary in overview.summaries["f1_samples"]:
        for mean, (low, high) in zip(summary.mean, summary.interval, strict=True):
            assert low <= mean <= high
    assert overview.summaries["f1_samples"][0].gap_interval == [(0, 0), (0, 0)]
    assert overview.summaries["map_classes"][1].interval == [None, None]
    assert overview.summaries["map_classes"][1].racu_interval is None


@pytest.mark.parametrize(("model_seeds", "factors"), [((), 0), ((0,), 1), ((4, 7), 2)])
def test_model_seeds_are_drawn_apart_only_where_they_are_crossed(
    tmp_path, images_path, model_seeds, factors, monkeypatch
):
    seen = []
    monkeypatch.setattr("roar_pipeline.curves.resample", lambda *a, **k: seen.append(a) or resample(*a, **k))
    clean, grid = group(read_cells(write_grid(tmp_path, images_path, model_seeds=model_seeds)["cells"]))
    labels = images.read_split(images_path, "test").labels
    drawn = draw(clean, grid, labels, blank_scores(labels, len(labels)), 0.5, 5)
    assert len(seen[0][1]) == factors
    assert drawn.curves["remove", "gradcam", "teacher"].shape == (2, 5)


def test_resampled_f1_of_all_images_once_is_the_metric(tmp_path, images_path, monkeypatch):
    """With every seed and image drawn exactly once, the bootstrap returns the grid's own means."""
    clean, grid = group(read_cells(write_grid(tmp_path, images_path)["cells"]))
    labels = images.read_split(images_path, "test").labels
    once = replace(
        resample([0, 1], [], len(labels), 1), seeds={s: np.ones(1) for s in (0, 1)}, images=np.ones((len(labels), 1))
    )
    monkeypatch.setattr("roar_pipeline.curves.resample", lambda *a, **k: once)
    blank = blank_scores(labels, len(labels))
    drawn = draw(clean, grid, labels, blank, 0.5, 1)
    assert drawn.clean == pytest.approx([np.mean([c.test["f1_samples"] for c in clean])])
    assert drawn.blank == pytest.approx([metrics.f1_samples(labels, blank, 0.5)])
    for curve in grid:
        means = [np.mean(values) for values in curve.values("f1_samples")]
        assert drawn.curves[curve.key][:, 0] == pytest.approx(means)


def test_an_undefined_metric_stays_undefined(tmp_path, images_path):
    clean, grid = group(read_cells(write_grid(tmp_path, images_path)["cells"]))
    cells = tuple(tuple(replace(c, test={**c.test, "map_classes": None}) for c in p) for p in grid[1].cells)
    summary = summarize(replace(grid[1], cells=cells), grid[0], clean, 0.1, "map_classes", None)
    assert (summary.mean, summary.std, summary.gap, summary.racu) == ([None] * 2, [None] * 2, [None] * 2, None)


def localized(root, model, seed, scores, auc):
    pairs = [
        {"id": f"i{n}", "class_index": n % 2, "score": s, "auc": a, "pointing": None if a is None else 1.0}
        for n, (s, a) in enumerate(zip(scores, auc, strict=True))
    ]
    path = root / f"{model}_{seed}.json"
    path.write_text(json.dumps({"zero_maps": 1, "pairs": pairs}))
    return {"model": model, "method": "gradcam" if model else "random", "seed": seed, "path": path}


def test_localization_over_own_all_and_common_pairs(tmp_path):
    files = [
        localized(tmp_path, "teacher", 0, [1, 2, 3, -1], [0.9, 0.8, 0.7, None]),
        localized(tmp_path, "ewa", 0, [1, -2, 3, -1], [0.6, 0.5, 0.4, None]),
        localized(tmp_path, "teacher", 1, [-1, 2, -3, 1], [0.2, 0.4, 0.6, None]),
        localized(tmp_path, None, None, [None] * 4, [0.5, 0.1, 0.3, None]),
    ]
    found = {(r.model, r.seed, r.over): (r.auc, r.pairs, r.undefined) for r in localization(files)}
    assert found["teacher", 0, "own"] == (pytest.approx(0.8), 3, 0)
    assert found["teacher", 0, "all"] == (pytest.approx(0.8), 3, 1)
    assert found["teacher", 0, "common"] == (pytest.approx(0.8), 2, 0)
    assert found["ewa", 0, "own"] == (pytest.approx(0.5), 2, 0)
    assert found["ewa", 0, "common"] == (pytest.approx(0.5), 2, 0)
    assert found["teacher", 1, "common"] == (pytest.approx(0.4), 1, 1)
    assert found[None, None, "all"] == (pytest.approx(0.3), 3, 1)
    assert found[None, 0, "common"] == (pytest.approx(0.4), 2, 0)
    assert found[None, 1, "common"] == (pytest.approx(0.1), 1, 1)
    assert not any(r.over == "own" for r in localization(files) if r.model is None)


def test_no_localization_at_all():
    assert localization([]) == []
