"""The pages of results on images that have exactly one label each: accuracy in the squares, no metric of several."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tasks.web.curves import panels
from tasks.web.details import _scores
from tasks.web.grid import label
from tasks.web.watch import Watch

TEST = {"accuracy": 0.8125, "top5": None, "balanced_accuracy": 0.75, "nll": 0.6931, "per_class": [0.5, 1.0]}


def score_of(directory: Path, measured: object) -> object:
    (directory / "metrics.json").write_text(json.dumps(measured))
    return Watch._score(SimpleNamespace(runs=directory), directory)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("measured", "score"),
    [
        ({"test": TEST}, (0.8125, "accuracy")),
        ({"test": {"map_classes": 0.43219, "f1_samples": 0.5}}, (0.4322, "map_classes")),
        ({"test": {"map_classes": None}}, None),
        ({"test": {"seconds": 1.0}}, None),
        ({"test": [0.5]}, None),
        ([], None),
    ],
)
def test_a_square_has_the_score_that_leads_the_report(tmp_path, measured, score):
    assert score_of(tmp_path, measured) == score


def test_the_label_of_a_square_names_its_score():
    facts = {"state": "done", "score": 0.8125, "metric": "accuracy"}
    assert label("seed 0", facts) == "seed 0: done, accuracy 81.2 %"


def test_scores_scores_have_their_units():
    assert list(_scores({"test": TEST})) == [
        ("accuracy", "81.2 %"),
        ("balanced accuracy", "75.0 %"),
        ("NLL", "0.693 nats"),
    ]


def test_validation_curves_are_of_the_shares():
    history = [{"epoch": epoch, "loss": 0.5, "validation": TEST} for epoch in (1, 2)]
    assert [[name for name, _ in panel.lines] for panel in panels(history)] == [
        ["training loss"],
        ["accuracy", "balanced accuracy"],
    ]
