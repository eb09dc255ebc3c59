"""Every method's whole maps, of scores above and below 0: slow references, and what a negated class must give."""

import copy

import numpy as np
import pytest
import torch
from support.slow_maps import NETS, both_signs, slow_map

from roar_pipeline.attribution import engine
from roar_pipeline.config import Maps
from roar_pipeline.methods import METHODS

SETTINGS = Maps(steps=3, samples=2, spread=0.3, noise_seed=5)
BLACK = torch.tensor([-1.5, -2.0, -2.5], dtype=torch.float64).view(1, 3, 1, 1)
SIZES = {"plain": (8, 10), "odd": (15, 18)}

STAYS = {
    "rap",
    "gradient_abs",
    "input_x_gradient_abs",
    "smoothgrad_sq",
    "vargrad",
    "integrated_gradients_smoothgrad_sq",
    "integrated_gradients_vargrad",
}
"""Methods whose map takes no notice of the score's sign."""

TURNS = {"gradient", "input_x_gradient", "integrated_gradients", "smoothgrad", "integrated_gradients_smoothgrad"}
"""Methods whose map changes its sign with the score."""

TAKES_SIDES = {name for name in METHODS if name.startswith("guided")} | {"gradcam", "ebp", "lrp"}
"""Methods that follow what speaks for a class alone, so that its negation has another map."""


def problem(net):
    """A net in float64, two images, and pairs with scores of both signs."""
    model = NETS[net]()
    images = torch.randn(2, 3, *SIZES[net], generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    batch = engine.Batch(images, ["a", "Größe"], torch.tensor([1, 0, 1, 1, 0]), torch.tensor([4, 1, 0, 2, 3]))
    both_signs(scores_of(model, batch))
    return model, batch


def scores_of(model, batch):
    with torch.no_grad():
        return model(batch.images.clone())[batch.image_index, batch.class_index]


@pytest.mark.parametrize("net", SIZES)
@pytest.mark.parametrize("name", METHODS)
def test_every_method_equals_its_slow_reference(name, net):
    """In float64; what remains is the rounding of the result to float32."""
    model, batch = problem(net)
    found = engine.explain([name], model, batch, SETTINGS, BLACK)[name]
    pairs = zip(batch.image_index.tolist(), batch.class_index.tolist(), strict=True)
    wanted = [slow_map(name, model, batch.images[i], batch.ids[i], k, SETTINGS, BLACK[0]).numpy() for i, k in pairs]
    assert sum(slow.any() for slow in wanted) >= (2 if name in ("gradcam", "ebp") else 5), "empty maps tell nothing"
    for map_, slow, score in zip(found, wanted, scores_of(model, batch), strict=True):
        np.testing.assert_allclose(map_, slow, rtol=2e-7, atol=1e-10 * np.abs(slow).max(), err_msg=f"score {score}")


@pytest.fixture(scope="module", params=SIZES)
def negated(request):
    """All methods' maps, and those of each pair under a model that differs in the sign of that pair's class."""
    model, batch = problem(request.param)
    before, after = engine.explain(list(METHODS), model, batch, SETTINGS, BLACK), []
    for p, k in enumerate(batch.class_index.tolist()):
        other = copy.deepcopy(model)
        last = other.classifier[-1]
        last.weight.data[k] *= -1
        last.bias.data[k] *= -1
        assert torch.equal(scores_of(other, batch)[p], -scores_of(model, batch)[p])
        after.append(engine.explain(list(METHODS), other, batch, SETTINGS, BLACK))
    return before, {name: np.stack([maps[name][p] for p, maps in enumerate(after)]) for name in METHODS}


@pytest.mark.parametrize("name", METHODS)
def test_a_negated_class_has_the_map_or_its_negative(name, negated):
    """The row of the last Linear, bias included, times -1: the score changes its sign and nothing else."""
    before, after = negated
    if name in TAKES_SIDES:
        assert not np.allclose(np.abs(after[name]), np.abs(before[name]), rtol=1e-3)
    else:
        assert (name in STAYS) != (name in TURNS)
        wanted = before[name] if name in STAYS else -before[name]
        np.testing.assert_allclose(after[name], wanted, rtol=2e-7, atol=1e-10 * np.abs(wanted).max())


BASES = {"": "gradient", "guided_": "guided", "integrated_gradients_": "integrated_gradients"}


@pytest.mark.parametrize("prefix", BASES)
def test_without_noise_smoothgrad_is_its_base_method_and_vargrad_is_0(prefix):
    model, batch = problem("plain")
    still = Maps(steps=3, samples=4, spread=0)
    names = [f"{prefix}{ending}" for ending in ("smoothgrad", "smoothgrad_sq", "vargrad")]
    maps = engine.explain([BASES[prefix], *names], model, batch, still, BLACK)
    np.testing.assert_allclose(maps[names[0]], maps[BASES[prefix]], rtol=2e-7, atol=1e-12)
    assert maps[names[1]].min() >= 0
    assert not maps[names[2]].any()
