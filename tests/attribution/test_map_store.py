"""Reading a file of maps."""

import h5py
import numpy as np
from support.stores import HEIGHT, PAIR_CLASSES, PAIR_ROWS, TEST, TRAIN, WIDTH, compute, dump_some

from roar_pipeline.attribution.map_store import read_pairs, read_rows


def test_reading_returns_the_dumped_columns(tmp_path):
    path = dump_some(tmp_path)
    for name, ids in (("train", TRAIN), ("test", TEST)):
        rows, expected = read_rows(path, name), compute(name, slice(0, len(ids)))
        assert rows.ids == ids
        for column in ("maps", "explained", "scores"):
            values = getattr(rows, column)
            assert values.dtype == expected[column].dtype
            np.testing.assert_array_equal(values, expected[column])
        assert rows.zero_maps == len(range(0, len(ids), 3))
    part = read_rows(path, "train", slice(5, 8))
    assert part.ids == TRAIN[5:8]
    np.testing.assert_array_equal(part.maps, read_rows(path, "train").maps[5:8])
    pairs, expected = read_pairs(path), compute("localization", slice(0, 6))
    np.testing.assert_array_equal(pairs.rows, PAIR_ROWS)
    np.testing.assert_array_equal(pairs.class_index, PAIR_CLASSES)
    np.testing.assert_array_equal(pairs.maps, expected["maps"])
    np.testing.assert_array_equal(pairs.scores, expected["scores"])
    assert pairs.zero_maps == 2
    with h5py.File(path) as file:
        assert dict(file.attrs) == {"fingerprint": "f" * 64, "method": "gradcam", "explain": "top1"}
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith("partial-")] == ["maps.h5"]


def test_a_set_without_segmentations_has_no_pairs(tmp_path):
    pairs = read_pairs(dump_some(tmp_path, pairs=0))
    assert pairs.maps.shape == (0, HEIGHT, WIDTH)
    assert pairs.zero_maps == 0
