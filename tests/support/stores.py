"""A small file of maps whose every row follows from its group and number alone, and the splits that it belongs to."""

import hashlib

import numpy as np

from roar_pipeline.attribution.map_store import image_group, pair_group
from roar_pipeline.cache.resumable import dump
from roar_pipeline.datasets.images import Split

HEIGHT, WIDTH, CLASSES, BATCH = 9, 11, 3, 4
TRAIN, TEST = [f"train {n}" for n in range(14)], ["a", "Größe", "2007_000033", "b", "c"]
PAIR_ROWS, PAIR_CLASSES = np.array([4, 0, 2, 2, 1, 1]), np.array([0, 1, 0, 2, 1, 2])


def groups(train=TRAIN, pairs=6):
    size = CLASSES, HEIGHT, WIDTH
    return {
        "train": image_group(train, *size),
        "test": image_group(TEST, *size),
        "localization": pair_group(PAIR_ROWS[:pairs], PAIR_CLASSES[:pairs], HEIGHT, WIDTH),
    }


def row(group, n):
    """The columns of one row, from its group and number alone; every third map has no positive value."""
    rng = np.random.default_rng([sum(group.encode()), n])
    map_ = np.maximum(rng.normal(size=(HEIGHT, WIDTH)), 0) * (n % 3 > 0)
    if group == "localization":
        return {"maps": map_, "scores": rng.normal()}
    return {"maps": map_, "explained": rng.integers(0, 2, CLASSES), "scores": rng.normal(size=CLASSES)}


def compute(group, rows):
    each = [row(group, n) for n in range(rows.start, rows.stop)]
    dtypes = {"maps": np.float32, "explained": np.uint8, "scores": np.float32}
    return {name: np.array([r[name] for r in each], dtypes[name]) for name in each[0]}


def dump_some(directory, function=compute, fingerprint="f" * 64, batch=BATCH, **changes):
    given = groups(**changes)
    dump(directory / "maps.h5", fingerprint, given, batch, function, {"method": "gradcam", "explain": "top1"})
    return directory / "maps.h5"


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def split_of(ids, segmentation=None, rows=()):
    """A split whose labels are the explained classes of ``row`` for every second image."""
    labels = np.array([row("train" if ids is TRAIN else "test", n)["explained"] for n in range(len(ids))], np.uint8)
    labels[1::2] = 1 - labels[1::2]
    masks = np.zeros((0, HEIGHT, WIDTH), np.uint8) if segmentation is None else segmentation
    return Split(ids, np.zeros((0, HEIGHT, WIDTH, 3), np.uint8), labels, masks, np.array(rows, np.int64))


def splits(*masks, train=TRAIN, test=TEST):
    """Train and test, and the test split as the validation split as well."""
    tested = split_of(test, *masks)
    return {"train": split_of(train), "test": tested, "validation": tested}


def some_masks():
    segmentation = np.random.default_rng(0).choice(np.array([0, 1, 2, 255], np.uint8), (2, HEIGHT, WIDTH))
    return segmentation, np.array([4, 1])
