"""The kinds of data sets: which one a folder is, and what each kind's module answers.

A kind's module has ``class_names``, ``identity``, ``files`` and ``count``, which tasks ask before any image is read,
and ``open_source``, all called with the data set's folder and [dataset].
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from roar_pipeline.config import Dataset
from roar_pipeline.datasets import cifar, folder, own, voc, voc_source
from roar_pipeline.datasets.source import Counts, DataFile, Source
from roar_pipeline.errors import InputError

__all__ = ["class_names", "count", "files", "has_masks", "identity", "is_single_label", "kind_of", "open_source"]


class _Kind(Protocol):
    """What the module of a kind has."""

    def class_names(self, root: Path, dataset: Dataset) -> tuple[str, ...]: ...

    def identity(self, root: Path, dataset: Dataset) -> dict[str, Any]: ...

    def files(self, root: Path, dataset: Dataset) -> Iterator[DataFile]: ...

    def count(self, root: Path, dataset: Dataset) -> Counts: ...

    def open_source(self, root: Path, dataset: Dataset, classes: Sequence[str]) -> Source: ...


_MODULES: Mapping[str, _Kind] = {
    "voc": voc_source,
    "folder": folder,
    "cifar10": cifar,
    "cifar100": cifar,
    "own": own,
}
_WITH_MASKS = ("voc", "own")
_WITH_PHOTOGRAPHS = ("voc", "folder")
_SEVERAL_LABELS = ("voc",)
_VOC_TRACES = (voc.IMAGES, voc.ANNOTATIONS, voc.LISTS, f"VOC2012/{voc.IMAGES}", f"VOCdevkit/VOC2012/{voc.IMAGES}")


def kind_of(root: Path, dataset: Dataset) -> str:
    """Return the kind that [dataset] names, or for ``auto`` the one whose layout ``root`` has.

    The generated set is in VOC layout.

    Raises:
        InputError: the layout is none that is known.
    """
    if dataset.kind != "auto":
        return dataset.kind
    if not dataset.root or any((root / name).exists() for name in _VOC_TRACES):
        return "voc"
    if len(of_cifar := [kind for kind, name in cifar.FOLDERS.items() if (root / name).is_dir()]) == 1:
        return of_cifar[0]
    if (root / dataset.train_split).is_dir() and not of_cifar:
        return "folder"
    raise InputError(_unknown_layout(root, dataset))


def _unknown_layout(root: Path, dataset: Dataset) -> str:
    if _is_reference(root):
        return f"[dataset] root = {dataset.root} is no folder. If it names a function of your own, set kind = own."
    if not root.exists():
        return f"{root} does not exist. Set [dataset] root in luigi.cfg, or drop it to use the generated set."
    return (
        f"{root} is not in VOC layout: no {voc.IMAGES}, {voc.ANNOTATIONS} and {voc.LISTS}. Nor does it have a folder "
        f"{dataset.train_split} with a folder per class, or one of {' and '.join(cifar.FOLDERS.values())}. Set "
        "[dataset] root in luigi.cfg to the folder that holds them, or [dataset] kind to voc, folder, cifar10, "
        "cifar100 or own for the message of that kind."
    )


def _is_reference(root: Path) -> bool:
    return bool(re.fullmatch(r"[\w.]+:\w+", root.name)) and not root.exists()


def has_masks(root: Path, dataset: Dataset) -> bool:
    """Return whether the test images have masks of the objects, so that maps can be localized."""
    return bool(dataset.segmentation_split) and kind_of(root, dataset) in _WITH_MASKS


def is_single_label(root: Path, dataset: Dataset) -> bool:
    """Return whether every image has exactly one label: a property of the kind, and for ``own`` a setting."""
    kind = kind_of(root, dataset)
    return own.is_single_label(dataset) if kind == "own" else kind not in _SEVERAL_LABELS


def class_names(root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return the names of the classes in the order of the labels.

    Raises:
        InputError: they are not declared, or not to be found at ``root``.
    """
    return _module(root, dataset).class_names(root, dataset)


def identity(root: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what of [dataset] affects the images of its kind, but for the place of the files, in plain data.

    Raises:
        InputError: there is no data set at ``root``, or its kind contradicts a setting.
    """
    kind = kind_of(root, dataset)
    if dataset.train_side and kind not in _WITH_PHOTOGRAPHS:
        raise InputError(
            f"[dataset] train_side keeps photographs for random crops, which kind = {kind} has none of. Set it to 0."
        )
    return _MODULES[kind].identity(root, dataset)


def files(root: Path, dataset: Dataset) -> Iterator[DataFile]:
    """Yield every file that may be read.

    Raises:
        InputError: there is no such data set at ``root``, or its layout is faulty.
    """
    return _module(root, dataset).files(root, dataset)


def count(root: Path, dataset: Dataset) -> Counts:
    """Count images and masks without reading images; what cannot be read counts nothing."""
    try:
        return _module(root, dataset).count(root, dataset)
    except InputError:
        return Counts(0, 0, 0)


def open_source(root: Path, dataset: Dataset, classes: Sequence[str]) -> Source:
    """Check the data set's lists and open it.

    Raises:
        InputError: a list is faulty, or splits share images.
    """
    return _module(root, dataset).open_source(root, dataset, classes)


def _module(root: Path, dataset: Dataset) -> _Kind:
    return _MODULES[kind_of(root, dataset)]
