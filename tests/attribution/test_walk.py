"""The layer walk: against slow references from the formulas, captum, zennit, and what must hold of its maps."""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import GuidedBackprop, LayerAttribution, LayerGradCam, Saliency
from support.slow_maps import CLASSES, NETS, both_signs, chain, cut_of, filled, in_order, odd_net, plain_net, reference
from torch import nn
from zennit.attribution import Gradient
from zennit.composites import NameMapComposite
from zennit.rules import AlphaBeta, Norm, Pass, ZBox

from roar_pipeline.attribution.relevance import linear
from roar_pipeline.attribution.relevance import walk as module_under_test
from roar_pipeline.attribution.relevance.tape import make_tape
from roar_pipeline.attribution.relevance.walk import METHODS, check, walk
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import vgg
from roar_pipeline.networks.layers import LAYERS

ALL = list(METHODS)
FINE = ["gradient", "guided", "lrp", "rap"]


def our_net(arch="vgg11_small", pool=2):
    return filled(vgg.build(Network(arch=arch, width=4, pool=pool, dropout=0.2), CLASSES))


def torchvision_net(arch, dtype=torch.float64):
    """A net of torchvision in full width, but for a small head: a hundred million weights take seconds to make."""
    with torch.device("meta"):
        model = torchvision.models.get_model(arch)
        first = next(m for m in model.classifier if isinstance(m, nn.Linear)).in_features
        layers = [nn.Dropout(), nn.Linear(first, 32), nn.ReLU(inplace=True), nn.Linear(32, CLASSES)]
        model.classifier = nn.Sequential(*layers)
    return filled(model.to_empty(device="cpu"), dtype)


def some_images(count=4, height=8, width=8, dtype=torch.float64):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


def all_pairs(images):
    return torch.arange(images).repeat_interleave(CLASSES), torch.arange(CLASSES).repeat(images)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("net", NETS)
def test_every_map_equals_the_slow_reference(net, layer):
    model = NETS[net]()
    images = some_images(2, *((15, 18) if net == "odd" else (8, 10)))
    image_index, class_index = torch.tensor([1, 0, 1, 1, 0]), torch.tensor([4, 1, 0, 2, 3])
    both_signs(scores_of(model, images, image_index, class_index))
    maps = walk(model, images, image_index, class_index, ALL, layer=layer)
    assert list(maps) == ALL
    for name in ALL:
        pairs = zip(image_index, class_index, strict=True)
        wanted = torch.stack([reference(model, images[i], k, name, layer) for i, k in pairs])
        assert wanted.flatten(1).any(1).sum() >= 2, name
        torch.testing.assert_close(maps[name], wanted, rtol=1e-8, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}")


def test_a_net_of_linear_layers_alone():
    """The first one follows the z^B rule as a convolution would."""
    head = [nn.Linear(60, 12), nn.ReLU(), nn.Linear(12, 9), nn.ReLU(), nn.Linear(9, CLASSES)]
    model, images = in_order([], head, nn.Identity()), some_images(2, 4, 5)
    both_signs(scores_of(model, images, *all_pairs(2)))
    for name, maps in walk(model, images, *all_pairs(2), FINE).items():
        wanted = [reference(model, images[i], k, name) for i, k in zip(*all_pairs(2), strict=True)]
        torch.testing.assert_close(maps, torch.stack(wanted), rtol=1e-8, atol=1e-12)


def test_a_module_that_runs_twice():
    relu = nn.ReLU()
    model, images = plain_net(), some_images(2)
    wanted = walk(model, images, *all_pairs(2), ALL)
    for place in (2, 6, 9):
        model.features[place] = relu
    for name, map_ in walk(model, images, *all_pairs(2), ALL).items():
        assert torch.equal(map_, wanted[name])


@pytest.mark.parametrize("net", ["spread", "odd"])
def test_rap_with_and_without_the_sums_of_the_forward_pass(net, monkeypatch):
    model, images, pairs = NETS[net](), some_images(3, 16, 16), all_pairs(3)
    wanted = walk(model, images, *pairs, ["rap"])["rap"]
    without = functools.partial(make_tape, keep_sums=False)
    monkeypatch.setattr(module_under_test, "make_tape", lambda layers, keep_sums, **kept: without(layers, **kept))
    torch.testing.assert_close(walk(model, images, *pairs, ["rap"])["rap"], wanted, rtol=1e-8, atol=1e-12)


def test_large_linear_layers_go_through_in_blocks(monkeypatch):
    model, images, pairs = odd_net(), some_images(3, 16, 16), all_pairs(3)
    wanted = walk(model, images, *pairs, ALL)
    monkeypatch.setattr(linear, "_BLOCK", 130)
    for name, map_ in walk(model, images, *pairs, ALL).items():
        torch.testing.assert_close(map_, wanted[name], rtol=1e-8, atol=1e-12)


BIG = [("vgg16_bn", 64), ("vgg11_bn", 64), ("alexnet", 64)]


def big_net(arch):
    return our_net(arch.removeprefix("our ")) if arch.startswith("our") else torchvision_net(arch)


def calm(model):
    """A copy whose ReLUs are not in place, one module after the other: what the libraries' hooks can bear."""
    modules = chain(copy.deepcopy(model))
    for module in modules:
        if isinstance(module, nn.ReLU):
            module.inplace = False
    return nn.Sequential(*modules)


@pytest.mark.filterwarnings("ignore:Setting (backward|forward):UserWarning")
@pytest.mark.parametrize(("arch", "side"), [*BIG, ("our vgg11_small", 48), ("our vgg16_bn", 64)])
def test_gradient_methods_equal_captum(arch, side):
    """Captum averages the gradients of Grad-CAM where we sum them."""
    model, images = big_net(arch), some_images(2, side, side)
    image_index, class_index = torch.tensor([1, 0, 1]), torch.tensor([3, 0, 4])
    both_signs(scores_of(model, images, image_index, class_index))
    pairs, oracle = images[image_index].requires_grad_(), calm(model)
    maps = walk(model, images, image_index, class_index, ["gradcam", "gradient", "guided"])
    assert list(maps) == ["gradcam", "gradient", "guided"]
    torch.testing.assert_close(maps["gradient"], Saliency(oracle).attribute(pairs, class_index, abs=False))
    torch.testing.assert_close(maps["guided"], GuidedBackprop(oracle).attribute(pairs, class_index))
    for layer in LAYERS:
        at_layer = LayerGradCam(oracle, oracle[cut_of(list(oracle), layer) - 1])
        coarse = at_layer.attribute(pairs, class_index, relu_attributions=True)
        wanted = LayerAttribution.interpolate(coarse * coarse[0].numel(), (side, side), interpolate_mode="bilinear")
        found = walk(model, images, image_index, class_index, ["gradcam"], layer=layer)["gradcam"]
        torch.testing.assert_close(found, wanted[:, 0].detach())
        assert found.any()


def zennit_relevance(model, x, k, start):
    """Relevance at ``x`` of class ``k``, from ``start(score)``; the first layer follows z^B if it is the image's."""
    settings = {"stabilizer": 1e-100, "zero_params": ["bias"]}
    rules = []
    for place, (name, module) in enumerate(model.named_children()):
        if place == 0 and isinstance(module, nn.Conv2d):
            rules.append(([name], ZBox(x.min(), x.max(), **settings)))
        elif isinstance(module, nn.Conv2d | nn.Linear):
            rules.append(([name], AlphaBeta(1.0, 0.0, **settings)))
        elif isinstance(module, nn.BatchNorm2d | nn.ReLU):
            rules.append(([name], Pass()))
        elif isinstance(module, nn.AdaptiveAvgPool2d):
            rules.append(([name], Norm(stabilizer=1e-100)))
    chosen = torch.eye(CLASSES, dtype=x.dtype)[k : k + 1]
    with Gradient(model, NameMapComposite(rules)) as attributor:
        _, relevance = attributor(x[None].clone(), lambda scores: start(scores.detach()) * chosen)
    return relevance[0].sum(0)


@pytest.mark.parametrize(("arch", "side"), [*BIG, ("our vgg11_small", 48), ("our vgg16_bn", 64)])
def test_lrp_and_ebp_equal_zennit(arch, side):
    model, images = big_net(arch), some_images(2, side, side)
    image_index, class_index = torch.tensor([1, 0, 1]), torch.tensor([3, 0, 4])
    both_signs(scores_of(model, images, image_index, class_index))
    for layer in LAYERS:
        maps = walk(model, images, image_index, class_index, ["lrp", "ebp"], layer=layer)
        for p, (i, k) in enumerate(zip(image_index.tolist(), class_index.tolist(), strict=True)):
            oracle = calm(model)
            if layer == "last_relu":
                torch.testing.assert_close(maps["lrp"][p], zennit_relevance(oracle, images[i], k, torch.abs))
            cut = cut_of(list(oracle), layer)
            with torch.no_grad():
                seen = calm(model)[:cut](images[i : i + 1])[0]
            upper = nn.Sequential(*list(calm(model))[cut:])
            cells = zennit_relevance(upper, seen, k, torch.ones_like)
            wanted = F.interpolate(cells[None, None], (side, side), mode="bilinear", align_corners=False)[0, 0]
            torch.testing.assert_close(maps["ebp"][p], wanted)


def scores_of(model, images, image_index, class_index):
    with torch.no_grad():
        return model(images)[image_index, class_index]


@pytest.mark.parametrize("arch", ["vgg11_bn", "alexnet", "our vgg11_small", "our vgg16_bn", "plain", "odd"])
def test_relevance_is_conserved(arch, monkeypatch):
    """LRP, and RAP with its negative part, sum to the score's magnitude."""
    monkeypatch.setitem(module_under_test._FINE_MAPS, "rap", lambda signal, chosen: signal.sum(1))
    model = NETS[arch]() if arch in NETS else big_net(arch)
    images, pairs = some_images(2, 64, 64), all_pairs(2)
    maps = walk(model, images, *pairs, ["lrp", "rap"])
    scores = scores_of(model, images, *pairs)
    both_signs(scores)
    for name in ("lrp", "rap"):
        torch.testing.assert_close(maps[name].sum((1, 2)), scores.abs(), rtol=1e-9, atol=0)
    assert maps["lrp"].min() >= 0


def one_pixel_net():
    """The last ReLU has the image's size, and each of its units one pixel's channel alone for input."""
    features = [nn.Conv2d(3, 3, 1, groups=3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(3, 6, 3, padding=1), nn.ReLU()]
    model = in_order(features, [nn.Dropout(), nn.Linear(6, CLASSES)], nn.AdaptiveAvgPool2d(1))
    model.features[0].weight.data.abs_()
    return model


def test_ebp_sums_to_one_and_lrp_is_the_score_times_it():
    model, images, pairs = one_pixel_net(), some_images(3), all_pairs(3)
    maps = walk(model, images, *pairs, ["ebp", "lrp"])
    torch.testing.assert_close(maps["ebp"].sum((1, 2)), torch.ones(15, dtype=torch.float64))
    magnitude = scores_of(model, images, *pairs).abs()
    torch.testing.assert_close(maps["lrp"], magnitude[:, None, None] * maps["ebp"])


def test_a_mirrored_net_gives_the_mirrored_maps_of_mirrored_images():
    model, images, pairs = plain_net(2), some_images(2), all_pairs(2)
    mirrored = copy.deepcopy(model)
    for module in mirrored.modules():
        if isinstance(module, nn.Conv2d):
            module.weight.data = module.weight.data.flip(3)
    last = mirrored.classifier[1]
    last.weight.data = last.weight.data.view(CLASSES, 6, 2, 2).flip(3).reshape(CLASSES, -1)
    for name, map_ in walk(mirrored, images.flip(3), *pairs, ALL).items():
        torch.testing.assert_close(map_.flip(-1), walk(model, images, *pairs, [name])[name])


def test_maps_follow_the_scale_of_the_scores():
    """Twice the last layer: twice the map, but for EBP, which starts at 1."""
    model, images, pairs = our_net(), some_images(2, 32, 32), all_pairs(2)
    before = walk(model, images, *pairs, ALL)
    model.classifier[1].weight.data *= 3.7
    model.classifier[1].bias.data *= 3.7
    for name, map_ in walk(model, images, *pairs, ALL).items():
        torch.testing.assert_close(map_, before[name] * (1 if name == "ebp" else 3.7))


def test_maps_do_not_depend_on_the_scale_of_a_hidden_channel():
    """A channel times s and its weights above over s is the same net."""
    model, images, pairs = our_net(), some_images(2, 32, 32), all_pairs(2)
    before = walk(model, images, *pairs, ALL)
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    scales = [0.2 + torch.arange(m.num_features, dtype=torch.float64) for m in norms]
    for norm, scale in zip(norms, scales, strict=True):
        norm.weight.data *= scale
        norm.bias.data *= scale
    for convolution, scale in zip(convolutions[1:], scales, strict=False):
        convolution.weight.data /= scale[:, None, None]
    model.classifier[1].weight.data /= scales[-1].repeat_interleave(4)
    for name, map_ in walk(model, images, *pairs, ALL).items():
        torch.testing.assert_close(map_, before[name])


@pytest.mark.parametrize("net", ["spread", "odd"])
def test_a_row_depends_on_its_image_and_class_alone(net):
    """A batch of 16 is 16 batches of 1, in any order, with any company."""
    model, images = NETS[net](), some_images(16, 16, 16)
    class_index = torch.arange(16) % CLASSES
    together = walk(model, images, torch.arange(16), class_index, ALL)
    order = torch.tensor([5, 5, 0, 15, 3])
    company = walk(model, images, order, class_index[order], ALL)
    other_class = walk(model, images, torch.arange(16), (class_index + 1) % CLASSES, ALL)
    for n in range(16):
        alone = walk(model, images[n : n + 1], torch.tensor([0]), class_index[n : n + 1], ALL)
        for name in ALL:
            torch.testing.assert_close(together[name][n], alone[name][0], rtol=1e-8, atol=1e-13)
    for name in ALL:
        torch.testing.assert_close(company[name], together[name][order], rtol=1e-8, atol=1e-13)
        assert (other_class[name] != together[name]).any()


@pytest.mark.parametrize("layer", LAYERS)
def test_a_map_does_not_depend_on_what_else_is_asked(layer):
    model, images, pairs = odd_net(), some_images(3, 16, 16), all_pairs(3)
    together = walk(model, images, *pairs, ALL[::-1], layer=layer)
    assert list(together) == ALL[::-1]
    for name in ALL:
        alone = walk(model, images, *pairs, [name], layer=layer)[name]
        torch.testing.assert_close(together[name], alone, rtol=1e-9, atol=1e-13)


def test_float32_is_float64_rounded():
    """Also RAP, whose sums of negative terms are differences."""
    model, images = torchvision_net("vgg16_bn"), some_images(2, 64, 64)
    index = torch.arange(2)
    exact = walk(model, images, index, index, ALL)
    rounded = walk(model.float(), images.float(), index, index, ALL)
    for name in ALL:
        assert rounded[name].dtype == torch.float32
        error = (rounded[name] - exact[name]).norm() / exact[name].norm()
        assert error < 1e-3, (name, float(error))


@pytest.mark.parametrize("arch", ["vgg11_bn", "alexnet"])
def test_full_size_images(arch):
    model = torchvision_net(arch, torch.float32)
    images, pair = some_images(1, 224, 224, torch.float32), (torch.tensor([0]), torch.tensor([2]))
    maps = walk(model, images, *pair, ALL)
    pixels = images.clone().requires_grad_()
    score = model(pixels)[0, 2]
    (gradient,) = torch.autograd.grad(score, pixels)
    assert (maps["gradient"] - gradient).norm() < 1e-2 * gradient.norm()  # rounding moves a few units across 0
    torch.testing.assert_close(maps["lrp"].sum((1, 2)), score.abs()[None], rtol=1e-4, atol=0)
    assert all(map_.shape[-2:] == (224, 224) and map_.isfinite().all() and map_.any() for map_ in maps.values())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("net", ["spread", "odd"])
def test_the_model_and_the_images_come_back_as_they_were(net, training, grad):
    """And its hooks do not run: it is read, not called."""
    model, images = NETS[net]().train(training), some_images(3, 16, 16)
    model.classifier.train(not training)
    frozen = model.features[0].weight.requires_grad_(False)
    model.classifier[1].bias.grad = torch.ones_like(model.classifier[1].bias)
    calls = []
    model.features[0].register_forward_hook(lambda *_: calls.append(1))
    parameters = list(model.parameters())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    versions = {name: value._version for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
    held, generator = images.clone(), torch.random.get_rng_state()
    with grad():
        maps = walk(model, images, *all_pairs(3), ALL)
    assert all(not map_.requires_grad and not map_.is_inference() for map_ in maps.values())
    assert [module.training for module in model.modules()] == flags
    assert [(len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()] == hooks
    assert not calls
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert {name: value._version for name, value in model.state_dict().items()} == versions
    assert all(new is old for new, old in zip(model.parameters(), parameters, strict=True))
    assert [p.requires_grad for p in parameters] == [p is not frozen for p in parameters]
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(grads) == ["classifier.1.bias"]
    assert (grads["classifier.1.bias"] == 1).all()
    assert torch.equal(images, held)
    assert not images.requires_grad
    assert torch.equal(torch.random.get_rng_state(), generator)
    for name, map_ in walk(model.eval(), images, *all_pairs(3), ALL).items():
        assert torch.equal(maps[name], map_)


def test_images_of_any_kind_and_layout():
    model, images, pairs = plain_net(2).to(memory_format=torch.channels_last), some_images(2), all_pairs(2)
    wanted = walk(model, images, *pairs, ALL)
    with torch.inference_mode():
        made_inside = images.clone()
    kinds = [images.clone().requires_grad_(), images.to(memory_format=torch.channels_last), made_inside]
    for kind in [*kinds, images.flip(3).contiguous().flip(3)]:
        for name, map_ in walk(model, kind, *pairs, ALL).items():
            torch.testing.assert_close(map_, wanted[name], rtol=1e-9, atol=1e-13)


def test_a_relu_upon_the_images_leaves_them_alone():
    model = in_order([nn.ReLU(inplace=True)], [nn.Linear(3 * 8 * 8, CLASSES)], nn.Identity())
    images = some_images(2).to(memory_format=torch.channels_last)
    held = images.clone()
    walk(model, images, *all_pairs(2), FINE)
    assert torch.equal(images, held)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("net", ["plain", "odd"])
def test_a_dead_net_has_all_zero_maps(net, dtype):
    """All activations are 0 and the score is the last bias: nothing in the image speaks for or against it."""
    model = NETS[net]().to(dtype)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.copy_(100 * (module.weight.sign() if module.affine else 1))
        if isinstance(module, nn.Conv2d) and module.bias is not None:
            module.bias.data.fill_(-100)
    maps = walk(model, some_images(2, 16, 16, dtype), *all_pairs(2), ALL)
    for name, map_ in maps.items():
        assert map_.isfinite().all(), name
        assert name == "gradient" or not map_.any(), name


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("value", [0.0, 0.7, -0.3])
@pytest.mark.parametrize("net", ["plain", "odd"])
def test_a_constant_image_has_finite_maps(net, value, dtype):
    """Its smallest pixel is its largest, so the z^B rule has nothing to tell apart, and relevance is lost."""
    maps = walk(NETS[net]().to(dtype), torch.full((1, 3, 16, 16), value, dtype=dtype), *all_pairs(1), ALL)
    for name, map_ in maps.items():
        assert map_.isfinite().all(), name
        assert name not in ("lrp", "rap") or not map_.any()
    assert maps["gradient"].any()


def test_a_net_without_any_positive_weight():
    model = plain_net()
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data.abs_().neg_()
    maps = walk(model, some_images(2), *all_pairs(2), ALL)
    assert all(map_.isfinite().all() for map_ in maps.values())
    assert not maps["ebp"].any()
    assert not maps["gradcam"].any()


def test_no_pairs_no_maps():
    nothing = torch.zeros(0, dtype=torch.int64)
    shapes = {name: map_.shape for name, map_ in walk(plain_net(), some_images(), nothing, nothing, ALL).items()}
    assert shapes == {name: (0, 3, 8, 8) if name in ("gradient", "guided") else (0, 8, 8) for name in ALL}
    assert walk(plain_net(), some_images(), *all_pairs(4), []) == {}


@pytest.mark.parametrize("index", [(torch.tensor([4]), torch.tensor([0])), (torch.tensor([0]), torch.tensor([5]))])
def test_a_pair_that_does_not_exist_is_refused(index):
    with pytest.raises(IndexError):
        walk(plain_net(), some_images(4), *index, ALL)


def with_layer(place, module):
    model = plain_net()
    model.features[place] = module
    return model


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (with_layer(2, nn.GELU()), r"its module features\.2, a GELU, is not a layer it knows"),
        (
            with_layer(0, nn.Conv2d(3, 4, 3, padding_mode="reflect")),
            r"features\.0, a Conv2d, pads with padding_mode 'ref",
        ),
        (with_layer(4, nn.Conv2d(4, 6, 2, padding="same")), r"features\.4, a Conv2d, pads its sides unequally"),
        (
            with_layer(1, nn.BatchNorm2d(4, track_running_stats=False)),
            r"features\.1, a BatchNorm2d, has no running stat",
        ),
        (with_layer(1, nn.Flatten(2)), r"features\.1, a Flatten, flattens other dimensions"),
        (torchvision.models.mobilenet_v2(), r"a MobileNetV2 is not a layer it knows.*VGG and AlexNet.*of Conv2d, Lin"),
        (torchvision.models.squeezenet1_1(), r"a SqueezeNet is not a layer it knows"),
    ],
)
@pytest.mark.parametrize("names", [["gradient"], ["gradcam", "rap"]])
def test_a_layer_the_walk_does_not_know_is_refused_by_name(model, message, names):
    for refuse in (lambda: check(model, names), lambda: walk(model, None, None, None, names)):
        with pytest.raises(InputError, match=message) as error:
            refuse()
        assert f"The layer walk ({', '.join(names)}) cannot explain this model" in str(error.value)


def test_relevance_asks_for_a_relu_before_every_weight():
    model = with_layer(2, nn.Identity())
    check(model, ["gradient", "guided", "gradcam", "ebp"])
    for name in ("lrp", "rap"):
        with pytest.raises(InputError, match=rf"^{name} cannot .*features\.4, a Conv2d, may see negative values"):
            check(model, ["gradient", name])
    model = in_order(
        [nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.BatchNorm2d(4)], [nn.Linear(4, 2)], nn.AvgPool2d(3)
    )
    check(model, ["gradient", "gradcam"])
    with pytest.raises(InputError, match=r"ebp, rap cannot .* module avgpool, a AvgPool2d, may see"):
        check(model, ["ebp", "rap"])


def test_methods_at_a_layer_ask_for_one():
    model = with_layer(10, nn.AvgPool2d(2))
    model.features[3] = nn.AvgPool2d(2)
    check(model, ["gradient", "lrp"])
    for layer in LAYERS:
        with pytest.raises(InputError, match=f"has no max-pool, so no layer '{layer}'.*named by its module path"):
            check(model, ["gradcam"], layer=layer)
    model = in_order([nn.Conv2d(3, 4, 3), nn.MaxPool2d(2), nn.ReLU()], [nn.Linear(4, 2)], nn.AdaptiveAvgPool2d(1))
    check(model, ["ebp"], layer="last_pool")
    with pytest.raises(InputError, match="no ReLU before its last max-pool"):
        check(model, ["ebp"])


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"no method 'gradiant'\. Choose of gradient, guided, gradcam"):
        check(plain_net(), ["lrp", "gradiant"])
    with pytest.raises(InputError, match=r"cannot stop at a layer 'features\.99'\. Near names: .*last_relu, last_pool"):
        check(plain_net(), ["lrp", "ebp"], layer="features.99")


def test_a_model_without_scores_is_refused():
    with pytest.raises(InputError, match=r"output is \(4, 4, 3, 3\), not scores"):
        walk(
            filled(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.MaxPool2d(2))),
            some_images(),
            *all_pairs(4),
            ["gradient"],
        )


def test_what_a_rectified_pool_saw_is_what_gradcam_weighs():
    """Grad-CAM at a pool of negative values, with a ReLU above that works in place."""
    features = [nn.Conv2d(3, 4, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
    model, images = in_order(features, [nn.Linear(16, CLASSES)], nn.AdaptiveAvgPool2d(2)), some_images(2)
    maps = walk(model, images, torch.tensor([1]), torch.tensor([2]), ["gradcam"], layer="last_pool")
    torch.testing.assert_close(maps["gradcam"][0], reference(model, images[1], 2, "gradcam", "last_pool"))
