"""Display names of scores, models and methods."""

from roar_pipeline.methods import MethodName

__all__ = ["LEADING", "METRICS", "method_label", "model_label"]

METRICS = {
    "map_classes": "mAP (classes)",
    "f1_samples": "F1",
    "f1_tuned": "F1 (tuned threshold)",
    "map_samples": "mAP (images)",
    "map_voc": "mAP (VOC's rule)",
}
"""Measured scores and their display names."""

LEADING = ("map_classes", "f1_samples")
"""The scores that lead the report: one that ranks, and the field's thresholded one, which mere
under-confidence lowers, too.
"""

_MODELS = {"teacher": "Teacher", "plain": "Plain", "naive_kd": "Naive KD", "ewa": "EWA", "swa": "SWA", "sswa": "SSWA"}


def model_label(model: str) -> str:
    """Return a model's display name: ``sswa/8`` is SSWA /8."""
    loss, _, reduction = model.partition("/")
    return _MODELS.get(loss, loss) + (f" /{reduction}" if reduction else "")


def method_label(method: str) -> str:
    """Return a method's display name: ``gradcam`` is Grad-CAM."""
    return MethodName.parse(method).title
