"""Upper estimate of the main memory of a stage, from its images, its network and its batch, before it runs.

    process + images in memory + network + activations of a batch

Images that take more than ``limit`` stay on disk: then a stage has some batches of them in memory.

The factors were fitted to peaks of whole stages on a CPU (``benchmarks/memory.py``, table in ``benchmarks/README.md``),
which differ by up to a fifth between runs, as heap fragmentation does; none exceeded its estimate. On a GPU, network
and activations are in its own memory.
Everything is in bytes. Nothing here imports torch.
"""

import functools
import math
from collections.abc import Iterable

import psutil

from roar_pipeline.config import Student, Training
from roar_pipeline.estimates.cost import Cost, Size
from roar_pipeline.methods import METHODS, MethodName

__all__ = [
    "PREDICT_BATCH",
    "READ_AHEAD",
    "STREAMING",
    "array_limit",
    "cell",
    "images_per_pass",
    "light",
    "maps",
    "student",
    "teacher",
]

READ_AHEAD = 2
"""Batches of images on disk that are read while the network computes another."""

PREDICT_BATCH = 64
"""Images per forward pass of predictions; fixed, as the last bits of scores depend on it."""

_PROCESS = 920_000_000
"""Bytes of an interpreter with torch, scikit-learn and matplotlib."""
_GPU_PROCESS = 3_000_000_000
"""Bytes of the same with CUDA's libraries; a guess."""
STREAMING = 400_000_000
"""Bytes of a stage without torch that reads a few images at a time."""
_FLOAT = 4
_COLORS = 3

_BFLOAT16 = 0.6
"""Memory of a training's activations in bfloat16, as a share of those in float32."""
_KEPT = 1.35
"""Memory of the activations that autograd keeps, fragmentation included, in units of their size."""
_BACKWARD = 5.5
"""Buffers of a backward pass, in units of the largest activation."""
_FORWARD = 4.5
"""Buffers of a forward pass without a graph, in the same units."""
_BUFFERS = {"gradient": 5.0, "guided": 5.0, "excitation": 7.0, "rap": 14.0}
"""Buffers of a signal of the layer walk, in the same units."""
_ANOTHER_SIGNAL = 1.5
"""Buffers that every further signal adds to those of the largest."""

_COARSE = {"gradcam", "ebp"}
"""Raw kinds of methods whose signal stops at a layer above the large ones."""
_SIGNALS = {
    "gradient": "gradient",
    "input_x_gradient": "gradient",
    "guided": "guided",
    "lrp": "excitation",
    "rap": "rap",
}
"""Raw kinds of methods whose signal goes down to the pixels, with that signal."""

_STATES = {"adamw": 2, "sgd": 1}
"""State of an optimizer, in numbers per parameter."""


def array_limit(share: float) -> int:
    """Return the bytes that the images of a stage may take of this machine's main memory."""
    return int(share * _main_memory())


@functools.cache
def _main_memory() -> int:
    """Return the bytes of main memory, read once: a grid has thousands of cells to estimate."""
    return int(psutil.virtual_memory().total)


def teacher(size: Size, cost: Cost, recipe: Training, *, on_gpu: bool, limit: float = math.inf) -> int:
    """Return the memory of the training of a teacher.

    Args:
        size: of the data.
        cost: of the teacher.
        recipe: batch, optimizer and checkpoint.
        on_gpu: whether the network is on a GPU.
        limit: bytes that the images may take, such as ``array_limit``.
    """
    is_cropped = recipe.augment == "resized_crop" and size.photograph_bytes > 0
    train_bytes = size.photograph_bytes if is_cropped else _COLORS * size.train * size.pixels
    image_bytes = train_bytes + _COLORS * (size.validation + size.test) * size.pixels
    per_image = max(train_bytes // max(size.train, 1), _COLORS * size.pixels)
    held_bytes = _held(image_bytes, per_image, recipe.batch, limit)
    return _process(on_gpu) + held_bytes + _labels(size) + (0 if on_gpu else _training(size, cost, recipe))


def student(
    size: Size,
    cost: Cost,
    recipe: Student,
    loss: str,
    layer: str,
    teacher_cost: Cost,
    *,
    on_gpu: bool,
    limit: float = math.inf,
) -> int:
    """Return the memory of the training of a student: as of a teacher, and its teacher with that one's targets.

    Without augmentation the teacher predicts all images once, from a second copy of them, and its activations are kept
    for sswa. SWA's second derivative goes only through the modules above the matched layer, a max-pool and the head,
    which is negligible. Targets that do not fit beside the images are not kept.

    Args:
        size: of the data.
        cost: of the student.
        recipe: batch, optimizer, checkpoint and augmentation.
        loss: plain, naive_kd, ewa, swa or sswa.
        layer: the matched one.
        teacher_cost: of the teacher.
        on_gpu: whether the networks are on a GPU.
        limit: bytes that the images, and then the targets, may take.
    """
    alone = teacher(size, cost, recipe, on_gpu=on_gpu, limit=limit)
    if loss == "plain":
        return alone
    is_cached = recipe.augment == "none"
    image_bytes = _COLORS * size.images * size.pixels
    targets = _COLORS * size.train * size.pixels if is_cached and image_bytes <= limit else 0
    if on_gpu:
        return alone + targets
    if is_cached and loss == "sswa":
        activations = 2 * _FLOAT * size.train * teacher_cost.matched_at(layer)  # batch by batch, and then joined
        targets += int(min(activations, limit - image_bytes if image_bytes <= limit else limit))
    batch = min(PREDICT_BATCH if is_cached else recipe.batch, size.train)
    return alone + targets + _FLOAT * 2 * teacher_cost.parameters + _prediction(teacher_cost, batch)


def cell(size: Size, cost: Cost, recipe: Training, *, on_gpu: bool, limit: float = math.inf) -> int:
    """Return the memory of a retrained cell: images, their removal levels, and training; ``limit`` as for a teacher."""
    per_image = (_COLORS + 1) * size.pixels
    held_bytes = _held(per_image * size.images, per_image, recipe.batch, limit)
    return _process(on_gpu) + held_bytes + _labels(size) + (0 if on_gpu else _training(size, cost, recipe))


def maps(size: Size, cost: Cost, batch: int, methods: Iterable[str], *, on_gpu: bool, limit: float = math.inf) -> int:
    """Return the memory of a dump of maps.

    Args:
        size: of the data.
        cost: of the explained network.
        batch: images and pairs per pass.
        methods: computed together; a custom function counts as the costliest built-in method.
        on_gpu: whether the network is on a GPU.
        limit: bytes that the images may take.
    """
    per_image = _COLORS * size.pixels
    image_bytes = _held(per_image * size.images, per_image, batch, limit) + size.pixels * size.masks
    raws = {METHODS[base].raw if (base := MethodName.parse(name).base) in METHODS else "" for name in methods}
    network = 2 * _FLOAT * cost.parameters + batch * _explanation(cost, raws)
    return _process(on_gpu) + image_bytes + _labels(size) + (0 if on_gpu else network)


def images_per_pass(cost: Cost, batch: int, limit: int) -> int:
    """Return how many images and pairs a pass explains: as many as fit ``limit``, at most ``batch``, at least 1.

    A function of the network and the image size alone, whatever the methods and the machine: the last bits of maps may
    depend on it, and methods that share a pass must agree on it.

    Args:
        cost: of the explained network.
        batch: the maximum.
        limit: in bytes, of all methods together.
    """
    return max(1, min(batch, limit // _explanation(cost, {""})))


def light(size: Size) -> int:
    """Return the memory of a stage without torch that reads masks, and the maps of the masks' classes.

    Two classes per mask, one where an image has one label. Images are read some at a time.
    """
    classes = 1 if size.is_single_label else 2
    return STREAMING + size.pixels * (1 + classes * _FLOAT) * size.masks + _labels(size)


def _held(image_bytes: int, per_image: int, batch: int, limit: float) -> int:
    """Return the memory of images: all of them, or of the batches that are read ahead, in use, and being freed."""
    return image_bytes if image_bytes <= limit else (READ_AHEAD + 2) * max(batch, PREDICT_BATCH) * per_image


def _labels(size: Size) -> int:
    """Return the memory of the labels, which no stage leaves on disk: as stored, and as targets."""
    return size.images * (size.classes + (8 if size.is_single_label else _FLOAT * size.classes))


def _process(on_gpu: bool) -> int:
    return _GPU_PROCESS if on_gpu else _PROCESS


def _training(size: Size, cost: Cost, recipe: Training) -> int:
    """Return the memory of training: weights, gradients, optimizer states, a checkpoint being written, activations."""
    states = 1 + _STATES[recipe.optimizer] + (recipe.checkpoint == "best")
    numbers = _FLOAT * cost.parameters * (1 + 2 * states)
    share = _BFLOAT16 if recipe.precision == "bfloat16" else 1
    return numbers + max(
        int(min(recipe.batch, size.train) * share * _gradient(cost)),
        _prediction(cost, min(PREDICT_BATCH, max(size.test, size.validation))),
    )


def _prediction(cost: Cost, batch: int) -> int:
    """Return the memory of a forward pass without a graph."""
    return int(batch * _FORWARD * cost.widest_bytes)


def _explanation(cost: Cost, raws: set[str]) -> int:
    """Return the memory of the maps of a pair; an unknown raw kind counts as all of them."""
    signals = {signal for raw, signal in _SIGNALS.items() if raw in raws or "" in raws}
    peaks = [_prediction(cost, 1)]
    if signals:
        tape = cost.tape_bytes + (cost.sums_bytes if "rap" in signals else 0)
        buffers = max(_BUFFERS[signal] for signal in signals) + _ANOTHER_SIGNAL * (len(signals) - 1)
        peaks.append(int(tape + buffers * cost.widest_bytes))
    if raws - _SIGNALS.keys() - _COARSE:
        peaks.append(_gradient(cost))
    return max(peaks)


def _gradient(cost: Cost) -> int:
    """Return the memory of a forward and a backward pass of autograd, per image."""
    return int(_KEPT * cost.saved_bytes + _BACKWARD * cost.widest_bytes)
