"""Parse the text of ``luigi.cfg`` to ``Settings``, and report all mistakes at once, each with what is allowed.

Why not pydantic: it saves no line, because accepting the digits 0-9 only, these messages, and contradictions reported
beside other mistakes would remain to be written. It adds 0.1 s of processor time and 9 MB to every command that imports
``tasks`` (pydantic 2.14, median of 15).
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import Field
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from roar_pipeline.architectures import CIFAR_RESNETS, VGGS, has_last_pool, has_width, is_custom
from roar_pipeline.config import Dataset, Settings
from roar_pipeline.errors import InputError
from roar_pipeline.methods import MethodName
from roar_pipeline.numerals import number, shortened, whole_number

__all__ = ["parse"]

Section = TypeVar("Section")
Fields = dict[str, "Field[Any]"]


def parse(sections: Mapping[str, Mapping[str, str]]) -> Settings:
    """Turn the text of the sections into ``Settings``.

    Args:
        sections: section name to key to text, as in a configuration file. A missing key has its default.

    Raises:
        InputError: names every mistake at once, each with what is allowed.
    """
    section_fields = _fields(Settings)
    mistakes: list[str] = []
    parsed: dict[str, Any] = {}
    for name, texts in sections.items():
        if name not in section_fields:
            mistakes.append(f"unknown section [{name}]. Known: {', '.join(section_fields)}.")
        else:
            parsed[name] = _parse_section(cast(type, section_fields[name].type), name, texts, mistakes)
    settings = Settings(**parsed)
    for name in section_fields:
        mistakes += _section_mistakes(name, getattr(settings, name))
    mistakes += _contradictions(settings)
    if mistakes:
        raise InputError("Mistakes in the settings:\n" + "\n".join(f"  - {m}" for m in mistakes))
    return settings


def _fields(section: Any) -> Fields:
    return {f.name: f for f in dataclasses.fields(section)}


def _parse_section(section: type[Section], name: str, texts: Mapping[str, str], mistakes: list[str]) -> Section:
    """Parse a section, and append its mistakes to ``mistakes``; a key with a mistake has its default."""
    fields = _fields(section)
    values: dict[str, Any] = {}
    for key, text in texts.items():
        if key not in fields:
            mistakes.append(f"[{name}] has no key '{key}'. Known: {', '.join(fields)}.")
            continue
        try:
            values[key] = _parse_field(fields[key], text.strip())
        except ValueError as error:
            mistakes.append(f"[{name}] {key} = {shortened(text.strip())}: {error}.")
    return section(**values)


def _parse_field(field: "Field[Any]", text: str) -> Any:
    if text.startswith((";", "#")):
        raise ValueError("a comment needs a line of its own")
    value = _parse_value(field.type, text)
    low, high = field.metadata["low"], field.metadata["high"]
    for item in _items(value):
        if low is not None and item < low:
            raise ValueError(f"{item} is below {low}")
        if high is not None and item > high:
            raise ValueError(f"{item} is above {high}")
    return value


def _items(value: Any) -> tuple[Any, ...]:
    """Return the items of a list, or a single value as the only one."""
    return value if isinstance(value, tuple) else (value,)


def _parse_value(kind: Any, text: str) -> Any:
    if get_origin(kind) is tuple:
        items = [] if text == "none" else [item.strip() for item in text.replace("\n", ",").split(",")]
        return tuple(_parse_value(get_args(kind)[0], item) for item in items if item)
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise ValueError(f"not one of {', '.join(get_args(kind))}")
        return text
    return _PARSERS[kind](text)


def _flag(text: str) -> bool:
    try:
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[text.lower()]
    except KeyError:
        raise ValueError("not true or false") from None


_PARSERS: dict[type, Callable[[str], Any]] = {int: whole_number, float: number, str: str, bool: _flag}


def _section_mistakes(name: str, section: Any) -> Iterator[str]:
    """Yield a section's mistakes by the rules of its fields, other than wrong types and bounds."""
    for key, field in _fields(section).items():
        value, check = getattr(section, key), field.metadata["check"]
        if field.metadata["required"] and not value:
            yield f"[{name}] {key} needs at least one."
        if isinstance(value, tuple) and not _holds_measures(field.type) and len(set(value)) != len(value):
            yield f"[{name}] {key} names something twice: {', '.join(map(str, value))}."
        for item in _items(value) if check else ():
            try:
                check(item)
            except InputError as error:
                yield f"[{name}] {error}"


def _holds_measures(kind: Any) -> bool:
    """Return whether a list holds measures, which may be equal; items of other lists are names and must differ."""
    return get_args(kind)[0] is float


def _contradictions(settings: Settings) -> Iterator[str]:
    """Yield mistakes that concern more than one value."""
    yield from _kind_mistakes(settings.dataset)
    yield from _normalization_mistakes(settings)
    yield from _photograph_mistakes(settings)
    yield from _training_mistakes(settings)
    yield from _network_mistakes(settings)
    if shuffled := [name for name in settings.grid.methods if MethodName.parse(name).is_shuffled]:
        yield f"[grid] methods: {shuffled[0]} is a control of its method. Name the method, and in shuffled the models."


def _kind_mistakes(dataset: Dataset) -> Iterator[str]:
    """Yield mistakes about the data set's kind; ``auto`` is resolved where the folder is looked at."""
    kind = dataset.kind
    if kind in ("folder", "cifar10", "cifar100") and not dataset.root:
        yield f"[dataset] kind = {kind} needs root, the data set's folder."
    if kind == "own" and not is_custom(dataset.root):
        yield "[dataset] kind = own needs root = module:function, with the module's folder on PYTHONPATH."
    if kind == "own" and len(dataset.classes) < 2:
        yield "[dataset] kind = own needs classes: the names of labels 0, 1, ..., two or more."
    if kind != "own" and dataset.labels != "by_kind":
        yield f"[dataset] labels = {dataset.labels} is for kind = own; other kinds have labels of their own. Drop it."
    if dataset.train_side and kind in ("cifar10", "cifar100", "own"):
        yield f"[dataset] train_side keeps photographs for random crops, which kind = {kind} has none of. Use 0."


def _normalization_mistakes(settings: Settings) -> Iterator[str]:
    for key in ("mean", "std"):
        if len(getattr(settings.dataset, key)) not in (0, 3):
            yield f"[dataset] {key} needs three numbers, one per channel, or none."
    if settings.dataset.std and min(settings.dataset.std) <= 0:
        yield "[dataset] std must be above 0."


def _photograph_mistakes(settings: Settings) -> Iterator[str]:
    """Yield mistakes about ``train_side``, which stores the training photographs."""
    dataset = settings.dataset
    if not dataset.train_side:
        return
    if dataset.train_side < min(dataset.height, dataset.width):
        yield (
            f"[dataset] train_side = {dataset.train_side} is below the {dataset.height} x {dataset.width} pixels of "
            f"the images, so every crop would be enlarged. Use {min(dataset.height, dataset.width)} or more, or 0."
        )
    if "resized_crop" not in (settings.teacher.augment, settings.student.augment):
        yield (
            f"[dataset] train_side = {dataset.train_side} keeps photographs that nothing reads. Set augment = "
            "resized_crop in [teacher] or [student], or train_side = 0."
        )


def _training_mistakes(settings: Settings) -> Iterator[str]:
    for name in ("teacher", "student", "retrain"):
        milestones = getattr(settings, name).milestones
        if list(milestones) != sorted(set(milestones)):
            yield f"[{name}] milestones must rise from one to the next: {', '.join(map(str, milestones))}."
    if settings.retrain.augment == "resized_crop":
        yield (
            "[retrain] augment = resized_crop would resize images whose pixels are already removed. "
            "Use none, flip or padded_crop."
        )
    if settings.retrain.checkpoint == "best":
        yield "[retrain] checkpoint = best picks an epoch by its score, which favors noisy cells. Use last."


def _network_mistakes(settings: Settings) -> Iterator[str]:
    teacher, student = settings.teacher, settings.student
    if teacher.weights == "imagenet":
        if teacher.arch in VGGS and (teacher.arch == "vgg11_small" or teacher.width != 64):
            yield "[teacher] weights = imagenet needs arch = vgg11_bn or vgg16_bn and width = 64."
        elif teacher.arch in CIFAR_RESNETS or is_custom(teacher.arch):
            yield (
                f"[teacher] weights = imagenet: torchvision has none of arch = {shortened(teacher.arch)}. Use a "
                "classifier of torchvision, the file of a finished teacher's weights, or none."
            )
    if student.reduction > 1 and not has_width(student.arch):
        yield (
            f"[student] reduction = {student.reduction} divides widths, and those of arch = {shortened(student.arch)} "
            "are fixed. Set reduction = 1, and a smaller arch."
        )
    for key, layer, arch in (
        ("[maps] layer", settings.maps.layer, teacher.arch),
        ("[distillation] layer", settings.distillation.layer, teacher.arch),
        ("[distillation] student_layer", settings.distillation.student_layer, student.arch),
    ):
        if layer == "last_pool" and not has_last_pool(arch):
            yield f"{key} = last_pool: {arch} has no max-pool there. Use last_relu, or a module's path."
