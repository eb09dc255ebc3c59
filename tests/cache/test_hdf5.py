"""Refusal of HDF5 files that are not this project's."""

from pathlib import Path

import h5py
import pytest

from roar_pipeline.cache.hdf5 import open_group
from roar_pipeline.errors import InputError


@pytest.mark.parametrize("name", ["text.h5", "other.h5"])
def test_a_foreign_file_is_refused_with_the_folder_to_remove(tmp_path: Path, name: str) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("train")
    message = rf"{name} does not hold what {name} should \(test: .*Remove its folder and rerun"
    with pytest.raises(InputError, match=message), open_group(tmp_path / name, "test"):
        pass


def test_a_column_that_is_missing_is_refused_as_well(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("train")
    message = r"other\.h5 does not hold what other\.h5 should \(train: .*Remove its folder and rerun"
    with pytest.raises(InputError, match=message), open_group(tmp_path / "other.h5", "train") as group:
        group["maps"]


def test_a_missing_file_is_not_a_foreign_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"), open_group(tmp_path / "missing.h5", "train"):
        pass
