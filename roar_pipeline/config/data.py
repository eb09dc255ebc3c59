"""The data set: [dataset] and [scenes]."""

from dataclasses import dataclass
from typing import Literal

from roar_pipeline.config.fields import setting

__all__ = ["Dataset", "Scenes"]


@dataclass(frozen=True)
class Dataset:
    """The images: a data set of the user's, or the generated set when ``root`` is empty."""

    root: str = setting(
        "",
        "The data set's folder, e.g. VOCdevkit/VOC2012; module:function for kind = own; empty: the generated set.",
    )
    kind: Literal["auto", "voc", "folder", "cifar10", "cifar100", "own"] = setting(
        "auto",
        "The data set's kind: voc (JPEGImages, Annotations, ...), folder (train/<class>/*, test/<class>/*), cifar10 or "
        "cifar100 (torchvision's files), own (a function of your own); auto: voc, folder, cifar10 or cifar100 by what "
        "the folder holds.",
        added=True,
    )
    labels: Literal["by_kind", "one", "several"] = setting(
        "by_kind",
        "How many labels an image has, for kind = own: one or several; by_kind: several for voc, one for the others.",
        added=True,
    )
    holdout: float = setting(
        0.1,
        "The share of every class's training images that becomes the validation split where the data set has none.",
        low=0.001,
        high=0.5,
        added=True,
    )
    holdout_seed: int = setting(0, "The seed that draws them.", low=0, added=True)
    overlap: Literal["refuse", "allow"] = setting(
        "refuse", "Photographs that are, byte for byte, in two splits: refuse, or allow.", added=True
    )
    classes: tuple[str, ...] = setting(
        (),
        "The class names in the order of labels 0, 1, ... and of mask values 1, 2, ..., e.g. cat, dog; empty: "
        "VOC's twenty, the sorted names of the folders in train, or CIFAR's own. kind = own needs them.",
    )
    train_split: str = setting("train", "The training images: a list in ImageSets/Main, or for kind = folder a folder.")
    validation_split: str = setting(
        "val",
        "The list or folder for validation curves, tuned thresholds and checkpoint = best. kind = folder: val also "
        "means a folder validation; if neither is there, or with nothing, a share of train is held out.",
    )
    test_split: str = setting("test", "The list or folder that every reported score is measured on.")
    segmentation_split: str = setting(
        "test",
        "The list in ImageSets/Segmentation that localization is measured on; for kind = own, any name: the masks "
        "of the test items; empty: no localization.",
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
