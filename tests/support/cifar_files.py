"""CIFAR's files, made small: byte for byte what Python 2 and its NumPy wrote, as the published ones are."""

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

NAMES = ("airplane", "automobile", "bird")


def write_cifar10(root: Path, train: int = 4, test: int = 3, seed: int = 0) -> Path:
    """Write five training files of ``train`` images and a test file, of three classes in turn."""
    rng = np.random.default_rng(seed)
    folder = root / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = {f"data_batch_{number}": train for number in range(1, 6)} | {"test_batch": test}
    for start, (name, count) in enumerate(names.items()):
        write_batch(
            folder / name, rng.integers(0, 256, (count, 3072), np.uint8), [(start + i) % 3 for i in range(count)]
        )
    (folder / "batches.meta").write_bytes(_pickle({"label_names": [_text(name) for name in NAMES]}))
    return folder


def write_cifar100(root: Path, train: int = 12, test: int = 6) -> Path:
    """Write a training and a test file, with labels of both kinds."""
    rng = np.random.default_rng(1)
    folder = root / "cifar-100-python"
    folder.mkdir(parents=True)
    for name, count in (("train", train), ("test", test)):
        labels, coarse = [i % 3 for i in range(count)], [0] * count
        pixels = rng.integers(0, 256, (count, 3072), np.uint8)
        content = {"coarse_labels": _numbers(coarse), "fine_labels": _numbers(labels), "data": _array(pixels)}
        (folder / name).write_bytes(_pickle(content))
    content = {"fine_label_names": [_text(name) for name in NAMES], "coarse_label_names": [_text("thing")]}
    (folder / "meta").write_bytes(_pickle(content))
    return folder


def write_batch(path: Path, pixels: npt.NDArray[np.uint8], labels: Sequence[int]) -> None:
    """Write a file of images (n, 3072), planes of red, green and blue, and their labels."""
    path.write_bytes(_pickle({"batch_label": _text("a batch"), "labels": _numbers(labels), "data": _array(pixels)}))


def _pickle(content: dict[str, bytes | list[bytes]]) -> bytes:
    """Write a dictionary in protocol 2; values are opcodes already."""
    items = b"".join(
        _text(key) + (b"](" + b"".join(value) + b"e" if isinstance(value, list) else value)
        for key, value in content.items()
    )
    return b"\x80\x02}(" + items + b"u."


def _text(text: str) -> bytes:
    return b"U" + bytes([len(text)]) + text.encode("ascii")


def _numbers(values: Sequence[int]) -> bytes:
    return b"](" + b"".join(b"J" + struct.pack("<i", value) for value in values) + b"e"


def _array(values: npt.NDArray[np.uint8]) -> bytes:
    """Write an array as Python 2 did: its bytes as text, and 0 and 1 for the booleans of the dtype."""
    content = values.tobytes()
    empty = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\n" + b"K\x00\x85" + _text("b") + b"\x87R"
    dtype = b"cnumpy\ndtype\n" + _text("u1") + b"K\x00K\x01\x87R(K\x03" + _text("|") + b"NNN" + 2 * b"J\xff\xff\xff\xff"
    shape = b"".join(b"J" + struct.pack("<i", side) for side in values.shape) + b"\x86"
    text = b"T" + struct.pack("<i", len(content)) + content
    return empty + b"(K\x01" + shape + dtype + b"K\x00tb" + b"\x89" + text + b"tb"
