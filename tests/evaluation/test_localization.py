"""Localization of one label per image: a model predicts the class with the highest score, whatever its sign."""

import h5py
import numpy as np
import pytest
from support.one_label import write_images

from roar_pipeline.datasets import images
from roar_pipeline.evaluation.localization import localize


@pytest.fixture
def images_path(tmp_path):
    return write_images(tmp_path, masks=5)


def write_maps(path, images_path, scores):
    """Write maps that are the masks of the images' only class; ``scores`` (N, K) are the model's."""
    test = images.read_split(images_path, "test")
    rows = test.segmentation_rows
    with h5py.File(path, "w") as file:
        file.create_group("test")["scores"] = scores
        group = file.create_group("localization")
        group["rows"], group["class_index"] = rows, test.labels[rows].argmax(axis=1)
        group["maps"] = (test.segmentation > 0).astype(np.float32)
        group["scores"] = scores[rows, group["class_index"][()]]
        group.attrs["zero_maps"] = 0
    return path


def test_own_pairs_are_those_of_the_highest_score(tmp_path, images_path):
    """Images 0 and 1 are recognized by scores below 0, image 2 is taken for another class by a score above 0."""
    labels = images.read_split(images_path, "test").labels
    scores = np.full(labels.shape, -9.0, np.float32)
    scores[:2] = np.where(labels[:2] == 1, -1, -2)
    scores[2] = np.where(labels[2] == 1, 3, 4)
    scores[3:] = np.where(labels[3:] == 1, -3, -1)
    found = localize(images_path, write_maps(tmp_path / "maps.h5", images_path, scores), "teacher", "gradcam", "ignore")
    assert [pair["is_predicted"] for pair in found["pairs"]] == [True, True, False, False, False]
    assert found["own"] == {"auc": 1.0, "pointing": 1.0, "pairs": 2, "undefined": 0}
    assert found["all"] == {"auc": 1.0, "pointing": 1.0, "pairs": 5, "undefined": 0}


def test_a_control_predicts_nothing(tmp_path, images_path):
    scores = np.full((12, 3), np.nan, np.float32)
    found = localize(images_path, write_maps(tmp_path / "maps.h5", images_path, scores), None, "sobel", "ignore")
    assert found["own"] is None
    assert [pair["is_predicted"] for pair in found["pairs"]] == [None] * 5
