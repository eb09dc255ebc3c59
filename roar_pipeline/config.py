"""The settings: one frozen dataclass per section of ``luigi.cfg``, with defaults, units and checks.

Every field is part of the identity of the stages that read its section, but for those of ``Execution``,
``Grid`` and ``Paths``, which decide where, how and how much is computed and never what comes out.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from roar_pipeline.methods import check_method
from roar_pipeline.models import check_model

__all__ = [
    "Dataset",
    "Distillation",
    "Execution",
    "Grid",
    "Maps",
    "Metrics",
    "Network",
    "Removal",
    "Report",
    "Retrain",
    "Scenes",
    "Settings",
    "Student",
    "Teacher",
    "Training",
    "setting",
]

Arch = Literal["vgg11_small", "vgg11_bn", "vgg16_bn"]
Layer = Literal["last_relu", "last_pool"]


def setting(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    check: Callable[[str], None] | None = None,
    required: bool = False,
) -> Any:
    """Declare a field of a section: its default, and what it is, with its unit.

    ``low`` and ``high`` are inclusive, and ``check`` raises InputError; of a list, all three are about every item. A
    list that is ``required`` needs at least one.
    """
    rules = {"low": low, "high": high, "check": check, "required": required}
    return field(default=default, metadata={"text": text, **rules})


@dataclass(frozen=True)
class Paths:
    """Where everything is kept."""

    data: str = setting("data", "folder of data sets and of runs/, the cache")


@dataclass(frozen=True)
class Dataset:
    """The images: a folder in VOC layout, or the generated set when ``root`` is empty."""

    root: str = setting("", "folder in VOC layout (holds JPEGImages, Annotations, ...); empty: the generated set")
    classes: tuple[str, ...] = setting((), "class names in mask order, from index 1; empty: VOC's twenty")
    train_split: str = setting("train", "ImageSets/Main list to train on")
    validation_split: str = setting("val", "ImageSets/Main list for validation curves and checkpoint = best")
    test_split: str = setting("test", "ImageSets/Main list that every reported number is measured on")
    segmentation_split: str = setting("test", "ImageSets/Segmentation list used for localization; empty: none")
    height: int = setting(32, "pixels after the plain resize", low=8)
    width: int = setting(32, "pixels after the plain resize", low=8)
    train_side: int = setting(
        0,
        "shorter side, in pixels, at which training photographs are kept as well, for augment = resized_crop; 0: not",
        low=0,
    )
    mean: tuple[float, ...] = setting((), "channel means in 0..1; empty: measured on the training split", low=0, high=1)
    std: tuple[float, ...] = setting((), "channel standard deviations in 0..1; empty: measured likewise", low=0, high=1)


@dataclass(frozen=True)
class Scenes:
    """The generated default set."""

    seed: int = setting(0, "of the generator", low=0)
    train: int = setting(1500, "images", low=1)
    validation: int = setting(400, "images", low=1)
    test: int = setting(800, "images", low=1)
    size: int = setting(32, "pixels, height and width", low=16)


_EPOCHS = "passes over the training split"
_BATCH = "images per step"
_LR = "learning rate (one_cycle: its peak)"
_WEIGHT_DECAY = "of the optimizer"
_DROPOUT = "probability"


@dataclass(frozen=True)
class Network:
    """A classifier: convolutional blocks, average pooling to ``pool`` x ``pool`` cells, dropout, one Linear."""

    arch: Arch = setting("vgg11_small", "vgg11_small (VGG-11 without its fifth block), vgg11_bn or vgg16_bn")
    width: int = setting(16, "channels of the first convolution before reduction (torchvision: 64)", low=1)
    pool: int = setting(1, "cells per side that features are averaged to before the Linear layer", low=1)
    dropout: float = setting(0.2, _DROPOUT, low=0, high=0.99)


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int = setting(12, _EPOCHS, low=0)
    batch: int = setting(16, _BATCH, low=1)
    remainder: Literal["drop", "keep"] = setting(
        "drop", "an epoch's images that fill no batch: drop (others at every epoch), or keep as a smaller batch"
    )
    optimizer: Literal["adamw", "sgd"] = setting("adamw", "adamw or sgd")
    lr: float = setting(0.01, _LR, low=0)
    weight_decay: float = setting(0.02, _WEIGHT_DECAY, low=0)
    momentum: float = setting(0.9, "of sgd; adamw ignores it", low=0, high=1)
    schedule: Literal["one_cycle", "steps", "constant"] = setting("one_cycle", "one_cycle, steps or constant")
    milestones: tuple[int, ...] = setting((), "epochs at which steps multiplies the rate by gamma, in order", low=1)
    gamma: float = setting(0.1, "factor of steps", low=0)
    augment: Literal["none", "flip", "padded_crop", "resized_crop"] = setting(
        "none",
        "none, flip, padded_crop (and flip) or resized_crop (and flip; out of the photographs that [dataset] "
        "train_side keeps, else out of the images, already resized to height x width)",
    )
    checkpoint: Literal["last", "best"] = setting(
        "last", "last epoch, or best validation map_samples (validated after every epoch)"
    )
    precision: Literal["float32", "bfloat16"] = setting("float32", "float32, or autocast to bfloat16")


@dataclass(frozen=True)
class Teacher(Training, Network):
    """The network to explain and to compress."""

    weights: Literal["none", "imagenet"] = setting("none", "imagenet: start from torchvision's weights")


@dataclass(frozen=True)
class Student(Training, Network):
    """A network with every width divided by ``reduction``, trained from scratch."""

    reduction: int = setting(4, "divisor of every width", low=1)
    epochs: int = setting(26, _EPOCHS, low=0)
    batch: int = setting(32, _BATCH, low=1)
    lr: float = setting(0.02, _LR, low=0)
    dropout: float = setting(0.0, _DROPOUT, low=0, high=0.99)


@dataclass(frozen=True)
class Distillation:
    """The losses of Park et al. 2020."""

    alpha: float = setting(0.9, "share of the distillation term", low=0, high=1)
    temperature: float = setting(4.0, "of the sigmoids", low=1e-6)
    weight: float = setting(4.0, "of the map matching term", low=0)
    layer: Layer = setting("last_relu", "maps are matched at last_relu (before the last pool) or last_pool")
    drop: float = setting(0.3, "share of teacher channels that sswa drops per batch", low=0, high=0.99)


@dataclass(frozen=True)
class Maps:
    """Attribution maps."""

    explain: Literal["predicted", "top1", "labels"] = setting(
        "predicted", "classes explained: predicted, top1 or labels (leaks the label into the test images)"
    )
    layer: str = setting(
        "last_relu", "of Grad-CAM and EBP: last_relu or last_pool; Grad-CAM also takes a module's path"
    )
    steps: int = setting(25, "of integrated gradients, also of each noisy copy", low=1)
    baseline: Literal["black", "mean"] = setting("black", "where integrated gradients starts: black, or mean color")
    samples: int = setting(
        15, "of the SmoothGrad families; with 15 another noise seed changes 29 % of smoothgrad's top tenth", low=1
    )
    spread: float = setting(0.15, "of their noise, in units of an image's own range", low=0)
    noise_seed: int = setting(0, "of their noise", low=0)
    batch: int = setting(64, "images, and pairs of image and class, at a time: at most", low=1)
    memory_mb: int = setting(4000, "10^6 bytes that these may take by estimate; batch is lowered to it", low=1)


@dataclass(frozen=True)
class Removal:
    """Which pixels go and what takes their place."""

    fill: Literal["mean"] = setting("mean", "mean: the training split's channel means")
    tie_seed: int = setting(0, "of the order of tied pixels and of the random control", low=0)


@dataclass(frozen=True)
class Retrain(Training, Network):
    """The network that is trained from scratch on images with pixels removed (Hooker et al. 2019)."""

    width: int = setting(8, "channels of the first convolution", low=1)
    epochs: int = setting(40, _EPOCHS, low=0)
    batch: int = setting(64, _BATCH, low=1)
    lr: float = setting(0.04, _LR, low=0)
    weight_decay: float = setting(0.1, _WEIGHT_DECAY, low=0)
    dropout: float = setting(0.0, _DROPOUT, low=0, high=0.99)
    save_model: bool = setting(False, "keep model.pt beside metrics.json")


@dataclass(frozen=True)
class Metrics:
    """How predictions and maps are scored."""

    f1_threshold: float = setting(0.5, "probability from which a class counts as predicted", low=0, high=1)
    void: Literal["ignore", "background"] = setting("ignore", "pixels marked 255: ignore, or background")


@dataclass(frozen=True)
class Grid:
    """What the report covers."""

    models: tuple[str, ...] = setting(
        ("teacher", "naive_kd", "ewa", "swa", "sswa"),
        "teacher, or a loss, or loss/reduction such as sswa/8",
        check=check_model,
        required=True,
    )
    methods: tuple[str, ...] = setting(
        ("gradcam", "center", "sobel"),
        "attribution methods and controls; random is always among them",
        check=check_method,
        required=True,
    )
    shuffled: tuple[str, ...] = setting(
        ("teacher",),
        "models whose maps every method also gives to other images, as a control; or none",
        check=check_model,
    )
    percents: tuple[int, ...] = setting((30, 50), "percentages removed", low=1, high=99, required=True)
    probe_percents: tuple[int, ...] = setting(
        (50,), "of percents: at which a network is also trained on the masks alone; or none", low=1, high=99
    )
    longer_percents: tuple[int, ...] = setting(
        (50,),
        "of percents: at which the first model's cells, random's and center's are also trained twice as long; or none",
        low=1,
        high=99,
    )
    directions: tuple[Literal["remove", "keep"], ...] = setting(
        ("remove",), "remove (ROAR) and/or keep (KAR)", required=True
    )
    seeds: tuple[int, ...] = setting((0,), "of the retrained networks", low=0, required=True)
    model_seeds: tuple[int, ...] = setting(
        (),
        "of teachers and students, each crossed with every seed; empty: paired, seed s explains models of seed s",
        low=0,
    )


@dataclass(frozen=True)
class Report:
    """What the report shows."""

    examples: int = setting(4, "images shown with their maps", low=0)
    bootstrap: int = setting(1000, "resamples of the test images, for the 95 % intervals; 0: none", low=0)
    par_margin: float = setting(
        5.0, "percentage points of the mean over a curve within which two models are on par", low=0.1
    )


@dataclass(frozen=True)
class Execution:
    """How work is run; never part of an identity."""

    engine: Literal["local"] = setting("local", "local: in this machine's worker processes")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "auto: the GPU where there is one")
    threads: int = setting(1, "CPU threads per worker process", low=1, high=4096)
    retries: int = setting(2, "times that a stage is tried again after what may pass: a killed process, ...", low=0)
    page_port: int = setting(8083, "of the results' page on 127.0.0.1, beside luigid", low=1, high=65535)
    methods_per_process: int = setting(20, "methods of one model that share one pass over the images", low=1)


@dataclass(frozen=True)
class Settings:
    """All sections."""

    paths: Paths = Paths()
    dataset: Dataset = Dataset()
    scenes: Scenes = Scenes()
    teacher: Teacher = Teacher()
    student: Student = Student()
    distillation: Distillation = Distillation()
    maps: Maps = Maps()
    removal: Removal = Removal()
    retrain: Retrain = Retrain()
    metrics: Metrics = Metrics()
    grid: Grid = Grid()
    report: Report = Report()
    execution: Execution = Execution()
