"""CIFAR-10 and CIFAR-100 (Krizhevsky 2009) from the files of their Python version, as torchvision lays them out.

``root`` holds ``cifar-10-batches-py`` or ``cifar-100-python``. torchvision's own classes are not used: they import
torch, execute whatever a pickle says, and take no files but the published ones. The pickles read here are documented
dictionaries, and whatever is not plain data or an array is refused, never executed. CIFAR-100 has its fine labels.
"""

import hashlib
import pickle
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from roar_pipeline.config import Dataset
from roar_pipeline.datasets.holdout import held_out_rows, without_copies
from roar_pipeline.datasets.overlaps import check_twins, same_digests
from roar_pipeline.datasets.pixels import as_rgb
from roar_pipeline.datasets.source import Counts, DataFile, Record, Source, one_hot
from roar_pipeline.errors import InputError
from roar_pipeline.plain_settings import plain

__all__ = ["FOLDERS", "class_names", "count", "files", "identity", "open_source"]

_SIDE = 32
_VALUES = 3 * _SIDE * _SIDE
_BYTES_PER_IMAGE = 3100
"""Of a published file, with its labels and names."""


@dataclass(frozen=True)
class _Layout:
    """The files of a version, and the keys of their dictionaries."""

    folder: str
    train: tuple[str, ...]
    test: tuple[str, ...]
    meta: str
    names: str
    labels: str


_LAYOUTS = {
    "cifar10": _Layout(
        "cifar-10-batches-py",
        tuple(f"data_batch_{number}" for number in range(1, 6)),
        ("test_batch",),
        "batches.meta",
        "label_names",
        "labels",
    ),
    "cifar100": _Layout("cifar-100-python", ("train",), ("test",), "meta", "fine_label_names", "fine_labels"),
}

FOLDERS = {kind: layout.folder for kind, layout in _LAYOUTS.items()}
"""The folder of each kind's files."""


@dataclass(frozen=True)
class _Files:
    """The files of a data set, which are there."""

    kind: str
    folder: Path
    layout: _Layout

    def paths(self, split: str) -> list[Path]:
        """Return the files of train or test, in order."""
        return [self.folder / name for name in (self.layout.test if split == "test" else self.layout.train)]

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The names of the classes in the order of the labels."""
        path = self.folder / self.layout.meta
        names = _load(path).get(self.layout.names)
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not names:
            raise InputError(f"{path} has no list '{self.layout.names}' of class names. {_remedy(self.kind)}")
        return tuple(names)

    def batches(self, split: str) -> Iterator[tuple[npt.NDArray[np.uint8], list[int]]]:
        """Yield the images (n, 32, 32, 3) and the labels (n,) of every file of a split."""
        for path in self.paths(split):
            yield _read_batch(path, self)


def _files(root: Path, dataset: Dataset) -> _Files:
    """Find the files.

    Raises:
        InputError: names those that are missing.
    """
    kind = dataset.kind if dataset.kind in _LAYOUTS else next(k for k in _LAYOUTS if (root / FOLDERS[k]).is_dir())
    layout = _LAYOUTS[kind]
    folder = root if root.name == layout.folder else root / layout.folder
    if missing := [name for name in (*layout.train, *layout.test, layout.meta) if not (folder / name).is_file()]:
        raise InputError(f"{folder} has no file {', no file '.join(missing)}. {_remedy(kind)}")
    return _Files(kind, folder, layout)


def _remedy(kind: str) -> str:
    name = FOLDERS[kind].removesuffix("-batches-py").removesuffix("-python")
    return (
        f"Set [dataset] root to the folder that holds {FOLDERS[kind]}; get it from "
        f"https://www.cs.toronto.edu/~kriz/{name}-python.tar.gz."
    )


def class_names(root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return [dataset] classes, or the names in the data set's own file.

    Raises:
        InputError: the files are missing, or as many classes are not declared as there are.
    """
    names = _files(root, dataset).names
    if dataset.classes and len(dataset.classes) != len(names):
        raise InputError(
            f"[dataset] classes declares {len(dataset.classes)} names, and the data set has {len(names)} classes: "
            f"{', '.join(names)}. Declare as many, or none."
        )
    return dataset.classes or names


def identity(root: Path, dataset: Dataset) -> dict[str, Any]:
    """Return what of [dataset] counts, but for the place of the files."""
    values = plain(dataset)
    kept = ("height", "width", "mean", "std", "overlap")
    drawn = {"holdout": dataset.holdout, "holdout_seed": dataset.holdout_seed}
    return {"kind": _files(root, dataset).kind, **drawn, **{name: values[name] for name in kept if name in values}}


def files(root: Path, dataset: Dataset) -> Iterator[DataFile]:
    """Yield the files.

    Raises:
        InputError: some are missing.
    """
    found = _files(root, dataset)
    for path in (*found.paths("train"), *found.paths("test"), found.folder / found.layout.meta):
        yield DataFile(path.name, str(path), path.stat())


def count(root: Path, dataset: Dataset) -> Counts:
    """Estimate the images from the files' sizes.

    Raises:
        InputError: files are missing.
    """
    found = _files(root, dataset)
    train, test = (sum(p.stat().st_size for p in found.paths(name)) // _BYTES_PER_IMAGE for name in ("train", "test"))
    held_out = round(train * dataset.holdout)
    return Counts(train - held_out, held_out, test)


def open_source(root: Path, dataset: Dataset, classes: Sequence[str]) -> Source:
    """Check the files, and hold out a validation split.

    Copies of images that stay in train are not held out.

    Raises:
        InputError: a file is missing or broken, or splits share images.
    """
    found = _files(root, dataset)
    labels, digests = {}, {}
    for origin in ("train", "test"):
        labels[origin], digests[origin] = _labels_and_digests(found, origin, classes)
    drawn = held_out_rows(np.array(labels["train"], dtype=np.int64), classes, dataset.holdout, dataset.holdout_seed)
    train, validation = without_copies(drawn, digests["train"])
    rows = {"train": train, "validation": validation, "test": list(range(len(labels["test"])))}
    origins = {"train": "train", "validation": "train", "test": "test"}
    ids = {split: [f"{origins[split]}_{row:05d}" for row in rows[split]] for split in rows}

    def digests_of(split: str) -> dict[str, bytes]:
        return dict(zip(ids[split], (digests[origins[split]][row] for row in rows[split]), strict=True))

    def pairs_of(first: str, second: str) -> list[tuple[str, str]]:
        return list(same_digests(digests_of(first), digests_of(second)))

    def records(split: str) -> Iterator[Record]:
        return _records(found.batches(origins[split]), set(rows[split]), dataset, len(classes))

    counts = {split: len(names) for split, names in ids.items()}
    overlaps = check_twins(counts, ("train", "validation", "test"), pairs_of, dataset)
    return Source(found.folder, ids, records, is_single_label=True, held_out=True, overlaps=overlaps)


def _labels_and_digests(found: _Files, origin: str, classes: Sequence[str]) -> tuple[list[int], list[bytes]]:
    labels: list[int] = []
    digests: list[bytes] = []
    for images, batch_labels in found.batches(origin):
        labels += batch_labels
        digests += [hashlib.sha256(image.tobytes()).digest() for image in images]
    if absent := [name for index, name in enumerate(classes) if origin == "train" and index not in set(labels)]:
        raise InputError(f"No training image in {found.folder} is of class {absent[0]}. {_remedy(found.kind)}")
    return labels, digests


def _records(
    batches: Iterator[tuple[npt.NDArray[np.uint8], list[int]]], rows: set[int], dataset: Dataset, classes: int
) -> Iterator[Record]:
    start = 0
    for images, labels in batches:
        for row, (image, label) in enumerate(zip(images, labels, strict=True), start):
            if row in rows:
                yield Record(
                    partial(one_hot, label, classes),
                    partial(as_rgb, Image.fromarray(image), dataset.height, dataset.width),
                )
        start += len(images)


def _read_batch(path: Path, found: _Files) -> tuple[npt.NDArray[np.uint8], list[int]]:
    content = _load(path)
    data, labels = content.get("data"), content.get(found.layout.labels)
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 2 or data.shape[1] != _VALUES:
        raise InputError(f"{path}: 'data' is not a uint8 array of {_VALUES} values per image. {_remedy(found.kind)}")
    if not isinstance(labels, list) or len(labels) != len(data) or not set(labels) <= set(range(len(found.names))):
        raise InputError(
            f"{path}: '{found.layout.labels}' is not a list of {len(data)} class indices in "
            f"0..{len(found.names) - 1}. {_remedy(found.kind)}"
        )
    return np.ascontiguousarray(data.reshape(-1, 3, _SIDE, _SIDE).transpose(0, 2, 3, 1)), labels


def _dtype(name: str, align: object = False, copy: object = False) -> "np.dtype[Any]":
    """Build a dtype; the published files say 0 and 1 where NumPy now wants booleans."""
    return np.dtype(name, align=bool(align), copy=bool(copy))


def _latin1(text: str, encoding: str) -> bytes:
    """Return the bytes that an array was pickled as; ``encoding`` is latin1."""
    return text.encode("latin1")


_reconstruct: Any = np.empty(0).__reduce__()[0]
_ALLOWED: dict[tuple[str, str], Callable[..., Any]] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): _dtype,
    ("_codecs", "encode"): _latin1,
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
}
"""What a pickle of arrays names."""


class _PlainUnpickler(pickle.Unpickler):
    """Loads dictionaries, lists, text, numbers and arrays, and nothing that runs code."""

    def find_class(self, module: str, name: str) -> Any:
        """Return what an array is made of; refuse all else."""
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is neither plain data nor an array")
        return _ALLOWED[module, name]


def _load(path: Path) -> dict[str, Any]:
    """Read a file's dictionary, of text keys.

    Raises:
        InputError: the file is broken, or would run code.
    """
    try:
        with path.open("rb") as file:
            content = _PlainUnpickler(file, encoding="latin1").load()
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
        raise InputError(f"{path} is not a file of CIFAR's: {error or 'it ends early'}. Replace the file.") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} holds a {type(content).__name__}, not a dictionary. Replace the file.")
    return content
