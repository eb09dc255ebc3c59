"""The scheduler's resources of a machine: GPU slots, and main memory by an estimate of a stage's peak."""

import dataclasses
import functools
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import psutil
from luigi.configuration import get_config

from roar_pipeline import config
from roar_pipeline.datasets import kinds
from roar_pipeline.estimates import memory
from roar_pipeline.estimates.cost import Cost, Size, cost_of
from roar_pipeline.methods import METHODS
from tasks.configuration.settings import settings
from tasks.runtime.gpus import visible_gpus

__all__ = [
    "MEMORY",
    "Demand",
    "cell_demand",
    "data_size",
    "explained_cost",
    "light_demand",
    "maps_demand",
    "maps_settings",
    "network_cost",
    "network_device",
    "resources_of_machine",
    "shortages",
    "stage_resources",
    "streaming_demand",
    "student_demand",
    "teacher_demand",
]

MEMORY = "memory_mb"
"""The resource's name, in 10^6 bytes."""

_USABLE = 0.9


@dataclasses.dataclass(frozen=True)
class Demand:
    """The resources that a task needs."""

    memory_mb: int
    uses_network: bool = False
    remedy: str = "Use smaller images or fewer."
    """Advice that lowers the memory."""


def resources_of_machine() -> dict[str, int]:
    """Return this machine's GPU slots and memory; ``[resources]`` overrides them."""
    usable = int(psutil.virtual_memory().total * _USABLE / 1e6)
    amounts = {MEMORY: usable, **({"gpu": len(gpus)} if (gpus := visible_gpus()) else {})}
    section = get_config()
    return {name: section.getint("resources", name, amount) for name, amount in amounts.items()}


def stage_resources(demand: Demand) -> dict[str, int]:
    """Return the resources that the scheduler reserves: memory, and one GPU slot if a network runs and a GPU exists.

    A task that needs more memory than the machine has reserves all of it and runs alone, instead of waiting forever.
    """
    amount = min(demand.memory_mb, resources_of_machine()[MEMORY])
    return {MEMORY: amount, **({"gpu": 1} if demand.uses_network and _on_gpu() else {})}


class _Demanding(Protocol):
    """The part of a task that ``shortages`` needs."""

    @property
    def task_family(self) -> str: ...

    def demand(self) -> Demand: ...


def shortages(tasks: Iterable[_Demanding]) -> list[str]:
    """Return a warning per stage that needs more memory than this machine has, for its largest task."""
    usable = resources_of_machine()[MEMORY]
    largest: dict[str, Demand] = {}
    for task in tasks:
        demand = task.demand()
        if demand.memory_mb > max(usable, largest[task.task_family].memory_mb if task.task_family in largest else 0):
            largest[task.task_family] = demand
    return [
        f"{family} needs about {demand.memory_mb / 1e3:.1f} GB of memory, and tasks may take {usable / 1e3:.1f} GB on "
        f"this machine: it runs alone, and may be killed. {demand.remedy}"
        for family, demand in largest.items()
    ]


def streaming_demand() -> Demand:
    """Return the demand of a stage that runs no network and reads a few images at a time."""
    return Demand(_megabytes(memory.STREAMING))


def light_demand() -> Demand:
    """Return the demand of a stage that runs no network and holds images."""
    return Demand(_megabytes(memory.light(data_size())))


def teacher_demand() -> Demand:
    """Return the demand of the teacher's training."""
    recipe, size = settings().teacher, data_size()
    if recipe.is_finished:
        size = dataclasses.replace(size, train=0, photograph_bytes=0)
    need = memory.teacher(size, network_cost(recipe), recipe, on_gpu=_on_gpu(), limit=_limit())
    return Demand(_megabytes(need), uses_network=True, remedy=_remedy("[teacher] batch"))


def student_demand(recipe: config.Student, loss: str) -> Demand:
    """Return the demand of a student's training, with its teacher in memory."""
    cost, teacher_cost = network_cost(recipe, recipe.reduction), network_cost(settings().teacher)
    layer = settings().distillation.layer
    need = memory.student(data_size(), cost, recipe, loss, layer, teacher_cost, on_gpu=_on_gpu(), limit=_limit())
    return Demand(_megabytes(need), uses_network=True, remedy=_remedy("[student] batch"))


def cell_demand() -> Demand:
    """Return the demand of a retrained cell."""
    return _cell_demand(settings().retrain, settings().dataset, data_size(), on_gpu=_on_gpu(), limit=_limit())


@functools.cache
def _cell_demand(recipe: config.Retrain, dataset: config.Dataset, size: Size, *, on_gpu: bool, limit: int) -> Demand:
    """Return the demand of a cell; cached, as a grid has thousands of them with the same settings."""
    need = memory.cell(size, _network_cost(recipe, dataset, 1), recipe, on_gpu=on_gpu, limit=limit)
    return Demand(_megabytes(need), uses_network=True, remedy=_remedy("[retrain] batch"))


def maps_demand(model: str) -> Demand:
    """Return the demand of a dump of a model's maps by any methods.

    It is equal for all methods, as the scheduler batches only tasks with equal resources.
    """
    batch = maps_settings(model).batch
    need = memory.maps(data_size(), explained_cost(model), batch, METHODS, on_gpu=_on_gpu(), limit=_limit())
    return Demand(_megabytes(need), uses_network=True, remedy=_remedy("[maps] memory_mb or batch"))


def maps_settings(model: str) -> config.Maps:
    """Return [maps] with the batch of a model's maps: as large as ``memory_mb`` allows.

    The batch follows from the settings alone. The identity of the maps has it instead of these two settings.
    """
    maps = settings().maps
    return dataclasses.replace(
        maps, batch=memory.images_per_pass(explained_cost(model), maps.batch, maps.memory_mb * 10**6)
    )


def explained_cost(model: str) -> Cost:
    """Return the cost per image of a model of the grid: ``teacher``, a loss, or a loss and a reduction."""
    if model == "teacher":
        return network_cost(settings().teacher)
    student = settings().student
    return network_cost(student, int(model.partition("/")[2] or student.reduction))


def network_cost(network: config.Network, reduction: int = 1) -> Cost:
    """Return a network's cost per image on this data set."""
    return _network_cost(network, settings().dataset, reduction)


def _network_cost(network: config.Network, dataset: config.Dataset, reduction: int) -> Cost:
    plain = config.Network(**{f.name: getattr(network, f.name) for f in dataclasses.fields(config.Network)})
    return cost_of(plain, len(_class_names(dataset)), dataset.height, dataset.width, reduction=reduction)


def data_size() -> Size:
    """Return the size of the data set, from the settings and its lists."""
    return _size_of(settings().dataset, settings().scenes)


@functools.cache
def _size_of(dataset: config.Dataset, generated: config.Scenes) -> Size:
    shape = dataset.height, dataset.width, len(_class_names(dataset))
    if dataset.root:
        root = _data_root(dataset)
        counts = kinds.count(root, dataset)
        amounts = counts.validation, counts.masks, counts.photograph_bytes
        return Size(counts.train, counts.test, *shape, *amounts, is_single_label=kinds.is_single_label(root, dataset))
    is_shared = dataset.validation_split == dataset.test_split
    masks = generated.test if dataset.segmentation_split else 0
    photographs = generated.train * 3 * min(dataset.train_side, generated.size) ** 2
    return Size(generated.train, generated.test, *shape, 0 if is_shared else generated.validation, masks, photographs)


def _class_names(dataset: config.Dataset) -> tuple[str, ...]:
    return kinds.class_names(_data_root(dataset), dataset)


def _data_root(dataset: config.Dataset) -> Path:
    return Path(dataset.root).expanduser()


def _limit() -> int:
    return memory.array_limit(settings().execution.memory_share)


def _remedy(key: str) -> str:
    return f"Lower {key}, or [execution] memory_share."


def _megabytes(count: int) -> int:
    return -(-count // 10**6)


def network_device() -> str:
    """Return the device of networks: ``cuda`` or ``cpu``."""
    return "cuda" if _on_gpu() else "cpu"


def _on_gpu() -> bool:
    return settings().execution.device != "cpu" and bool(visible_gpus())
