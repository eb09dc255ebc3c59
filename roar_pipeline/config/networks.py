"""The networks and how they are trained: [teacher], [student], [distillation] and [retrain]."""

from dataclasses import dataclass
from typing import Literal

from roar_pipeline.architectures import check_arch
from roar_pipeline.config.fields import setting

__all__ = ["Distillation", "Network", "Retrain", "Student", "Teacher", "Training"]

_EPOCHS = "The number of passes over the training split."
_BATCH = "The number of images per training step."
_LR = "The learning rate; with schedule = one_cycle, its peak."
_WEIGHT_DECAY = "The optimizer's weight decay."
_DROPOUT = "The probability that dropout before a VGG's Linear layer zeroes a feature."


@dataclass(frozen=True)
class Network:
    """A classifier of images."""

    arch: str = setting(
        "vgg11_small",
        "The architecture: vgg11_small (VGG-11 without its fifth block), vgg11_bn or vgg16_bn; resnet20, resnet32, "
        "resnet44, resnet56 or resnet110 (CIFAR's); a classifier of torchvision, e.g. resnet50; or "
        "module:function(classes) of your own.",
        check=check_arch,
    )
    width: int = setting(
        16,
        "The channels of the first convolution, before reduction; torchvision's VGG has 64, CIFAR's ResNets 16. Other "
        "architectures have their own.",
        low=1,
    )
    pool: int = setting(1, "A VGG's features are averaged to pool x pool cells before its Linear layer.", low=1)
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
        "last",
        "The epoch whose weights are kept: last, or best by validation map_samples (with one label per image: "
        "accuracy).",
    )
    precision: Literal["float32", "bfloat16"] = setting(
        "float32", "The precision of training: float32, or bfloat16 by autocast."
    )


@dataclass(frozen=True)
class Teacher(Training, Network):
    """The network to explain and to compress."""

    weights: str = setting(
        "none",
        "The initial weights: none (random), imagenet (torchvision's), or the file of a finished teacher's weights, "
        "which is then not trained.",
    )

    @property
    def is_finished(self) -> bool:
        """Whether the weights are a file, of a teacher that is not trained."""
        return self.weights not in ("none", "imagenet")


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
    temperature: float = setting(
        4.0, "The temperature of the sigmoids; with one label per image of the softmax.", low=1e-6
    )
    weight: float = setting(4.0, "The weight of the term that matches attribution maps.", low=0)
    layer: str = setting(
        "last_relu",
        "The layer of the matched maps: last_relu (before the last pooling), last_pool (a VGG's last max-pool), or a "
        "module's path, e.g. layer3.",
    )
    student_layer: str = setting("", "The student's layer, if its path is another; empty: the same.", added=True)
    drop: float = setting(0.3, "The share of the teacher's channels that sswa drops per batch.", low=0, high=0.99)


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
