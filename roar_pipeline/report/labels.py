"""Display names of scores, models and methods, and which scores a report has."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from roar_pipeline.methods import MethodName

__all__ = [
    "METRICS",
    "SEVERAL_LABELS",
    "Metric",
    "Scoring",
    "leading_metric",
    "method_label",
    "model_label",
    "scoring_of",
]


@dataclass(frozen=True)
class Metric:
    """A measured score: its name, and how it is written.

    ``is_error``: the lower, the better.
    """

    label: str
    unit: str = "%"
    scale: float = 100
    decimals: int = 1
    is_error: bool = False


METRICS: Mapping[str, Metric] = {
    "map_classes": Metric("mAP (classes)"),
    "f1_samples": Metric("F1"),
    "f1_tuned": Metric("F1 (tuned threshold)"),
    "map_samples": Metric("mAP (images)"),
    "map_voc": Metric("mAP (VOC's rule)"),
    "accuracy": Metric("accuracy"),
    "balanced_accuracy": Metric("balanced accuracy"),
    "top5": Metric("top-5 accuracy"),
    "nll": Metric("NLL", unit="nats", scale=1, decimals=3, is_error=True),
}
"""Every score by its key in ``metrics.json``."""


@dataclass(frozen=True)
class Scoring:
    """The scores of a report, by the number of labels that an image has.

    Attributes:
        is_single_label: whether every image has exactly one label.
        metrics: keys of ``METRICS``, in the report's order.
        leading: the metrics that lead the report.
        class_score: name of a class's score, ``per_class`` of ``metrics.json``.
        class_column: prefix of the CSV columns of the classes' scores.
        own_classes: which classes a model predicts, in words.
    """

    is_single_label: bool
    metrics: tuple[str, ...]
    leading: tuple[str, ...]
    class_score: str
    class_column: str
    own_classes: str


SEVERAL_LABELS = Scoring(
    is_single_label=False,
    metrics=("map_classes", "f1_samples", "f1_tuned", "map_samples", "map_voc"),
    leading=("map_classes", "f1_samples"),
    class_score="Average precision",
    class_column="ap",
    own_classes="score above 0",
)
"""Two metrics lead: one that ranks, and the field's thresholded one, which mere under-confidence lowers, too."""

_ONE_LABEL = Scoring(
    is_single_label=True,
    metrics=("accuracy", "balanced_accuracy", "nll"),
    leading=("accuracy",),
    class_score="Recall",
    class_column="recall",
    own_classes="highest score of all classes",
)
_TOP5_CLASSES = 11
"""Fewest classes with a top-5 accuracy."""


def scoring_of(*, is_single_label: bool, classes: int) -> Scoring:
    """Return the scores of a data set with so many classes."""
    if not is_single_label:
        return SEVERAL_LABELS
    if classes < _TOP5_CLASSES:
        return _ONE_LABEL
    return replace(_ONE_LABEL, metrics=("accuracy", "top5", "balanced_accuracy", "nll"))


def leading_metric(test: Mapping[str, object]) -> str | None:
    """Return the metric that leads the report on networks with these ``test`` scores; None if there is none of them."""
    return next((s.leading[0] for s in (SEVERAL_LABELS, _ONE_LABEL) if s.leading[0] in test), None)


_MODELS = {"teacher": "Teacher", "plain": "Plain", "naive_kd": "Naive KD", "ewa": "EWA", "swa": "SWA", "sswa": "SSWA"}


def model_label(model: str) -> str:
    """Return a model's display name: ``sswa/8`` is SSWA /8."""
    loss, _, reduction = model.partition("/")
    return _MODELS.get(loss, loss) + (f" /{reduction}" if reduction else "")


def method_label(method: str) -> str:
    """Return a method's display name: ``gradcam`` is Grad-CAM."""
    return MethodName.parse(method).title
