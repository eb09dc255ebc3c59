"""What is read of a file of maps."""

import h5py
import numpy as np
import pytest
from support.stores import HEIGHT, PAIR_CLASSES, PAIR_ROWS, TEST, TRAIN, WIDTH, compute, dump_some

from roar_pipeline.attribution.map_store import read_pairs, read_rows
from roar_pipeline.errors import InputError


def test_what_is_dumped_is_read(tmp_path):
    path = dump_some(tmp_path)
    for name, ids in (("train", TRAIN), ("test", TEST)):
        rows, wanted = read_rows(path, name), compute(name, slice(0, len(ids)))
        assert rows.ids == ids
        for column in ("maps", "explained", "scores"):
            found = getattr(rows, column)
            assert found.dtype == wanted[column].dtype
            np.testing.assert_array_equal(found, wanted[column])
        assert rows.zero_maps == len(range(0, len(ids), 3))
    part = read_rows(path, "train", slice(5, 8))
    assert part.ids == TRAIN[5:8]
    np.testing.assert_array_equal(part.maps, read_rows(path, "train").maps[5:8])
    pairs, wanted = read_pairs(path), compute("localization", slice(0, 6))
    np.testing.assert_array_equal(pairs.rows, PAIR_ROWS)
    np.testing.assert_array_equal(pairs.class_index, PAIR_CLASSES)
    np.testing.assert_array_equal(pairs.maps, wanted["maps"])
    np.testing.assert_array_equal(pairs.scores, wanted["scores"])
    assert pairs.zero_maps == 2
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"fingerprint": "f" * 64, "method": "gradcam", "explain": "top1"}
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("partial-")] == ["maps.h5"]


def test_a_set_without_segmentations_has_no_pairs(tmp_path):
    pairs = read_pairs(dump_some(tmp_path, pairs=0))
    assert pairs.maps.shape == (0, HEIGHT, WIDTH)
    assert pairs.zero_maps == 0


@pytest.mark.parametrize(
    "read",
    [
        lambda path: read_rows(path, "train"),
        read_pairs,
    ],
)
def test_foreign_files_are_refused(tmp_path, read):
    (tmp_path / "text.h5").write_text("not a store")
    with h5py.File(tmp_path / "other.h5", "w") as file:
        file.create_group("train")
    for name in ("text.h5", "other.h5"):
        with pytest.raises(InputError, match=rf"{name} does not hold what {name} should .*Remove its folder and rerun"):
            read(tmp_path / name)
    with pytest.raises(FileNotFoundError, match="missing"):
        read(tmp_path / "missing.h5")
