"""Attribution: names; Grad-CAM against captum, a slow reference and its closed form; which classes are explained."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from captum.attr import LayerAttribution, LayerGradCam
from support.slow_maps import both_signs
from support.splitting import split_at
from torch import nn

from roar_pipeline.attribution import controls
from roar_pipeline.attribution.gradients import evaluating, gradcam
from roar_pipeline.attribution.targets import RULES, combine, explained_classes
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.methods import CONTROLS, METHODS, check_method
from roar_pipeline.networks import vgg

CLASSES = 5
LAYERS = ("last_relu", "last_pool")


def small_model(arch="vgg11_small", pool=1, dropout=0.2, dtype=torch.float64):
    """A net with batch norm statistics and biases that are not those of its first day."""
    model = vgg.build(Network(arch=arch, width=4, pool=pool, dropout=dropout), CLASSES, seed=1).to(dtype)
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values += 0.3 * torch.randn(values.shape, generator=generator, dtype=dtype)
            module.running_var += torch.rand(module.running_var.shape, generator=generator, dtype=dtype)
    return model


def some_images(count=6, height=32, width=48, dtype=torch.float64):
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(0), dtype=dtype)


def all_pairs(images):
    image_index = torch.arange(images).repeat_interleave(CLASSES)
    return image_index, torch.arange(CLASSES).repeat(images)


@pytest.mark.parametrize("arch", ["vgg11_small", "vgg16_bn"])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("pool", [1, 2])
def test_gradcam_equals_captum(arch, layer, pool):
    """Captum averages the gradients where we sum them: its map times the number of cells is ours."""
    model, images = small_model(arch, pool).eval(), some_images(3)
    image_index, class_index = all_pairs(3)
    both_signs(model(images).detach())
    maps = gradcam(model, images, image_index, class_index, layer=layer)
    lower, _ = split_at(model, layer)
    oracle = LayerGradCam(model, list(lower.children())[-1])
    coarse = oracle.attribute(images[image_index], target=class_index, relu_attributions=True)
    wanted = LayerAttribution.interpolate(coarse * coarse[0].numel(), (32, 48), interpolate_mode="bilinear")
    assert maps.dtype == images.dtype
    assert maps.shape == (3 * CLASSES, 32, 48)
    assert maps.max() > 0
    torch.testing.assert_close(maps, wanted[:, 0].detach())


def gradcam_reference(model, image, class_index, layer):
    """One pair at a time, one channel at a time, from the model's own modules."""
    lower, upper = split_at(model, layer)
    activations = lower(image[None]).detach().requires_grad_()
    upper(activations)[0, class_index].backward()
    coarse = torch.zeros(activations.shape[2:], dtype=image.dtype)
    for c in range(activations.shape[1]):
        coarse += activations.grad[0, c].sum() * activations[0, c].detach()
    return F.interpolate(coarse.clamp(min=0)[None, None], image.shape[1:], mode="bilinear")[0, 0]


@pytest.mark.parametrize("layer", LAYERS)
def test_gradcam_equals_the_slow_reference(layer):
    model, images = small_model().eval(), some_images(4)
    image_index = torch.tensor([3, 0, 0, 2])
    class_index = torch.tensor([1, 4, 0, 1])
    both_signs(model(images).detach()[image_index, class_index])
    maps = gradcam(model, images, image_index, class_index, layer=layer)
    for map_, image, k in zip(maps, image_index, class_index, strict=True):
        torch.testing.assert_close(map_, gradcam_reference(model, images[image], k, layer))


@pytest.mark.parametrize("pool", [1, 2])
def test_gradcam_equals_its_closed_form(pool):
    """Pooling, dropout and one Linear layer: d score_k / d A is linear in the weights alone.

    Averaging spreads each Linear weight evenly over its cells, and a max-pool hands it to one cell each, so w_c is the
    sum over pooled positions of the Linear layer's weights, whatever the image.
    """
    model, images = small_model(pool=pool).eval(), some_images(4, 32, 32)
    image_index, class_index = all_pairs(4)
    both_signs(model(images).detach())
    maps = gradcam(model, images, image_index, class_index, layer="last_relu")
    lower, _ = split_at(model, "last_relu")
    with torch.no_grad():
        activations = lower(images)[image_index]
        weight = model.get_submodule("classifier")[-1].weight.view(CLASSES, -1, pool * pool).sum(2)[class_index]
        coarse = (weight[:, :, None, None] * activations).sum(1, keepdim=True).clamp(min=0)
    wanted = F.interpolate(coarse, size=(32, 32), mode="bilinear", align_corners=False)[:, 0]
    torch.testing.assert_close(maps, wanted)


@pytest.mark.parametrize("layer", LAYERS)
def test_a_row_depends_on_its_image_and_class_alone(layer):
    """A batch of 16 is 16 batches of 1, in any order, with any company."""
    model, images = small_model(), some_images(16)
    class_index = torch.arange(16) % CLASSES
    together = gradcam(model, images, torch.arange(16), class_index, layer=layer)
    for n in range(16):
        alone = gradcam(model, images[n : n + 1], torch.tensor([0]), class_index[n : n + 1], layer=layer)
        torch.testing.assert_close(together[n], alone[0])
    order = torch.tensor([5, 5, 0, 15, 3])
    torch.testing.assert_close(gradcam(model, images, order, class_index[order], layer=layer), together[order])


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_model_and_the_images_come_back_as_they_were(training, grad):
    """Also where the caller wants no gradients, has some of its own, or froze a part of the net."""
    model, images = small_model().train(training), some_images(4)
    model.get_submodule("classifier").train(not training)
    frozen = model.get_submodule("features")[0].weight
    frozen.requires_grad_(False)
    model.get_submodule("classifier")[1].bias.grad = torch.ones(CLASSES, dtype=torch.float64)
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    hooks = [(len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()]
    held = images.clone()
    generator = torch.random.get_rng_state()
    with grad():
        maps = gradcam(model, images, *all_pairs(4), layer="last_relu")
    assert not maps.requires_grad
    assert [module.training for module in model.modules()] == flags
    assert [(len(m._forward_hooks), len(m._backward_hooks)) for m in model.modules()] == hooks
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not frozen.requires_grad
    assert all(p.requires_grad for p in model.parameters() if p is not frozen)
    grads = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert list(grads) == ["classifier.1.bias"]
    assert torch.equal(grads["classifier.1.bias"], torch.ones(CLASSES, dtype=torch.float64))
    assert torch.equal(images, held)
    assert not images.requires_grad
    assert torch.equal(torch.random.get_rng_state(), generator)
    torch.testing.assert_close(maps, gradcam(model.eval(), images, *all_pairs(4), layer="last_relu"))


def test_the_model_comes_back_after_an_error():
    model = small_model().train()
    with pytest.raises(IndexError):
        gradcam(model, some_images(2), torch.tensor([7]), torch.tensor([0]), layer="last_relu")
    assert all(module.training for module in model.modules())
    with pytest.raises(KeyError), evaluating(model):
        assert not model.training
        raise KeyError
    assert all(module.training for module in model.modules())


def test_no_pairs_no_maps():
    nothing = torch.zeros(0, dtype=torch.int64)
    assert gradcam(small_model(), some_images(2), nothing, nothing, layer="last_relu").shape == (0, 32, 48)


def test_a_class_without_positive_evidence_has_an_all_zero_map():
    model = small_model()
    model.get_submodule("classifier")[-1].weight.data.abs_().neg_()
    assert not gradcam(model, some_images(2), *all_pairs(2), layer="last_relu").any()


def test_a_constant_image_has_a_constant_map_away_from_the_border():
    """Five blocks would see the padding everywhere; the first convolution alone sees it in one row."""
    torch.manual_seed(0)
    features = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
    head = nn.Sequential(nn.Dropout(0.5), nn.Linear(4, CLASSES))
    model = nn.Sequential()
    for name, module in [
        ("features", features),
        ("avgpool", nn.AdaptiveAvgPool2d(1)),
        ("flatten", nn.Flatten()),
        ("classifier", head),
    ]:
        model.add_module(name, module)
    maps = gradcam(model, torch.full((1, 3, 16, 16), 0.7), *all_pairs(1), layer="last_relu")
    inner = maps[:, 1:-1, 1:-1]
    assert inner.max() > 0
    torch.testing.assert_close(inner, inner[:, :1, :1].expand_as(inner))


def test_methods_are_found_by_name_and_controls_too():
    for name in [*METHODS, *CONTROLS]:
        check_method(name)
    for name in CONTROLS:
        assert callable(controls.CONTROLS[name])
    assert controls.CONTROLS.keys() == CONTROLS.keys()
    assert not METHODS.keys() & CONTROLS.keys()


def test_the_names_cost_no_torch():
    code = (
        "import sys, roar_pipeline.attribution, roar_pipeline.attribution.controls, roar_pipeline.attribution.targets,"
        "roar_pipeline.attribution.postprocess, roar_pipeline.removal.level_store, roar_pipeline.attribution.map_store;"
        "sys.exit(bool({'torch', 'torchvision', 'sklearn'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SCORES = np.array([[-1.0, 0.0, 2.0], [-3.0, -1.0, -2.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
LABELS = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 0], [0, 1, 1]], np.uint8)


@pytest.mark.parametrize(
    ("rule", "wanted"),
    [
        ("predicted", [[0, 1, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]]),
        ("top1", [[0, 0, 1], [0, 1, 0], [1, 0, 0], [1, 0, 0]]),
        ("labels", [[1, 0, 1], [1, 0, 0], [1, 0, 0], [0, 1, 1]]),
    ],
)
def test_the_explain_rules(rule, wanted):
    found = explained_classes(SCORES, LABELS, rule)
    assert found.dtype == bool
    np.testing.assert_array_equal(found, np.array(wanted, bool))


@pytest.mark.parametrize(
    ("rule", "wanted"), [("predicted", [2, 1, 0, 0]), ("top1", [2, 1, 0, 0]), ("labels", [0, 2, 1, 1])]
)
def test_with_one_label_per_image_one_class_is_explained(rule, wanted):
    """Predicted is the highest score, whatever its sign; the first of equal ones."""
    labels = np.eye(3, dtype=np.uint8)[[0, 2, 1, 1]]
    found = explained_classes(SCORES, labels, rule, is_single_label=True)
    np.testing.assert_array_equal(found, np.eye(3, dtype=bool)[wanted])


@pytest.mark.parametrize("rule", RULES)
def test_every_image_has_an_explained_class(rule):
    rng = np.random.default_rng(0)
    scores, labels = rng.normal(-2, 1, (50, 7)).astype(np.float32), rng.random((50, 7)) < 0.1
    found = explained_classes(scores, labels, rule)
    assert found.any(axis=1).all()
    if rule != "labels":
        np.testing.assert_array_equal(found, explained_classes(scores, ~labels, rule))
    assert explained_classes(scores[:0], labels[:0], rule).shape == (0, 7)


def test_bad_input_to_the_explain_rules_is_refused():
    with pytest.raises(InputError, match=r"Unknown rule explain = 'top5'.*one of predicted, top1, labels"):
        explained_classes(SCORES, LABELS, "top5")
    with pytest.raises(ValueError, match=r"scores \(4, 3\) and labels \(3, 3\)"):
        explained_classes(SCORES, LABELS[1:], "top1")
    with pytest.raises(InputError, match="scores that are not finite"):
        explained_classes(np.where(SCORES > 1, np.nan, SCORES), LABELS, "top1")


def test_maps_of_several_classes_are_merged_at_their_own_scale():
    maps = np.array([[[8.0, 2.0]], [[0.0, 4.0]], [[1.0, 2.0]], [[0.0, 0.0]], [[-1.0, 0.0]]], np.float32)
    merged = combine(maps, np.array([1, 0, 0, 2, 3]), 4)
    assert merged.dtype == np.float32
    np.testing.assert_array_equal(merged, [[[0.5, 1.0]], [[8.0, 2.0]], [[0.0, 0.0]], [[-1.0, 0.0]]])


def test_maps_without_a_positive_value_contribute_zeros():
    maps = np.array([[[-4.0, -2.0]], [[-1.0, 2.0]], [[0.0, 0.0]], [[-3.0, -1.0]]], np.float32)
    merged = combine(maps, np.array([0, 0, 1, 1]), 2)
    np.testing.assert_array_equal(merged, [[[0.0, 1.0]], [[0.0, 0.0]]])


def combine_reference(maps, image_index, images):
    merged = []
    for image in range(images):
        own = [m for m, i in zip(maps, image_index, strict=True) if i == image]
        scaled = [m / m.max() if m.max() > 0 else m * 0 for m in own]
        merged.append(own[0] if len(own) == 1 else np.max(scaled, axis=0))
    return np.stack(merged)


def test_merging_equals_the_slow_reference_and_changes_nothing():
    rng = np.random.default_rng(0)
    maps = rng.normal(size=(12, 4, 5)).astype(np.float32)
    before = maps.copy()
    image_index = rng.permutation([0, 1, 1, 2, 2, 2, 3, 3, 4, 4, 4, 4])
    np.testing.assert_array_equal(combine(maps, image_index, 5), combine_reference(maps, image_index, 5))
    np.testing.assert_array_equal(maps, before)


@pytest.mark.parametrize("image_index", [[0, 0, 2], [0, 1, 3]])
def test_an_image_without_a_map_is_refused(image_index):
    with pytest.raises(ValueError, match="every one of 3 images needs a map, and no other"):
        combine(np.zeros((3, 2, 2), np.float32), np.array(image_index), 3)
