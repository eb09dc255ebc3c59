"""What tasks share on a machine, for the scheduler: GPU places, and main memory by a rough estimate."""

import functools
from pathlib import Path

import psutil
from luigi.configuration import get_config

from roar_pipeline import voc
from roar_pipeline.forecasting import Size
from tasks.gpus import visible_gpus
from tasks.settings import settings

__all__ = ["MEMORY", "data_size", "resources_of_machine", "stage_resources"]

MEMORY = "memory_mb"
"""The resource's name, in 10^6 bytes."""

_PROCESS_MB = 600
"""torch, scikit-learn and the activations of a small net; measured on the default experiment."""
_COPIES = 2
"""Resident images are held as read and on the device; levels and the batch's share come on top."""
_USABLE = 0.9


def _machine_memory() -> int:
    """Return how much tasks may take together."""
    return int(psutil.virtual_memory().total * _USABLE / 1e6)


def resources_of_machine() -> dict[str, int]:
    """Return what tasks share here: GPU places and memory; ``[resources]`` overrules it."""
    found = {MEMORY: _machine_memory(), **({"gpu": len(gpus)} if (gpus := visible_gpus()) else {})}
    config = get_config()
    return {name: config.getint("resources", name, amount) for name, amount in found.items()}


def stage_resources(*, images: bool = False, network: bool = False) -> dict[str, int]:
    """Return what a task takes: memory, and one GPU place where it runs a network and there are GPUs.

    Args:
        images: whether it holds the train and test images in memory.
        network: whether it runs a network.
    """
    on_gpu = network and settings().execution.device != "cpu" and visible_gpus()
    return {MEMORY: _memory_of(images), **({"gpu": 1} if on_gpu else {})}


@functools.cache
def _memory_of(images: bool) -> int:
    """Return about how much a task takes, and never more than there is: it would wait for ever."""
    need = float(_PROCESS_MB)
    if images:
        size = data_size()
        need += _COPIES * size.images * size.pixels * 4 / 1e6
    return min(int(need), resources_of_machine()[MEMORY])


def data_size() -> Size:
    """Return how much there is to work on, from the settings and the data set's lists."""
    dataset, scenes = settings().dataset, settings().scenes
    classes = len(dataset.classes or (voc.CLASSES if dataset.root else range(10)))
    if dataset.root:
        root = Path(dataset.root).expanduser()
        train, test = (len(voc.read_split(root, split)) for split in (dataset.train_split, dataset.test_split))
    else:
        train, test = scenes.train, scenes.test
    return Size(train, test, dataset.height * dataset.width, classes)
