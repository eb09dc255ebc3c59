"""What a network costs, against the network itself."""

from collections.abc import Iterator

import pytest
import torch
from support.splitting import split_at
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from roar_pipeline.architectures import TORCHVISION
from roar_pipeline.attribution.relevance import walk
from roar_pipeline.attribution.relevance.sequential import layers_of
from roar_pipeline.attribution.relevance.tape import make_tape
from roar_pipeline.config import Network
from roar_pipeline.estimates.cost import Cost, cost_of
from roar_pipeline.estimates.torchvision_costs import COSTS
from roar_pipeline.networks import classifiers, torchvision_models
from roar_pipeline.networks.layers import find_layer

CLASSES = 7
CASES = [
    (Network(), 1, 48, 48),
    (Network(width=8), 4, 33, 40),
    (Network(arch="vgg11_bn", width=16, pool=2), 2, 64, 50),
    (Network(arch="vgg16_bn", width=64, pool=7), 4, 100, 99),
    (Network(arch="vgg16_bn", width=8, pool=3), 1, 71, 64),
]
RESNETS = [
    (Network(arch="resnet20"), 1, 32, 32),
    (Network(arch="resnet32", width=8), 4, 33, 41),
    (Network(arch="resnet56", width=4), 1, 24, 40),
]
vggs = pytest.mark.parametrize(("network", "reduction", "height", "width"), CASES)
cases = pytest.mark.parametrize(("network", "reduction", "height", "width"), CASES + RESNETS)


def built(network: Network, reduction: int, height: int, width: int) -> tuple[nn.Module, Cost]:
    model = classifiers.build(network, CLASSES, reduction=reduction)
    return model, cost_of(network, CLASSES, height, width, reduction=reduction)


@cases
def test_parameters(network: Network, reduction: int, height: int, width: int) -> None:
    model, cost = built(network, reduction, height, width)
    assert cost.parameters == sum(p.numel() for p in model.parameters())


@cases
@pytest.mark.parametrize("images", [1, 3])
def test_multiply_adds(network: Network, reduction: int, height: int, width: int, images: int) -> None:
    model, cost = built(network, reduction, height, width)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.to("meta").eval()(torch.empty(images, 3, height, width, device="meta"))
    assert cost.multiply_adds * images == counter.get_total_flops() / 2


@cases
def test_a_backward_pass_is_two_forward_passes(network: Network, reduction: int, height: int, width: int) -> None:
    """But for the first convolution, whose input needs no gradient."""
    model, cost = built(network, reduction, height, width)
    with FlopCounterMode(display=False) as counter:
        model.to("meta")(torch.empty(2, 3, height, width, device="meta")).sum().backward()
    first = 27 * network.width // reduction * height * width
    assert counter.get_total_flops() / 2 == 2 * (3 * cost.multiply_adds - first)


@cases
def test_bytes_kept_for_the_backward_pass(network: Network, reduction: int, height: int, width: int) -> None:
    model, cost = built(network, reduction, height, width)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, int] = {}
    alive = []

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)
        return tensor

    images = torch.randn(8, 3, height, width).contiguous(memory_format=torch.channels_last)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = model.train()(images)
    assert scores.requires_grad
    assert sum(kept.values()) / 8 == pytest.approx(cost.saved_bytes, rel=0.03)


@vggs
@pytest.mark.parametrize("keep", [False, True])
def test_bytes_of_the_walks_tape(network: Network, reduction: int, height: int, width: int, keep: bool) -> None:
    model, cost = built(network, reduction, height, width)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    images = torch.randn(4, 3, height, width)
    with torch.no_grad():
        tape = make_tape(layers_of(model.eval()), keep_sums=keep, keep_addends=False)
        walk._forward(tape, images, 0, forget=False)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(tape)}
    found = sum(count for pointer, count in storages.items() if pointer not in own)
    weights = sum(m.weight.nbytes for m in model.modules() if isinstance(m, nn.Conv2d))
    wanted = 4 * (cost.tape_bytes + (cost.sums_bytes if keep else 0)) + weights  # BatchNorm is folded into copies
    assert found == pytest.approx(wanted, rel=0.03)


def tensors(tape: list[walk.Step]) -> Iterator[Tensor]:
    for step in tape:
        for value in vars(step).values():
            if isinstance(value, Tensor):
                yield value
            elif isinstance(value, tuple):
                yield from (part for part in value if isinstance(part, Tensor))
            elif isinstance(value, list):
                yield from tensors(value)


@pytest.mark.parametrize(("network", "reduction", "height", "width"), RESNETS)
@pytest.mark.parametrize("keep", [False, True])
def test_bytes_of_a_resnets_tape(network: Network, reduction: int, height: int, width: int, keep: bool) -> None:
    model, cost = built(network, reduction, height, width)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    images = torch.randn(4, 3, height, width)
    with torch.no_grad():
        tape = make_tape(layers_of(model.eval()), keep_sums=keep, keep_addends=True)
        walk._forward(tape, images, 0, forget=False)
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors(tape)}
    found = sum(count for pointer, count in storages.items() if pointer not in own)
    weights = sum(m.weight.nbytes for m in model.modules() if isinstance(m, nn.Conv2d))
    estimate = 4 * (cost.tape_bytes + (cost.sums_bytes if keep else 0)) + weights
    assert found == pytest.approx(estimate, rel=0.03)


@vggs
def test_matched_layers_and_the_widest_activation(network: Network, reduction: int, height: int, width: int) -> None:
    model, cost = built(network, reduction, height, width)
    image, sizes = torch.randn(1, 3, height, width), []
    for layer, count in cost.matched.items():
        lower, _ = split_at(model.eval(), layer)
        assert lower(image).numel() == count
    with torch.no_grad():
        for module in model.get_submodule("features").children():  # type: ignore[union-attr]
            image = module(image)
            sizes.append(image.nbytes)
    assert max(sizes) == cost.widest_bytes


@pytest.mark.parametrize(("network", "reduction", "height", "width"), RESNETS)
def test_matched_layers_of_a_resnet(network: Network, reduction: int, height: int, width: int) -> None:
    model, cost = built(network, reduction, height, width)
    sizes: dict[str, int] = {}
    for path in ("relu", "layer1", "layer2", "layer3"):
        module = model.get_submodule(path)
        module.register_forward_hook(lambda _, __, output, path=path: sizes.update({path: output.numel()}))
    model.eval()(torch.randn(1, 3, height, width))
    assert cost.widest_bytes == 4 * max(sizes.values())
    assert cost.matched == {"last_relu": sizes["layer3"], **{n: sizes[n] for n in ("layer1", "layer2", "layer3")}}
    assert cost.matched_at("layer2.0.conv1") == max(sizes.values())


def test_every_classifier_of_torchvision_has_a_cost() -> None:
    assert list(COSTS) == list(TORCHVISION)


@pytest.mark.parametrize(
    ("arch", "height", "width", "share"),
    [
        ("resnet18", 224, 160, 0.01),
        ("resnet18", 64, 64, 0.05),
        ("squeezenet1_1", 224, 224, 0.1),
        ("vit_b_32", 224, 224, 0.01),
    ],
)
def test_costs_of_torchvisions_classifiers(arch: str, height: int, width: int, share: float) -> None:
    """The table is of other sizes and classes."""
    model, cost = (
        torchvision_models.on_meta(Network(arch=arch), CLASSES),
        cost_of(Network(arch=arch), CLASSES, height, width),
    )
    assert cost.parameters == sum(p.numel() for p in model.parameters())
    images = torch.empty(1, 3, height, width, device="meta")
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model.eval()(images)
    assert cost.multiply_adds == pytest.approx(counter.get_total_flops() / 2, rel=share)
    if arch != "vit_b_32":
        shapes: list[int] = []
        find_layer(model, "last_relu").register_forward_hook(lambda _, __, output: shapes.append(output.numel()))
        model(images)
        assert cost.matched_at("last_relu") == pytest.approx(shapes[-1], rel=0.1)


def test_bytes_that_a_resnet_keeps_for_the_backward_pass() -> None:
    """Of real tensors."""
    model, cost = built(Network(arch="resnet18"), 1, 64, 64)
    own = {p.untyped_storage().data_ptr() for p in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        scores = model.train()(torch.randn(8, 3, 64, 64).contiguous(memory_format=torch.channels_last))
    assert scores.requires_grad
    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values()) / 8
    assert found == pytest.approx(cost.saved_bytes, rel=0.05)


def test_a_model_of_ones_own_is_assumed_to_cost_what_resnet50_does() -> None:
    own, resnet = (cost_of(Network(arch=arch), 10, 64, 64) for arch in ("nets:net", "resnet50"))
    assert own == resnet
