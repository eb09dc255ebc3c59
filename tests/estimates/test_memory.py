"""What stages are estimated to take, against peaks that were measured (benchmarks/memory.py)."""

import dataclasses
import subprocess
import sys

import pytest

from roar_pipeline.config import Network, Retrain, Student, Teacher
from roar_pipeline.estimates import memory
from roar_pipeline.estimates.cost import Cost, Size, cost_of
from roar_pipeline.networks import training

VGG16 = Network(arch="vgg16_bn", width=64, pool=7)
VGG11 = Network(arch="vgg11_bn", width=64, pool=7)
SGD = {"optimizer": "sgd", "epochs": 1}
WALK = ("gradcam", "lrp", "rap", "gradient")


def cost(network: Network, side: int = 227, reduction: int = 1) -> Cost:
    return cost_of(network, 20, side, side, reduction=reduction)


def few(train: int, side: int = 227, test: int = 8) -> Size:
    return Size(train, test, side, side, 20, validation=test, masks=test)


def teacher(train: int, side: int, network: Network, **recipe: object) -> int:
    return memory.teacher(few(train, side), cost(network, side), Teacher(**recipe), on_gpu=False)  # type: ignore[arg-type]


def cell(train: int, batch: int, test: int = 8, **recipe: object) -> int:
    chosen = Retrain(batch=batch, **SGD, **recipe)  # type: ignore[arg-type]
    return memory.cell(few(train, test=test), cost(VGG11), chosen, on_gpu=False)


def maps(batch: int, *methods: str) -> int:
    return memory.maps(few(8), cost(VGG16), batch, methods, on_gpu=False)


def student(train: int, batch: int) -> int:
    recipe = Student(batch=batch, augment="resized_crop", **SGD)  # type: ignore[arg-type]
    own, taught_by = cost(VGG16, reduction=4), cost(VGG16)
    return memory.student(few(train), own, recipe, "swa", "last_relu", taught_by, on_gpu=False)


def small_student(loss: str) -> int:
    size, network = Size(3000, 800, 48, 48, 20, validation=800, masks=800), Network()
    own, taught_by = cost(network, 48, reduction=4), cost(network, 48)
    return memory.student(size, own, Student(), loss, "last_relu", taught_by, on_gpu=False)


SMALL = Size(3000, 800, 48, 48, 20, validation=800, masks=800)
MEASURED = {
    "small teacher": (975, memory.teacher(SMALL, cost(Network(), 48), Teacher(), on_gpu=False)),
    "small cell": (924, memory.cell(SMALL, cost(Network(width=8), 48), Retrain(), on_gpu=False)),
    "small student, swa": (942, small_student("swa")),
    "small student, sswa": (1030, small_student("sswa")),
    "vgg16 teacher, batch 8": (2758, teacher(16, 227, VGG16, batch=8, **SGD)),
    "vgg16 teacher, batch 16": (4556, teacher(32, 227, VGG16, batch=16, **SGD)),
    "vgg16 teacher, batch 32": (8564, teacher(64, 227, VGG16, batch=32, **SGD)),
    "vgg16 student, batch 16": (2393, student(32, 16)),
    "vgg11 cell, batch 8": (2141, cell(16, 8)),
    "vgg11 cell, batch 16": (3645, cell(32, 16)),
    "vgg11 cell, batch 32": (6197, cell(64, 32)),
    "vgg11 cell, batch 16, bfloat16": (2244, cell(32, 16, precision="bfloat16")),
    "vgg11 cell, prediction": (3778, cell(2, 2, test=64)),
    "vgg16 maps, batch 4": (2189, maps(4, *WALK)),
    "vgg16 maps, batch 8": (3562, maps(8, *WALK)),
    "vgg16 maps, batch 8, all": (3518, maps(8, *WALK, "ebp", "guided")),
    "vgg16 gradcam, batch 8": (1417, maps(8, "gradcam")),
    "vgg16 gradient, batch 8": (2079, maps(8, "gradient")),
    "vgg16 lrp, batch 8": (2095, maps(8, "lrp")),
    "vgg16 rap, batch 8": (3264, maps(8, "rap")),
    "vgg16 noise, batch 8": (2583, maps(8, "smoothgrad", "vargrad")),
}
"""Largest peak of the whole stage in two or three runs, and what is estimated for it, in 10^6 bytes and in bytes."""


@pytest.mark.parametrize("name", MEASURED)
def test_the_estimate_holds_what_was_measured_and_little_more(name: str) -> None:
    measured, estimated = MEASURED[name]
    assert measured <= estimated / 1e6 <= 1.5 * measured


def test_activations_grow_with_the_batch() -> None:
    def step(batch: int) -> int:
        return teacher(1000, 227, VGG16, batch=batch, **SGD)

    assert step(64) - step(32) == pytest.approx(32 * (1.35 * cost(VGG16).saved_bytes + 5.5 * 64 * 4 * 227**2), rel=1e-6)


def test_on_a_gpu_the_batch_takes_no_main_memory() -> None:
    def on_gpu(batch: int) -> int:
        return memory.teacher(few(1000), cost(VGG16), Teacher(batch=batch, **SGD), on_gpu=True)  # type: ignore[arg-type]

    assert on_gpu(8) == on_gpu(64) == memory.teacher(few(1000), cost(VGG16), Teacher(batch=1), on_gpu=True)


def test_images_are_held() -> None:
    """uint8, three colors; a split that validates and tests is held once; a cell has its levels too.

    Labels: a byte and a float for each of 20 classes.
    """
    labels = 20 * 5
    size, bigger = few(1000), few(2000)
    own = cost(VGG16), Teacher(batch=8)
    assert memory.teacher(bigger, *own, on_gpu=True) - memory.teacher(size, *own, on_gpu=True) == 1000 * (
        3 * 227**2 + labels
    )
    shared = dataclasses.replace(size, validation=0)
    assert memory.teacher(size, *own, on_gpu=True) - memory.teacher(shared, *own, on_gpu=True) == 8 * (
        3 * 227**2 + labels
    )
    kept = dataclasses.replace(size, photograph_bytes=10**9)
    crops = dataclasses.replace(own[1], augment="resized_crop")
    assert memory.teacher(kept, *own, on_gpu=True) == memory.teacher(size, *own, on_gpu=True), "nothing reads them"
    with_crops = memory.teacher(kept, own[0], crops, on_gpu=True)
    assert with_crops - memory.teacher(size, *own, on_gpu=True) == 10**9 - 3 * 1000 * 227**2
    recipe = Retrain(batch=8)
    of_cell = [memory.cell(s, cost(VGG11), recipe, on_gpu=True) for s in (size, bigger)]
    assert of_cell[1] - of_cell[0] == 1000 * (4 * 227**2 + labels)


def test_as_many_images_as_fit_are_explained_at_a_time() -> None:
    """By the costliest methods, so that a dump of all of them takes what was allowed and the process beside."""
    everything = (*WALK, "ebp", "guided", "smoothgrad", "integrated_gradients")
    for limit in (4e9, 8e9):
        batch = memory.images_per_pass(cost(VGG16), 64, int(limit))
        assert 1 < batch < 64
        allowed = maps(0, *everything) + limit
        assert maps(batch, *everything) <= allowed < maps(batch + 1, *everything)
    assert memory.images_per_pass(cost(Network(), 48), 64, int(4e9)) == 64, "the default experiment"
    assert memory.images_per_pass(cost(VGG16), 64, 1) == 1


def test_a_method_of_ones_own_counts_as_all() -> None:
    assert maps(8, "some.module:function") == maps(8, *WALK, "guided", "smoothgrad")
    assert maps(8, "gradcam", "lrp+blur") == maps(8, "lrp")


def test_the_batch_of_predictions_stands_once() -> None:
    assert training.PREDICT_BATCH is memory.PREDICT_BATCH


def test_nothing_here_imports_torch() -> None:
    names = "cost, memory, forecasting"
    code = f"import sys\nfrom roar_pipeline.estimates import {names}\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_localization_of_one_label_holds_one_map_per_mask() -> None:
    """Instead of two: float32 maps of as many pixels. And the index of a label instead of a float per class."""
    one = dataclasses.replace(SMALL, is_single_label=True)
    labels = SMALL.images * (20 * 5 - (20 + 8))
    assert memory.light(SMALL) - memory.light(one) == 4 * SMALL.masks * SMALL.pixels + labels > labels


def test_images_on_disk_count_as_the_batches_that_are_read() -> None:
    """Two read ahead, one in use, one being freed; at least as large as those of predictions."""
    size, network = few(5000), cost(VGG11)
    held = memory.cell(size, network, Retrain(batch=128), on_gpu=True)
    arrays = 4 * 5016 * 227**2
    assert memory.cell(size, network, Retrain(batch=128), on_gpu=True, limit=arrays) == held
    for batch, counted in ((128, 128), (16, 64)):
        on_disk = memory.cell(size, network, Retrain(batch=batch), on_gpu=True, limit=arrays - 1)
        assert held - on_disk == arrays - 4 * counted * 4 * 227**2
    of_maps = [memory.maps(size, network, 64, WALK, on_gpu=True, limit=limit) for limit in (arrays, 0)]
    assert of_maps[0] - of_maps[1] == 3 * (5016 - 4 * 64) * 227**2
    photographs = dataclasses.replace(size, photograph_bytes=5000 * 10**6)
    crops = Teacher(batch=64, augment="resized_crop")
    of_crops = memory.teacher(photographs, network, crops, on_gpu=True, limit=0)
    assert of_crops == memory.teacher(size, network, crops, on_gpu=True, limit=0) + 4 * 64 * (10**6 - 3 * 227**2)


def test_targets_take_no_more_than_the_images_leave() -> None:
    size = few(3000, 48)
    image_bytes = 3 * size.images * size.pixels

    def student(limit: float) -> int:
        own = cost(Network(), 48)
        return memory.student(size, own, Student(), "sswa", "last_relu", own, on_gpu=False, limit=limit)

    activations = 2 * 4 * 3000 * cost(Network(), 48).matched_at("last_relu")
    assert student(image_bytes + activations) == student(float("inf"))
    assert student(image_bytes + activations) - student(image_bytes + 10**6) == activations - 10**6
