"""Folders of classes in folders of splits: their names, what lies in them, and what should not.

Hidden files are not the data set's. Everything here reads names only.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from roar_pipeline.config import Dataset
from roar_pipeline.datasets.faults import Faults
from roar_pipeline.errors import InputError

__all__ = ["Listing", "checked_listing", "class_names", "image_ids", "list_split", "split_folders"]

_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".tif", ".tiff", ".webp")
_SHOWN = 8

Listing = Mapping[str, Mapping[str, Sequence[str]]]
"""The file names of every class of every split's folder."""


def split_folders(root: Path, dataset: Dataset) -> dict[str, str]:
    """Return the folder of every split; that of validation is empty where a share of train is held out.

    ``validation_split = val``, the default, also means a folder ``validation``.

    Raises:
        InputError: a folder is missing.
    """
    validation = dataset.validation_split
    if validation == "val" and not (root / "val").is_dir():
        validation = "validation" if (root / "validation").is_dir() else ""
    folders = {"train": dataset.train_split, "validation": validation, "test": dataset.test_split}
    if missing := [name for name in dict.fromkeys(folders.values()) if name and not (root / name).is_dir()]:
        raise InputError(_not_in_layout(root, missing))
    return folders


def _not_in_layout(root: Path, missing: Sequence[str]) -> str:
    if not root.is_dir():
        return f"{root} is not a folder. Set [dataset] root to the folder that holds train/<class>/*."
    found = sorted(entry.name for entry in _visible(root) if _is_folder(entry))
    hint = "Set [dataset] root to the folder that holds train/<class>/* and test/<class>/*"
    if inner := next((name for name in found if (root / name / missing[0]).is_dir()), None):
        hint = f"Set [dataset] root to {root / inner}"
    elif found:
        hint = f"Set the [dataset] splits to folders that are there ({', '.join(found[:_SHOWN])}), or set root"
    if "test" in missing and {"val", "validation"} & set(found):
        hint += "; test_split = val measures every score on the validation images"
    return f"{root} has no folder {', no folder '.join(missing)} with a folder per class. {hint}."


def class_names(root: Path, dataset: Dataset) -> tuple[str, ...]:
    """Return [dataset] classes, or the sorted names of the folders in train.

    Raises:
        InputError: there is no such folder.
    """
    train = root / split_folders(root, dataset)["train"]
    return dataset.classes or tuple(sorted(entry.name for entry in _visible(train) if _is_folder(entry)))


def _visible(folder: Path) -> list["os.DirEntry[str]"]:
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Return whether an entry is a folder, or a link to one; a link to itself is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def image_ids(listing: Listing, split: str) -> list[str]:
    """Return the ids of a split's images, class by class."""
    return [f"{split}/{name}/{file}" for name, files_ in listing[split].items() for file in files_]


def checked_listing(root: Path, dataset: Dataset, classes: Sequence[str]) -> Listing:
    """List all images, by split and by class in the order of ``classes``.

    Raises:
        InputError: classes and folders differ, or a folder holds something else than images.
    """
    folders = split_folders(root, dataset)
    faults = Faults(root)
    listing = {name: list_split(root / name, faults) for name in dict.fromkeys(folders.values()) if name}
    for split, by_class in listing.items():
        for message in _class_faults(root / split, by_class, classes, is_train=split == folders["train"]):
            faults.add(message)
    if len(classes) < 2:
        faults.add(f"{root / folders['train']} holds one class, {', '.join(classes) or 'none'}: two are the least.")
    faults.check()
    return {
        split: {name: by_class[name] for name in classes if name in by_class} for split, by_class in listing.items()
    }


def _class_faults(folder: Path, found: Mapping[str, Any], classes: Sequence[str], *, is_train: bool) -> Iterator[str]:
    for name in found:
        if name not in classes:
            declared = f"[dataset] classes does not declare {name}" if is_train else f"train has no class {name}"
            yield f"{folder / name}: {declared}. Remove the folder, or add its class there."
    for name in classes if is_train else ():
        if name not in found:
            yield f"{folder / name} is missing: [dataset] classes declares {name}. Add the folder, or drop the name."


def list_split(folder: Path, faults: Faults) -> dict[str, list[str]]:
    """Return the sorted file names of every class's folder in a split's folder, and record what is no image."""
    by_class, loose = {}, []
    for entry in sorted(_visible(folder), key=lambda entry: entry.name):
        if _is_folder(entry):
            by_class[entry.name] = _list_class(Path(entry.path), faults)
        else:
            loose.append(entry.name)
    if loose:
        faults.add(
            f"{folder} holds {len(loose)} files beside the classes' folders, {loose[0]} for one. Move every image into "
            "the folder of its class, and other files away."
        )
    return by_class


def _list_class(folder: Path, faults: Faults) -> list[str]:
    names = []
    for entry in sorted(_visible(folder), key=lambda entry: entry.name):
        path = folder / entry.name
        if _is_folder(entry):
            faults.add(f"{path} is a folder in the folder of a class. Move its images up, into {folder}.")
        elif not entry.name.lower().endswith(_SUFFIXES):
            faults.add(f"{path} is no image: its name ends in none of {', '.join(_SUFFIXES)}. Move it away.")
        elif not _is_unicode(str(path)):
            faults.add(f"{str(path)!a} has a name that is not UTF-8. Rename it.")
        else:
            names.append(entry.name)
    if not names:
        faults.add(f"{folder} holds no image. Add images, or remove the folder.")
    return names


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
