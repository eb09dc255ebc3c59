"""Classifiers of the user's own: loaded, seeded, and refused before any work where they are no classifiers."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import classifiers

SOURCE = """
import torch
from torch import nn

class Net(nn.Module):
    def __init__(self, classes, change=lambda net, scores: scores):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, classes)
        self.change = change
    def forward(self, images):
        cells = torch.relu(self.norm(self.conv(images)))
        return self.change(self, self.fc(self.drop(cells).mean((2, 3))))

def net(classes): return Net(classes)
def more(classes): return Net(classes + 1)
def a_tuple(classes): return Net(classes, lambda net, scores: (scores, scores))
def a_dict(classes): return Net(classes, lambda net, scores: {"logits": scores})
def aux(classes): return Net(classes, lambda net, scores: (scores, scores) if net.training else scores)
def centered(classes): return Net(classes, lambda net, scores: scores - scores.mean(0))
def nothing(classes): return None
def flat(classes): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, classes))
def empty(classes): return nn.Flatten()
def fails(classes): raise KeyError("no weights")
def infinite(classes): return Net(classes, lambda net, scores: scores / 0)
"""


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "own_nets.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with monkeypatch.context() as context:
        context.delitem(__import__("sys").modules, "own_nets", raising=False)
        yield


def test_it_is_built_by_its_seed_saved_and_loaded(tmp_path: Path) -> None:
    network = Network(arch="own_nets:net")
    first, again, other = (classifiers.build(network, 5, seed=seed).eval() for seed in (1, 1, 2))
    images = torch.randn(2, 3, 9, 11)
    assert torch.equal(first(images), again(images))
    assert not torch.equal(first(images), other(images))
    classifiers.save(tmp_path / "model.pt", first, network, 5, 1)
    assert torch.equal(classifiers.load(tmp_path / "model.pt")(images), first(images))


@pytest.mark.parametrize("name", ["net", "flat"])
def test_a_classifier_is_accepted(name: str) -> None:
    state = torch.get_rng_state()
    classifiers.check_size(Network(arch=f"own_nets:{name}"), 5, 8, 8)
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("more", r"returns \(1, 6\) for 1 images in eval mode, not scores \(1, 5\): one for each of the .* 5 classes"),
        ("a_tuple", "returns a tuple in eval mode, not a tensor of scores"),
        ("a_dict", "returns a dict in eval mode"),
        ("aux", "returns a tuple in training mode"),
        ("centered", "scores of own_nets:centered depend on the batch.*running statistics"),
        ("nothing", r"returned a NoneType, not a torch\.nn\.Module"),
        ("empty", "returned a Flatten without parameters"),
        ("fails", "raised KeyError: 'no weights'"),
        ("flat", "fails in eval mode on 1 images of 9 x 8 pixels: RuntimeError.*height and width"),
        ("infinite", "not finite"),
        ("missing", "cannot be loaded: AttributeError"),
    ],
)
def test_what_is_no_classifier_is_refused(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        classifiers.check_size(Network(arch=f"own_nets:{name}"), 5, 9, 8)
