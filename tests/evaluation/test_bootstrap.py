"""The image bootstrap against evaluation of the images it draws, and against theory."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest

from roar_pipeline.evaluation import one_label, prediction_metrics
from roar_pipeline.evaluation.bootstrap import image_counts, resampled_accuracies, resampled_metrics

SUMMARY = """
import hashlib, numpy as np
from roar_pipeline.evaluation.bootstrap import image_counts, resampled_metrics
rng = np.random.default_rng(0)
labels = rng.random((6000, 2)) < 0.2
resampled = resampled_metrics(labels, rng.normal(size=labels.shape), image_counts(6000, 500), f1_threshold=0.5)
print(hashlib.sha256(b"".join(values.tobytes() for values in resampled.values())).hexdigest())
"""


def some_predictions(images=25, classes=5, tied=False):
    """A class with one positive, one without, images without labels, scores with or without ties."""
    rng = np.random.default_rng(images)
    labels = rng.random((images, classes)) < 0.35
    labels[:3] = False
    labels[:, 1] = False
    labels[:, 2] = np.arange(images) == 7
    scores = (rng.normal(size=labels.shape) + labels).astype(np.float32)
    return labels, np.round(scores) if tied else scores


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("chunk", [1, 100, 10**6])
def test_every_resample_is_evaluated_as_its_images_are(tied, chunk, monkeypatch):
    monkeypatch.setattr("roar_pipeline.evaluation.bootstrap._CHUNK", chunk)
    labels, scores = some_predictions(tied=tied)
    counts = image_counts(25, 60)
    resampled = resampled_metrics(labels, scores, counts, f1_threshold=0.5, tuned_threshold=0.3)
    undefined = 0
    for b, column in enumerate(counts.T.astype(int)):
        rows = np.repeat(np.arange(25), column)
        expected = prediction_metrics.evaluate(labels[rows], scores[rows], 0.5)
        undefined += expected["per_class"][2] is None
        expected["f1_tuned"] = prediction_metrics.f1_samples(labels[rows], scores[rows], 0.3)
        assert {key: values[b] for key, values in resampled.items()} == pytest.approx(
            {key: expected[key] for key in ("map_classes", "map_voc", "map_samples", "f1_samples", "f1_tuned")},
            abs=1e-12,
        )
    assert 0 < undefined < 60


@pytest.mark.parametrize("classes", [3, 12])
def test_one_label_is_resampled_as_its_images_are(classes):
    rng = np.random.default_rng(classes)
    truth = np.append(rng.integers(1, classes, 29), 0)
    labels = np.eye(classes, dtype=np.uint8)[truth]
    scores = np.round(rng.normal(size=labels.shape) + labels, 1)
    counts = image_counts(30, 50)
    resampled = resampled_accuracies(labels, scores, counts)
    assert set(resampled) == {"accuracy", "balanced_accuracy", "nll", *(["top5"] if classes > 10 else [])}
    undefined = 0
    for b, column in enumerate(counts.T.astype(int)):
        rows = np.repeat(np.arange(30), column)
        expected = one_label.evaluate(labels[rows], scores[rows])
        undefined += expected["per_class"][0] is None
        assert {key: values[b] for key, values in resampled.items()} == pytest.approx(
            {key: expected[key] for key in resampled}, abs=1e-12
        )
    assert 0 < undefined < 50
    with pytest.raises(ValueError, match="counts"):
        resampled_accuracies(labels, scores, counts[1:])


def test_the_images_themselves_give_their_metrics():
    labels, scores = some_predictions(200)
    resampled = resampled_metrics(labels, scores, np.ones((200, 1)), f1_threshold=0.4)
    expected = prediction_metrics.evaluate(labels, scores, 0.4)
    assert set(resampled) == set(expected) - {"per_class", "f1_tuned"}
    assert {key: values.item() for key, values in resampled.items()} == pytest.approx(
        {key: expected[key] for key in resampled}
    )


def test_what_is_undefined_in_a_resample_is_nan():
    labels, scores = np.array([[1, 0], [0, 0]]), np.zeros((2, 2))
    resampled = resampled_metrics(labels, scores, np.array([[0.0, 2.0], [2.0, 0.0]]), f1_threshold=0.5)
    assert {key: values.tolist() for key, values in resampled.items()} == {
        "map_classes": [pytest.approx(np.nan, nan_ok=True), 1.0],
        "map_voc": [pytest.approx(np.nan, nan_ok=True), 1.0],
        "map_samples": [pytest.approx(np.nan, nan_ok=True), 0.5],
        "f1_samples": [0.0, pytest.approx(2 / 3)],
    }
    nothing = resampled_metrics(0 * labels, scores, np.ones((2, 3)), f1_threshold=0.5)
    assert np.isnan([nothing[key] for key in ("map_classes", "map_voc", "map_samples")]).all()


def test_counts_of_other_images_are_refused():
    with pytest.raises(ValueError, match=r"counts \(24, 3\) must be \(N, B\) for labels \(25, 5\)"):
        resampled_metrics(*some_predictions(), np.ones((24, 3)), f1_threshold=0.5)


def test_every_resample_draws_as_many_images_as_there_are():
    counts = image_counts(20, 3000)
    assert counts.shape == (20, 3000)
    assert counts.dtype == np.float64
    assert (counts.sum(axis=0) == 20).all()
    assert counts.mean(axis=1) == pytest.approx(np.ones(20), abs=0.1)
    assert counts.var(axis=1) == pytest.approx(np.full(20, 1 - 1 / 20), rel=0.2)


def test_resamples_depend_on_the_seed_alone():
    assert (image_counts(9, 30) == image_counts(9, 30, seed=0)).all()
    assert (image_counts(9, 30) != image_counts(9, 30, seed=1)).any()


def test_the_bootstrap_variance_of_a_mean_is_that_of_theory():
    """Of a mean over images: the images' variance (divisor N) over N, up to the noise of 4,000 resamples (2.2 %)."""
    labels, scores = some_predictions(400)
    values = prediction_metrics.per_image_f1(labels, scores, 0.5)
    resampled = resampled_metrics(labels, scores, image_counts(400, 4000), f1_threshold=0.5)["f1_samples"]
    assert resampled.var(ddof=1) == pytest.approx(values.var() / 400, rel=0.09)


def test_bytes_do_not_depend_on_the_number_of_threads():
    """At a size at which a matrix product of two threads has other bytes than that of one."""
    digests = [
        subprocess.run(
            [sys.executable, "-c", SUMMARY],
            env={**os.environ, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": threads},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for threads in ("1", "2")
    ]
    assert digests[0] == digests[1] != ""


def test_a_thousand_resamples_of_a_cell_are_quick():
    rng = np.random.default_rng(0)
    labels = rng.random((800, 10)) < 0.2
    scores, counts = rng.normal(size=labels.shape) + labels, image_counts(800, 1000)
    started = time.process_time()
    resampled_metrics(labels, scores, counts, f1_threshold=0.5, tuned_threshold=0.3)
    assert time.process_time() - started < 1
