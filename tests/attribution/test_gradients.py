"""Gradient, guided backprop and Grad-CAM of any classifier: captum, references, closed forms, what is lent comes back.

Grad-CAM of this project's own nets is in test_attribution.py.
"""

import copy
import functools

import pytest
import torch
import torch.nn.functional as F
import torchvision
from captum.attr import GuidedBackprop, InputXGradient, Saliency
from support.slow_maps import both_signs
from torch import nn

from roar_pipeline.attribution.gradients import NAMES, differentiate, find_layer, gradcam
from roar_pipeline.errors import InputError

CLASSES = 7
LAYERS = {
    "vgg11_bn": "last_relu",
    "alexnet": "last_relu",
    "resnet18": "layer4",
    "densenet121": "features",
    "mobilenet_v3_small": "features.8",
    "efficientnet_b0": "features",
    "convnext_tiny": "features.7",
}
"""A torchvision family by its member, and a layer of it for Grad-CAM."""
WITHOUT_RELU = ("efficientnet_b0", "convnext_tiny")
WITH_RELU = tuple(name for name in LAYERS if name not in WITHOUT_RELU)


@functools.cache
def family(name):
    """A net in float64 with batch norm statistics and scales that are not those of its first day."""
    generator = torch.Generator().manual_seed(2)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        if name in ("vgg11_bn", "alexnet"):
            model = narrow(name)
        else:
            model = getattr(torchvision.models, name)(weights=None, num_classes=CLASSES)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            shape = module.running_mean.shape
            module.running_mean += 0.1 * torch.randn(shape, generator=generator)
            module.running_var *= 0.2 + 0.2 * torch.rand(shape, generator=generator)
        if isinstance(module, torchvision.models.convnext.CNBlock):
            module.layer_scale.data.fill_(0.5)
    return model.double()


def narrow(name):
    """The family with 16 hidden units instead of 4096, whose weights would take most of the time."""
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
        linears = [i for i, module in enumerate(model.classifier) if isinstance(module, nn.Linear)]
        widths = [model.classifier[linears[0]].in_features, 16, 16, CLASSES]
        for i, before, after in zip(linears, widths, widths[1:], strict=False):
            model.classifier[i] = nn.Linear(before, after)
    model.to_empty(device="cpu")
    for module in model.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    return model


def small_net():
    """Every spelling of a ReLU, in place and not, a residual sum in place, a module that runs twice."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second, self.third = (nn.Conv2d(c, 4, 3, padding=1) for c in (3, 4, 4))
            self.norm = nn.BatchNorm2d(4)
            self.relu = nn.ReLU(inplace=True)
            self.unused = nn.Conv2d(3, 4, 1)
            self.pair = Pair()
            self.head = nn.Linear(4, CLASSES)

        def forward(self, x):
            x = self.relu(self.first(x))
            y = self.norm(self.second(x))
            y += x
            y = F.relu(y, inplace=True)
            y = torch.relu(0.3 - y) + F.relu(y - 0.2) + (0.5 - y).relu() + (y - 0.1).relu_() + torch.relu_(0.4 - y)
            y = self.relu(self.third(self.pair(y)[0]))
            return self.head(y.mean((2, 3)))

    class Pair(nn.Module):
        def forward(self, x):
            return x, x

    with torch.random.fork_rng():
        torch.manual_seed(3)
        net = Net().double().eval()
    net.norm.running_mean += 0.2
    return net


def some_images(count=3, side=64, dtype=torch.float64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=dtype)


PAIRS = torch.tensor([2, 0, 2, 2]), torch.tensor([1, 2, 0, 6])
"""One image with three classes, one with one, one with none; in no order; scores of both signs."""


def scores_of(model, images):
    with torch.no_grad():
        return model(images)


class Guided(torch.autograd.Function):
    """The guided ReLU, written out."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * (x > 0)

    @staticmethod
    def backward(ctx, gradient):
        (x,) = ctx.saved_tensors
        return gradient * (x > 0) * (gradient > 0)


def reference(model, images, image_index, class_index, relu, monkeypatch):
    """One pair at a time, through autograd's own ReLU or the guided one, in every spelling."""
    both_signs(scores_of(model, images)[image_index, class_index])
    rows = []
    with monkeypatch.context() as patch:
        for owner, name in [(F, "relu"), (torch, "relu"), (torch, "relu_"), *((torch.Tensor, n) for n in REFS)]:
            patch.setattr(owner, name, lambda x, inplace=False: relu(x))
        for n, k in zip(image_index, class_index, strict=True):
            x = images[n : n + 1].clone().requires_grad_()
            rows.append(torch.autograd.grad(model(x)[0, k], x)[0][0])
    return torch.stack(rows)


REFS = ("relu", "relu_")


@pytest.mark.parametrize("name", LAYERS)
def test_the_gradient_equals_captum(name):
    model, images = family(name).eval(), some_images()
    image_index, class_index = PAIRS
    both_signs(scores_of(model, images)[PAIRS])
    found = differentiate(model, images, image_index, class_index, ["gradient"])["gradient"]
    inputs = images[image_index].requires_grad_()
    wanted = Saliency(model).attribute(inputs, target=class_index, abs=False)
    assert found.dtype == torch.float64
    assert found.abs().max() > 0
    assert not found.requires_grad
    scale = wanted.abs().max()
    torch.testing.assert_close(found / scale, wanted / scale)
    product = InputXGradient(model).attribute(inputs, target=class_index).detach()
    torch.testing.assert_close(found * images[image_index] / scale, product / scale)


@pytest.mark.parametrize("name", WITH_RELU)
def test_guided_backprop_equals_the_reference(name, monkeypatch):
    """In DenseNet the last ReLU is a function, which captum's module hooks do not see."""
    model, images = family(name).eval(), some_images()
    found = differentiate(model, images, *PAIRS, NAMES)
    for kind, relu in [("gradient", lambda x: x * (x > 0)), ("guided", Guided.apply)]:
        wanted = reference(model, images, *PAIRS, relu, monkeypatch)
        scale = wanted.abs().max()
        assert scale > 0
        torch.testing.assert_close(found[kind] / scale, wanted / scale)
    assert not torch.allclose(found["guided"], found["gradient"])


def test_every_spelling_of_a_relu_is_guided(monkeypatch):
    model, images = small_net(), some_images(side=8)
    found = differentiate(model, images, *PAIRS, NAMES)
    for kind, relu in [("gradient", lambda x: x * (x > 0)), ("guided", Guided.apply)]:
        torch.testing.assert_close(found[kind], reference(model, images, *PAIRS, relu, monkeypatch))


@pytest.mark.parametrize(
    "relu",
    [
        F.relu,
        functools.partial(F.relu, inplace=True),
        F.relu_,
        torch.relu,
        torch.relu_,
        torch.Tensor.relu,
        torch.Tensor.relu_,
        nn.ReLU(),
        nn.ReLU(inplace=True),
    ],
)
def test_no_negative_gradient_passes_any_spelling(relu):
    """score = relu(-relu(2 x) + 5): the outer gradient is positive, the inner one negative."""

    class Net(nn.Module):
        def forward(self, x):
            return relu(5 - relu(2 * x)).sum((2, 3))

    images, zero = torch.full((1, 1, 2, 2), 0.5, dtype=torch.float64), torch.tensor([0])
    found = differentiate(Net(), images, zero, zero, NAMES)
    assert found["gradient"].flatten().tolist() == [-2.0] * 4
    assert not found["guided"].any()


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("name", ["vgg11_bn", "alexnet", "resnet18"])
def test_guided_backprop_equals_captum(name):
    model = copy.deepcopy(family(name)).eval()
    for module in model.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = False
    images, (image_index, class_index) = some_images(), PAIRS
    both_signs(scores_of(model, images)[PAIRS])
    wanted = GuidedBackprop(model).attribute(images[image_index].requires_grad_(), target=class_index)
    found = differentiate(family(name), images, image_index, class_index, ["guided"])["guided"]
    torch.testing.assert_close(found / wanted.abs().max(), wanted / wanted.abs().max())


def test_guided_backprop_of_two_layers_by_hand():
    """score = -2 relu(x) + 3 relu(-x) + relu(x): of the paths, only those with positive gradients reach x."""

    class Net(nn.Module):
        def forward(self, x):
            v = x.flatten(1)
            return -2 * torch.relu(v) + 3 * torch.relu(-v) + F.relu(v)

    images = torch.tensor([[[[1.5]]], [[[-0.5]]]], dtype=torch.float64)
    found = differentiate(Net(), images, torch.arange(2), torch.zeros(2, dtype=torch.int64), NAMES)
    assert found["gradient"].flatten().tolist() == [-1.0, -3.0]
    assert found["guided"].flatten().tolist() == [1.0, -3.0]


def test_names_may_be_asked_for_alone_or_together():
    model, images = family("resnet18"), some_images(side=32)
    together = differentiate(model, images, *PAIRS, NAMES)
    assert list(together) == list(NAMES)
    for name in NAMES:
        alone = differentiate(model, images, *PAIRS, [name])
        assert list(alone) == [name]
        torch.testing.assert_close(alone[name], together[name])
    assert differentiate(model, images, *PAIRS, []) == {}
    with pytest.raises(ValueError, match="names must be of gradient, guided, got saliency"):
        differentiate(model, images, *PAIRS, ["gradient", "saliency"])


@pytest.mark.parametrize(
    ("name", "activations"),
    [("efficientnet_b0", "SiLU, Sigmoid"), ("convnext_tiny", "GELU"), ("mobilenet_v2", "ReLU6")],
)
def test_guided_backprop_without_a_relu_is_refused_by_name(name, activations):
    model = family(name)
    with pytest.raises(InputError, match=rf"{type(model).__name__} has none \(it has {activations}\). Take the grad"):
        differentiate(model, some_images(side=32), *PAIRS, ["gradient", "guided"])


def test_a_clamp_is_no_relu():
    model = nn.Sequential(nn.Flatten(), nn.Hardtanh(0, 9), nn.Linear(3 * 64, CLASSES)).double()
    images = some_images(side=8)
    assert differentiate(model, images, *PAIRS, ["gradient"])["gradient"].any()
    with pytest.raises(InputError, match=r"Sequential has none \(it has Hardtanh\)"):
        differentiate(model, images, *PAIRS, ["guided"])


@pytest.mark.parametrize("names", [("gradient",), ("gradient", "guided")])
def test_the_classes_of_an_image_share_its_forward_pass(names):
    """Three images asked for, one of them not needed: two rows run, however many classes and names."""
    model, seen = small_net(), []
    model.first.register_forward_hook(lambda module, inputs, output: seen.append(len(output)))
    differentiate(model, some_images(side=8), *PAIRS, names)
    assert sum(seen) == 2
    gradcam(model, some_images(side=8), *PAIRS, layer="norm")
    assert sum(seen) == 4


def run_all(model, images, image_index, class_index, layer, guided):
    """Every function of the module, as one dictionary of results."""
    results = differentiate(model, images, image_index, class_index, NAMES if guided else ["gradient"])
    return {**results, "gradcam": gradcam(model, images, image_index, class_index, layer=layer)}


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_a_row_depends_on_its_image_and_class_alone(name):
    """A batch of 16 is 16 batches of 1, in any order, with any company."""
    model, images = family(name), some_images(16, side=32)
    images[3] *= 100
    class_index = torch.arange(16) % CLASSES
    call = functools.partial(run_all, model, layer=LAYERS[name], guided=name in WITH_RELU)
    together = call(images, torch.arange(16), class_index)
    order = torch.tensor([5, 5, 0, 15, 3])
    shuffled = call(images, order, class_index[order])

    def same(maps, row, others, n):
        assert maps.keys() == others.keys()
        for kind in maps:
            tiny = 1e-9 * float(maps[kind][row].abs().max())
            torch.testing.assert_close(maps[kind][row], others[kind][n], rtol=1e-6, atol=tiny)

    for n in range(16):
        same(together, n, call(images[n : n + 1], torch.tensor([0]), class_index[n : n + 1]), 0)
    for row, n in enumerate(order):
        same(shuffled, row, together, n)


def snapshot(model):
    """All that a lender may look at."""
    return {
        "flags": [module.training for module in model.modules()],
        "hooks": [
            [len(hooks) for key, hooks in vars(module).items() if key.endswith("_hooks")] for module in model.modules()
        ],
        "parameters": [(id(p), p.requires_grad, p._version) for p in model.parameters()],
        "grads": [None if p.grad is None else (id(p.grad), p.grad.sum().item()) for p in model.parameters()],
        "buffers": [(id(b), b._version) for b in model.buffers()],
        "random": torch.random.get_rng_state().tolist(),
        "grad mode": torch.is_grad_enabled(),
    }


@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
@pytest.mark.parametrize("name", LAYERS)
def test_the_model_and_the_images_come_back_as_they_were(name, grad):
    """From every family, in training mode in part, with frozen weights, gradients and hooks of the caller's own."""
    model = copy.deepcopy(family(name)).train()
    children = list(model.children())
    children[-1].eval()
    first, *_, last = model.parameters()
    first.requires_grad_(False)
    last.grad = torch.ones_like(last)
    children[0].register_forward_hook(lambda module, inputs, output: None)
    images = some_images(side=64 if name == "alexnet" else 32)
    held, before = images.clone(), snapshot(model)
    with grad():
        lent = snapshot(model)
        results = run_all(model, images, *PAIRS, LAYERS[name], name in WITH_RELU)
        assert snapshot(model) == lent
    assert snapshot(model) == before
    assert torch.equal(images, held)
    assert not images.requires_grad
    assert images.grad is None
    for result in results.values():
        assert not result.requires_grad
        assert not result.is_inference()
        assert result.isfinite().all()
        assert result.dtype == torch.float64
    again = run_all(model.eval(), images, *PAIRS, LAYERS[name], name in WITH_RELU)
    for kind, result in results.items():
        torch.testing.assert_close(result, again[kind], rtol=1e-6, atol=1e-9 * float(result.abs().max()))


def test_images_may_require_gradients_or_come_from_inference_mode():
    model, images = family("resnet18"), some_images(side=32)
    wanted = run_all(model, images, *PAIRS, "layer4", True)
    with torch.inference_mode():
        inferred = images + 0
    for given in (images.clone().requires_grad_(), inferred):
        for kind, result in run_all(model, given, *PAIRS, "layer4", True).items():
            torch.testing.assert_close(result, wanted[kind])
            assert not result.requires_grad
        assert given.grad is None


def test_a_model_that_starts_in_place_changes_no_image():
    model = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 36, CLASSES)).double()
    images = some_images(side=8)
    held = images.clone()
    results = run_all(model, images, *PAIRS, "0", True)
    assert torch.equal(images, held)
    assert not results["gradient"][images[PAIRS[0]] < 0].any()


def test_the_model_comes_back_after_an_error():
    model = copy.deepcopy(family("resnet18")).train()
    before = snapshot(model)
    for image, class_index, layer in [(3, 0, "layer4"), (0, CLASSES, "layer4"), (0, 0, "fc")]:
        with pytest.raises((IndexError, RuntimeError, InputError)):
            gradcam(model, some_images(side=32), torch.tensor([image]), torch.tensor([class_index]), layer=layer)
        assert snapshot(model) == before
    with pytest.raises((IndexError, RuntimeError)):
        differentiate(model, some_images(side=32), torch.tensor([3]), torch.tensor([0]), NAMES)
    assert snapshot(model) == before


def test_no_pairs_no_maps():
    nothing = torch.zeros(0, dtype=torch.int64)
    results = run_all(family("resnet18"), some_images(2, 32), nothing, nothing, "layer4", True)
    assert {kind: tuple(r.shape) for kind, r in results.items()} == {
        "gradient": (0, 3, 32, 32),
        "guided": (0, 3, 32, 32),
        "gradcam": (0, 32, 32),
    }


def test_constant_images_and_dead_nets_are_finite():
    model = copy.deepcopy(family("resnet18")).eval()
    constant = torch.full((3, 3, 32, 32), 0.7, dtype=torch.float64)
    assert all(r.isfinite().all() for r in run_all(model, constant, *PAIRS, "layer4", True).values())
    model.bn1.weight.data.zero_()
    model.bn1.bias.data.fill_(-1)
    for result in run_all(model, constant, *PAIRS, "layer1", True).values():
        assert result.isfinite().all()
    assert not differentiate(model, constant, *PAIRS, NAMES)["guided"].any()


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("resnet18", "layer4"),
        ("resnet18", "layer4.1.relu"),
        ("efficientnet_b0", "features"),
        ("densenet121", "features"),
    ],
)
def test_gradcam_equals_its_closed_form_under_a_mean_and_a_linear_layer(name, layer):
    """d score_k / d A_c is the Linear's weight over the cells; behind DenseNet's last ReLU, only where A_c > 0."""
    model, images, (image_index, class_index) = family(name).eval(), some_images(side=96), PAIRS
    both_signs(scores_of(model, images)[PAIRS])
    kept = []
    path = layer.removesuffix(".1.relu")
    handle = model.get_submodule(path).register_forward_hook(lambda module, inputs, output: kept.append(output.clone()))
    scores_of(model, images)
    handle.remove()
    activations = kept[0][image_index]
    assert activations.shape[2:] == (3, 3)
    linear = next(
        module for module in model.modules() if isinstance(module, nn.Linear) and len(module.weight) == CLASSES
    )
    weights = linear.weight.detach()[class_index]
    if name == "densenet121":
        weights = weights * (activations > 0).double().mean((2, 3))
    coarse = (weights[:, :, None, None] * activations).sum(1, keepdim=True).clamp(min=0)
    wanted = F.interpolate(coarse, size=(96, 96), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(gradcam(model, images, image_index, class_index, layer=layer), wanted)


@pytest.mark.parametrize("layer", ["first", "norm", "second", "third"])
def test_gradcam_of_any_layer_equals_finite_differences(layer):
    """w_c is what the score gains per unit added to all of channel c, also where the next layers work in place."""
    model, images, (image_index, class_index) = small_net(), some_images(side=8), PAIRS
    module, step = model.get_submodule(layer), 1e-6
    kept = []

    def score(channel, shift):
        def add(module, inputs, output):
            kept.append(output.clone())
            output = output.clone()
            output[:, channel] += shift
            return output

        handle = module.register_forward_hook(add)
        scores = scores_of(model, images)[image_index, class_index]
        handle.remove()
        return scores

    both_signs(score(0, 0))
    kept.clear()
    weights = [(score(c, step) - score(c, -step)) / (2 * step) for c in range(4)]
    coarse = (torch.stack(weights, 1)[:, :, None, None] * kept[0][image_index]).sum(1, keepdim=True).clamp(min=0)
    wanted = F.interpolate(coarse, size=(8, 8), mode="bilinear", align_corners=False)[:, 0]
    assert wanted.any()
    torch.testing.assert_close(
        gradcam(model, images, image_index, class_index, layer=layer), wanted, rtol=1e-5, atol=1e-7
    )


def test_gradcam_keeps_a_graph_above_the_layer_only():
    model, graphs = small_net(), {}
    for name in ("first", "second", "third", "head"):
        module = model.get_submodule(name)
        module.register_forward_hook(lambda m, i, output, name=name: graphs.update({name: output.requires_grad}))
    gradcam(model, some_images(side=8), *PAIRS, layer="norm")
    assert graphs == {"first": False, "second": False, "third": True, "head": True}


@pytest.mark.parametrize(
    ("name", "relu", "pool"),
    [("vgg16_bn", 42, 43), ("vgg16", 29, 30), ("vgg11_bn", 27, 28), ("vgg11", 19, 20), ("alexnet", 11, 12)],
)
def test_the_last_relu_and_the_last_pool_are_found(name, relu, pool):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    assert find_layer(model, "last_relu") is model.features[relu]
    assert find_layer(model, "last_pool") is model.features[pool]
    assert find_layer(model, "features.3") is model.features[3]


@pytest.mark.parametrize(
    ("name", "layer"),
    [(name, "last_pool") for name in ("resnet18", "densenet121", "squeezenet1_1", "convnext_tiny")]
    + [("vit_b_32", "last_relu")],
)
def test_a_model_without_plain_features_is_told_to_name_a_path(name, layer):
    with torch.device("meta"):
        model = getattr(torchvision.models, name)(weights=None)
    with pytest.raises(
        InputError, match=rf"has no layer '{layer}': its features are not a plain sequence.*dotted path"
    ):
        find_layer(model, layer)


@pytest.mark.parametrize(
    ("layer", "listed"),
    [("layer5", "layer4"), ("layer4.1.conv", "layer4.1.conv1"), ("Features", "conv1, bn1, relu"), ("fc.weight", "fc")],
)
def test_an_unknown_layer_is_refused_with_near_names(layer, listed):
    with pytest.raises(InputError, match=rf"ResNet has no layer '{layer}'. Near names: .*{listed}.*dotted path"):
        gradcam(family("resnet18"), some_images(side=32), *PAIRS, layer=layer)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("unused", "Layer 'unused' does not run when the model is evaluated"),
        ("head", r"'head' puts out a tensor \(1, 7\) for 1 images"),
        ("pair", "'pair' puts out a tuple for 1 images"),
    ],
)
def test_a_layer_without_feature_maps_is_refused(layer, message):
    with pytest.raises(InputError, match=message):
        gradcam(small_net(), some_images(side=8), *PAIRS, layer=layer)
