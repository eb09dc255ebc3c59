import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from roar_pipeline import config
from roar_pipeline.datasets import images, preparation, scenes, voc
from roar_pipeline.errors import InputError

TINY = config.Scenes(train=5, validation=3, test=4, size=32)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("generated") / "VOC2012"
    scenes.generate(root, TINY)
    return root


@pytest.fixture(scope="module")
def drawn() -> list[scenes.Scene]:
    return [scenes.scene(0, "train", index, 48, blank()) for index in range(300)]


def blank() -> list[np.ndarray]:
    return [np.full((200, 500, 3), 128, dtype=np.uint8)]


def contents(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_folder_is_what_the_default_settings_read(root: Path, tmp_path: Path) -> None:
    preparation.prepare(tmp_path, root, config.Dataset(height=32, width=32), scenes.CLASSES)
    counts = [len(images.read_split(tmp_path / images.FILE, split).ids) for split in images.SPLITS]
    assert counts == [TINY.train, TINY.validation, TINY.test]
    assert len(images.read_split(tmp_path / images.FILE, "test").segmentation) == TINY.test


def test_folder_is_what_torchvision_reads(root: Path, tmp_path: Path) -> None:
    from torchvision.datasets import VOCDetection, VOCSegmentation

    above = shutil.copytree(root, tmp_path / "VOCdevkit" / "VOC2012").parent.parent
    detection = VOCDetection(str(above), "2012", "val")
    segmentation = VOCSegmentation(str(above), "2012", "val")
    assert len(detection) == len(segmentation) == TINY.validation
    for row, image_id in enumerate(voc.read_split(root, "val")):
        photo, target = detection[row]
        names = {item["name"] for item in target["annotation"]["object"]}
        labels = voc.read_labels(root, image_id, scenes.CLASSES)
        assert names == {name for name, present in zip(scenes.CLASSES, labels, strict=True) if present}
        np.testing.assert_array_equal(photo, voc.read_image(root, image_id, 32, 32))
        mask = voc.read_segmentation(root, image_id, scenes.CLASSES, 32, 32)
        np.testing.assert_array_equal(segmentation[row][1], mask)


def test_labels_masks_and_boxes_agree(root: Path) -> None:
    for path in (root / "Annotations").iterdir():
        mask = np.asarray(Image.open(root / "SegmentationClass" / f"{path.stem}.png"))
        found = {}
        for item in ElementTree.parse(path).iterfind("object"):
            box = item.find("bndbox")
            assert box is not None
            found[item.findtext("name")] = [int(edge.text or "") for edge in box]
        present = [value for value in np.unique(mask) if value]
        assert {scenes.CLASSES[value - 1] for value in present} == set(found)
        for value in present:
            y, x = np.nonzero(mask == value)
            edges = [x.min() + 1, y.min() + 1, x.max() + 1, y.max() + 1]
            assert found[scenes.CLASSES[value - 1]] == edges


def test_same_seed_same_bytes_and_other_seed_other_images(root: Path, tmp_path: Path) -> None:
    scenes.generate(tmp_path / "again", TINY)
    assert contents(tmp_path / "again") == contents(root)
    assert not list(tmp_path.glob("partial-*"))
    first = scenes.scene(0, "train", 0, 32, blank()).pixels
    assert (scenes.scene(1, "train", 0, 32, blank()).pixels != first).any()
    assert (scenes.scene(0, "val", 0, 32, blank()).pixels != first).any()


def test_smaller_set_is_the_start_of_a_larger_one(root: Path, tmp_path: Path) -> None:
    scenes.generate(tmp_path / "small", config.Scenes(train=2, validation=1, test=1, size=32))
    large = contents(root)
    for name, content in contents(tmp_path / "small").items():
        if not name.startswith(("ImageSets", "scenes.json")):
            assert large[name] == content


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "partial-set" / "JPEGImages").mkdir(parents=True)
    (tmp_path / "partial-set" / "JPEGImages" / "stray.jpg").touch()
    scenes.generate(tmp_path / "set", config.Scenes(train=1, validation=1, test=1, size=16))
    assert len(list((tmp_path / "set" / "JPEGImages").iterdir())) == 3


def test_folder_that_is_there_is_never_overwritten(root: Path, tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    scenes.generate(root, TINY)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    with pytest.raises(InputError, match=r"VOC2012 is there already and holds something else"):
        scenes.generate(root, config.Scenes(seed=1))
    (tmp_path / "mine").mkdir()
    with pytest.raises(InputError, match=r"mine is there already and holds something else"):
        scenes.generate(tmp_path / "mine", TINY)


def test_scenes_have_one_to_three_objects_of_evenly_drawn_classes(drawn: list[scenes.Scene]) -> None:
    for drawing in drawn:
        present = set(np.unique(drawing.segmentation).tolist()) - {0}
        assert present == {index + 1 for index in drawing.class_indices}
        assert 1 <= len(drawing.class_indices) <= 3
    counts = np.bincount([index for drawing in drawn for index in drawing.class_indices], minlength=10)
    expected = 300 * 2 / len(scenes.CLASSES)
    assert (abs(counts - expected) < 4 * np.sqrt(expected)).all()


def test_labelled_objects_stay_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    def whole_square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return np.ones(u.shape, dtype=np.bool_)

    monkeypatch.setattr(scenes, "SILHOUETTES", dict.fromkeys(scenes.CLASSES, whole_square))
    least_side = round(scenes.SIDE[0] * 48)
    for index in range(200):
        segmentation = scenes.scene(0, "test", index, 48, blank()).segmentation
        visible = np.bincount(segmentation.ravel())[1:]
        assert visible[visible > 0].min() >= scenes.VISIBLE * least_side**2


def test_objects_do_not_depend_on_the_background() -> None:
    gradient = np.linspace(0, 255, 200 * 500 * 3).reshape(200, 500, 3).astype(np.uint8)
    for index in range(20):
        one = scenes.scene(0, "train", index, 48, blank())
        other = scenes.scene(0, "train", index, 48, [gradient])
        np.testing.assert_array_equal(one.segmentation, other.segmentation)
        np.testing.assert_array_equal(one.pixels[one.segmentation > 0], other.pixels[one.segmentation > 0])


def test_splits_have_disjoint_backgrounds() -> None:
    photograph = np.zeros((200, 640, 3), dtype=np.uint8)
    photograph[:] = np.round(np.linspace(0, 255, 640))[:, None]
    edge = 0.0
    for strip in scenes.STRIPS.values():
        rng = np.random.default_rng(0)
        seen = np.stack([scenes._background(rng, photograph, strip, 48) for _ in range(100)])
        assert edge <= strip[0] < strip[1] <= 1
        assert strip[0] - 0.005 < seen.min() < strip[0] + 0.1
        assert strip[1] - 0.1 < seen.max() < strip[1] + 0.005
        edge = strip[1]


def test_clutter_has_no_two_traits_of_one_class() -> None:
    rng = np.random.default_rng(0)
    kinds = [kind for _ in range(300) for kind in scenes._clutter_kinds(rng)]
    assert len(kinds) > 200
    for hue, shape, texture in kinds:
        own = len(scenes.TEXTURES)
        assert len({hue, shape}) == 2
        assert texture not in (hue % own, shape % own)


def test_palette_is_vocs() -> None:
    palette = np.array(scenes._palette()).reshape(256, 3)
    known = {0: (0, 0, 0), 1: (128, 0, 0), 2: (0, 128, 0), 8: (64, 0, 0), 15: (192, 128, 128), 255: (224, 224, 192)}
    for index, color in known.items():
        assert tuple(palette[index]) == color


def test_reading_and_drawing_need_no_torch() -> None:
    code = "import sys, roar_pipeline.datasets.images, roar_pipeline.datasets.scenes; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
