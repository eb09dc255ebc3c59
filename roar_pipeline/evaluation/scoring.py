"""A network's scores by the number of labels that an image has: exactly one, or several.

Which it is, is a property of the data set's kind (``images.Info.is_single_label``), never guessed from the labels.
Legend: N images, K classes. Scores are logits (N, K), labels (N, K).
"""

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray

from roar_pipeline.evaluation import one_label, prediction_metrics

__all__ = ["Predictions", "evaluate", "measure", "selecting_metric"]

Predictions = tuple[NDArray[Any], NDArray[Any]]
"""Labels and scores of a split, (N, K) each."""


def selecting_metric(*, is_single_label: bool) -> str:
    """Return the metric of ``evaluate`` that chooses the epoch to keep with ``checkpoint = best``."""
    return "accuracy" if is_single_label else "map_samples"


def evaluate(labels: NDArray[Any], scores: NDArray[Any], *, is_single_label: bool) -> dict[str, Any]:
    """Return the metrics that need no threshold of their own, by the kind of labels."""
    return one_label.evaluate(labels, scores) if is_single_label else prediction_metrics.evaluate(labels, scores)


def measure(test: Predictions, validation: Callable[[], Predictions], *, is_single_label: bool) -> dict[str, Any]:
    """Return what ``metrics.json`` holds of a finished network's predictions.

    One label: ``test``. Several: ``test``, and ``tuned_threshold``, the best one for F1 on the validation images.

    Args:
        test: of the test split.
        validation: returns those of the validation split; called for several labels alone.
        is_single_label: whether every image has exactly one label.
    """
    if is_single_label:
        return {"test": one_label.evaluate(*test)}
    threshold = prediction_metrics.best_f1_threshold(*validation())
    return {"test": prediction_metrics.evaluate(*test, tuned_threshold=threshold), "tuned_threshold": threshold}
