import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from support.voc_folder import (
    CLASSES,
    SPLITS,
    dataset,
    write_annotation,
    write_image,
    write_list,
    write_mask,
    write_voc_folder,
)

from roar_pipeline.cache.hdf5 import shape_faults
from roar_pipeline.datasets import images, preparation, voc
from roar_pipeline.datasets.overlaps import shared_with_validation
from roar_pipeline.datasets.photographs import byte_offsets
from roar_pipeline.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc_folder(tmp_path / "set")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def prepared(out: Path, root: Path, **changes: object) -> Path:
    preparation.prepare(out, root, dataset(**changes), CLASSES)
    return out / images.FILE


def test_splits_hold_what_the_readers_read(out: Path, root: Path) -> None:
    path = prepared(out, root)
    for split, name in zip(images.SPLITS, SPLITS, strict=True):
        held = images.read_split(path, split)
        assert held.ids == voc.read_split(root, name)
        assert (held.images.dtype, held.labels.dtype) == (np.uint8, np.uint8)
        for row, image_id in enumerate(held.ids):
            np.testing.assert_array_equal(held.images[row], voc.read_image(root, image_id, 16, 12))
            np.testing.assert_array_equal(held.labels[row], voc.read_labels(root, image_id, CLASSES))


def test_info(out: Path, root: Path) -> None:
    path = prepared(out, root)
    info = images.read_info(path)
    assert (info.classes, info.height, info.width) == (CLASSES, 16, 12)
    train = images.read_split(path, "train").images / 255.0
    np.testing.assert_allclose(info.mean, train.mean(axis=(0, 1, 2)), rtol=1e-14)
    np.testing.assert_allclose(info.std, train.std(axis=(0, 1, 2)), rtol=1e-13)


def test_given_mean_and_std_are_taken(out: Path, root: Path) -> None:
    info = images.read_info(prepared(out, root, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)))
    assert (info.mean.tolist(), info.std.tolist()) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])


def test_only_the_test_split_has_masks(out: Path, root: Path) -> None:
    write_list(root, "some", ["test_3", "val_0", "test_1"], kind="Segmentation")
    path = prepared(out, root, segmentation_split="some")
    held = images.read_split(path, "test")
    assert held.segmentation_rows.tolist() == [1, 3]
    for mask, row in zip(held.segmentation, held.segmentation_rows, strict=True):
        np.testing.assert_array_equal(mask, voc.read_segmentation(root, held.ids[row], CLASSES, 16, 12))
    for split in ("train", "validation"):
        other = images.read_split(path, split)
        assert (other.segmentation.shape, other.segmentation_rows.shape) == ((0, 16, 12), (0,))
    with h5py.File(path) as file:
        assert file.attrs["unused_masks"] == 1


def test_no_masks(out: Path, root: Path) -> None:
    shutil.rmtree(root / "SegmentationClass")
    held = images.read_split(prepared(out, root, segmentation_split=""), "test")
    assert held.segmentation.shape == (0, 16, 12)


def test_same_list_for_validation_and_test_is_stored_once(out: Path, root: Path) -> None:
    path = prepared(out, root, test_split="val", segmentation_split="val")
    validation, test = images.read_split(path, "validation"), images.read_split(path, "test")
    np.testing.assert_array_equal(validation.images, test.images)
    assert (len(validation.segmentation), len(test.segmentation)) == (0, SPLITS["val"])
    with h5py.File(path) as file:
        assert file["validation"] == file["test"]
    splits = images.read_splits(path, ("test", "validation"))
    assert list(splits) == ["test", "validation"]
    assert splits["validation"] is splits["test"]
    assert len(splits["test"].segmentation) == SPLITS["val"]


@pytest.mark.parametrize(("train_side", "size"), [(18, (18, 24)), (500, (24, 32))])
def test_training_photographs_are_kept_with_their_aspect_and_never_enlarged(
    out: Path, root: Path, train_side: int, size: tuple[int, int]
) -> None:
    tall = np.random.default_rng(1).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    write_image(root, "train_4", tall)
    path = prepared(out, root, train_side=train_side)
    photographs = images.read_training_photographs(path)
    assert photographs is not None
    assert photographs.pixels.dtype == np.uint8
    assert photographs.sizes.tolist() == [list(size)] * 4 + [[45, 18] if train_side == 18 else [50, 20], list(size)]
    offsets = byte_offsets(photographs.sizes)
    assert offsets[-1] == photographs.pixels.nbytes == 3 * photographs.sizes.prod(axis=1).sum()
    for row, image_id in enumerate(voc.read_split(root, "train")):
        held = photographs.pixels[offsets[row] : offsets[row + 1]].reshape(*photographs.sizes[row], 3)
        np.testing.assert_array_equal(held, voc.read_photograph(root, image_id, train_side))
    np.testing.assert_array_equal(photographs.labels, images.read_split(path, "train").labels)
    assert shape_faults(path) == []


def test_photographs_change_nothing_else_of_the_file(out: Path, root: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with h5py.File(prepared(tmp_path / "plain", root)) as plain, h5py.File(prepared(out, root, train_side=20)) as more:
        assert set(more) - set(plain) == {"photographs", "photograph_pixels"}
        assert all(np.array_equal(more.attrs[name], value) for name, value in plain.attrs.items())
        for split in images.SPLITS:
            for name in plain[split]:
                np.testing.assert_array_equal(more[split][name], plain[split][name])
    assert images.read_training_photographs(tmp_path / "plain" / images.FILE) is None


def test_same_input_same_bytes(out: Path, root: Path, tmp_path: Path) -> None:
    first = prepared(out, root).read_bytes()
    again = shutil.copytree(root, tmp_path / "again")
    assert prepared(out, again).read_bytes() == first


def test_ids_may_be_any_unicode(out: Path, root: Path) -> None:
    for seed, split in enumerate(("train", "val")):
        pixels = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        write_image(root, f"größe_{split}", pixels)
        write_annotation(root, f"größe_{split}", ["circle"])
        write_list(root, split, [f"größe_{split}"])
    assert images.read_split(prepared(out, root), "train").ids == ["größe_train"]


def test_image_without_objects_has_no_labels(out: Path, root: Path) -> None:
    write_annotation(root, "train_2", [])
    assert images.read_split(prepared(out, root), "train").labels.sum(axis=1)[2] == 0


# Bad input


def fails(out: Path, root: Path, message: str, **changes: object) -> str:
    with pytest.raises(InputError, match=message) as caught:
        prepared(out, root, **changes)
    assert list(out.iterdir()) == []
    return str(caught.value)


def test_one_bad_file(out: Path, root: Path) -> None:
    path = root / "JPEGImages/val_1.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    fails(out, root, r"^\S*JPEGImages/val_1\.jpg cannot be used: .*truncated")


def test_bad_files_are_named_together(out: Path, root: Path) -> None:
    (root / "JPEGImages/train_3.jpg").unlink()
    (root / "Annotations/val_0.xml").write_text("<annotation>")
    (root / "Annotations/test_2.xml").unlink()
    text = fails(out, root, "^3 mistakes in ")
    for part in ("train_3.jpg is missing", "val_0.xml is not readable XML", "test_2.xml is missing"):
        assert part in text


def test_bad_photographs_are_named_once(out: Path, root: Path) -> None:
    (root / "JPEGImages/train_3.jpg").unlink()
    path = root / "JPEGImages/train_1.jpg"
    path.write_bytes(path.read_bytes()[:-400])
    text = fails(out, root, "^2 mistakes in ", train_side=20)
    assert (text.count("train_3.jpg is missing"), text.count("truncated")) == (1, 1)


def test_no_more_than_ten_mistakes_are_named(out: Path, root: Path) -> None:
    shutil.rmtree(root / "Annotations")
    (root / "Annotations").mkdir()
    text = fails(out, root, "^The first 10 mistakes in ")
    assert text.count("is missing") == 10


def test_undeclared_classes_are_named_once_each(out: Path, root: Path) -> None:
    for number in range(4):
        write_annotation(root, f"train_{number}", ["unicorn", "circle"])
    write_annotation(root, "test_0", ["dragon"])
    text = fails(out, root, "^2 mistakes in ")
    assert (text.count("'unicorn'"), text.count("'dragon'")) == (1, 1)


def test_bad_masks(out: Path, root: Path) -> None:
    write_mask(root, "test_0", np.zeros((5, 5), dtype=np.uint8))
    write_mask(root, "test_2", np.full((24, 32), 9, dtype=np.uint8))
    text = fails(out, root, "^2 mistakes in ")
    assert "it has 5 x 5 pixels, its image 32 x 24 pixels" in text
    assert "value 9 is neither 0..3" in text


def test_test_images_among_the_training_images(out: Path, root: Path) -> None:
    write_list(root, "test", ["test_0", "train_4"])
    fails(out, root, r"1 of 2 test images \(test\) are also training images \(train\), train_4 for one")


@pytest.mark.parametrize("link", [False, True])
def test_a_photograph_under_two_names_in_train_and_test(out: Path, root: Path, link: bool) -> None:
    for twin, image_id in (("train_4", "test_1"), ("train_4", "test_3"), ("train_2", "test_2")):
        path = root / f"JPEGImages/{image_id}.jpg"
        path.unlink()
        if link:
            path.symlink_to(f"{twin}.jpg")
        else:
            shutil.copy(root / f"JPEGImages/{twin}.jpg", path)
    text = fails(out, root, r"3 of 4 images of test are, byte for byte, images of train under other names \(train = ")
    for pair in ("train_4 = test_1", "train_4 = test_3", "train_2 = test_2"):
        assert pair in text


@pytest.mark.parametrize("split", ["train", "test"])
def test_a_photograph_under_two_names_in_validation_and_another(out: Path, root: Path, split: str) -> None:
    shutil.copy(root / f"JPEGImages/{split}_0.jpg", root / "JPEGImages/val_2.jpg")
    fails(out, root, rf"1 of 3 images of val are, byte for byte, images of {split} .*{split}_0 = val_2")


def test_photographs_of_the_same_size_differ(out: Path, root: Path) -> None:
    path = root / "JPEGImages/test_1.jpg"
    content = bytearray((root / "JPEGImages/train_4.jpg").read_bytes())
    content[-30] ^= 1
    path.write_bytes(content)
    prepared(out, root)


def test_twins_within_a_split_leak_nothing(out: Path, root: Path) -> None:
    shutil.copy(root / "JPEGImages/train_4.jpg", root / "JPEGImages/train_1.jpg")
    prepared(out, root)


def test_validation_may_share_images_by_name(out: Path, root: Path) -> None:
    write_list(root, "val", ["val_0", "test_1", "test_2", "train_3"])
    path = prepared(out, root)
    ids = {name: split.ids for name, split in images.read_splits(path, pixels=False).items()}
    assert shared_with_validation(ids) == {"train": 1, "test": 2, "of": 4}


def test_a_pipe_among_the_images_is_a_fault_like_others(out: Path, root: Path) -> None:
    for name in ("train_3", "val_1"):
        (root / f"JPEGImages/{name}.jpg").unlink()
        os.mkfifo(root / f"JPEGImages/{name}.jpg")
    text = fails(out, root, "^2 mistakes in ")
    assert text.count("is a named pipe, not a regular file") == 2


def test_masks_of_other_images_only(out: Path, root: Path) -> None:
    message = r"None of the 6 masks of .*Segmentation/train\.txt belongs to a test image \(test\)"
    fails(out, root, message, segmentation_split="train")


def test_half_a_folder(out: Path, root: Path) -> None:
    shutil.rmtree(root / "JPEGImages")
    fails(out, root, "not in VOC layout: no JPEGImages")


def test_empty_split(out: Path, root: Path) -> None:
    write_list(root, "val", [])
    fails(out, root, r"val\.txt is empty")


def test_constant_channel(out: Path, root: Path) -> None:
    for number in range(SPLITS["train"]):
        write_image(root, f"train_{number}", np.full((24, 32, 3), 128, dtype=np.uint8))
    fails(out, root, r"same in all pixels of the training images \(train\).*set \[dataset\] std")


@pytest.mark.parametrize(("classes", "got"), [((), "none"), (("a", "b", "a"), "a, b, a")])
def test_class_list(out: Path, root: Path, classes: tuple[str, ...], got: str) -> None:
    with pytest.raises(InputError, match=f"1 to 254 different names, got {got}"):
        preparation.prepare(out, root, dataset(), classes)


def test_unknown_split(out: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"no split 'val'\. Known: train, validation, test"):
        images.read_split(prepared(out, root), "val")


def test_missing_foreign_and_broken_file(out: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"images\.h5 is missing\. Run PrepareImages"):
        images.read_info(out / images.FILE)
    foreign = out / "foreign.h5"
    with h5py.File(foreign, "w") as file:
        file["train"] = np.zeros(3)
    with pytest.raises(InputError, match=r"foreign\.h5 was not written by PrepareImages of this version"):
        images.read_split(foreign, "train")
    path = prepared(out, root)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(InputError, match=r"images\.h5 is not a readable HDF5 file: .*truncated"):
        images.read_info(path)


@pytest.mark.parametrize("size", [1, 7 * 16 * 12 * 3])
def test_rows_are_written_in_blocks_of_any_size(
    out: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    (tmp_path / "whole").mkdir()
    whole = prepared(tmp_path / "whole", root).read_bytes()
    monkeypatch.setattr(preparation, "_BUFFER", size)
    monkeypatch.setattr(preparation, "_BLOCK", 4)
    assert prepared(out, root).read_bytes() == whole
