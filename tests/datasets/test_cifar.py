"""CIFAR-10 and CIFAR-100 from small files like the published ones."""

import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.cifar_files import NAMES, write_batch, write_cifar10, write_cifar100

from roar_pipeline.config import Dataset
from roar_pipeline.datasets import cifar, digests, images, kinds, preparation
from roar_pipeline.errors import InputError


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_cifar10(tmp_path / "set")
    return tmp_path / "set"


def settings(root: Path, **changes: object) -> Dataset:
    return Dataset(**{"root": str(root), **changes})  # type: ignore[arg-type]


def prepared(out: Path, root: Path, **changes: object) -> dict[str, images.Split]:
    dataset = settings(root, **changes)
    preparation.prepare(out, root, dataset, kinds.class_names(root, dataset))
    return images.read_splits(out / images.FILE, images.SPLITS)


@pytest.mark.parametrize("kind", ["cifar10", "cifar100"])
@pytest.mark.filterwarnings("ignore:dtype")
def test_what_torchvision_reads(kind: str, out: Path, tmp_path: Path) -> None:
    from torchvision import datasets

    root = tmp_path / kind
    (write_cifar10 if kind == "cifar10" else write_cifar100)(root)
    published = datasets.CIFAR10 if kind == "cifar10" else datasets.CIFAR100
    unchecked = {  # the small files have other checksums
        "train_list": [[name, None] for name, _ in published.train_list],
        "test_list": [[name, None] for name, _ in published.test_list],
        "meta": {**published.meta, "md5": None},
    }
    theirs = {train: type("Small", (published,), unchecked)(root, train=train) for train in (True, False)}
    splits = prepared(out, root)
    assert images.read_info(out / images.FILE).classes == tuple(theirs[True].classes) == NAMES
    assert len(splits["train"].ids) + len(splits["validation"].ids) == len(theirs[True])
    assert splits["test"].ids == [f"test_{row:05d}" for row in range(len(theirs[False]))]
    for split in splits.values():
        for row, image_id in enumerate(split.ids):
            origin, _, number = image_id.partition("_")
            image, label = theirs[origin == "train"][int(number)]
            np.testing.assert_array_equal(split.images[row], np.asarray(image))
            assert np.flatnonzero(split.labels[row]).tolist() == [label]


def test_a_share_of_every_class_is_held_out(out: Path, root: Path) -> None:
    splits = prepared(out, root, holdout=0.3)
    assert images.read_info(out / images.FILE).held_out == (0.3, 6)
    assert splits["validation"].labels.sum(axis=0).tolist() == [2, 2, 2]
    assert not set(splits["validation"].ids) & set(splits["train"].ids)
    assert len(splits["train"].ids) == 14


def test_a_set_of_copies_has_nothing_to_hold_out(out: Path, root: Path) -> None:
    rng = np.random.default_rng(2)
    pixels = rng.integers(0, 256, (9, 3072), np.uint8)
    for number in range(1, 6):
        write_batch(root / f"cifar-10-batches-py/data_batch_{number}", pixels, [0, 1, 2] * 3)
    with pytest.raises(InputError, match="every image that was held out of train for validation is a copy"):
        prepared(out, root)


def test_images_are_resized(out: Path, root: Path) -> None:
    split = prepared(out, root, height=16, width=8)["test"]
    image, _ = next(cifar._files(root, settings(root)).batches("test"))
    expected = Image.fromarray(image[1]).resize((8, 16), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(split.images[1], np.asarray(expected))


def test_the_folder_itself_may_be_the_root(out: Path, root: Path) -> None:
    inner = root / "cifar-10-batches-py"
    assert len(prepared(out, inner, kind="cifar10")["test"].ids) == 3


def test_digest_and_identity(root: Path, tmp_path: Path) -> None:
    dataset, cache = settings(root), tmp_path / "cache.json"
    digest = digests.content_digest(root, dataset, cache)
    assert kinds.identity(root, dataset)["kind"] == "cifar10"
    moved = shutil.copytree(root, tmp_path / "moved")
    assert digests.content_digest(moved, settings(moved), cache) == digest
    assert kinds.identity(moved, settings(moved, kind="cifar10")) == kinds.identity(root, dataset)
    assert kinds.identity(root, settings(root, holdout=0.2)) != kinds.identity(root, dataset)
    write_batch(root / "cifar-10-batches-py/test_batch", np.zeros((3, 3072), np.uint8), [0, 1, 2])
    assert digests.content_digest(root, dataset, cache) != digest


def test_counts_are_estimates_by_the_files_sizes(root: Path) -> None:
    counts = kinds.count(root, settings(root))
    assert (counts.train, counts.validation, counts.test) == pytest.approx((18, 2, 3), abs=1)


def test_declared_names_replace_those_of_the_file(out: Path, root: Path) -> None:
    prepared(out, root, classes=("a", "b", "c"))
    assert images.read_info(out / images.FILE).classes == ("a", "b", "c")


# Bad input


def fails(out: Path, root: Path, message: str, **changes: object) -> None:
    with pytest.raises(InputError, match=message):
        prepared(out, root, **changes)
    assert list(out.iterdir()) == []


def test_missing_files(out: Path, root: Path) -> None:
    (root / "cifar-10-batches-py/data_batch_3").unlink()
    (root / "cifar-10-batches-py/batches.meta").unlink()
    fails(out, root, "has no file data_batch_3, no file batches.meta.*cifar-10-python.tar.gz")


def test_no_files_at_all(out: Path, tmp_path: Path) -> None:
    fails(out, tmp_path, r"cifar-100-python has no file train, .*cifar-100-python\.tar\.gz", kind="cifar100")


def test_other_numbers_of_classes(out: Path, root: Path) -> None:
    fails(out, root, "declares 2 names, and the data set has 3 classes: airplane, automobile, bird", classes=("a", "b"))


def test_test_images_among_the_training_images(out: Path, root: Path) -> None:
    pixels, labels = next(cifar._files(root, settings(root)).batches("train"))
    flat = pixels.transpose(0, 3, 1, 2).reshape(len(pixels), -1)
    write_batch(root / "cifar-10-batches-py/test_batch", flat, labels)
    fails(out, root, "of 4 images of test are, byte for byte, images of", holdout=0.001)
    prepared(out, root, overlap="allow")
    assert sum(images.read_info(out / images.FILE).overlaps) == 4


@pytest.mark.parametrize("ends", [0, 10, 5000])
def test_a_file_that_ends_early(out: Path, root: Path, ends: int) -> None:
    path = root / "cifar-10-batches-py/data_batch_2"
    path.write_bytes(path.read_bytes()[:ends])
    fails(out, root, "data_batch_2 is not a file of CIFAR's: .*Replace the file")


def test_a_pickle_that_would_run_code_is_not_run(out: Path, root: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> object:
            return Path.touch, (tmp_path / "ran",)

    (root / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps({"data": Evil(), "labels": []}, protocol=2))
    fails(out, root, r"test_batch is not a file of CIFAR's: it names .*, which is neither plain data nor an array")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "holds a list, not a dictionary"),
        ({"labels": [0]}, "'data' is not a uint8 array of 3072 values per image"),
        ({"data": np.zeros((1, 3072)), "labels": [0]}, "'data' is not a uint8 array"),
        ({"data": np.zeros((2, 3072), np.uint8), "labels": [0]}, "'labels' is not a list of 2 class indices in 0..2"),
        ({"data": np.zeros((1, 3072), np.uint8), "labels": [3]}, "'labels' is not a list of 1 class indices in 0..2"),
    ],
)
def test_other_contents(out: Path, root: Path, content: object, message: str) -> None:
    (root / "cifar-10-batches-py/test_batch").write_bytes(pickle.dumps(content, protocol=2))
    fails(out, root, message)


def test_a_class_without_images(out: Path, root: Path) -> None:
    rng = np.random.default_rng(3)
    for number in range(1, 6):
        path = root / f"cifar-10-batches-py/data_batch_{number}"
        write_batch(path, rng.integers(0, 256, (4, 3072), np.uint8), [0, 1, 0, 1])
    fails(out, root, "No training image in .* is of class bird")


def test_photographs_are_none(root: Path) -> None:
    with pytest.raises(InputError, match=r"train_side keeps photographs .*kind = cifar10 has none of"):
        kinds.identity(root, settings(root, train_side=40))


def test_both_versions_need_a_choice(root: Path) -> None:
    write_cifar100(root)
    with pytest.raises(InputError, match="kind to voc, folder, cifar10, cifar100 or own"):
        kinds.kind_of(root, settings(root))
    assert kinds.class_names(root, settings(root, kind="cifar100")) == NAMES
