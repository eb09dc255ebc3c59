import os
import re
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.voc_folder import CLASSES, dataset, write_annotation, write_image, write_list, write_mask, write_voc_folder

from roar_pipeline.datasets import voc
from roar_pipeline.datasets.masks import VOID
from roar_pipeline.errors import InputError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_voc_folder(tmp_path / "set")


# The layout


def test_whole_folder_passes(root: Path) -> None:
    voc.check_layout(root, dataset())


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere does not exist\. Set \[dataset\] root"):
        voc.check_layout(tmp_path / "nowhere", dataset())


def test_half_folder_names_all_that_is_missing(root: Path) -> None:
    shutil.rmtree(root / "Annotations")
    (root / "ImageSets/Main/val.txt").unlink()
    with pytest.raises(InputError, match=r"not in VOC layout: no Annotations, no ImageSets/Main/val\.txt\. Set"):
        voc.check_layout(root, dataset())


def test_unknown_split_names_the_lists_there_are(root: Path) -> None:
    with pytest.raises(InputError, match=r"no ImageSets/Main/tset\.txt.*Main/test\.txt, Main/train\.txt"):
        voc.check_layout(root, dataset(test_split="tset"))


def test_folder_above_the_set_gets_the_right_one_named(root: Path, tmp_path: Path) -> None:
    inner = tmp_path / "above" / "VOCdevkit" / "VOC2012"
    inner.parent.mkdir(parents=True)
    root.rename(inner)
    with pytest.raises(InputError, match=r"Set \[dataset\] root to .*above/VOCdevkit/VOC2012\."):
        voc.check_layout(tmp_path / "above", dataset())


def test_masks_are_needed_only_for_localization(root: Path) -> None:
    shutil.rmtree(root / "SegmentationClass")
    shutil.rmtree(root / "ImageSets/Segmentation")
    voc.check_layout(root, dataset(segmentation_split=""))
    with pytest.raises(InputError, match=r"no SegmentationClass.*set \[dataset\] segmentation_split to nothing"):
        voc.check_layout(root, dataset())


# Lists


def test_read_split_keeps_the_order_and_takes_the_first_column(tmp_path: Path) -> None:
    path = write_list(tmp_path, "train", ["b  1", "", "a -1", "c  0"])
    assert voc.read_split(tmp_path, "train") == ["b", "a", "c"]
    path.write_bytes(b"\xef\xbb\xbfb\r\na\r\n")
    assert voc.read_split(tmp_path, "train") == ["b", "a"]


@pytest.mark.parametrize("lines", [[], ["", "  "]])
def test_empty_split(tmp_path: Path, lines: list[str]) -> None:
    write_list(tmp_path, "val", lines, kind="Segmentation")
    with pytest.raises(InputError, match=r"Segmentation/val\.txt is empty: a split needs at least one image"):
        voc.read_split(tmp_path, "val", "Segmentation")


def test_duplicate_id(tmp_path: Path) -> None:
    write_list(tmp_path, "train", ["a", "b", "a"])
    with pytest.raises(InputError, match=r"train\.txt, line 3: names a a second time"):
        voc.read_split(tmp_path, "train")


@pytest.mark.parametrize(
    "name", ["./a", "b/../a", "../JPEGImages/a", "a/", "/a", "sub/a", "sub\\a", ".", "..", ".a", "a\0"]
)
def test_an_image_has_one_spelling(tmp_path: Path, name: str) -> None:
    write_list(tmp_path, "train", ["b", name])
    with pytest.raises(
        InputError, match=rf"train\.txt, line 2: '{re.escape(name)}' is not an image id: .*Name it like"
    ):
        voc.read_split(tmp_path, "train")


def test_ids_may_hold_dots_and_dashes(tmp_path: Path) -> None:
    write_list(tmp_path, "train", ["2007_000027", "a.b-c", "0001TP_006690.v2"])
    assert voc.read_split(tmp_path, "train") == ["2007_000027", "a.b-c", "0001TP_006690.v2"]


@pytest.mark.parametrize("kind", ["pipe", "socket", "folder", "device"])
@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("JPEGImages/train_1.jpg", lambda root: voc.read_image(root, "train_1", 8, 8)),
        ("JPEGImages/train_1.jpg", lambda root: voc.read_photograph_size(root, "train_1", 8)),
        ("Annotations/train_1.xml", lambda root: voc.read_labels(root, "train_1", CLASSES)),
        ("SegmentationClass/train_1.png", lambda root: voc.read_segmentation(root, "train_1", CLASSES, 8, 8)),
        ("ImageSets/Main/train.txt", lambda root: voc.read_split(root, "train")),
    ],
    ids=["image", "photograph", "annotation", "mask", "list"],
)
def test_what_is_no_regular_file_is_refused_at_once(
    root: Path, kind: str, name: str, read: Callable[[Path], object]
) -> None:
    """Opening a pipe would wait for a writer, and a device may never end."""
    (root / name).unlink()
    if kind == "pipe":
        os.mkfifo(root / name)
    elif kind == "socket":
        os.mknod(root / name, stat.S_IFSOCK | 0o600)
    elif kind == "folder":
        (root / name).mkdir()
    else:
        (root / name).symlink_to("/dev/zero")
    with pytest.raises(InputError, match=rf"{re.escape(name)} is a .*{kind}, not a regular file\. Replace it"):
        read(root)


@pytest.mark.parametrize("line", ["my photo", "a 1 1"])
def test_line_that_is_no_id(tmp_path: Path, line: str) -> None:
    write_list(tmp_path, "train", [line])
    with pytest.raises(InputError, match=f"line 1: '{line}' is not an image id"):
        voc.read_split(tmp_path, "train")


def test_missing_list(root: Path) -> None:
    with pytest.raises(InputError, match=r"no ImageSets/Main/dev\.txt"):
        voc.read_split(root, "dev")


def test_list_that_is_not_text(tmp_path: Path) -> None:
    write_list(tmp_path, "train", []).write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match=r"train\.txt cannot be read as a list of image ids"):
        voc.read_split(tmp_path, "train")


# Labels


def test_labels_count_every_object_once_and_the_difficult_ones_too(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", ["square", "big star", "square"], difficult=[1])
    labels = voc.read_labels(tmp_path, "a", CLASSES)
    assert labels.dtype == np.uint8
    assert labels.tolist() == [0, 1, 1]


def test_image_without_objects_has_no_labels(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", [])
    assert voc.read_labels(tmp_path, "a", CLASSES).tolist() == [0, 0, 0]


def test_names_may_have_white_space_around_and_inside(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", ["\n    circle ", " big star\t"])
    assert voc.read_labels(tmp_path, "a", CLASSES).tolist() == [1, 0, 1]


def test_parts_of_an_object_are_not_objects(tmp_path: Path) -> None:
    path = write_annotation(tmp_path, "a", ["circle"])
    part = "<part><name>head</name></part><difficult>"
    path.write_text(path.read_text().replace("<difficult>", part))
    assert voc.read_labels(tmp_path, "a", CLASSES).tolist() == [1, 0, 0]


def test_undeclared_class(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", ["circle", "unicorn"])
    message = r"a\.xml: object 2 is of class 'unicorn', which \[dataset\] classes does not declare\. "
    with pytest.raises(voc.UndeclaredClassError, match=message + "Declared: circle, square, big star"):
        voc.read_labels(tmp_path, "a", CLASSES)


def test_object_without_a_name(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", [" "])
    with pytest.raises(InputError, match=r"a\.xml: object 1 has no name"):
        voc.read_labels(tmp_path, "a", CLASSES)


def test_broken_xml(tmp_path: Path) -> None:
    path = write_annotation(tmp_path, "a", ["circle"])
    path.write_text(path.read_text()[:-30])
    with pytest.raises(InputError, match=r"a\.xml is not readable XML: .*line 1"):
        voc.read_labels(tmp_path, "a", CLASSES)


def test_xml_of_something_else(tmp_path: Path) -> None:
    write_annotation(tmp_path, "a", []).write_text("<html><body>not found</body></html>")
    with pytest.raises(InputError, match=r"a\.xml is not an annotation: it starts with <html>"):
        voc.read_labels(tmp_path, "a", CLASSES)


def test_missing_annotation(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.xml is missing: every image of a split needs its annotation"):
        voc.read_labels(tmp_path, "a", CLASSES)


# Images


def gradient(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([4 * x, 6 * y, 2 * (x + y)], axis=-1).astype(np.uint8)


def test_image_is_resized_without_a_crop(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient())
    image = voc.read_image(tmp_path, "a", 20, 20)
    assert (image.shape, image.dtype) == ((20, 20, 3), np.uint8)
    boxes = gradient().reshape(20, 2, 20, 3, 3).mean(axis=(1, 3))
    # Away from the border a linear ramp is its own smoothing; the JPEG costs a few grey values.
    assert np.abs(image[2:-2, 2:-2] - boxes[2:-2, 2:-2]).max() < 8


def test_image_of_the_right_size_is_left_as_it_is(tmp_path: Path) -> None:
    path = write_image(tmp_path, "a", gradient())
    with Image.open(path) as image:
        np.testing.assert_array_equal(voc.read_image(tmp_path, "a", 40, 60), np.asarray(image))


@pytest.mark.parametrize(
    ("shape", "short_side", "size"),
    [((375, 500), 256, (256, 341)), ((500, 333), 256, (384, 256)), ((90, 90), 31, (31, 31)), ((40, 60), 41, (40, 60))],
)
def test_photograph_keeps_its_aspect_and_is_never_enlarged(
    tmp_path: Path, shape: tuple[int, int], short_side: int, size: tuple[int, int]
) -> None:
    path = write_image(tmp_path, "a", np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8))
    photograph = voc.read_photograph(tmp_path, "a", short_side)
    assert photograph.shape == (*size, 3)
    assert voc.read_photograph_size(tmp_path, "a", short_side) == size
    with Image.open(path) as image:
        whole = image.convert("RGB")
    wanted = whole if size == shape else whole.resize(size[::-1], Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(photograph, np.asarray(wanted))


@pytest.mark.parametrize("mode", ["L", "CMYK"])
def test_grey_and_cmyk_images_are_converted(tmp_path: Path, mode: str) -> None:
    write_image(tmp_path, "a", gradient(), mode)
    image = voc.read_image(tmp_path, "a", 40, 60).astype(int)
    wanted = np.asarray(Image.fromarray(gradient()).convert(mode).convert("RGB")).astype(int)
    assert image.shape == (40, 60, 3)
    assert np.abs(image - wanted).mean() < 4


def test_png_under_a_jpg_name_is_an_image(tmp_path: Path) -> None:
    path = write_image(tmp_path, "a", gradient())
    Image.fromarray(gradient()).quantize(256).save(path, format="PNG")
    assert np.abs(voc.read_image(tmp_path, "a", 40, 60).astype(int) - gradient()).mean() < 8


@pytest.mark.parametrize("left", [0.9, 0.5, 0.01])
def test_truncated_jpeg(tmp_path: Path, left: float) -> None:
    path = write_image(tmp_path, "a", np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path.write_bytes(path.read_bytes()[: int(left * path.stat().st_size)])
    with pytest.raises(InputError, match=r"a\.jpg cannot be used: .*[Tt]runcated.*\. Replace"):
        voc.read_image(tmp_path, "a", 32, 32)


def test_file_that_is_no_image(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient()).write_text("a web page that says: not found")
    with pytest.raises(InputError, match=r"a\.jpg is not an image in JPEG or PNG format"):
        voc.read_image(tmp_path, "a", 32, 32)


def test_deep_pixels_are_refused(tmp_path: Path) -> None:
    path = write_image(tmp_path, "a", gradient())
    Image.fromarray(gradient()[..., 0].astype(np.uint16) * 200).save(path, format="PNG")
    with pytest.raises(InputError, match=r"a\.jpg cannot be used: pixels of type I;16 are not 8-bit"):
        voc.read_image(tmp_path, "a", 32, 32)


def test_listed_image_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a\.jpg is missing, though a list names a\. Add the file, or take it off"):
        voc.read_image(tmp_path, "a", 32, 32)


# Masks


@pytest.mark.parametrize("mode", ["P", "L"])
def test_masks_are_indices_and_resized_nearest(tmp_path: Path, mode: str) -> None:
    mask = np.random.default_rng(0).choice(np.array([0, 1, 2, 3, VOID], dtype=np.uint8), (20, 30))
    write_image(tmp_path, "a", gradient(20, 30))
    write_mask(tmp_path, "a", mask, mode)
    np.testing.assert_array_equal(voc.read_segmentation(tmp_path, "a", CLASSES, 20, 30), mask)
    half = voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)
    # The nearest source pixel to the center of each 2 x 3 cell.
    np.testing.assert_array_equal(half, mask[1::2, 1::3])


def test_mask_of_another_size_than_its_image(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient(20, 30))
    write_mask(tmp_path, "a", np.zeros((30, 20), dtype=np.uint8))
    with pytest.raises(InputError, match=r"a\.png cannot be used: it has 20 x 30 pixels, its image 30 x 20 pixels"):
        voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)


def test_mask_value_of_no_class(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient(20, 30))
    write_mask(tmp_path, "a", np.full((20, 30), 4, dtype=np.uint8))
    with pytest.raises(InputError, match=r"value 4 is neither 0\.\.3 \(\[dataset\] classes\) nor 255 \(void\)"):
        voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)


def test_mask_of_colors_instead_of_indices(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient(20, 30))
    path = write_mask(tmp_path, "a", np.zeros((20, 30), dtype=np.uint8))
    Image.fromarray(gradient(20, 30)).save(path)
    with pytest.raises(InputError, match=r"a\.png cannot be used: its pixels are of type RGB, not the class indices"):
        voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)


def test_missing_and_broken_mask(tmp_path: Path) -> None:
    write_image(tmp_path, "a", gradient(20, 30))
    with pytest.raises(InputError, match=r"a\.png is missing, though a Segmentation list names a"):
        voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)
    mask = np.random.default_rng(0).integers(0, 4, (20, 30), dtype=np.uint8)
    path = write_mask(tmp_path, "a", mask)
    path.write_bytes(path.read_bytes()[:-60])
    with pytest.raises(InputError, match=r"a\.png cannot be used: "):
        voc.read_segmentation(tmp_path, "a", CLASSES, 10, 10)


def test_voc_has_twenty_classes() -> None:
    assert len(set(voc.CLASSES)) == 20
    assert voc.CLASSES.index("person") + 1 == 15
