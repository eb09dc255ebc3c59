"""Data sets of the user's own: a function that yields items."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from roar_pipeline.config import Dataset
from roar_pipeline.datasets import digests, images, kinds, preparation
from roar_pipeline.errors import InputError

CLASSES = ("red", "green", "blue")
Items = dict[str, Any]
Prepare = Callable[..., dict[str, images.Split]]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def settings(**changes: object) -> Dataset:
    own = {"kind": "own", "root": "my_images:items", "classes": CLASSES, "height": 8, "width": 12}
    return Dataset(**{**own, "segmentation_split": "", **changes})  # type: ignore[arg-type]


def pictures(count: int, seed: int, shape: tuple[int, ...] = (16, 20, 3)) -> list[np.ndarray]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8))


@pytest.fixture
def items() -> Items:
    """Items of the three splits, in lists that tests change."""
    return {
        split: [(image, row % 3) for row, image in enumerate(pictures(count, seed))]
        for seed, (split, count) in enumerate({"train": 12, "validation": 3, "test": 6}.items())
    }


@pytest.fixture
def prepare(items: Items, out: Path, monkeypatch: pytest.MonkeyPatch) -> Prepare:
    def function(split: str) -> Any:
        return items[split]

    def run(**changes: object) -> dict[str, images.Split]:
        dataset = settings(**changes)
        preparation.prepare(out, Path(dataset.root), dataset, kinds.class_names(Path(dataset.root), dataset))
        return images.read_splits(out / images.FILE, images.SPLITS)

    module = ModuleType("my_images")
    module.items = function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "my_images", module)
    return run


def test_arrays_and_class_indices(prepare: Prepare, items: Items, out: Path) -> None:
    splits = prepare()
    info = images.read_info(out / images.FILE)
    assert (info.classes, info.is_single_label, info.held_out) == (CLASSES, True, None)
    for name, split in splits.items():
        assert split.ids == [f"{name}_{row}" for row in range(len(items[name]))]
        for row, (pixels, label) in enumerate(items[name]):
            resized = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR)
            np.testing.assert_array_equal(split.images[row], np.asarray(resized))
            assert np.flatnonzero(split.labels[row]).tolist() == [label]


def test_what_an_image_and_a_label_may_be(prepare: Prepare, items: Items) -> None:
    grey = pictures(1, 9, (16, 20))[0]
    items["test"] = [
        (Image.fromarray(grey), np.int64(2)),
        (grey[..., None], np.array(1)),
        [Image.fromarray(pictures(1, 8)[0]).convert("P"), 0],
        (Image.new("RGB", (500, 3)), 0, None),
    ]
    split = prepare()["test"]
    assert split.labels.argmax(axis=1).tolist() == [2, 1, 0, 0]
    np.testing.assert_array_equal(split.images[0], split.images[1])
    assert (split.images[0] == split.images[0][..., :1]).all()


def test_any_iterable(prepare: Prepare, items: Items) -> None:
    def generator(split: str) -> Iterator[Any]:
        yield from items[split]

    sys.modules["my_images"].items = generator  # type: ignore[attr-defined]
    assert [len(split.ids) for split in prepare().values()] == [12, 3, 6]


def test_several_labels(prepare: Prepare, items: Items, out: Path) -> None:
    for split in items:
        items[split] = [(image, [label, (label + 1) % 3]) for image, label in items[split]]
    items["test"][0] = (items["test"][0][0], [])
    split = prepare(labels="several")["test"]
    assert not images.read_info(out / images.FILE).is_single_label
    assert split.labels.tolist() == [[0, 0, 0], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]


def test_masks(prepare: Prepare, items: Items) -> None:
    mask = np.zeros((16, 20), dtype=np.uint8)
    mask[4:12, 5:15], mask[0, 0] = 3, 255
    items["test"][1] = (*items["test"][1], mask)
    items["test"][4] = (*items["test"][4], Image.fromarray(mask).convert("P"))
    items["train"][0] = (*items["train"][0], mask)
    split = prepare(segmentation_split="test")["test"]
    expected = np.asarray(Image.fromarray(mask).resize((12, 8), Image.Resampling.NEAREST))
    assert split.segmentation_rows.tolist() == [1, 4]
    np.testing.assert_array_equal(split.segmentation[0], expected)
    assert kinds.has_masks(Path("my_images:items"), settings(segmentation_split="test"))
    assert len(prepare()["test"].segmentation) == 0
    assert not kinds.has_masks(Path("my_images:items"), settings())


@pytest.mark.parametrize("nothing", [None, ()])
def test_a_validation_split_is_held_out(prepare: Prepare, items: Items, out: Path, nothing: object) -> None:
    items["validation"] = nothing
    splits = prepare(holdout=0.3)
    assert images.read_info(out / images.FILE).held_out == (0.3, 3)
    assert splits["validation"].labels.sum(axis=0).tolist() == [1, 1, 1]
    assert sorted([*splits["train"].ids, *splits["validation"].ids]) == sorted(f"train_{row}" for row in range(12))
    for row, image_id in enumerate(splits["validation"].ids):
        pixels, label = items["train"][int(image_id.removeprefix("train_"))]
        resized = Image.fromarray(pixels).resize((12, 8), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(splits["validation"].images[row], np.asarray(resized))
        assert splits["validation"].labels[row, label] == 1


def test_with_several_labels_of_all_images(prepare: Prepare, items: Items) -> None:
    items["validation"] = None
    items["train"] = [(image, [label]) for image, label in items["train"]]
    items["test"] = [(image, [label]) for image, label in items["test"]]
    assert len(prepare(labels="several", holdout=0.25)["validation"].ids) == 3


def test_identity_is_the_module_s_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    source = tmp_path / "their_images.py"
    source.write_text("raise SystemExit('imported')")
    dataset = settings(root="their_images:items")

    def digest() -> str:
        return digests.content_digest(Path(dataset.root), dataset, tmp_path / "cache.json")

    first = digest()
    source.write_text("raise SystemExit('imported again')")
    assert digest() != first

    def identity(**changes: object) -> dict[str, Any]:
        return kinds.identity(Path("a:b"), settings(**changes))

    for other in ({"root": "x:other"}, {"labels": "several"}, {"holdout": 0.2}, {"segmentation_split": "test"}):
        assert identity(**other) != identity(), other
    for same in ({"root": "elsewhere:items"}, {"labels": "one"}, {"train_split": "x"}):
        assert identity(**same) == identity(), same


def test_no_such_module(tmp_path: Path) -> None:
    dataset = settings(root="nowhere_to_be_seen:items")
    with pytest.raises(InputError, match="names no function of a module that Python finds"):
        digests.content_digest(Path(dataset.root), dataset, tmp_path / "cache.json")


# Bad input

IMAGE = np.zeros((16, 20, 3), np.uint8)
DUE = r"one image is due, a PIL image or a uint8 array \(h, w, 3\)"
BAD = [
    (IMAGE, r"a ndarray, where \(image, label\) or"),
    ((IMAGE,), r"a tuple of 1, where \(image, label\) or"),
    ({"image": IMAGE}, "a dict, where"),
    ((IMAGE, 3), r"label 3 is out of range, where a class index is due, a whole number in 0\.\.2"),
    ((IMAGE, -1), "label -1 is out of range"),
    ((IMAGE, 1.0), r"label 1\.0 is a float, where a class index is due"),
    ((IMAGE, np.float32(1)), r"label .* is a float32, where a class index is due"),
    ((IMAGE, True), "label True is a bool"),
    ((IMAGE, "red"), "label 'red' is a str"),
    ((IMAGE, None), "label None is a NoneType"),
    ((IMAGE, [1]), r"label \[1\] is a list, .*set \[dataset\] labels = several"),
    ((np.zeros((4, 16, 20, 3), np.uint8), [0, 1, 2, 0]), r"a batch of images of shape \(4, 16, 20, 3\), where " + DUE),
    ((SimpleNamespace(shape=(4, 3, 16, 20)), 0), r"a batch of images of shape \(4, 3, 16, 20\)"),
    ((SimpleNamespace(shape=(3, 16, 20)), 0), r"is a SimpleNamespace of shape \(3, 16, 20\), where " + DUE),
    ((IMAGE / 255, 0), r"an array of float64, where .*values are 0\.\.255"),
    ((IMAGE.transpose(2, 0, 1), 0), r"shape \(3, 16, 20\), channels first.*Transpose"),
    ((np.zeros((16, 20, 4), np.uint8), 0), r"has shape \(16, 20, 4\), where"),
    ((np.zeros((0, 20, 3), np.uint8), 0), r"has shape \(0, 20, 3\), where"),
    (("cat.jpg", 0), "the image is a str, where"),
    ((Image.new("F", (20, 16)), 0), "pixels are of type F, not 8-bit"),
    ((IMAGE, 0, np.zeros((9, 9), np.uint8)), "the mask has 9 x 9 pixels, its image 20 x 16 pixels"),
    ((IMAGE, 0, np.full((16, 20), 4, np.uint8)), r"mask value 4 is neither 0\.\.3 .* nor 255"),
    ((IMAGE, 0, np.zeros((16, 20))), r"the mask is a float64 array of shape \(16, 20\), where a uint8 array"),
]


def fails(prepare: Prepare, out: Path, message: str, **changes: object) -> str:
    with pytest.raises(InputError, match=message) as caught:
        prepare(**changes)
    assert list(out.iterdir()) == []
    return str(caught.value)


@pytest.mark.parametrize(("item", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_faulty_items(prepare: Prepare, items: Items, out: Path, item: object, message: str) -> None:
    items["train"][5] = item
    fails(prepare, out, rf"^my_images:items\('train'\), item 5: .*{message}")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 0], r"labels \[0, 1, 0\] name a class twice, .*not a 0 or 1 per class"),
        (np.array([0.0, 1.0]), r"label .*0\.0.* is a float64"),
        (1, "labels 1 are a int, where a list of class indices is due"),
        ("red", "labels 'red' are a str"),
        ([7], "label 7 is out of range"),
    ],
)
def test_faulty_lists_of_labels(prepare: Prepare, items: Items, out: Path, labels: object, message: str) -> None:
    items["test"] = [(image, [label]) for image, label in items["test"]]
    items["test"][2] = (IMAGE, labels)
    items["train"] = items["validation"] = [(image, []) for image, _ in items["train"]]
    fails(prepare, out, message, labels="several")


def test_faults_are_named_together(prepare: Prepare, items: Items, out: Path) -> None:
    items["train"][3], items["test"][1] = (IMAGE, 9), (IMAGE, 0.5)
    text = fails(prepare, out, "^2 mistakes in my_images:items:")
    assert "('train'), item 3: label 9" in text
    assert "('test'), item 1: label 0.5" in text


@pytest.mark.parametrize("split", ["train", "test"])
def test_an_empty_split(prepare: Prepare, items: Items, out: Path, split: str) -> None:
    items[split] = None
    fails(prepare, out, rf"my_images:items\('{split}'\) yields nothing")


def test_a_class_that_train_lacks(prepare: Prepare, items: Items, out: Path) -> None:
    items["train"] = [(image, label % 2) for image, label in items["train"]]
    fails(prepare, out, r"No training item is of class blue \(label 2\)")


def test_one_item_of_a_class(prepare: Prepare, items: Items, out: Path) -> None:
    items["validation"] = None
    items["train"] = items["train"][:4]
    fails(prepare, out, r"There is one training image of green, blue\.")


def test_masks_that_are_not_there(prepare: Prepare, out: Path) -> None:
    fails(prepare, out, r"No test item has a mask.*segmentation_split to nothing", segmentation_split="test")


def test_train_images_in_test(prepare: Prepare, items: Items, out: Path) -> None:
    items["test"][2] = items["train"][7]
    fails(prepare, out, "1 of 6 images of test are, byte for byte, images of train .*train_7 = test_2")
    prepare(overlap="allow")
    assert images.read_info(out / images.FILE).overlaps == (0, 1, 0)


def test_an_error_of_the_function(prepare: Prepare, items: Items, out: Path) -> None:
    def broken(split: str) -> Iterator[Any]:
        yield items[split][0]
        raise KeyError("no more")

    sys.modules["my_images"].items = broken  # type: ignore[attr-defined]
    fails(prepare, out, r"^my_images:items\('train'\) fails after item 0: KeyError: 'no more'")


def test_items_that_change(prepare: Prepare, items: Items, out: Path) -> None:
    rng = np.random.default_rng(3)

    def augmented(split: str) -> Iterator[Any]:
        return ((np.roll(image, rng.integers(1, 20), axis=1), label) for image, label in items[split])

    sys.modules["my_images"].items = augmented  # type: ignore[attr-defined]
    fails(prepare, out, "yields other items when it is called again: item 0 differs or is missing")


def test_items_that_can_be_read_once(prepare: Prepare, items: Items, out: Path) -> None:
    for split in items:
        items[split] = iter(items[split])
    fails(prepare, out, "item 0 differs or is missing")
