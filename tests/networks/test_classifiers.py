"""Build, save and load, of every architecture."""

from pathlib import Path

import pytest
import torch

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import classifiers

SMALL = Network(width=4)
SIZED = [SMALL, Network(arch="resnet20", width=4)]
ALL = [*SIZED, Network(arch="squeezenet1_1")]


@pytest.mark.parametrize("network", ALL, ids=lambda network: str(network.arch))
def test_save_and_load(tmp_path: Path, network: Network) -> None:
    reduction = 2 if network in SIZED else 1
    model = classifiers.build(network, 5, reduction=reduction, seed=3).eval()
    classifiers.save(tmp_path / "model.pt", model, network, 5, reduction=reduction)
    images = torch.randn(2, 3, 32, 32)
    loaded = classifiers.load(tmp_path / "model.pt")
    assert torch.equal(loaded(images), model(images))
    assert not loaded.training
    content = (tmp_path / "model.pt").read_bytes()
    classifiers.save(tmp_path / "model.pt", loaded, network, 5, reduction=reduction)
    assert (tmp_path / "model.pt").read_bytes() == content


@pytest.mark.parametrize("content", [b"", b"not a model"])
def test_load_refuses_a_foreign_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match="does not hold a model of this project"):
        classifiers.load(tmp_path / "model.pt")


@pytest.mark.parametrize("network", ALL, ids=lambda network: str(network.arch))
def test_weights_depend_on_the_seed_alone(network: Network) -> None:
    torch.manual_seed(1)
    first = classifiers.build(network, 5, seed=7).state_dict()
    state = torch.get_rng_state()
    again, other = (classifiers.build(network, 5, seed=seed).state_dict() for seed in (7, 8))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize("network", SIZED, ids=lambda network: str(network.arch))
def test_a_reduction_that_does_not_divide_the_width(network: Network) -> None:
    with pytest.raises(InputError, match="reduction 3 does not divide the width 4"):
        classifiers.build(network, 5, reduction=3)
