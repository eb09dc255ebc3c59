"""How much memory does a stage take, and how much does the scheduler reserve for it?

Every stage runs in a process of its own, as in a run, on random images; the peak is the kernel's (``VmHWM``). It is
compared with the estimate of ``roar_pipeline.estimates.memory`` for the same settings.

``python -m benchmarks.memory [--only NAME ...]``
"""

import argparse
import dataclasses
import json
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from roar_pipeline import config, stages
from roar_pipeline.config import Maps, Retrain, Student, Teacher
from roar_pipeline.estimates import memory
from roar_pipeline.estimates.cost import Cost, Size, cost_of

CLASSES = 20
VGG16 = {"arch": "vgg16_bn", "width": 64, "pool": 7, "dropout": 0.5, "optimizer": "sgd", "augment": "resized_crop"}
VGG11 = {"arch": "vgg11_bn", "width": 64, "pool": 7, "dropout": 0.5, "optimizer": "sgd", "augment": "flip"}
CPU = config.Execution(device="cpu")


@dataclasses.dataclass(frozen=True)
class Case:
    """A stage, its images, and its settings."""

    stage: str
    size: int
    train: int
    test: int
    recipe: Any
    teacher: Teacher | None = None
    loss: str = "plain"
    methods: tuple[str, ...] = ()


def _teacher(batch: int, **changes: Any) -> Teacher:
    return Teacher(**{**VGG16, "epochs": 1, "batch": batch, **changes})


def _student(batch: int, **changes: Any) -> Student:
    return Student(**{**VGG16, "epochs": 1, "batch": batch, "reduction": 4, **changes})


def _retrain(batch: int, **changes: Any) -> Retrain:
    return Retrain(**{**VGG11, "epochs": 1, "batch": batch, **changes})


WALK = ("gradcam", "lrp", "rap", "gradient")
CASES = {
    "small teacher": Case("train_teacher", 48, 3000, 800, Teacher(epochs=1)),
    "small student, swa": Case("distill_student", 48, 3000, 800, Student(epochs=1), Teacher(), "swa"),
    "small student, swa, 6 epochs": Case("distill_student", 48, 3000, 400, Student(), Teacher(), "swa"),
    "small student, sswa": Case("distill_student", 48, 3000, 800, Student(epochs=1), Teacher(), "sswa"),
    "small cell": Case("retrain", 48, 3000, 800, Retrain(epochs=1)),
    "small maps": Case("dump_maps", 48, 640, 64, Maps(explain="top1"), Teacher(), methods=WALK),
    "small noise": Case("dump_maps", 48, 128, 64, Maps(explain="top1", samples=2), Teacher(), methods=("smoothgrad",)),
    "vgg16 teacher, batch 8": Case("train_teacher", 227, 16, 8, _teacher(8)),
    "vgg16 teacher, batch 16": Case("train_teacher", 227, 32, 8, _teacher(16)),
    "vgg16 student, batch 16": Case("distill_student", 227, 32, 8, _student(16), _teacher(8), "swa"),
    "vgg11 cell, batch 8": Case("retrain", 227, 16, 8, _retrain(8)),
    "vgg11 cell, batch 32": Case("retrain", 227, 64, 8, _retrain(32)),
    "vgg16 teacher, batch 32": Case("train_teacher", 227, 64, 8, _teacher(32)),
    "vgg11 cell, batch 16": Case("retrain", 227, 32, 8, _retrain(16)),
    "vgg11 cell, batch 16, bfloat16": Case("retrain", 227, 32, 8, _retrain(16, precision="bfloat16")),
    "vgg11 cell, prediction": Case("retrain", 227, 2, 64, _retrain(2)),
    "vgg16 maps, batch 4": Case("dump_maps", 227, 8, 4, Maps(explain="top1", batch=4), _teacher(8), methods=WALK),
    "vgg16 maps, batch 8": Case("dump_maps", 227, 8, 8, Maps(explain="top1", batch=8), _teacher(8), methods=WALK),
    "vgg16 maps, batch 8, all": Case(
        "dump_maps", 227, 8, 8, Maps(explain="top1", batch=8), _teacher(8), methods=(*WALK, "ebp", "guided")
    ),
    "vgg16 maps, batch 8, two classes": Case(
        "dump_maps", 227, 8, 8, Maps(explain="labels", batch=8), _teacher(8), methods=WALK
    ),
    "vgg16 gradcam, batch 8": Case("dump_maps", 227, 8, 8, Maps(batch=8), _teacher(8), methods=("gradcam",)),
    "vgg16 gradient, batch 8": Case(
        "dump_maps", 227, 8, 8, Maps(explain="top1", batch=8), _teacher(8), methods=("gradient",)
    ),
    "vgg16 lrp, batch 8": Case("dump_maps", 227, 8, 8, Maps(explain="top1", batch=8), _teacher(8), methods=("lrp",)),
    "vgg16 rap, batch 8": Case("dump_maps", 227, 8, 8, Maps(explain="top1", batch=8), _teacher(8), methods=("rap",)),
    "vgg16 noise, batch 8": Case(
        "dump_maps", 227, 8, 8, Maps(explain="top1", batch=8, samples=2), _teacher(8), methods=("smoothgrad", "vargrad")
    ),
}


def write_images(path: Path, case: Case) -> None:
    """Write ``images.h5`` with random images, two classes and a mask for each test image."""
    rng = np.random.default_rng(0)
    names = np.array([f"class{k}" for k in range(CLASSES)], h5py.string_dtype("utf-8", 16))
    with h5py.File(path, "w") as file:
        file.attrs.update({"format": "roar-pipeline images 1", "classes": names, "unused_masks": 0})
        file.attrs.update({"mean": np.full(3, 0.5), "std": np.full(3, 0.25)})
        for split, count in (("train", case.train), ("validation", case.test), ("test", case.test)):
            group = file.create_group(split)
            ids = [f"{split}{row}".encode() for row in range(count)]
            group.create_dataset("ids", data=ids, dtype=h5py.string_dtype("utf-8", 16))
            group["images"] = rng.integers(0, 256, (count, case.size, case.size, 3), dtype=np.uint8)
            labels = np.zeros((count, CLASSES), np.uint8)
            for shift in (0, 1):
                labels[np.arange(count), (np.arange(count) + shift) % CLASSES] = 1
            group["labels"] = labels
        masks = file.create_group("masks")
        masks["rows"] = np.arange(case.test)
        masks["segmentation"] = rng.integers(0, CLASSES, (case.test, case.size, case.size), dtype=np.uint8)


def prepare(folder: Path, case: Case) -> dict[str, Any]:
    """Write the files that the stage reads, and return its arguments."""
    from roar_pipeline.evaluation.cells import Cell
    from roar_pipeline.networks import classifiers
    from roar_pipeline.networks.objective import Objective
    from roar_pipeline.removal import ranking

    write_images(folder / "images.h5", case)
    common = {"images_path": folder / "images.h5", "execution": CPU}
    if case.teacher is not None:
        classifiers.save(folder / "teacher.pt", classifiers.build(case.teacher, CLASSES), case.teacher, CLASSES, 1)
    if case.stage == "train_teacher":
        return {**common, "teacher": case.recipe, "seed": 0, "fingerprint": "0"}
    if case.stage == "distill_student":
        objective = Objective(case.loss, folder / "teacher.pt", config.Distillation())
        return {**common, "student": case.recipe, "objective": objective, "seed": 0, "fingerprint": "0"}
    if case.stage == "dump_maps":
        prints = {name: name for name in case.methods}
        return {**common, "model_path": folder / "teacher.pt", "maps": case.recipe, "fingerprints": prints}
    with h5py.File(folder / "levels.h5", "w") as file:
        for split, count in (("train", case.train), ("test", case.test)):
            group = file.create_group(split)
            group["ids"] = np.array([b"x"] * count)
            level = np.random.default_rng(1).integers(1, 101, (case.size, case.size), dtype=np.uint8)
            group["levels"] = np.broadcast_to(level, (count, case.size, case.size))
            for direction in ranking.DIRECTIONS:
                group[f"tied_shares_{direction}"], group[f"object_shares_{direction}"] = np.zeros(101), np.zeros(101)
            group["total_variation"] = np.zeros(count)
            group.attrs["empty_maps"], group.attrs["explained_as_labels"] = 0, 1.0
        file["validation"] = file["test"]
    cell = Cell(percent=30, direction="remove", recipe=case.recipe, seed=0)
    return {**common, "levels_path": folder / "levels.h5", "cell": cell, "fingerprint": "0"}


def _peak() -> float:
    """Return the largest resident size of this process in 10^6 bytes; getrusage would include its parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(status.split("VmHWM:")[1].split()[0]) * 1024 / 1e6


def measure(case: Case, folder: Path) -> dict[str, float]:
    """Run the stage in this process; return its peak in 10^6 bytes and its CPU seconds."""
    arguments = pickle.loads((folder / "arguments.pickle").read_bytes())
    run: Callable[..., Any] = getattr(stages, case.stage)
    directory: Any = folder / "result"
    if case.stage == "dump_maps":
        directory = {name: folder / f"result-{name}" for name in case.methods}
    for path in directory.values() if isinstance(directory, dict) else [directory]:
        path.mkdir()
    started = time.process_time()
    run(directory, **arguments)
    seconds = time.process_time() - started
    peak = _peak()
    return {"peak": peak, "seconds": seconds}


def _reserved(case: Case) -> float:
    """Return the memory that the scheduler would reserve, in 10^6 bytes."""
    size = Size(case.train, case.test, case.size, case.size, CLASSES, validation=case.test, masks=case.test)
    explained = _cost(case, case.teacher or case.recipe)
    if case.stage == "train_teacher":
        return memory.teacher(size, explained, case.recipe, on_gpu=False) / 1e6
    if case.stage == "retrain":
        return memory.cell(size, explained, case.recipe, on_gpu=False) / 1e6
    if case.stage == "dump_maps":
        return memory.maps(size, explained, case.recipe.batch, case.methods, on_gpu=False) / 1e6
    own = _cost(case, case.recipe, case.recipe.reduction)
    return memory.student(size, own, case.recipe, case.loss, "last_relu", explained, on_gpu=False) / 1e6


def _cost(case: Case, recipe: Any, reduction: int = 1) -> Cost:
    network = config.Network(recipe.arch, recipe.width, recipe.pool, recipe.dropout)
    return cost_of(network, CLASSES, case.size, case.size, reduction=reduction)


def main() -> None:
    """Measure the cases in turn and print a row per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", nargs="*", default=list(CASES), choices=list(CASES), metavar="NAME")
    parser.add_argument("--inside", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        name, folder = options.inside
        print(json.dumps(measure(CASES[name], Path(folder))))
        return
    for name in options.only:
        with tempfile.TemporaryDirectory() as folder:
            arguments = prepare(Path(folder), CASES[name])
            (Path(folder) / "arguments.pickle").write_bytes(pickle.dumps(arguments))
            command = [sys.executable, "-m", "benchmarks.memory", "--inside", name, folder]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        measured, reserved = json.loads(done.stdout), _reserved(CASES[name])
        print(
            f"| {name} | {measured['peak']:.0f} | {reserved:.0f} | {reserved / measured['peak']:.2f} | "
            f"{measured['seconds']:.1f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
