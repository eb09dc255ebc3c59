"""Settings as plain data for identities: those that affect a result."""

from typing import Any

from roar_pipeline.architectures import idle_keys, is_custom
from roar_pipeline.config import Distillation, Retrain, Student, Teacher
from roar_pipeline.config.fields import identity_of
from roar_pipeline.custom_functions import source_digest

__all__ = ["distillation_keys", "finished_keys", "plain", "text_of", "training_keys"]


def plain(section: Any) -> dict[str, Any]:
    """Return a section of the settings (or another dataclass) as JSON has it: tuples are lists."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in identity_of(section).items()}


def text_of(value: object) -> str:
    """Write a value as the settings file would; an empty one as a dash."""
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "–"
    return str(value).lower() if isinstance(value, bool) else str(value) or "–"


def training_keys(recipe: Teacher | Student | Retrain) -> dict[str, Any]:
    """Return the settings of a network and its training that affect its weights.

    Of an architecture of the user's own that includes the content of its module's file.
    """
    unused = idle_keys(recipe.arch)
    unused |= {"momentum"} if recipe.optimizer == "adamw" else set()
    unused |= set() if recipe.schedule == "steps" else {"milestones", "gamma"}
    return {k: v for k, v in identity_of(recipe).items() if k not in unused} | _source(recipe.arch)


def finished_keys(teacher: Teacher, digest: str) -> dict[str, Any]:
    """Return the settings of a finished teacher: its architecture, and the sha256 of its weights' file."""
    names = [name for name in ("arch", "width", "pool", "dropout") if name not in idle_keys(teacher.arch)]
    return {name: getattr(teacher, name) for name in names} | _source(teacher.arch) | {"weights": digest}


def _source(arch: str) -> dict[str, str]:
    return {"source": source_digest(arch)} if is_custom(arch) else {}


def distillation_keys(loss: str, settings: Distillation) -> dict[str, Any]:
    """Return the settings that affect a loss."""
    names = {
        "plain": (),
        "naive_kd": ("alpha", "temperature"),
        "ewa": ("alpha", "temperature", "weight", "layer"),
        "swa": ("alpha", "temperature", "weight", "layer"),
        "sswa": ("alpha", "temperature", "weight", "layer", "drop"),
    }[loss]
    added = {"student_layer"} if "layer" in names else set()
    return {name: value for name, value in identity_of(settings).items() if name in {*names, *added}}
