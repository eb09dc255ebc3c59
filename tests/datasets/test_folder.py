"""Data sets of one folder per class."""

import logging
import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.class_folder import CLASSES, dataset, write_class_folder, write_picture

from roar_pipeline.datasets import images, kinds, preparation
from roar_pipeline.datasets.source import Counts
from roar_pipeline.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_class_folder(tmp_path / "set")


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def prepared(out: Path, root: Path, **changes: object) -> Path:
    settings = dataset(root, **changes)
    preparation.prepare(out, root, settings, kinds.class_names(root, settings))
    return out / images.FILE


def test_images_and_labels_are_those_that_torchvision_reads(out: Path, root: Path) -> None:
    from torchvision.datasets import ImageFolder

    path = prepared(out, root)
    assert images.read_info(path).classes == CLASSES
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        theirs, ours = ImageFolder(str(root / name)), images.read_split(path, split)
        assert ours.ids == [Path(file).relative_to(root).as_posix() for file, _ in theirs.samples]
        for row, (image, label) in enumerate(theirs):
            resized = image.convert("RGB").resize((12, 8), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(ours.images[row], np.asarray(resized))
            assert np.flatnonzero(ours.labels[row]).tolist() == [label]


def test_every_image_has_one_label_and_no_mask(out: Path, root: Path) -> None:
    path = prepared(out, root)
    info = images.read_info(path)
    assert (info.is_single_label, info.held_out, info.overlaps) == (True, None, (0, 0, 0))
    for split in images.read_splits(path).values():
        assert (split.labels.sum(axis=1) == 1).all()
        assert len(split.segmentation) == 0
    assert not kinds.has_masks(root, dataset(root, segmentation_split="test"))


def test_declared_classes_have_their_order(out: Path, root: Path) -> None:
    path = prepared(out, root, classes=("dog", "bird", "cat"))
    test = images.read_split(path, "test")
    assert images.read_info(path).classes == ("dog", "bird", "cat")
    assert [image_id.split("/")[1] for image_id in test.ids] == ["dog"] * 4 + ["bird"] * 4 + ["cat"] * 4
    assert test.labels.argmax(axis=1).tolist() == [0] * 4 + [1] * 4 + [2] * 4


def test_validation_may_be_named_so(out: Path, root: Path) -> None:
    (root / "val").rename(root / "validation")
    assert images.read_split(prepared(out, root), "validation").ids[0] == "validation/bird/0.png"


def test_validation_may_be_the_test_split(out: Path, root: Path) -> None:
    shutil.rmtree(root / "test")
    path = prepared(out, root, test_split="val")
    splits = images.read_splits(path)
    assert splits["test"] is splits["validation"]
    assert kinds.count(root, dataset(root, test_split="val")) == Counts(30, 0, 9)


# The held-out validation split


def test_a_share_of_every_class_is_held_out(out: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.rmtree(root / "val")
    with caplog.at_level(logging.INFO, "roar"):
        path = prepared(out, root, holdout=0.3)
    splits = images.read_splits(path)
    assert splits["validation"].labels.sum(axis=0).tolist() == [3, 3, 3]
    assert splits["train"].labels.sum(axis=0).tolist() == [7, 7, 7]
    together = sorted([*splits["train"].ids, *splits["validation"].ids])
    assert together == sorted(f"train/{name}/{number}.png" for name in CLASSES for number in range(10))
    assert images.read_info(path).held_out == (0.3, 9)
    assert "9 of 30 training images are held out" in caplog.text
    assert kinds.count(root, dataset(root, holdout=0.3)) == Counts(21, 9, 12)


def test_the_seed_draws_them(out: Path, root: Path, tmp_path: Path) -> None:
    shutil.rmtree(root / "val")
    (tmp_path / "other").mkdir()
    first = images.read_split(prepared(out, root), "validation").ids
    assert images.read_split(prepared(out, root), "validation").ids == first
    assert images.read_split(prepared(tmp_path / "other", root, holdout_seed=1), "validation").ids != first


def test_an_empty_validation_split_asks_for_it(out: Path, root: Path) -> None:
    assert images.read_info(prepared(out, root, validation_split="")).held_out == (0.1, 3)


def test_copies_of_what_stays_are_not_held_out(out: Path, root: Path) -> None:
    shutil.rmtree(root / "val")
    drawn = images.read_split(prepared(out, root, holdout=0.5), "validation").ids
    stays = next(i for i in (f"train/bird/{n}.png" for n in range(10)) if i not in drawn)
    shutil.copy(root / drawn[0], root / stays)
    path = prepared(out, root, holdout=0.5)
    assert images.read_split(path, "validation").ids == drawn[1:]
    assert {drawn[0], stays} <= set(images.read_split(path, "train").ids)


# Photographs for random crops


def test_photographs_are_stored_too(out: Path, root: Path) -> None:
    write_picture(root / "train/cat/0.png", np.full((40, 10, 3), 7, dtype=np.uint8))
    path = prepared(out, root, train_side=12)
    photographs = images.read_training_photographs(path)
    assert photographs is not None
    assert photographs.sizes.tolist() == [[12, 15]] * 10 + [[40, 10]] + [[12, 15]] * 19
    assert kinds.count(root, dataset(root, train_side=12)).photograph_bytes == photographs.pixels.nbytes
    np.testing.assert_array_equal(photographs.labels, images.read_split(path, "train").labels)


# Identity


def test_what_counts_for_the_images(root: Path) -> None:
    def identity(**changes: object) -> dict[str, object]:
        return kinds.identity(root, dataset(root, **changes))

    plain = identity()
    for same in ({"holdout": 0.2}, {"holdout_seed": 3}, {"segmentation_split": ""}, {"kind": "folder"}):
        assert identity(**same) == plain, same
    for other in ({"height": 16}, {"mean": (0.1, 0.1, 0.1)}, {"test_split": "val"}, {"train_side": 9}):
        assert identity(**other) != plain, other
    assert identity(validation_split="")["holdout"] == 0.1
    assert identity(validation_split="", holdout_seed=3) != identity(validation_split="")
    assert str(root) not in str(plain)


# Bad input


def fails(out: Path, root: Path, message: str, **changes: object) -> str:
    with pytest.raises(InputError, match=message) as caught:
        prepared(out, root, **changes)
    assert list(out.iterdir()) == []
    with pytest.raises(InputError, match=message):  # tasks say so before any work
        list(kinds.files(root, dataset(root, **changes)))
    return str(caught.value)


def test_empty_class_folder(out: Path, root: Path) -> None:
    (root / "train/zebra").mkdir()
    fails(out, root, r"train/zebra holds no image\. Add images, or remove the folder")


def test_class_that_train_lacks(out: Path, root: Path) -> None:
    shutil.copytree(root / "test/cat", root / "test/zebra")
    fails(out, root, r"test/zebra: train has no class zebra")


def test_declared_classes_are_the_folders(out: Path, root: Path) -> None:
    text = fails(out, root, "^4 mistakes in ", classes=("bird", "cat", "wolf"))
    assert "train/dog: [dataset] classes does not declare dog" in text
    assert "train/wolf is missing: [dataset] classes declares wolf" in text
    assert "test/dog: train has no class dog" in text


def test_nested_folders(out: Path, root: Path) -> None:
    (root / "train/cat/kittens").mkdir()
    fails(out, root, r"train/cat/kittens is a folder in the folder of a class\. Move its images up")


def test_other_files_among_the_images(out: Path, root: Path) -> None:
    (root / "train/cat/notes.txt").write_text("no image")
    (root / "test/bird/Thumbs.db").write_text("no image")
    (root / "train/.DS_Store").write_text("hidden")
    (root / "val/cat/.hidden").write_text("hidden")
    text = fails(out, root, "^2 mistakes in ")
    assert "train/cat/notes.txt is no image: its name ends in none of .jpg" in text
    assert "test/bird/Thumbs.db is no image" in text


def test_images_outside_of_classes(out: Path, root: Path) -> None:
    shutil.copy(root / "val/cat/0.png", root / "val/loose.png")
    fails(out, root, r"val holds 1 files beside the classes' folders, loose\.png for one")


def test_text_under_an_image_s_name(out: Path, root: Path) -> None:
    (root / "train/cat/0.png").write_text("no image")
    with pytest.raises(InputError, match=r"cat/0\.png is not an image in JPEG, PNG, BMP, PPM, TIFF or WEBP format"):
        prepared(out, root)


def test_a_broken_image_and_deep_pixels_are_named_together(out: Path, root: Path) -> None:
    path = root / "test/cat/1.png"
    path.write_bytes(path.read_bytes()[:-200])
    Image.fromarray(np.zeros((9, 9), dtype=np.uint16)).save(root / "train/dog/0.png")
    with pytest.raises(InputError, match=r"^2 mistakes in ") as caught:
        prepared(out, root)
    assert "test/cat/1.png cannot be used" in str(caught.value)
    assert "train/dog/0.png cannot be used: pixels of type I;16 are not 8-bit" in str(caught.value)


def test_one_image_of_a_class(out: Path, root: Path) -> None:
    shutil.rmtree(root / "val")
    for number in range(1, 10):
        (root / f"train/cat/{number}.png").unlink()
    with pytest.raises(InputError, match=r"at least one must stay\. There is one training image of cat\."):
        prepared(out, root)


def test_one_class(out: Path, tmp_path: Path) -> None:
    fails(out, write_class_folder(tmp_path / "one", classes=("cat",)), "holds one class, cat: two are the least")


def test_images_of_train_in_test(out: Path, root: Path) -> None:
    shutil.copy(root / "train/cat/3.png", root / "test/cat/9.png")
    shutil.copy(root / "train/dog/4.png", root / "test/bird/8.png")
    settings = dataset(root)
    with pytest.raises(InputError, match="2 of 14 images of test are, byte for byte, images of train") as caught:
        preparation.prepare(out, root, settings, CLASSES)
    for pair in ("train/cat/3.png = test/cat/9.png", "train/dog/4.png = test/bird/8.png"):
        assert pair in str(caught.value)
    assert "overlap = allow" in str(caught.value)


def test_overlaps_that_are_allowed_are_counted(out: Path, root: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copy(root / "train/cat/3.png", root / "test/cat/9.png")
    with caplog.at_level(logging.WARNING, "roar"):
        path = prepared(out, root, overlap="allow")
    assert images.read_info(path).overlaps == (0, 1, 0)
    assert "1 test images are, byte for byte, train images" in caplog.text
    assert kinds.identity(root, dataset(root, overlap="allow")) != kinds.identity(root, dataset(root))


def test_one_folder_for_train_and_test(out: Path, root: Path) -> None:
    with pytest.raises(InputError, match=r"30 of 30 test images \(train\) are also training images"):
        prepared(out, root, test_split="train")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test_split": "tset"}, r"has no folder tset .*folders that are there \(test, train, val\)"),
        ({"validation_split": "dev"}, "has no folder dev "),
        ({"test_split": "a", "validation_split": "b"}, "has no folder b, no folder a "),
    ],
)
def test_missing_folders(out: Path, root: Path, changes: dict[str, str], message: str) -> None:
    fails(out, root, message, **changes)


def test_no_test_folder_as_imagenet_has_none(out: Path, root: Path) -> None:
    shutil.rmtree(root / "test")
    fails(out, root, "has no folder test .*test_split = val measures every score on the validation images")


def test_the_folder_above(out: Path, root: Path) -> None:
    fails(out, root.parent, rf"has no folder train.*Set \[dataset\] root to {root}", kind="folder")


def test_names_that_are_not_unicode(out: Path, root: Path) -> None:
    name = os.fsencode(root / "train/cat") + b"/\xff.png"
    shutil.copy(root / "train/cat/0.png", name)
    fails(out, root, r"\\udcff.png' has a name that is not UTF-8")


def test_the_kind_is_what_the_folder_holds(root: Path, tmp_path: Path) -> None:
    assert kinds.kind_of(root, dataset(root)) == "folder"
    assert kinds.kind_of(root, dataset(root, kind="voc")) == "voc"
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"is not in VOC layout: .* Nor .*voc, folder, cifar10, cifar100 or own"):
        kinds.kind_of(tmp_path / "empty", dataset(tmp_path / "empty"))


def test_an_images_h5_like_any_other(out: Path, root: Path) -> None:
    with h5py.File(prepared(out, root)) as file:
        assert set(file) == {"train", "validation", "test", "masks"}
        assert file.attrs["unused_masks"] == 0


def test_a_link_to_itself_among_the_folders_is_no_folder(out: Path, root: Path) -> None:
    (root / "train/loop").symlink_to(root / "train/loop")
    fails(out, root, r"train holds 1 files beside the classes' folders, loop for one")
