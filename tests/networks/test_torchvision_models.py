"""torchvision's classifiers by name: they build, put out scores, and have the layer that their family names."""

import re
from pathlib import Path

import pytest
import torch
import torchvision

from roar_pipeline.architectures import TORCHVISION, VGGS, default_layer
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import classifiers, imagenet, torchvision_models
from roar_pipeline.networks.layers import find_layer

OF_FAMILY = {
    "alexnet": 224,
    "convnext_tiny": 64,
    "densenet121": 64,
    "efficientnet_b0": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "maxvit_t": 224,
    "mnasnet0_5": 64,
    "mobilenet_v2": 64,
    "mobilenet_v3_small": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "resnext50_32x4d": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
    "swin_t": 64,
    "vgg11": 64,
    "vit_b_32": 224,
    "wide_resnet50_2": 64,
}
"""A net of each family, and a side of images that it takes."""
WITHOUT_MAPS = {"vit_b_32"}


def test_the_names_are_torchvisions() -> None:
    theirs = set(torchvision.models.list_models(module=torchvision.models))
    assert set(TORCHVISION) == theirs - set(VGGS)


def test_every_name_is_of_a_family_that_is_tested() -> None:
    starts = tuple(re.split("[_0-9]", name.removeprefix("wide_"))[0] for name in OF_FAMILY)
    assert [name for name in TORCHVISION if not name.removeprefix("wide_").startswith(starts)] == []


@pytest.mark.parametrize(("arch", "side"), OF_FAMILY.items())
def test_every_family_puts_out_scores_and_maps(arch: str, side: int) -> None:
    """On shapes alone, in the mode that has other outputs where there are auxiliary heads."""
    model = torchvision_models.on_meta(Network(arch=arch), 5).train()
    shapes = []
    if arch not in WITHOUT_MAPS:
        layer = find_layer(model, "last_relu")
        assert default_layer(arch) == "last_relu" or layer is model.get_submodule(default_layer(arch))
        layer.register_forward_hook(lambda _, __, output: shapes.append(output.shape))
    scores = model(torch.empty(2, 3, side, side, device="meta"))
    assert scores.shape == (2, 5)
    assert arch in WITHOUT_MAPS or (len(shapes[0]) == 4 and shapes[0][0] == 2)


def test_a_net_without_maps_is_refused_with_a_reason() -> None:
    model = torchvision_models.on_meta(Network(arch="vit_b_32"), 5)
    with pytest.raises(InputError, match=r"VisionTransformer has no layer 'last_relu'.*dotted path"):
        find_layer(model, "last_relu")


@pytest.mark.parametrize("arch", ["squeezenet1_1", "regnet_y_400mf"])
def test_build_is_torchvisions_own(arch: str) -> None:
    """Same weights as torchvision's constructor from the same generator."""
    ours = classifiers.build(Network(arch=arch), 5, seed=3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(torchvision_models.derived_seed(3, "initialization"))
        theirs = torchvision.models.get_model(arch, num_classes=5).state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.state_dict().items())


def test_widths_that_are_fixed_cannot_be_reduced() -> None:
    with pytest.raises(
        InputError, match=r"reduction = 2 divides widths, and those of resnet18 are fixed.*smaller arch"
    ):
        classifiers.build(Network(arch="resnet18"), 5, reduction=2)


@pytest.mark.parametrize(
    ("arch", "size", "smallest"),
    [
        ("alexnet", (32, 32), 63),
        ("vit_b_32", (32, 32), 224),
        ("vit_b_32", (224, 256), 224),
        ("squeezenet1_1", (8, 8), 17),
    ],
)
def test_images_that_are_too_small(arch: str, size: tuple[int, int], smallest: int) -> None:
    with pytest.raises(
        InputError, match=rf"{arch} does not take images of {size[0]} x {size[1]}.*{smallest} x {smallest}"
    ):
        classifiers.check_size(Network(arch=arch), 5, *size)
    classifiers.check_size(Network(arch=arch), 5, smallest, smallest)


@pytest.fixture
def torch_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    return tmp_path / "hub" / "checkpoints"


@pytest.mark.parametrize("classes", [5, 1000])
def test_imagenet_weights_are_loaded_but_for_a_classifier_of_other_classes(torch_home: Path, classes: int) -> None:
    arch = "squeezenet1_1"
    source = classifiers.build(Network(arch=arch), 1000, seed=1).state_dict()
    weights = torchvision.models.get_model_weights(arch).DEFAULT
    torch.save(source, torch_home / weights.url.rsplit("/", 1)[-1])
    model = classifiers.build(Network(arch=arch), classes, seed=2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    imagenet.load_weights(model, arch, classes)
    head = ["classifier.1.weight", "classifier.1.bias"] if classes == 5 else []
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name] if name in head else source[name]), name


def test_imagenet_weights_of_a_net_with_auxiliary_heads(torch_home: Path) -> None:
    whole = torchvision.models.googlenet(init_weights=True, aux_logits=True, transform_input=True)
    weights = torchvision.models.get_model_weights("googlenet").DEFAULT
    torch.save(whole.state_dict(), torch_home / weights.url.rsplit("/", 1)[-1])
    model = classifiers.build(Network(arch="googlenet"), 1000).eval()
    imagenet.load_weights(model, "googlenet", 1000)
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(model(images), whole.eval()(images))


def test_imagenet_weights_without_a_network(torch_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", refuse)
    model = classifiers.build(Network(arch="squeezenet1_1"), 3)
    with pytest.raises(InputError, match=r"squeezenet1_1 could not be loaded.*no route to host.*weights = none"):
        imagenet.load_weights(model, "squeezenet1_1", 3)
