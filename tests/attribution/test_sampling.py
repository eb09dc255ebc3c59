"""Integrated gradients and the SmoothGrad families: captum, completeness, closed forms, noise of each image."""

import copy
import functools

import numpy as np
import pytest
import torch
from captum.attr import GuidedBackprop, IntegratedGradients, NoiseTunnel, Saliency
from support.slow_maps import both_signs, noise_reference
from torch import nn

from roar_pipeline.attribution.gradients import NAMES, differentiate
from roar_pipeline.attribution.sampling import NOISY, Noise, StraightPath, integrated_gradients, noisy
from roar_pipeline.config import Network
from roar_pipeline.errors import InputError
from roar_pipeline.networks import vgg

CLASSES = 5
PAIRS = torch.tensor([2, 0, 2, 2]), torch.tensor([1, 4, 0, 3])
"""One image with three classes, one with one, one with none; in no order; scores of both signs."""
IDS = ["2007_000033", "b", "Größe"]
GRADIENT = ["smoothgrad", "smoothgrad_sq", "vargrad"]
ALL = list(NOISY)


@functools.cache
def small_model():
    """A net with batch norm statistics and biases that are not those of its first day."""
    model = vgg.build(Network(arch="vgg11_small", width=4, pool=1), CLASSES, seed=1).double()
    generator = torch.Generator().manual_seed(2)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values in (module.running_mean, module.weight.data, module.bias.data):
                values += 0.3 * torch.randn(values.shape, generator=generator, dtype=torch.float64)
    return model.eval()


def homogeneous_model():
    """No bias anywhere: scores are proportional to the image along every ray from black."""
    with torch.random.fork_rng():
        torch.manual_seed(4)
        layers = [nn.Conv2d(3, 6, 3, bias=False), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, bias=False), nn.ReLU()]
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(8 * 25, CLASSES, bias=False)).double()


class Quadratic(nn.Module):
    """Score k is (k + 1) / 2 times the sum of squares: its gradient is k + 1 times the image."""

    def forward(self, x):
        return x.pow(2).sum((1, 2, 3))[:, None] / 2 * torch.arange(1, CLASSES + 1).to(x)


def some_images(count=3, side=16, dtype=torch.float64):
    return torch.randn(count, 3, side, side, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


BLACK = torch.tensor([-2.0, -1.5, -1.0], dtype=torch.float64).view(1, 3, 1, 1)


@pytest.mark.parametrize("steps", [2, 25])
@pytest.mark.parametrize("baseline", [BLACK, torch.zeros(1, 1, 1, 1, dtype=torch.float64), some_images(1)])
def test_integrated_gradients_equal_captum(steps, baseline):
    images, (image_index, class_index) = some_images(), PAIRS
    both_signs(small_model()(images).detach()[PAIRS])
    found = integrated_gradients(small_model(), images, image_index, class_index, StraightPath(baseline, steps))
    wanted = IntegratedGradients(small_model()).attribute(
        images[image_index],
        baseline.expand(len(image_index), 3, 16, 16),
        target=class_index,
        n_steps=steps,
        method="riemann_right",
    )
    assert found.dtype == torch.float64
    assert found.any()
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("steps", [1, 3])
def test_integrated_gradients_are_complete_without_biases(steps):
    """A ray from black sees one gradient only, so any number of steps sums to the score."""
    model, images, (image_index, class_index) = homogeneous_model(), some_images(), PAIRS
    black = torch.zeros(1, dtype=torch.float64)
    found = integrated_gradients(model, images, image_index, class_index, StraightPath(black, steps))
    scores = model(images).detach()[image_index, class_index]
    torch.testing.assert_close(found.sum((1, 2, 3)), scores)


def test_integrated_gradients_tend_to_completeness():
    model, images, (image_index, class_index) = small_model(), some_images(), PAIRS
    with torch.no_grad():
        gained = (model(images) - model(BLACK.expand_as(images)))[image_index, class_index]

    def error(steps):
        found = integrated_gradients(model, images, image_index, class_index, StraightPath(BLACK, steps))
        return (found.sum((1, 2, 3)) - gained).abs().max()

    assert error(300) < 0.1 * error(10)
    assert error(300) < 0.02 * gained.abs().max()


def test_integrated_gradients_of_a_quadratic_have_a_closed_form():
    """The mean of k / steps over k = 1..steps is (steps + 1) / (2 steps)."""
    images, (image_index, class_index) = some_images(), PAIRS
    found = integrated_gradients(Quadratic(), images, image_index, class_index, StraightPath(torch.zeros(()), 4))
    factor = (class_index + 1)[:, None, None, None] * 5 / 8
    torch.testing.assert_close(found, factor * images[image_index] ** 2)


def test_an_image_that_is_the_baseline_has_no_integrated_gradients():
    images = BLACK.expand(1, 3, 16, 16).contiguous()
    nothing = integrated_gradients(small_model(), images, torch.tensor([0]), torch.tensor([1]), StraightPath(BLACK))
    assert not nothing.any()


def captums(model):
    """Captum's base methods, with their arguments."""
    return {
        "gradient": (Saliency(model), {"abs": False}),
        "guided": (GuidedBackprop(model), {}),
        "integrated_gradients": (
            IntegratedGradients(model),
            {"baselines": BLACK.expand(1, 3, 16, 16), "n_steps": 3, "method": "riemann_right"},
        ),
    }


@pytest.mark.filterwarnings("ignore:Setting backward hooks on ReLU")
@pytest.mark.parametrize("base", captums(nn.Identity()))
def test_the_noise_families_equal_captum(base, monkeypatch):
    """Captum's own averaging, given our noise in place of torch's."""
    model, images, samples = small_model(), some_images(), 6
    both_signs(model(images).detach()[PAIRS])
    family = {statistic: name for name, (of, statistic) in NOISY.items() if of == base}
    assert len(family) == 3
    noise = Noise(IDS, samples, spread=0.2, seed=3)
    found = noisy(model, images, *PAIRS, list(family.values()), noise, StraightPath(BLACK, 3))
    for p, (n, k) in enumerate(zip(*PAIRS, strict=True)):
        draws = torch.stack([noise_reference(images[n], IDS[n], s, 3, 0.2) for s in range(samples)])
        monkeypatch.setattr(torch, "normal", lambda mean, deviation, draws=draws: draws)
        for statistic, name in family.items():
            oracle, more = captums(copy.deepcopy(model))[base]
            wanted = NoiseTunnel(oracle).attribute(
                images[n : n + 1], target=int(k), nt_type=statistic, nt_samples=samples, stdevs=1.0, **more
            )
            assert wanted.any()
            torch.testing.assert_close(found[name][p], wanted[0].detach(), rtol=1e-6, atol=1e-12)


def test_the_noise_family_equals_its_formulas():
    model, images, samples = small_model(), some_images(), 5
    found = noisy(model, images, *PAIRS, GRADIENT, Noise(IDS, samples, spread=0.15, seed=0))
    assert list(found) == GRADIENT
    both_signs(model(images).detach()[PAIRS])
    for p, (n, k) in enumerate(zip(*PAIRS, strict=True)):
        near = torch.stack([images[n] + noise_reference(images[n], IDS[n], s, 0, 0.15) for s in range(samples)])
        near.requires_grad_()
        gradients = torch.autograd.grad(model(near)[:, k].sum(), near)[0].numpy()
        np.testing.assert_allclose(found["smoothgrad"][p], gradients.mean(0), atol=1e-13)
        np.testing.assert_allclose(found["smoothgrad_sq"][p], (gradients**2).mean(0), atol=1e-13)
        np.testing.assert_allclose(found["vargrad"][p], gradients.var(0), atol=1e-13)


def test_the_variance_is_the_mean_square_less_the_squared_mean():
    found = noisy(small_model(), some_images(), *PAIRS, GRADIENT, Noise(IDS, samples=15, spread=0.3))
    assert (found["vargrad"] >= 0).all()
    assert (found["smoothgrad_sq"] >= 0).all()
    torch.testing.assert_close(found["vargrad"], found["smoothgrad_sq"] - found["smoothgrad"] ** 2)
    one = noisy(small_model(), some_images(), *PAIRS, GRADIENT, Noise(IDS, samples=1, spread=0.3))
    assert not one["vargrad"].any()
    torch.testing.assert_close(one["smoothgrad_sq"], one["smoothgrad"] ** 2)


def test_a_small_variance_beside_a_large_mean_survives_float32():
    """Gradient 1000 + noise of .01: in float32 the difference of the mean squares would be off by its own size."""

    class Steep(nn.Module):
        def forward(self, x):
            return (1000 * x + x.pow(2) / 2).sum((1, 2, 3))[:, None]

    images = torch.zeros(1, 3, 32, 32)
    images[0, 0, 0, 0] = 1
    zero, noise = torch.tensor([0]), Noise(["a"], samples=15, spread=0.01)
    found = noisy(Steep(), images, zero, zero, GRADIENT, noise)
    exact = noisy(Steep(), images.double(), zero, zero, GRADIENT, noise)
    relative = ((found["vargrad"] - exact["vargrad"]).abs() / exact["vargrad"].mean()).max()
    naive = found["smoothgrad_sq"] - found["smoothgrad"] ** 2
    assert found["vargrad"].dtype == torch.float32
    assert relative < 0.05
    assert ((naive - exact["vargrad"]).abs() / exact["vargrad"].mean()).max() > 1


def test_no_spread_is_the_base_method_and_no_variance():
    """Also a constant image, which has no range: exactly, but for the rounding of equal numbers' mean."""
    constant = torch.full((3, 3, 16, 16), 0.7, dtype=torch.float64)
    for images, spread in [(some_images(), 0.0), (constant, 0.15)]:
        bases = differentiate(small_model(), images, *PAIRS, NAMES)
        bases["integrated_gradients"] = integrated_gradients(small_model(), images, *PAIRS, StraightPath(BLACK, 4))
        found = noisy(small_model(), images, *PAIRS, ALL, Noise(IDS, 3, spread), StraightPath(BLACK, 4))
        assert list(found) == ALL
        for name, (base, statistic) in NOISY.items():
            if statistic == "vargrad":
                assert not found[name].any()
            else:
                wanted = bases[base] if statistic == "smoothgrad" else bases[base] ** 2
                torch.testing.assert_close(found[name], wanted)


def test_noisy_integrated_gradients_are_complete_without_biases():
    """Their mean sums to the mean score of the noisy copies, whatever the number of steps."""
    model, images, (image_index, class_index) = homogeneous_model(), some_images(), PAIRS
    black, names = torch.zeros(1, dtype=torch.float64), ["integrated_gradients_smoothgrad"]
    found = noisy(model, images, *PAIRS, names, Noise(IDS, 3, spread=0.2), StraightPath(black, 2))[names[0]]
    for p, (n, k) in enumerate(zip(image_index, class_index, strict=True)):
        near = torch.stack([images[n] + noise_reference(images[n], IDS[n], s, 0, 0.2) for s in range(3)])
        torch.testing.assert_close(found[p].sum(), model(near).detach()[:, k].mean())


def test_the_names_share_samples_and_passes():
    """One pass per sample for gradient and guided backprop, and one per sample and step for integrated gradients."""
    model, passes = copy.deepcopy(small_model()), []
    model.register_forward_hook(lambda module, inputs, output: passes.append(len(output)))
    image, index = some_images(1), torch.tensor([0])
    settings = Noise(IDS[:1], samples=3), StraightPath(BLACK, 4)
    together = noisy(model, image, index, index, ALL, *settings)
    assert passes == [1] * (3 + 3 * 4)
    for name in ALL:
        alone = noisy(model, image, index, index, [name], *settings)
        assert list(alone) == [name]
        torch.testing.assert_close(alone[name], together[name])
    assert noisy(model, image, index, index, [], *settings) == {}


def test_the_noise_has_the_spread_of_its_images_range():
    """The gradient of a quadratic is the noisy image itself."""
    images = some_images(3, side=64) * torch.tensor([1.0, 10.0, 0.1], dtype=torch.float64)[:, None, None, None]
    index = torch.arange(3)
    found = noisy(Quadratic(), images, index, torch.zeros_like(index), GRADIENT, Noise(IDS, samples=15, spread=0.15))
    ranges = images.amax((1, 2, 3)) - images.amin((1, 2, 3))
    deviation = (found["vargrad"].mean((1, 2, 3)) * 15 / 14).sqrt()
    torch.testing.assert_close(deviation, 0.15 * ranges, rtol=0.01, atol=0)
    mean = (found["smoothgrad"] - images).mean((1, 2, 3)) / ranges
    assert mean.abs().max() < 0.15 / (15 * 3 * 64 * 64) ** 0.5 * 4


def noises(ids, seed=0, dtype=torch.float64, samples=1):
    """The mean noise that a quadratic shows, on images of range 1."""
    images = torch.zeros(len(ids), 3, 8, 8, dtype=dtype)
    images[:, 0, 0, 0] = 1
    index = torch.arange(len(ids))
    zeros = torch.zeros_like(index)
    found = noisy(Quadratic(), images, index, zeros, ["smoothgrad"], Noise(ids, samples, spread=1.0, seed=seed))
    return found["smoothgrad"] - images


def test_noise_is_fixed_by_id_sample_and_seed():
    several = noises(["a", "b", "a"])
    assert torch.equal(several[0], several[2])
    assert torch.equal(several[1], noises(["b"])[0])
    assert (several[0] != several[1]).all()
    assert (noises(["a"], seed=1) != noises(["a"])).all()
    second = 2 * noises(["a"], samples=2) - noises(["a"])
    assert not torch.isclose(second, noises(["a"])).any()
    torch.testing.assert_close(noises(["a"], dtype=torch.float32).double(), noises(["a"]), rtol=0, atol=1e-6)


def run_all(model, images, image_index, class_index, ids):
    """Every function of the module, as one dictionary of results."""
    integrated = integrated_gradients(model, images, image_index, class_index, StraightPath(BLACK, 3))
    settings = Noise(ids, samples=3, seed=1), StraightPath(BLACK, 2)
    return {"integrated": integrated, **noisy(model, images, image_index, class_index, ALL, *settings)}


def test_a_row_depends_on_its_image_class_and_id_alone():
    """A batch of 16 is 16 batches of 1, in any order, with any company."""
    images, class_index = some_images(16), torch.arange(16) % CLASSES
    ids = [f"image {n}" for n in range(16)]
    together = run_all(small_model(), images, torch.arange(16), class_index, ids)
    for n in range(16):
        alone = run_all(small_model(), images[n : n + 1], torch.tensor([0]), class_index[n : n + 1], ids[n : n + 1])
        for name, maps in together.items():
            torch.testing.assert_close(maps[n], alone[name][0])
    order = torch.tensor([5, 5, 0, 15, 3])
    for name, maps in run_all(small_model(), images, order, class_index[order], ids).items():
        torch.testing.assert_close(maps, together[name][order])


@pytest.mark.parametrize("grad", [torch.no_grad, torch.enable_grad, torch.inference_mode])
def test_the_model_and_the_images_come_back_as_they_were(grad):
    model, images = copy.deepcopy(small_model()).train(), some_images().requires_grad_()
    model.get_submodule("classifier").eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    flags = [module.training for module in model.modules()]
    held, generators = images.detach().clone(), (torch.random.get_rng_state(), np.random.get_state()[1].copy())  # noqa: NPY002
    with grad():
        results = run_all(model, images, *PAIRS, IDS)
    assert [module.training for module in model.modules()] == flags
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._backward_hooks for m in model.modules())
    assert torch.equal(images, held)
    assert images.grad is None
    assert torch.equal(torch.random.get_rng_state(), generators[0])
    assert (np.random.get_state()[1] == generators[1]).all()  # noqa: NPY002
    for name, wanted in run_all(small_model(), held, *PAIRS, IDS).items():
        assert not results[name].requires_grad
        assert results[name].isfinite().all()
        torch.testing.assert_close(results[name], wanted)


def test_dead_nets_have_zero_maps():
    model = copy.deepcopy(small_model())
    model.get_submodule("features")[1].weight.data.zero_()
    model.get_submodule("features")[1].bias.data.fill_(-1)
    assert not any(maps.any() for maps in run_all(model, some_images(), *PAIRS, IDS).values())


def test_no_pairs_no_maps():
    nothing = torch.zeros(0, dtype=torch.int64)
    for maps in run_all(small_model(), some_images(), nothing, nothing, IDS).values():
        assert maps.shape == (0, 3, 16, 16)


def test_bad_settings_are_refused():
    images = some_images()
    with pytest.raises(InputError, match="1 step at least, got 0"):
        StraightPath(BLACK, steps=0)
    with pytest.raises(InputError, match="1 sample at least, got 0"):
        Noise(IDS, samples=0)
    for spread in (-0.1, float("nan"), float("inf")):
        with pytest.raises(InputError, match=f"from 0 up, got {spread}"):
            Noise(IDS, spread=spread)
    with pytest.raises(ValueError, match="each of 3 images needs an id, got 2"):
        noisy(small_model(), images, *PAIRS, GRADIENT, Noise(IDS[:2]))
    with pytest.raises(ValueError, match="integrated gradients need a path"):
        noisy(small_model(), images, *PAIRS, ["integrated_gradients_vargrad"], Noise(IDS))
