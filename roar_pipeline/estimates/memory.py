"""How much main memory a stage takes at most, estimated from its images, its network and its batch, before it runs.

    the process + the images it holds + the network + the activations of a batch

The factors were fitted to peaks of whole stages on a CPU (``benchmarks/memory.py``, table in ``benchmarks/README.md``),
which differ by up to a fifth from run to run as the heap's holes do: none took more than is estimated here. On a GPU
network and activations are in its own memory.
Everything is in bytes. Nothing here imports torch.
"""

from collections.abc import Iterable

from roar_pipeline.config import Student, Training
from roar_pipeline.estimates.cost import Cost, Size
from roar_pipeline.methods import METHODS, MethodName

__all__ = ["PREDICT_BATCH", "STREAMING", "cell", "images_per_pass", "light", "maps", "student", "teacher"]

PREDICT_BATCH = 64
"""Images per forward pass where a network is only asked; fixed, as the last bits of scores depend on it."""

_PROCESS = 920_000_000
"""An interpreter with torch, scikit-learn and matplotlib."""
_GPU_PROCESS = 3_000_000_000
"""The same with CUDA's libraries; a guess."""
STREAMING = 400_000_000
"""What a stage without torch takes that reads a few images at a time."""
_FLOAT = 4
_COLORS = 3

_BFLOAT16 = 0.6
"""Share of a training's activations that is left of them where most are bfloat16."""
_KEPT = 1.35
"""Memory that the activations of a training take which autograd keeps, holes between them included."""
_BACKWARD = 5.5
"""Buffers of a backward pass, in units of the largest activation."""
_FORWARD = 4.5
"""Buffers of a pass that keeps nothing, in the same units."""
_BUFFERS = {"gradient": 5.0, "guided": 5.0, "excitation": 7.0, "rap": 14.0}
"""Buffers of a signal that goes down the layer walk, in the same units."""
_ANOTHER_SIGNAL = 1.5
"""What a further signal adds to the one with the most buffers."""

_COARSE = {"gradcam", "ebp"}
"""Raw kinds of methods that stop at a layer above the wide ones."""
_SIGNALS = {
    "gradient": "gradient",
    "input_x_gradient": "gradient",
    "guided": "guided",
    "lrp": "excitation",
    "rap": "rap",
}
"""Raw kinds of methods that go down the layer walk to the pixels, with the signal that they read."""

_STATES = {"adamw": 2, "sgd": 1}
"""Numbers that an optimizer keeps per parameter."""


def teacher(size: Size, cost: Cost, recipe: Training, *, on_gpu: bool) -> int:
    """Return what the training of a teacher takes.

    Args:
        size: of the data.
        cost: of the network that is trained.
        recipe: batch, optimizer and checkpoint.
        on_gpu: whether the network is on a GPU.
    """
    is_cropped = recipe.augment == "resized_crop" and size.photograph_bytes > 0
    trained_on = size.photograph_bytes if is_cropped else _COLORS * size.train * size.pixels
    held = trained_on + _COLORS * (size.validation + size.test) * size.pixels
    return _process(on_gpu) + held + (0 if on_gpu else _trained(size, cost, recipe))


def student(size: Size, cost: Cost, recipe: Student, loss: str, layer: str, taught_by: Cost, *, on_gpu: bool) -> int:
    """Return what the training of a student takes: a teacher's, and its teacher with what that is asked for.

    Without augmentation the teacher is asked once for all images, which are held a second time; for sswa its
    activations are kept. SWA's second derivative goes through what lies above the matched layer only, a max-pool and
    the head, which is nothing beside the rest.

    Args:
        size: of the data.
        cost: of the student.
        recipe: batch, optimizer, checkpoint and augmentation.
        loss: plain, naive_kd, ewa, swa or sswa.
        layer: that is matched.
        taught_by: cost of the teacher.
        on_gpu: whether the networks are on a GPU.
    """
    alone = teacher(size, cost, recipe, on_gpu=on_gpu)
    if loss == "plain":
        return alone
    is_cached = recipe.augment == "none"
    held = _COLORS * size.train * size.pixels if is_cached else 0
    if on_gpu:
        return alone + held
    if is_cached and loss == "sswa":
        held += 2 * _FLOAT * size.train * taught_by.matched[layer]  # batch by batch, and then joined
    batch = min(PREDICT_BATCH if is_cached else recipe.batch, size.train)
    return alone + held + _FLOAT * 2 * taught_by.parameters + _asked(taught_by, batch)


def cell(size: Size, cost: Cost, recipe: Training, *, on_gpu: bool) -> int:
    """Return what a retrained cell takes: images, their removal levels and what is removed of them, and training."""
    held = (_COLORS + 2) * size.images * size.pixels
    return _process(on_gpu) + held + (0 if on_gpu else _trained(size, cost, recipe))


def maps(size: Size, cost: Cost, batch: int, methods: Iterable[str], *, on_gpu: bool) -> int:
    """Return what a dump of maps takes.

    Args:
        size: of the data.
        cost: of the explained network.
        batch: images and pairs at a time.
        methods: computed together; one of one's own counts as the costliest of ours.
        on_gpu: whether the network is on a GPU.
    """
    held = size.pixels * (_COLORS * size.images + size.masks)
    raws = {METHODS[base].raw if (base := MethodName.parse(name).base) in METHODS else "" for name in methods}
    network = 2 * _FLOAT * cost.parameters + batch * _explained(cost, raws)
    return _process(on_gpu) + held + (0 if on_gpu else network)


def images_per_pass(cost: Cost, batch: int, limit: int) -> int:
    """Return how many images and pairs are explained at a time: what fits ``limit``, at most ``batch``, at least 1.

    A function of the network and the image size alone, whatever the methods and the machine: the last bits of maps may
    depend on it, and methods that share a pass must agree on it.

    Args:
        cost: of the explained network.
        batch: the most.
        limit: in bytes, for all methods together.
    """
    return max(1, min(batch, limit // _explained(cost, {""})))


def light(size: Size) -> int:
    """Return what a stage without torch takes that holds images, masks, and the maps of two classes per mask."""
    return STREAMING + size.pixels * (_COLORS * size.images + (1 + 2 * _FLOAT) * size.masks)


def _process(on_gpu: bool) -> int:
    return _GPU_PROCESS if on_gpu else _PROCESS


def _trained(size: Size, cost: Cost, recipe: Training) -> int:
    """Return what a network in training takes: weights, gradients, states, a checkpoint in writing, activations."""
    states = 1 + _STATES[recipe.optimizer] + (recipe.checkpoint == "best")
    numbers = _FLOAT * cost.parameters * (1 + 2 * states)
    share = _BFLOAT16 if recipe.precision == "bfloat16" else 1
    return numbers + max(
        int(min(recipe.batch, size.train) * share * _differentiated(cost)),
        _asked(cost, min(PREDICT_BATCH, max(size.test, size.validation))),
    )


def _asked(cost: Cost, batch: int) -> int:
    """Return what a forward pass that keeps nothing takes."""
    return int(batch * _FORWARD * cost.widest_bytes)


def _explained(cost: Cost, raws: set[str]) -> int:
    """Return what the maps of an image and class take; a raw kind that is not known counts as all of them."""
    signals = {signal for raw, signal in _SIGNALS.items() if raw in raws or "" in raws}
    peaks = [_asked(cost, 1)]
    if signals:
        tape = cost.tape_bytes + (cost.sums_bytes if "rap" in signals else 0)
        buffers = max(_BUFFERS[signal] for signal in signals) + _ANOTHER_SIGNAL * (len(signals) - 1)
        peaks.append(int(tape + buffers * cost.widest_bytes))
    if raws - _SIGNALS.keys() - _COARSE:
        peaks.append(_differentiated(cost))
    return max(peaks)


def _differentiated(cost: Cost) -> int:
    """Return what an image takes through which autograd goes and comes back."""
    return int(_KEPT * cost.saved_bytes + _BACKWARD * cost.widest_bytes)
