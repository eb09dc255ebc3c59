"""What a reader must know of the networks' architectures: the layers that are read, and BatchNorm under relevance."""

import re
from collections.abc import Sequence

from roar_pipeline import config
from roar_pipeline.architectures import VGGS, default_layer
from roar_pipeline.methods import MethodName
from roar_pipeline.report.labels import method_label, model_label

__all__ = ["network_terms"]

_RESIDUAL = re.compile(r"(wide_)?resne(x)?t\d\w*")
_READ_A_LAYER = ("gradcam", "ebp")
_RELEVANCE = ("ebp", "lrp", "rap")
_MATCHING = ("ewa", "swa", "sswa")


def network_terms(
    settings: config.Settings, models: Sequence[str], methods: Sequence[str], *, is_single_label: bool
) -> dict[str, str]:
    """Return a name and an explanation each of architectures, layers and BatchNorm, as far as the report has them.

    Empty for the VGGs on images of several labels, which are the study of Park et al. 2020.

    Args:
        settings: of all results.
        models: that are explained.
        methods: that explain them.
        is_single_label: whether every image has exactly one label.
    """
    archs = _explained_archs(settings, models)
    if not is_single_label and {*archs.values(), settings.retrain.arch} <= set(VGGS):
        return {}
    bases = {MethodName.parse(method).base for method in methods}
    names = [f"{name.capitalize()}: {arch}{_origin(settings, name)}." for name, arch in archs.items()]
    terms = {
        "Networks": " ".join([*names, f"Retrained network: {settings.retrain.arch}."]),
        "Layers": " ".join([*_reading(settings, archs, bases), *_matching(settings, models)]),
        "BatchNorm under relevance": " ".join(_batch_norm(archs, bases)),
    }
    return {name: text for name, text in terms.items() if text}


def _origin(settings: config.Settings, name: str) -> str:
    """Return where a network's weights are from, unless they are trained from random ones."""
    if name != "teacher" or settings.teacher.weights == "none":
        return ""
    return ", not trained here" if settings.teacher.is_finished else ", from ImageNet weights"


def _explained_archs(settings: config.Settings, models: Sequence[str]) -> dict[str, str]:
    archs = {"teacher": settings.teacher.arch} if "teacher" in models else {}
    return archs | ({"students": settings.student.arch} if any(model != "teacher" for model in models) else {})


def _reading(settings: config.Settings, archs: dict[str, str], bases: set[str]) -> list[str]:
    readers = [method_label(method) for method in _READ_A_LAYER if method in bases]
    texts = {name: _layer_text(arch, settings.maps.layer) for name, arch in archs.items()}
    if not readers or not texts:
        return []
    if len(set(texts.values())) == 1:
        return [f"{_joined(readers)} read{'s' * (len(readers) == 1)} {next(iter(texts.values()))}."]
    of_networks = [f"{text} of the {name}" for name, text in texts.items()]
    return [f"{_joined(readers)} read{'s' * (len(readers) == 1)} {_joined(of_networks)}."]


def _matching(settings: config.Settings, models: Sequence[str]) -> list[str]:
    losses = dict.fromkeys(loss for model in models if (loss := model.partition("/")[0]) in _MATCHING)
    if not losses:
        return []
    distillation = settings.distillation
    of_teacher = _layer_text(settings.teacher.arch, distillation.layer)
    of_student = _layer_text(settings.student.arch, distillation.student_layer or distillation.layer)
    return [
        f"{_joined([model_label(loss) for loss in losses])} match{'es' * (len(losses) == 1)} maps of the teacher at "
        f"{of_teacher} and of the student at {of_student}."
    ]


def _batch_norm(archs: dict[str, str], bases: set[str]) -> list[str]:
    methods = [method_label(method) for method in _RELEVANCE if method in bases]
    if not methods:
        return []
    names, is_one = _joined(methods), len(methods) == 1
    folded = [arch for arch in dict.fromkeys(archs.values()) if _RESIDUAL.fullmatch(arch)]
    skipped = [arch for arch in dict.fromkeys(archs.values()) if arch in VGGS]
    texts = []
    if folded:
        texts.append(f"In {_joined(folded)}, {names} fold{'s' * is_one} a BatchNorm into the convolution before it.")
    if skipped:
        verb = "passes" if is_one else "pass"
        texts.append(f"In {_joined(skipped)}, {names} {verb} through a BatchNorm unchanged, as Park et al. ran them.")
    return texts


def _layer_text(arch: str, layer: str) -> str:
    path = default_layer(arch) if layer == "last_relu" else layer
    if path != layer:
        return f"the last {'residual block' if _RESIDUAL.fullmatch(arch) else 'maps before the pooling'} ({path})"
    texts = {
        "last_relu": "the last ReLU before the last max-pool (last_relu)",
        "last_pool": "the last max-pool (last_pool)",
    }
    return texts.get(layer, f"the module {layer}")


def _joined(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
