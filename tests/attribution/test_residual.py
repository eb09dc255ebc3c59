"""The layer walk through residual blocks: against slow references, autograd, zennit, and what must hold of its maps."""

import copy

import pytest
import torch
import torch.nn.functional as F
import torchvision
from support.slow_maps import CLASSES, both_signs, filled
from support.slow_residual import residual_reference
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from zennit.attribution import Gradient
from zennit.composites import LayerMapComposite, MixedComposite, NameMapComposite
from zennit.core import BasicHook
from zennit.layer import Sum
from zennit.rules import AlphaBeta, NoMod, Norm, Pass, ZBox
from zennit.torchvision import ResNetBasicBlockCanonizer, ResNetBottleneckCanonizer

from roar_pipeline.attribution import engine, gradients
from roar_pipeline.attribution.relevance import walk as module_under_test
from roar_pipeline.attribution.relevance.layers import Scale
from roar_pipeline.attribution.relevance.residual import Residual
from roar_pipeline.attribution.relevance.walk import METHODS, check, walk
from roar_pipeline.config import Maps
from roar_pipeline.errors import InputError
from roar_pipeline.networks.cifar_resnet import CifarResNet, Subsample

ALL = list(METHODS)
PAIRS = torch.tensor([1, 0, 1]), torch.tensor([3, 0, 4])


def narrow(block, *, groups=1):
    """torchvision's ResNet with few channels: its code, on a net that dense matrices and a test's second can bear."""
    with torch.random.fork_rng():
        model = ResNet(BasicBlock, [1, 1, 1, 1], CLASSES)
        model.conv1, model.bn1 = nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4)
        stages, inputs = [], 4
        for stride in (1, 2):
            width = 4 * stride
            outputs = width * block.expansion
            is_same = stride == 1 and inputs == outputs
            down = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
            options = {"groups": groups, "base_width": 128} if groups > 1 else {}
            first = block(inputs, width, stride, None if is_same else down, **options)
            stages.append(nn.Sequential(first, block(outputs, width, **options)))
            inputs = outputs
        model.layer1, model.layer2 = stages
        model.layer3 = model.layer4 = nn.Sequential()
        model.fc = nn.Linear(inputs, CLASSES)
    return filled(model)


NETS = {
    "basic": lambda: narrow(BasicBlock),
    "bottleneck": lambda: narrow(Bottleneck),
    "grouped": lambda: narrow(Bottleneck, groups=2),
    "cifar": lambda: filled(CifarResNet(1, 3, CLASSES)),
    "resnet20": lambda: filled(CifarResNet(3, 8, CLASSES)),
}
SMALL = ["basic", "bottleneck", "cifar"]
LAST = {"basic": "layer2", "bottleneck": "layer2", "grouped": "layer2", "cifar": "layer3", "resnet20": "layer3"}


def some_images(count=2, side=16, dtype=torch.float64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)


def scores_of(model, images, image_index, class_index):
    with torch.no_grad():
        return model(images)[image_index, class_index]


@pytest.mark.parametrize("net", SMALL)
def test_every_map_equals_the_slow_reference(net):
    model, images = NETS[net](), some_images(2, 11)
    both_signs(scores_of(model, images, *PAIRS))
    maps = walk(model, images, *PAIRS, ALL)
    lower = walk(model, images, *PAIRS, ["ebp", "gradcam"], layer="layer1")
    for p, (i, k) in enumerate(zip(*PAIRS, strict=True)):
        for name in ALL:
            wanted = residual_reference(model, images[i], k, name, LAST[net])
            torch.testing.assert_close(maps[name][p], wanted, rtol=1e-8, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")
        for name in lower:
            wanted = residual_reference(model, images[i], k, name, "layer1")
            assert wanted.any() or name == "gradcam"
            torch.testing.assert_close(lower[name][p], wanted, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("net", NETS)
def test_gradient_methods_equal_autograd(net, dtype, tolerance):
    model, images = NETS[net]().to(dtype), some_images(2, 32, dtype)
    maps = walk(model, images, *PAIRS, ["gradient", "guided", "gradcam"])
    wanted = gradients.differentiate(model, images, *PAIRS, ["gradient", "guided"])
    wanted["gradcam"] = gradients.gradcam(model, images, *PAIRS, layer=LAST[net])
    for name, map_ in wanted.items():
        assert map_.any()
        assert (maps[name] - map_).norm() < tolerance * map_.norm(), name


def positive_shares():
    """R_i = R x_i+ / sum_m x_m+ of a zennit sum; its own composites divide by the signed sum."""
    return BasicHook(
        input_modifiers=[lambda values: values.clamp(min=0)],
        param_modifiers=[NoMod(param_keys=[])],
        output_modifiers=[lambda values: values],
        gradient_mapper=lambda relevance, sums: relevance / (sums[0] + 1e-100),
        reducer=lambda inputs, shares: inputs[0] * shares[0],
    )


def zennit_relevance(model, x, k, start, *, from_image):
    """Relevance at ``x`` of class ``k``, from ``start(score)``; the image's layer follows z^B."""
    settings = {"stabilizer": 1e-100, "zero_params": ["bias"]}
    alpha, average = AlphaBeta(1.0, 0.0, **settings), Norm(stabilizer=1e-100)
    rules = [(nn.Conv2d, alpha), (nn.Linear, alpha), (nn.ReLU, Pass())]
    by_kind = LayerMapComposite([*rules, (nn.AdaptiveAvgPool2d, average), (Sum, positive_shares())])
    first = [(["0"], ZBox(x.min(), x.max(), **settings))] if from_image else []
    composite = MixedComposite(
        [NameMapComposite(first), by_kind], canonizers=[ResNetBasicBlockCanonizer(), ResNetBottleneckCanonizer()]
    )
    chosen = torch.eye(CLASSES, dtype=x.dtype)[k : k + 1]
    with Gradient(model, composite) as attributor:
        _, relevance = attributor(x[None].clone(), lambda scores: start(scores.detach()) * chosen)
    return relevance[0].sum(0)


def in_torchvisions_blocks(model):
    """A copy as a sequence of modules that zennit knows: ReLUs not in place, BatchNorms merged by torch.

    zennit's own merging leaves the merged BatchNorm's eps, a factor of 1 - 5e-6 per layer.
    """
    model = copy.deepcopy(model)
    modules = [model.conv1, model.bn1, model.relu, *([model.maxpool] if hasattr(model, "maxpool") else [])]
    for name in ("layer1", "layer2", "layer3", "layer4"):
        modules += [theirs(block) for block in getattr(model, name, [])]
    sequence = nn.Sequential(*modules, model.avgpool, nn.Flatten(), model.fc).eval()
    for parent in list(sequence.modules()):
        before = ""
        for name, module in parent.named_children():
            if isinstance(module, nn.BatchNorm2d):
                setattr(parent, before, fuse_conv_bn_eval(getattr(parent, before), module))
                setattr(parent, name, nn.Identity())
            if isinstance(module, nn.ReLU):
                module.inplace = False
            before = name
    return sequence


def theirs(block):
    if isinstance(block, BasicBlock | Bottleneck):
        return block
    shortcut = block.shortcut if isinstance(block.shortcut, Subsample) else None
    made = BasicBlock(block.conv1.in_channels, block.conv1.out_channels, block.conv1.stride[0], shortcut)
    made.conv1, made.bn1, made.conv2, made.bn2 = block.conv1, block.bn1, block.conv2, block.bn2
    return made


@pytest.mark.parametrize(("net", "side"), [("resnet18", 32), ("bottleneck", 32), ("grouped", 32), ("resnet20", 32)])
def test_lrp_and_ebp_equal_zennit(net, side):
    model, images = (NETS[net]() if net in NETS else resnet18()), some_images(2, side)
    both_signs(scores_of(model, images, *PAIRS))
    torch.testing.assert_close(in_torchvisions_blocks(model)(images), model(images))
    head = 3
    above = head + sum(len(getattr(model, f"layer{n}", [])) for n in (2, 3, 4))
    found = {
        head: walk(model, images, *PAIRS, ["lrp", "ebp"]),
        above: walk(model, images, *PAIRS, ["ebp"], layer="layer1"),
    }
    for p, (i, k) in enumerate(zip(*(index.tolist() for index in PAIRS), strict=True)):
        relevance = zennit_relevance(in_torchvisions_blocks(model), images[i], k, torch.abs, from_image=True)
        torch.testing.assert_close(found[head]["lrp"][p], relevance)
        for count, maps in found.items():
            modules = in_torchvisions_blocks(model)
            with torch.no_grad():
                seen = modules[:-count](images[i : i + 1])[0]
            cells = zennit_relevance(modules[-count:], seen, k, torch.ones_like, from_image=False)
            assert cells.any()
            wanted = F.interpolate(cells[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
            torch.testing.assert_close(maps["ebp"][p], wanted)


def resnet18():
    return filled(torchvision.models.resnet18(num_classes=CLASSES))


@pytest.mark.parametrize("net", ["resnet18", "resnet20"])
def test_relevance_is_conserved(net, monkeypatch):
    """LRP, and RAP with its negative part, sum to the score's magnitude."""
    monkeypatch.setitem(module_under_test._FINE_MAPS, "rap", lambda signal, chosen: signal.sum(1))
    model, images = (NETS[net]() if net in NETS else resnet18()), some_images(2, 32)
    maps, scores = walk(model, images, *PAIRS, ["lrp", "rap"]), scores_of(model, images, *PAIRS)
    for name in ("lrp", "rap"):
        torch.testing.assert_close(maps[name].sum((1, 2)), scores.abs(), rtol=1e-9, atol=0)
    assert maps["lrp"].min() >= 0


class Plus:
    """A step that adds numbers, and remembers the relevance that it gets."""

    def __init__(self, numbers):
        self.numbers = numbers

    def forward(self, x):
        return x + self.numbers

    def relevance(self, signal, rows):
        self.seen = signal.flatten().tolist()
        return signal


def test_addends_get_what_they_contribute():
    """By hand: 2 + 6, 5 - 3, -1 + 4 and -2 - 1, and a relevance of 8 for each sum."""
    x, other = torch.tensor([[2.0, 5, -1, -2], [6, -3, 4, -1]]).view(2, 1, 1, 1, 4)
    main, shortcut = Plus(0), Plus(other - x)
    block = Residual([main], [shortcut], keep=True)
    assert block.forward(x).flatten().tolist() == [8, 2, 3, -3]
    assert block.relevance(torch.full((1, 1, 1, 4), 8.0), None).flatten().tolist() == [8, 8, 8, 0]
    assert (main.seen, shortcut.seen) == ([2, 8, 0, 0], [6, 0, 8, 0])


def test_both_addends_get_the_gradient():
    """Also where a branch's step overwrites its signal: the derivative of 3 x + x is 4."""
    block = Residual([Scale(torch.tensor([3.0]), torch.zeros(1))], [])
    block.forward(torch.ones(1, 1, 2, 2))
    assert block.gradient(torch.ones(1, 1, 2, 2), None).flatten().tolist() == [4] * 4


@pytest.mark.parametrize("net", ["bottleneck", "cifar"])
def test_a_row_depends_on_its_image_and_class_alone(net):
    model, images = NETS[net](), some_images(6)
    class_index = torch.arange(6) % CLASSES
    together = walk(model, images, torch.arange(6), class_index, ALL)
    order = torch.tensor([5, 5, 0, 3])
    company = walk(model, images, order, class_index[order], ALL)
    for n in range(6):
        alone = walk(model, images[n : n + 1], torch.tensor([0]), class_index[n : n + 1], ALL)
        for name in ALL:
            torch.testing.assert_close(together[name][n], alone[name][0], rtol=1e-8, atol=1e-13)
    for name in ALL:
        torch.testing.assert_close(company[name], together[name][order], rtol=1e-8, atol=1e-13)
        single = walk(model, images, torch.arange(6), class_index, [name])[name]
        torch.testing.assert_close(single, together[name], rtol=1e-8, atol=1e-13)


def test_float32_is_float64_rounded():
    """Also RAP, whose sums of negative terms are differences."""
    model, images = NETS["resnet20"](), some_images(2, 32)
    exact = walk(model, images, *PAIRS, ALL)
    rounded = walk(model.float(), images.float(), *PAIRS, ALL)
    for name in ALL:
        assert (rounded[name] - exact[name]).norm() < 1e-3 * exact[name].norm(), name


@pytest.mark.parametrize("net", ["basic", "cifar"])
@pytest.mark.parametrize("training", [True, False])
def test_the_model_and_the_images_come_back_as_they_were(net, training):
    model, images = NETS[net]().train(training), some_images(3)
    model.layer1.train(not training)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    versions = {name: value._version for name, value in model.state_dict().items()}
    flags, held = [module.training for module in model.modules()], images.clone()
    maps = walk(model, images, *PAIRS, ALL)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert {name: value._version for name, value in model.state_dict().items()} == versions
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(images, held)
    for name, map_ in walk(model.eval(), images, *PAIRS, ALL).items():
        assert torch.equal(maps[name], map_)


@pytest.mark.parametrize("net", SMALL)
def test_a_dead_net_has_all_zero_maps(net):
    model = NETS[net]()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias.data.fill_(-100)
    for name, map_ in walk(model, some_images(), *PAIRS, ALL).items():
        assert not map_.any(), name


def test_a_block_in_a_sequence_of_ones_own():
    own = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), BasicBlock(4, 4), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model, images = filled(own.append(nn.Linear(4, CLASSES))), some_images()
    wanted = gradients.differentiate(model, images, *PAIRS, ["gradient"])["gradient"]
    torch.testing.assert_close(walk(model, images, *PAIRS, ALL)["gradient"], wanted)
    begins = nn.Sequential(BasicBlock(3, 3), nn.Flatten(), nn.Linear(48, CLASSES))
    check(begins, ["gradient", "guided", "gradcam", "ebp"])
    with pytest.raises(InputError, match="lrp cannot explain this model: its module 0, a residual block, may see neg"):
        check(begins, ["lrp"])


def test_layers_are_named_by_their_path():
    model = NETS["basic"]()
    for layer in ("conv1", "maxpool", "layer1", "layer1.0", "layer2.1", "layer2.1.relu", "avgpool", "last_relu"):
        check(model, ["ebp", "gradcam"], layer=layer)
    for layer in ("layer1.0.conv1", "layer9", "fc"):
        with pytest.raises(InputError, match=rf"cannot stop at a layer '{layer}'\. Near names: .*whole residual block"):
            check(model, ["ebp"], layer=layer)
    with pytest.raises(InputError, match=r"has residual blocks, and no layer 'last_pool'\. Take last_relu"):
        check(model, ["ebp"], layer="last_pool")


@pytest.mark.parametrize("name", ALL)
def test_a_module_in_a_block_that_the_walk_does_not_know_is_refused_by_name(name):
    model = NETS["bottleneck"]()
    model.layer1[1].bn2 = torchvision.ops.FrozenBatchNorm2d(4)
    with pytest.raises(InputError, match=rf"\({name}\) cannot .* layer1\.1\.bn2, a FrozenBatchNorm2d, is not a layer"):
        check(model, [name])


def test_relevance_of_other_architectures_is_refused_by_name():
    with torch.device("meta"):
        model = torchvision.models.densenet121(num_classes=CLASSES)
    for name in ("ebp", "lrp", "rap"):
        with pytest.raises(
            InputError, match=rf"\({name}\) cannot explain this model: a DenseNet is not a layer it kno"
        ):
            engine.check(name, model, Maps())
