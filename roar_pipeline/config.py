"""The settings: one frozen dataclass per section of ``luigi.cfg``, with defaults, units and checks.

A field is part of the identity of every stage that reads its section. The fields of ``Execution``, ``Grid`` and
``Paths`` are not: they decide where, how and how much is computed, never the value of a result.
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
    """Declare a field of a section: its default, and a sentence for ``--help`` that names its unit.

    ``low`` and ``high`` are inclusive bounds, and ``check`` raises InputError; for a list, all three apply to every
    item. A ``required`` list needs at least one item.
    """
    rules = {"low": low, "high": high, "check": check, "required": required}
    return field(default=default, metadata={"text": text, **rules})


@dataclass(frozen=True)
class Paths:
    """Where data sets and results are stored."""

    data: str = setting("data", "The folder of the data sets and of runs/, the cache of results.")


@dataclass(frozen=True)
class Dataset:
    """The images: a folder in VOC layout, or the generated set when ``root`` is empty."""

    root: str = setting(
        "", "A folder in VOC layout (JPEGImages, Annotations, ...), e.g. VOCdevkit/VOC2012; empty: the generated set."
    )
    classes: tuple[str, ...] = setting(
        (), "The class names in the order of the mask values 1, 2, ..., e.g. cat, dog; empty: VOC's twenty."
    )
    train_split: str = setting("train", "The list in ImageSets/Main of the training images.")
    validation_split: str = setting(
        "val", "The list in ImageSets/Main for validation curves, tuned thresholds and checkpoint = best."
    )
    test_split: str = setting("test", "The list in ImageSets/Main that every reported score is measured on.")
    segmentation_split: str = setting(
        "test", "The list in ImageSets/Segmentation that localization is measured on; empty: no localization."
    )
    height: int = setting(32, "The height in pixels that images are resized to.", low=8)
    width: int = setting(32, "The width in pixels that images are resized to.", low=8)
    train_side: int = setting(
        0,
        "The shorter side in pixels of the photographs stored for augment = resized_crop; 0: none are stored.",
        low=0,
    )
    mean: tuple[float, ...] = setting(
        (), "The channel means in 0..1, e.g. 0.485, 0.456, 0.406; empty: those of the training split.", low=0, high=1
    )
    std: tuple[float, ...] = setting(
        (), "The channel standard deviations in 0..1; empty: those of the training split.", low=0, high=1
    )


@dataclass(frozen=True)
class Scenes:
    """The generated default set."""

    seed: int = setting(0, "The seed of the generator.", low=0)
    train: int = setting(1500, "The number of training images.", low=1)
    validation: int = setting(400, "The number of validation images.", low=1)
    test: int = setting(800, "The number of test images.", low=1)
    size: int = setting(32, "The height and width of an image in pixels.", low=16)


_EPOCHS = "The number of passes over the training split."
_BATCH = "The number of images per training step."
_LR = "The learning rate; with schedule = one_cycle, its peak."
_WEIGHT_DECAY = "The optimizer's weight decay."
_DROPOUT = "The probability that dropout before the Linear layer zeroes a feature."


@dataclass(frozen=True)
class Network:
    """A classifier: convolutional blocks, average pooling to ``pool`` x ``pool`` cells, dropout, one Linear."""

    arch: Arch = setting(
        "vgg11_small", "The architecture: vgg11_small (VGG-11 without its fifth block), vgg11_bn or vgg16_bn."
    )
    width: int = setting(
        16, "The channels of the first convolution, before reduction; torchvision's VGG has 64.", low=1
    )
    pool: int = setting(1, "Features are averaged to pool x pool cells before the Linear layer.", low=1)
    dropout: float = setting(0.2, _DROPOUT, low=0, high=0.99)


@dataclass(frozen=True)
class Training:
    """How a network is trained."""

    epochs: int = setting(12, _EPOCHS, low=0)
    batch: int = setting(16, _BATCH, low=1)
    remainder: Literal["drop", "keep"] = setting(
        "drop", "Images that fill no batch: drop (others every epoch), or keep as a smaller batch."
    )
    optimizer: Literal["adamw", "sgd"] = setting("adamw", "The optimizer: adamw or sgd.")
    lr: float = setting(0.01, _LR, low=0)
    weight_decay: float = setting(0.02, _WEIGHT_DECAY, low=0)
    momentum: float = setting(0.9, "The momentum of sgd; adamw ignores it.", low=0, high=1)
    schedule: Literal["one_cycle", "steps", "constant"] = setting(
        "one_cycle", "The learning rate's schedule: one_cycle, steps or constant."
    )
    milestones: tuple[int, ...] = setting(
        (), "The epochs at which schedule = steps multiplies the learning rate by gamma, ascending, e.g. 10, 20.", low=1
    )
    gamma: float = setting(0.1, "The factor of the learning rate at a milestone of schedule = steps.", low=0)
    augment: Literal["none", "flip", "padded_crop", "resized_crop"] = setting(
        "none",
        "The augmentation of training images: none, flip, padded_crop (and flip) or resized_crop (and flip). "
        "resized_crop crops the photographs that [dataset] train_side stores, else the images already resized to "
        "height x width.",
    )
    checkpoint: Literal["last", "best"] = setting(
        "last", "The epoch whose weights are kept: last, or best by validation map_samples."
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "The precision of training: float32, or bfloat16 by autocast."
    )


@dataclass(frozen=True)
class Teacher(Training, Network):
    """The network to explain and to compress."""

    weights: Literal["none", "imagenet"] = setting(
        "none", "The initial weights: none (random), or imagenet (torchvision's; for vgg11_bn and vgg16_bn)."
    )


@dataclass(frozen=True)
class Student(Training, Network):
    """A network with every width divided by ``reduction``, trained from scratch."""

    reduction: int = setting(4, "The divisor of every layer's width, e.g. 4 leaves a quarter of the channels.", low=1)
    epochs: int = setting(26, _EPOCHS, low=0)
    batch: int = setting(32, _BATCH, low=1)
    lr: float = setting(0.02, _LR, low=0)
    dropout: float = setting(0.0, _DROPOUT, low=0, high=0.99)


@dataclass(frozen=True)
class Distillation:
    """The losses of Park et al. 2020."""

    alpha: float = setting(0.9, "The weight of the distillation term; the labels' term has 1 - alpha.", low=0, high=1)
    temperature: float = setting(4.0, "The temperature of the sigmoids.", low=1e-6)
    weight: float = setting(4.0, "The weight of the term that matches attribution maps.", low=0)
    layer: Layer = setting("last_relu", "The layer of the matched maps: last_relu (before the last pool) or last_pool.")
    drop: float = setting(0.3, "The share of the teacher's channels that sswa drops per batch.", low=0, high=0.99)


@dataclass(frozen=True)
class Maps:
    """Attribution maps."""

    explain: Literal["predicted", "top1", "labels"] = setting(
        "predicted", "The explained classes: predicted, top1 or labels (which leaks the label into the test images)."
    )
    layer: str = setting(
        "last_relu",
        "The layer of Grad-CAM and EBP: last_relu or last_pool; Grad-CAM also takes a module's path, e.g. features.8.",
    )
    steps: int = setting(25, "The number of steps of integrated gradients, for an image or a noisy copy of it.", low=1)
    baseline: Literal["black", "mean"] = setting(
        "black", "The start of integrated gradients: black, or mean, the mean color."
    )
    samples: int = setting(
        15,
        "The noisy copies of an image in SmoothGrad methods; with 15, another noise_seed changes 29 % of smoothgrad's "
        "top tenth of pixels.",
        low=1,
    )
    spread: float = setting(0.15, "The standard deviation of that noise, as a share of an image's own range.", low=0)
    noise_seed: int = setting(0, "The seed of that noise.", low=0)
    batch: int = setting(64, "The most images, and pairs of image and class, in one pass.", low=1)
    memory_mb: int = setting(4000, "The estimated memory of a pass in 10^6 bytes, above which batch is lowered.", low=1)


@dataclass(frozen=True)
class Removal:
    """Which pixels are removed, and what replaces them."""

    fill: Literal["mean"] = setting("mean", "The color of removed pixels: mean, the training split's channel means.")
    tie_seed: int = setting(0, "The seed of the order of tied pixels, and of the random control.", low=0)


@dataclass(frozen=True)
class Retrain(Training, Network):
    """The network that is trained from scratch on images with pixels removed (Hooker et al. 2019)."""

    width: int = setting(8, "The channels of the first convolution.", low=1)
    epochs: int = setting(40, _EPOCHS, low=0)
    batch: int = setting(64, _BATCH, low=1)
    lr: float = setting(0.04, _LR, low=0)
    weight_decay: float = setting(0.1, _WEIGHT_DECAY, low=0)
    dropout: float = setting(0.0, _DROPOUT, low=0, high=0.99)
    save_model: bool = setting(False, "Whether a cell also stores its network, model.pt.")


@dataclass(frozen=True)
class Metrics:
    """How predictions and maps are scored."""

    f1_threshold: float = setting(0.5, "The probability from which F1 counts a class as predicted.", low=0, high=1)
    void: Literal["ignore", "background"] = setting("ignore", "Pixels of value 255 in a mask: ignore, or background.")


@dataclass(frozen=True)
class Grid:
    """What the report covers."""

    models: tuple[str, ...] = setting(
        ("teacher", "naive_kd", "ewa", "swa", "sswa"),
        "The explained models: teacher, a student's loss, or loss/reduction, e.g. teacher, sswa, sswa/8.",
        check=check_model,
        required=True,
    )
    methods: tuple[str, ...] = setting(
        ("gradcam", "center", "sobel"),
        "The attribution methods and controls, e.g. gradcam, sobel; random is always added.",
        check=check_method,
        required=True,
    )
    shuffled: tuple[str, ...] = setting(
        ("teacher",),
        "The models whose maps are also given to other images, as a control of every method; or none.",
        check=check_model,
    )
    percents: tuple[int, ...] = setting(
        (30, 50), "The percentages of pixels that are removed, or kept.", low=1, high=99, required=True
    )
    probe_percents: tuple[int, ...] = setting(
        (50,), "Those percents at which a network is also trained on the masks alone; or none.", low=1, high=99
    )
    longer_percents: tuple[int, ...] = setting(
        (50,),
        "Those percents at which the cells of the first model, of random and of center are also trained twice as long; "
        "or none.",
        low=1,
        high=99,
    )
    directions: tuple[Literal["remove", "keep"], ...] = setting(
        ("remove",), "The directions: remove (ROAR), keep (KAR), or remove, keep.", required=True
    )
    seeds: tuple[int, ...] = setting((0,), "The seeds of the retrained networks, e.g. 0, 1, 2.", low=0, required=True)
    model_seeds: tuple[int, ...] = setting(
        (),
        "The seeds of teachers and students, crossed with all seeds; empty: seed s explains the models of seed s.",
        low=0,
    )


@dataclass(frozen=True)
class Report:
    """What the report shows."""

    examples: int = setting(4, "The number of example images with their maps.", low=0)
    bootstrap: int = setting(1000, "The resamples of the test images for 95 % intervals; 0: no intervals.", low=0)
    par_margin: float = setting(
        5.0, "Two models are on par if their means over a curve differ by less than these percentage points.", low=0.1
    )


@dataclass(frozen=True)
class Execution:
    """How stages run; never part of an identity."""

    engine: Literal["local"] = setting("local", "Where stages run: local, in worker processes of this machine.")
    device: Literal["auto", "cpu", "cuda"] = setting("auto", "The device: auto (the GPU if there is one), cpu or cuda.")
    threads: int = setting(1, "The CPU threads of a worker process.", low=1, high=4096)
    retries: int = setting(2, "The retries of a stage after a transient error, such as a killed process.", low=0)
    page_port: int = setting(8083, "The port of the results' page on 127.0.0.1; luigid has its own.", low=1, high=65535)
    methods_per_process: int = setting(20, "The most methods of one model that share a pass over the images.", low=1)


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
