"""What a report warns of, says of its curves and holds of the claims, from grids whose answers are known."""

import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from roar_pipeline import config
from roar_pipeline.report.caveats import caveats
from roar_pipeline.report.claims import judge_claims, model_differences
from roar_pipeline.report.findings import findings
from roar_pipeline.report.grid import Cell, Curve, Grid, ModelRun, RemovalAudits
from roar_pipeline.report.labels import METRICS, SEVERAL_LABELS
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics.contrasts import Resampled
from roar_pipeline.report.statistics.localization import PairScores
from roar_pipeline.report.statistics.summaries import summarize

SEEDS = (0, 1, 2)
PERCENTS = (30, 50)
IMAGES = 400
SCORES = {
    ("random", None): (0.8, 0.7),
    ("gradcam", "teacher"): (0.4, 0.2),
    ("gradcam", "naive_kd"): (0.6, 0.5),
    ("gradcam", "sswa"): (0.41, 0.21),
}
"""Mean of mAP (classes) at both percentages, by method and model; the others lie a tenth lower."""
LOWER = 0.9


class Known(Resampled):
    """Resamples that vary every network's scores, by half of a hundredth on its own and by half like all others."""

    def __init__(self) -> None:
        self.images, self.counts = IMAGES, np.ones((IMAGES, 200))

    def of(self, network: Any, metric: str) -> Any:
        keys = ("all", str(network.directory))
        draws = [np.random.default_rng(zlib.crc32(key.encode())).normal(0, 0.005, 200) for key in keys]
        return network.test[metric] + sum(draws)


def wobble(*key: object) -> float:
    """Return what a seed does to a score: at most half a point, the same for the same key."""
    return (zlib.crc32(repr(key).encode()) % 1001 - 500) / 100_000


def cell(method, model, percent, seed, score, *, direction="remove"):
    noise = wobble(method, model, percent, seed)
    tied = 0.25 if model and percent == 50 else 0.0
    audits = RemovalAudits(percent, percent, percent, 0.0, tied, 0, 0, None, None, None, 0.0)
    return Cell(
        model=model,
        method=method,
        percent=percent,
        direction=direction,
        seed=seed,
        model_seed=seed if model else None,
        directory=Path(f"{method}_{model}_{percent}_{seed}"),
        fingerprint="",
        settings={},
        test=dict.fromkeys(SEVERAL_LABELS.metrics, score + noise if percent not in (0, 100) else score),
        per_class=(),
        removal=audits if method else None,
        tuned_threshold=0.5,
        origin="cpu, AVX2, 1 CPU thread, torch 2.15",
    )


def overview_of(
    scores: Mapping[tuple[str, str | None], tuple[float, ...]] = SCORES,
    *,
    seeds: tuple[int, ...] = SEEDS,
    clean: float = 0.9,
    blank: float = 0.2,
    direction: str = "remove",
    probes: tuple[Cell, ...] = (),
    longer: tuple[Cell, ...] = (),
    models: tuple[ModelRun, ...] = (),
) -> Overview:
    shared = [
        tuple(cell(None, None, percent, s, value) for s in seeds) for percent, value in ((0, clean), (100, blank))
    ]
    curves = [
        Curve(
            direction,
            method,
            model,
            PERCENTS,
            tuple((s, s if model else None) for s in seeds),
            tuple(
                tuple(cell(method, model, p, s, v, direction=direction) for s in seeds)
                for p, v in zip(PERCENTS, values, strict=True)
            ),
        )
        for (method, model), values in scores.items()
    ]
    grid = Grid(*shared, curves)
    resampled = Known() if len(seeds) > 1 else None
    return Overview(
        models=list(models),
        localizations=[],
        pair_scores=PairScores([], [], []),
        cells=[c for curve in curves for point in curve.cells for c in point],
        probes=list(probes),
        longer=list(longer),
        grid=grid,
        summaries={m: [summarize(curve, grid, m, resampled) for curve in curves] for m in SEVERAL_LABELS.metrics},
        resampled=resampled,
        classes=("cat", "dog"),
        scoring=SEVERAL_LABELS,
        majority=None,
        expected_models={run.model: len(seeds) for run in models},
        expected_localizations={},
    )


def set_to(**sections: Mapping[str, Any]) -> config.Settings:
    """Return settings in which some keys of some sections are set, on images of one's own."""
    given = {"dataset": {"root": "x"}} | sections
    defaults = config.Settings()
    return replace(defaults, **{name: replace(getattr(defaults, name), **keys) for name, keys in given.items()})


def lines(words: str, overview: Overview, settings: config.Settings | None = None) -> list[str]:
    return [line for line in caveats(settings or set_to(), overview) if words in line]


def test_generated_data_is_called_an_illustration():
    assert lines("illustration, not evidence", overview_of(), set_to(dataset={"root": ""}))
    assert not lines("illustration", overview_of(), set_to(dataset={"root": "/voc"}))


def test_explaining_the_labels_is_called_a_leak():
    assert lines("explain = labels", overview_of(), set_to(maps={"explain": "labels"}))
    assert not lines("explain", overview_of(), set_to(maps={"explain": "predicted"}))


def test_few_seeds_are_named():
    assert lines("One seed: this shows the picture, it supports no claim.", overview_of(seeds=(0,)))
    assert lines("2 seeds:", overview_of(seeds=(0, 1)))
    assert not lines("seeds", overview_of())


def test_ties_are_named_where_they_decide():
    (line,) = lines("ties", overview_of())
    assert line.startswith("At 50 %, ties decide 25 % of the removed pixels (all models).")


def test_a_curve_above_random_by_more_than_chance_is_named_for_each_metric():
    """A method whose mask tells the class stands above random; the alarm does not wait for the clean cell."""
    leaking = overview_of({**SCORES, ("mine:leak", "teacher"): (0.85, 0.876)})
    for metric in SEVERAL_LABELS.leading:
        (line,) = [
            line for line in lines("wrong side by more than chance", leaking) if line.startswith(METRICS[metric].label)
        ]
        assert "Teacher (mine:leak) (above random's at 30 %, 50 %, RACU −" in line
        assert "Grad-CAM" not in line
        assert "Naive KD" not in line
    assert not lines("wrong side", overview_of())


def test_one_seed_is_alarmed_by_a_wide_margin_only():
    near, far = ({**SCORES, ("mine:leak", "teacher"): (0.8, 0.7 + gap)} for gap in (0.05, 0.176))
    assert not lines("wrong side", overview_of(near, seeds=(0,)))
    (line, *_) = lines("wrong side", overview_of(far, seeds=(0,)))
    assert "above random's at 50 %" in line


def test_a_curve_above_clean_is_named_but_not_a_control_without_information():
    above = overview_of({**SCORES, ("mine:leak", "teacher"): (0.95, 0.97)})
    assert any("Teacher (mine:leak) (30 %, 50 %)" in line for line in lines("above the clean cells", above))
    blind = overview_of({**SCORES, ("random", None): (0.95, 0.97), ("center", None): (0.96, 0.98)})
    assert not lines("above the clean cells", blind)
    assert not lines("wrong side", blind)


def test_masks_that_explain_most_of_what_is_left_are_named():
    """Above nothing visible (.2), the teacher's masks alone reach .15 of the cell's .2: most of it."""
    probes = tuple(cell("gradcam", model, 30, s, v) for s in SEEDS for model, v in (("teacher", 0.35), ("sswa", 0.25)))
    (line,) = lines("masks alone", overview_of(probes=probes))
    assert "Teacher, 30 %: 35.0 of 40.0" in line
    assert "SSWA" not in line
    assert not lines("masks alone", overview_of())


def test_cells_that_longer_training_moves_are_named():
    moved = tuple(cell("gradcam", "teacher", 50, s, 0.45) for s in SEEDS)
    still = tuple(cell("random", None, 50, s, 0.7) for s in SEEDS)
    (line,) = lines("not converged", overview_of(longer=(*moved, *still)))
    assert "Teacher, 50 %: mAP (classes) +25.0 (± 0." in line
    assert "Random" not in line
    assert not lines("not converged", overview_of(longer=still))


def test_with_one_seed_a_longer_training_is_named_only_beyond_what_seeds_do():
    for score, is_named in ((0.23, False), (0.45, True)):
        longer = (cell("gradcam", "teacher", 50, 0, score),)
        assert bool(lines("not converged", overview_of(seeds=(0,), longer=longer))) is is_named


def test_kept_pixels_are_judged_the_other_way_round():
    """Kept, the teacher's pixels lie above random's, and naive KD's below: that is the wrong side."""
    scores = {("random", None): (0.4, 0.5), ("gradcam", "teacher"): (0.7, 0.8), ("gradcam", "naive_kd"): (0.2, 0.25)}
    overview = overview_of(scores, direction="keep")
    (line, *_) = lines("wrong side", overview)
    assert "Naive KD (below random's at 30 %, 50 %" in line
    assert "Teacher" not in line
    text = findings(overview)[0]
    assert text.startswith("KAR, Grad-CAM, mAP (classes): against random")
    assert "above at every percentage for Teacher; below at every percentage for Naive KD" in text
    judged = {claim.text: claim for claim in judge_claims(overview, 0.05)}
    assert judged["Grad-CAM keeping, every model: the curve lies above random's"].verdict == "not held"


def test_a_grid_of_controls_alone_claims_nothing():
    overview = overview_of({("random", None): (0.8, 0.7), ("gradcam+shuffled", "teacher"): (0.7, 0.6)})
    assert judge_claims(overview, 0.05) == []
    assert findings(overview) == []


def test_a_sentence_keeps_the_hyphens_of_names():
    moved = tuple(cell("gradcam", "teacher", 50, s, 0.05) for s in SEEDS)
    overview = overview_of({**SCORES, ("lrp", "teacher"): (0.3, 0.2)}, longer=moved)
    (line,) = lines("not converged", overview)
    assert "Teacher (Grad-CAM), 50 %: mAP (classes) −15" in line


def test_results_of_several_kinds_of_machine_are_counted():
    overview = overview_of()
    assert not lines("kinds of machine", overview)
    other = [replace(c, origin="cuda, H200, 1 CPU thread, torch 2.11") for c in overview.cells[:5]]
    (line,) = lines("kinds of machine", replace(overview, cells=[*other, *overview.cells[5:]]))
    assert "19 by cpu, AVX2, 1 CPU thread, torch 2.15; 5 by cuda, H200" in line


def test_a_threshold_chosen_on_test_images_is_named():
    same = {"root": "x", "validation_split": "val", "test_split": "val"}
    assert lines("was chosen on the images it is measured on", overview_of(), set_to(dataset=same))
    assert not lines("threshold", overview_of(), set_to(dataset={"validation_split": "val", "test_split": "test"}))
    train = set_to(dataset={"root": "x", "validation_split": "train", "train_split": "train", "test_split": "val"})
    assert lines("was chosen on images that the networks were trained on", overview_of(), train)
    best = set_to(dataset=same, teacher={"checkpoint": "best"})
    assert lines("the best epoch of teacher", overview_of(), best)


def test_validation_images_that_are_also_others_are_counted():
    apart = set_to(dataset={"root": "x", "validation_split": "val", "train_split": "train", "test_split": "test"})
    shared = caveats(apart, overview_of(), {"train": 1, "test": 2, "of": 4})
    assert any("2 of 4 validation images are also test images" in line for line in shared)
    assert any("1 of 4 validation images are also training images" in line for line in shared)
    nothing = caveats(apart, overview_of(), {"train": 0, "test": 0, "of": 4})
    assert not any("validation images" in line for line in nothing)
    same = set_to(dataset={"root": "x", "validation_split": "val", "test_split": "val"})
    whole = caveats(same, overview_of(), {"train": 0, "test": 4, "of": 4})
    assert sum("threshold" in line for line in whole) == 1, "said of the split, not of its images again"


def test_findings_claim_only_what_the_intervals_support():
    by_metric = findings(overview_of())
    assert len(by_metric) == 2
    assert by_metric[0].startswith(
        "ROAR, Grad-CAM, mAP (classes): against random (95 % interval of the paired difference), "
        "below at every percentage for every model. RACU, the higher the better: Teacher 0.64 [0.63, 0.65], SSWA 0.6"
    )
    assert by_metric[1].startswith("ROAR, Grad-CAM, F1: ")
    near = overview_of({**SCORES, ("gradcam", "naive_kd"): (0.6, 0.7)})
    assert "below at 30 %, undecided at 50 % for Naive KD" in findings(near)[0]


def test_a_control_that_wins_is_said_to():
    controls = {("center", None): (0.7, 0.3), ("gradcam+shuffled", "teacher"): (0.75, 0.4)}
    text = findings(overview_of({**SCORES, **controls}))[0]
    assert "Best other control, Center at 30 %: beaten by every model; " in text
    assert "Center at 50 %: beaten by Teacher, SSWA, wins over Naive KD." in text


def test_a_clean_network_that_learned_nothing_has_no_racu():
    text = findings(overview_of(clean=0.25))[0]
    assert "hardly above one that sees nothing (25.0 and 20.0)" in text
    assert "RACU" not in text
    assert not judge_claims(overview_of(clean=0.25), 0.05)


def verdicts(overview: Overview, margin: float = 0.05) -> dict[str, str]:
    return {
        c.text: c.verdict
        for c in judge_claims(overview, margin)
        if METRICS[SEVERAL_LABELS.leading[0]].label in c.measure
    }


def test_claims_about_curves():
    found = verdicts(overview_of({**SCORES, ("center", None): (0.5, 0.3)}))
    assert found == {
        "Grad-CAM removal, every model: the curve lies below random's": "held",
        "Grad-CAM removal, every model: the curve lies below the best control's (Center)": "not held",
        "Grad-CAM removal: SSWA is on par with the teacher (within 5 points)": "held",
        "Grad-CAM removal: Naive KD is not on par with the teacher (within 5 points)": "held",
    }
    far = verdicts(overview_of({**SCORES, ("gradcam", "sswa"): (0.7, 0.6)}))
    assert far["Grad-CAM removal: SSWA is on par with the teacher (within 5 points)"] == "not held"
    assert set(verdicts(overview_of(seeds=(0,))).values()) == {"undecided"}


def trained(model: str, seed: int, score: float) -> ModelRun:
    scores = dict.fromkeys(SEVERAL_LABELS.metrics, score + wobble(model, seed))
    return ModelRun(model, seed, 1, scores, (), Path(f"{model}_{seed}"), 0.5, "")


@pytest.mark.parametrize(
    ("swa", "verdict"), [(0.92, "held"), (0.87, "not held"), (0.891, "undecided")], ids=["order", "turned", "close"]
)
def test_claim_about_the_order_of_the_students(swa, verdict):
    means = {"naive_kd": 0.8, "ewa": 0.89, "swa": swa, "sswa": 0.95}
    models = tuple(trained(name, seed, mean) for name, mean in means.items() for seed in SEEDS)
    (claim,) = [c for c in judge_claims(overview_of(models=models), 0.05) if c.measure.startswith("mAP (classes), cl")]
    assert claim.text == "Naive KD < EWA < SWA < SSWA"
    assert claim.verdict == verdict
    assert [d.label for d in claim.differences] == ["Naive KD − EWA", "EWA − SWA", "SWA − SSWA"]


def test_differences_between_models_are_corrected_for_their_number():
    differences = model_differences(overview_of(), "remove", "gradcam", "map_classes")
    assert [d.label for d in differences] == ["Teacher − Naive KD", "Teacher − SSWA", "Naive KD − SSWA"]
    assert differences[0].estimate.mean == pytest.approx(-(30 * 0.2 / 2 + 20 * 0.25 + 50 * 0.3 / 2) / 100, abs=0.01)
    assert min(d.corrected_p for d in differences) == pytest.approx(3 * min(d.estimate.p for d in differences))
    assert all(d.corrected_p >= d.estimate.p for d in differences)
