"""A finished teacher's weights: read without executing anything."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import classifiers, finished

RESNET = Network(arch="resnet20", width=4)


def state_of(seed: int, network: Network = RESNET, classes: int = 5) -> dict[str, Tensor]:
    return classifiers.build(network, classes, seed=seed).state_dict()


def public(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names of public CIFAR ResNets trained by ``DataParallel``."""
    return {f"module.{name.replace('fc.', 'linear.')}": value for name, value in state.items()}


SHAPES: dict[str, Any] = {
    "state_dict": lambda state: state,
    "beside other things": lambda state: {"epoch": 3, "state_dict": state, "best": 0.9},
    "model": lambda state: {"model": state},
    "net": lambda state: {"net": state, "acc": 91.0},
    "public": lambda state: {"state_dict": public(state), "best_prec1": 91.7},
    "without counters": lambda state: {n: v for n, v in state.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_weights_are_found_and_loaded(tmp_path: Path, shape: str) -> None:
    source = state_of(1)
    torch.save(SHAPES[shape](source), tmp_path / "weights.pth")
    model = classifiers.build(RESNET, 5, seed=2)
    finished.load_weights(model, "resnet20", tmp_path / "weights.pth")
    assert all(torch.equal(value, source[name]) for name, value in model.state_dict().items())


def test_a_model_of_this_project_is_a_finished_teacher_too(tmp_path: Path) -> None:
    source = classifiers.build(RESNET, 5, seed=1)
    classifiers.save(tmp_path / "model.pt", source, RESNET, 5, 1)
    assert set(finished.read_state(tmp_path / "model.pt")) == set(source.state_dict())


@pytest.mark.parametrize(
    ("network", "classes", "difference"),
    [
        (Network(arch="resnet32", width=4), 5, r"it has unknown \d+: layer1\.3\."),
        (Network(arch="vgg11_small", width=4), 5, r"it lacks \d+: conv1\.weight, .*it has unknown"),
        (Network(arch="resnet20", width=8), 5, r"it has other shapes \d+: conv1\.weight \(8, 3, 3, 3\) instead of"),
        (RESNET, 7, r"it has other shapes 2: fc\.weight \(7, 16\) instead of \(5, 16\)"),
    ],
)
def test_weights_of_another_architecture(tmp_path: Path, network: Network, classes: int, difference: str) -> None:
    torch.save(state_of(1, network, classes), tmp_path / "weights.pth")
    with pytest.raises(InputError, match=rf"are not those of resnet20 with.*{difference}"):
        finished.load_weights(classifiers.build(RESNET, 5), "resnet20", tmp_path / "weights.pth")


class Malicious:
    """Unpickling it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("inside", [False, True])
def test_pickled_code_is_not_executed(tmp_path: Path, inside: bool) -> None:
    code = Malicious(tmp_path / "executed")
    torch.save({"state_dict": state_of(1), "args": code} if inside else code, tmp_path / "weights.pth")
    with pytest.raises(InputError, match=r"holds pickled code.*not executed.*torch\.save\(.*\.state_dict\(\)"):
        finished.read_state(tmp_path / "weights.pth")
    assert not (tmp_path / "executed").exists()
    torch.load(tmp_path / "weights.pth", weights_only=False)
    assert (tmp_path / "executed").exists(), "the file is harmless, so the test shows nothing"


def test_a_whole_model_is_refused_with_the_conversion(tmp_path: Path) -> None:
    torch.save(classifiers.build(RESNET, 5), tmp_path / "weights.pth")
    with pytest.raises(InputError, match="holds pickled code"):
        finished.read_state(tmp_path / "weights.pth")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is no checkpoint that torch reads"),
        (b"not a checkpoint", "is no checkpoint that torch reads"),
        ({"epoch": 3, "loss": 0.1}, "holds no weights but a dictionary of epoch, loss"),
        ([1, 2], "holds no weights"),
        ({**state_of(1), "fc.bias": torch.full((5,), float("nan"))}, r"not finite, in fc\.bias"),
    ],
)
def test_files_that_are_no_weights(tmp_path: Path, content: Any, message: str) -> None:
    path = tmp_path / "weights.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        torch.save(content, path)
    with pytest.raises(InputError, match=rf"weights = {re.escape(str(path))}.*{message}"):
        finished.load_weights(classifiers.build(RESNET, 5), "resnet20", path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such file"):
        finished.load_weights(nn.Linear(1, 1), "resnet20", tmp_path / "nothing.pth")
