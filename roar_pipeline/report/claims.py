"""The claims of Park et al. 2020 and of Hooker et al. 2019, judged held, not held or undecided by paired differences.

A claim about several models holds if it holds for every one of them, with p-values corrected for their number (Holm
1979). Two models are on par if the interval of their difference lies within a margin (equivalence testing, Schuirmann
1987); a difference that is not significant is no such evidence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations, pairwise

import numpy as np
import numpy.typing as npt

from roar_pipeline.report.grid import Curve
from roar_pipeline.report.inputs import Run
from roar_pipeline.report.labels import METRICS, method_label, model_label
from roar_pipeline.report.overview import Overview
from roar_pipeline.report.statistics import inference
from roar_pipeline.report.statistics.contrasts import Scored, contrast
from roar_pipeline.report.statistics.inference import Estimate, Verdict
from roar_pipeline.report.statistics.localization import auc_difference
from roar_pipeline.report.statistics.summaries import area_difference, lower_is_better, other_controls, random_curve

__all__ = ["Claim", "Difference", "judge_claims", "model_differences"]

_STUDENT_ORDER = ("naive_kd", "ewa", "swa", "sswa")
"""Students from worst to best in Park et al."""


@dataclass(frozen=True)
class Difference:
    """A paired difference in words (``Naive KD − Teacher``), its estimate and its p-value corrected for the family.

    ``corrected_p`` is None where no test against 0 decides.
    """

    label: str
    estimate: Estimate
    corrected_p: float | None


@dataclass(frozen=True)
class Claim:
    """A statement, the score that measures it, its verdict, and the differences that decide it.

    ``method`` is the display name that the text begins with; empty if the claim is about no method's curves.
    """

    text: str
    measure: str
    verdict: Verdict
    differences: tuple[Difference, ...]
    method: str = ""


def judge_claims(overview: Overview, margin: float) -> list[Claim]:
    """Judge every claim whose models the grid has.

    A score by which the clean network has hardly learned anything decides nothing about curves.

    Args:
        overview: all results.
        margin: the largest difference of two models on par, as a share of 1.
    """
    claims: list[Claim] = []
    for direction in overview.directions:
        for method in overview.methods:
            for metric in overview.scoring.leading:
                claims += _curve_claims(overview, direction, method, metric, margin)
    for metric in overview.scoring.leading:
        claims += _model_claims(overview, metric)
    for method in overview.methods:
        claims += _localization_claims(overview, method)
    return claims


def model_differences(overview: Overview, direction: str, method: str, metric: str) -> list[Difference]:
    """Compare the curves of every pair of models: the mean of their difference from 0 to 100 %."""
    curves = _curves_of_models(overview, direction, method)
    pairs = list(combinations(curves, 2))
    return _corrected_differences(
        [f"{a.label} − {b.label}" for a, b in pairs],
        [area_difference(a, b, metric, overview.resampled) for a, b in pairs],
    )


def _curve_claims(overview: Overview, direction: str, method: str, metric: str, margin: float) -> list[Claim]:
    curves = _curves_of_models(overview, direction, method)
    if not curves or not overview.has_signal(metric):
        return []
    name, measure = method_label(method), f"mean {METRICS[metric].label} over the curve"
    action, side = ("removal", "below") if lower_is_better(direction) else ("keeping", "above")
    claims = [
        _claim_against_control(
            overview, curves, c, metric, f"{name} {action}, every model: the curve lies {side} {label}", measure
        )
        for label, c in _controls(overview, direction, method, metric).items()
    ]
    curves_by_loss = _curves_by_loss(curves)
    for loss, is_on_par in (("sswa", True), ("naive_kd", False)):
        if loss in curves_by_loss and "teacher" in curves_by_loss:
            estimate = area_difference(curves_by_loss[loss], curves_by_loss["teacher"], metric, overview.resampled)
            judge = inference.verdict_on_par if is_on_par else inference.verdict_not_on_par
            text = f"{name} {action}: {model_label(loss)} is {'' if is_on_par else 'not '}on par with the teacher"
            difference = Difference(f"{model_label(loss)} − Teacher", estimate, None)
            claims.append(
                Claim(f"{text} (within {100 * margin:g} points)", measure, judge(estimate, margin), (difference,))
            )
    return [replace(claim, method=name) for claim in claims]


def _controls(overview: Overview, direction: str, method: str, metric: str) -> dict[str, Curve]:
    """Return random, and the other control whose curve is best on average."""
    random, others = random_curve(overview.grid, direction), other_controls(overview.grid, direction, method)
    gaps = {c.key: area_difference(c, random, metric, None).mean for c in others}
    defined = [c for c in others if gaps[c.key] is not None]
    if not defined:
        return {"random's": random}
    choose = min if lower_is_better(direction) else max
    best = choose(defined, key=lambda c: gaps[c.key] or 0.0)
    return {"random's": random, f"the best control's ({best.label})": best}


def _claim_against_control(
    overview: Overview, curves: Sequence[Curve], control: Curve, metric: str, text: str, measure: str
) -> Claim:
    estimates = [area_difference(curve, control, metric, overview.resampled) for curve in curves]
    is_below = lower_is_better(control.direction)
    return _order_claim(
        text, measure, _corrected_differences([curve.label for curve in curves], estimates), is_below=is_below
    )


def _model_claims(overview: Overview, metric: str) -> list[Claim]:
    names = _models_by_loss(list(overview.expected_models))
    order = [names[loss] for loss in _STUDENT_ORDER if loss in names]
    if len(order) < 2:
        return []
    labels, estimates = [], []
    for worse, better in pairwise(order):
        runs: dict[Run, Sequence[Scored]] = {}
        by_key = {(run.model, run.seed): run for run in overview.models}
        for seed in sorted({run.seed for run in overview.models}):
            pair = [by_key.get((model, seed)) for model in (worse, better)]
            if both := [run for run in pair if run is not None]:
                runs |= {(seed, None): both} if len(both) == 2 else {}
        expected = overview.expected_models[worse]
        labels.append(f"{model_label(worse)} − {model_label(better)}")
        estimates.append(contrast(runs, metric, _difference, overview.resampled, is_complete=len(runs) == expected))
    return [
        _order_claim(
            _order_text(order), f"{METRICS[metric].label}, clean test images", _corrected_differences(labels, estimates)
        )
    ]


def _localization_claims(overview: Overview, method: str) -> list[Claim]:
    names = _models_by_loss([model for model, m in overview.expected_localizations if model and m == method])
    order = [names[loss] for loss in _STUDENT_ORDER if loss in names]
    if len(order) < 2:
        return []
    pairs = list(pairwise(order))
    estimates = [auc_difference(overview.pair_scores, pair, method, overview.resampled) for pair in pairs]
    labels = [f"{model_label(worse)} − {model_label(better)}" for worse, better in pairs]
    return [
        _order_claim(
            _order_text(order), f"{method_label(method)} AUC, all pairs", _corrected_differences(labels, estimates)
        )
    ]


def _difference(scores: Sequence[npt.NDArray[np.float64]]) -> npt.NDArray[np.float64]:
    return scores[0] - scores[1]


def _order_text(models: Sequence[str]) -> str:
    return " < ".join(map(model_label, models))


def _order_claim(text: str, measure: str, differences: Sequence[Difference], *, is_below: bool = True) -> Claim:
    """Judge the claim that every difference is below 0, or above 0 unless ``is_below``."""
    judge = inference.verdict_below if is_below else inference.verdict_above
    verdicts = {judge(d.estimate, d.corrected_p) for d in differences}
    verdict: Verdict = "not held" if "not held" in verdicts else "undecided" if "undecided" in verdicts else "held"
    return Claim(text, measure, verdict, tuple(differences))


def _corrected_differences(labels: Sequence[str], estimates: Sequence[Estimate]) -> list[Difference]:
    corrected = inference.holm([estimate.p for estimate in estimates])
    return [Difference(*row) for row in zip(labels, estimates, corrected, strict=True)]


def _curves_of_models(overview: Overview, direction: str, method: str) -> list[Curve]:
    return [c for c in overview.grid.curves if (c.direction, c.method) == (direction, method) and not c.is_control]


def _curves_by_loss(curves: Sequence[Curve]) -> dict[str, Curve]:
    """Return the curve of each loss; of several reductions the first."""
    names = _models_by_loss([curve.model for curve in curves if curve.model])
    return {loss: next(c for c in curves if c.model == name) for loss, name in names.items()}


def _models_by_loss(models: Sequence[str]) -> dict[str, str]:
    names: dict[str, str] = {}
    for model in models:
        names.setdefault(model.partition("/")[0], model)
    return names
