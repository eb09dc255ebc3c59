import re
from pathlib import Path

import pytest
import torch
from support.splitting import split_at

from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import imagenet, vgg

SMALL = Network(width=4)


@pytest.mark.parametrize("arch", ["vgg11_bn", "vgg16_bn"])
def test_features_are_torchvisions(arch: str) -> None:
    import torchvision

    ours = vgg.build(Network(arch=arch, width=64, pool=7), 20)  # type: ignore[arg-type]
    with torch.device("meta"):
        theirs = torchvision.models.get_model(arch)
    shapes = {k: v.shape for k, v in theirs.state_dict().items() if k.startswith("features.")}
    assert {k: v.shape for k, v in ours.state_dict().items() if k.startswith("features.")} == shapes
    assert ours.get_parameter("classifier.1.weight").shape == (20, 512 * 7 * 7)


def test_reduction_divides_every_width() -> None:
    full, quarter = vgg.build(Network(width=16), 5), vgg.build(Network(width=16), 5, reduction=4)
    widths = [[m.out_channels for m in model.modules() if isinstance(m, torch.nn.Conv2d)] for model in (full, quarter)]
    assert widths[0] == [16, 32, 64, 64, 128, 128]
    assert widths[1] == [w // 4 for w in widths[0]]
    with pytest.raises(InputError, match="reduction 3 does not divide the width 16"):
        vgg.build(Network(width=16), 5, reduction=3)


def test_weights_depend_on_the_seed_alone() -> None:
    torch.manual_seed(1)
    first = vgg.build(SMALL, 5, seed=7).state_dict()
    state = torch.get_rng_state()
    again, other = vgg.build(SMALL, 5, seed=7).state_dict(), vgg.build(SMALL, 5, seed=8).state_dict()
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["features.0.weight"], other["features.0.weight"])
    assert torch.equal(state, torch.get_rng_state())


@pytest.mark.parametrize(("layer", "cells"), [("last_relu", 4), ("last_pool", 2)])
def test_split_at(layer: str, cells: int) -> None:
    model = vgg.build(SMALL, 5).eval()
    images = torch.randn(2, 3, 32, 32)
    lower, upper = split_at(model, layer)
    assert lower(images).shape == (2, 32, cells, cells)
    assert torch.equal(upper(lower(images)), model(images))
    assert (lower(images) >= 0).all()


def test_imagenet_weights_are_read_from_torchs_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import VGG11_BN_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    source = vgg.build(Network(arch="vgg11_bn", width=64), 3, seed=5)
    name = VGG11_BN_Weights.DEFAULT.url.rsplit("/", 1)[-1]
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    state = {f"features.{k}": v for k, v in source.get_submodule("features").state_dict().items()}
    torch.save({**state, "classifier.0.weight": torch.zeros(1)}, tmp_path / "hub" / "checkpoints" / name)
    model = vgg.build(Network(arch="vgg11_bn", width=64), 3, seed=6)
    head = model.get_parameter("classifier.1.weight").clone()
    imagenet.load_weights(model, "vgg11_bn", 3)
    assert torch.equal(model.get_parameter("features.0.weight"), source.get_parameter("features.0.weight"))
    assert torch.equal(model.get_parameter("classifier.1.weight"), head)


def test_imagenet_weights_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    model = vgg.build(Network(arch="vgg11_bn", width=64), 3)
    where = re.escape(str(tmp_path / "hub" / "checkpoints"))
    with pytest.raises(InputError, match=f"could not be loaded.*no route to host.*{where}.*weights = none"):
        imagenet.load_weights(model, "vgg11_bn", 3)
