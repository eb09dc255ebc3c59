"""Files of removal levels: ranking, bytes and reading."""

from dataclasses import replace

import h5py
import numpy as np
from support.stores import BATCH, CLASSES, HEIGHT, TEST, TRAIN, WIDTH, digest, dump_some, some_masks, splits

from roar_pipeline.attribution.controls import random as random_control
from roar_pipeline.attribution.map_store import read_rows
from roar_pipeline.cache.resumable import Group, dump
from roar_pipeline.datasets.images import Split
from roar_pipeline.removal.audits import object_shares, tied_shares, total_variation
from roar_pipeline.removal.level_store import read_all_levels, read_levels, write_levels
from roar_pipeline.removal.ranking import donors, removal_levels
from roar_pipeline.seeds import derived_seed


def test_the_levels_of_an_image_depend_on_its_map_alone(tmp_path):
    maps_path = dump_some(tmp_path)
    write_levels(tmp_path / "levels.h5", maps_path, 7, splits(*some_masks()))
    for name in ("train", "test", "validation"):
        source = "train" if name == "train" else "test"
        levels, rows = read_levels(tmp_path / "levels.h5", name), read_rows(maps_path, source)
        expected = [removal_levels(m, i, 7) for m, i in zip(rows.maps, rows.ids, strict=True)]
        assert levels.ids == rows.ids
        assert levels.levels.dtype == np.uint8
        np.testing.assert_array_equal(levels.levels, expected)
        np.testing.assert_array_equal(levels.total_variation, [total_variation(m) for m in rows.maps])
        for direction in ("remove", "keep"):
            shares = np.mean([tied_shares(m, direction) for m in rows.maps], axis=0)
            np.testing.assert_allclose(levels.tied_shares[direction], shares, atol=1e-12)
            if name != "train":
                segmentation, rows_ = some_masks()
                objects = object_shares(levels.levels[rows_], segmentation, direction)
                np.testing.assert_array_equal(levels.object_shares[direction], objects)
            else:
                assert np.isnan(levels.object_shares[direction]).all()


def test_a_split_under_two_names_is_ranked_and_read_once(levels_path):
    with h5py.File(levels_path) as file:
        assert file["validation"] == file["test"]
    levels = read_all_levels(levels_path)
    assert levels["validation"] is levels["test"]
    np.testing.assert_array_equal(levels["train"].levels, read_levels(levels_path, "train").levels)


def test_shuffled_levels_rank_another_images_map(tmp_path):
    maps_path = dump_some(tmp_path)
    for path, seed in (("a.h5", 5), ("again.h5", 5), ("b.h5", 6)):
        write_levels(tmp_path / path, maps_path, 7, splits(), shuffle_seed=seed)
    assert digest(tmp_path / "a.h5") == digest(tmp_path / "again.h5") != digest(tmp_path / "b.h5")
    for name in ("train", "test"):
        levels, rows = read_levels(tmp_path / "a.h5", name), read_rows(maps_path, name)
        sources = donors(len(rows.ids), derived_seed(5, "shuffled", name))
        assert not (sources == np.arange(len(rows.ids))).any()
        expected = [removal_levels(rows.maps[s], i, 7) for s, i in zip(sources, rows.ids, strict=True)]
        np.testing.assert_array_equal(levels.levels, expected)
        assert np.isnan(levels.explained_as_labels)


def test_levels_have_the_same_bytes_twice(tmp_path, levels_path):
    write_levels(tmp_path / "again.h5", tmp_path / "maps.h5", 7, splits(*some_masks()))
    assert digest(levels_path) == digest(tmp_path / "again.h5")
    write_levels(tmp_path / "other.h5", tmp_path / "maps.h5", 8, splits(*some_masks()))
    assert digest(levels_path) != digest(tmp_path / "other.h5")


def test_levels_take_a_byte_per_pixel(tmp_path):
    """The original code stores a float32 map of three channels."""
    for count in (100, 200):
        ids = [f"{n}" for n in range(count)]
        columns = {"maps": ((48, 48), "f4"), "explained": ((CLASSES,), "u1")}
        group = {name: Group(count, {"ids": ids}, columns) for name in ("train", "test")}
        directory = tmp_path / str(count)
        directory.mkdir()

        def zeros(_, rows):
            count = rows.stop - rows.start
            return {"maps": np.zeros((count, 48, 48), np.float32), "explained": np.zeros((count, CLASSES), np.uint8)}

        dump(directory / "maps.h5", "f", group, 50, zeros, {})
        empty = Split(ids, *(np.zeros((0, 48, 48), np.uint8),) * 3, np.zeros(0, np.int64))
        both = {"train": empty, "test": replace(empty)}
        write_levels(directory / "levels.h5", directory / "maps.h5", 0, both)
    sizes = [(tmp_path / count / "levels.h5").stat().st_size for count in ("100", "200")]
    assert (sizes[1] - sizes[0]) / 200 < 48 * 48 * 1.01


def test_ranking_the_random_control_is_ranking_constant_maps(tmp_path):
    """Identity 3 of ``test_ranking``, through the files."""
    ids = {"train": TRAIN, "test": TEST}

    def levels_of(name, maps_of):
        directory = tmp_path / name
        directory.mkdir()
        columns = {"maps": ((HEIGHT, WIDTH), "f4"), "explained": ((CLASSES,), "u1")}
        groups = {n: Group(len(i), {"ids": i}, columns) for n, i in ids.items()}

        def columns_of(group, rows):
            batch_ids = ids[group][rows]
            return {"maps": maps_of(batch_ids), "explained": np.zeros((len(batch_ids), CLASSES), np.uint8)}

        dump(directory / "maps.h5", name, groups, BATCH, columns_of, {})
        write_levels(directory / "levels.h5", directory / "maps.h5", 3, splits())
        return directory / "levels.h5"

    at_random = levels_of("random", lambda i: random_control(i, np.zeros((len(i), HEIGHT, WIDTH, 3), np.uint8), 3))
    constant = levels_of("constant", lambda i: np.ones((len(i), HEIGHT, WIDTH), np.float32))
    for split in ids:
        np.testing.assert_array_equal(read_levels(at_random, split).levels, read_levels(constant, split).levels)
    assert not read_levels(at_random, "test").tied_shares["remove"].any()
    np.testing.assert_array_equal(read_levels(constant, "test").tied_shares["remove"], [0] + [1] * 99 + [0])
