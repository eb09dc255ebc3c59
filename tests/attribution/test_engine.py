"""All methods through the one door that the pipeline uses."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from roar_pipeline.attribution import engine, postprocess
from roar_pipeline.config import Maps, Network
from roar_pipeline.errors import InputError
from roar_pipeline.methods import METHODS, VARIANTS, MethodName, check_method
from roar_pipeline.networks import vgg

CLASSES, SIZE = 4, 32
SETTINGS = Maps(steps=3, samples=2)
BLACK = torch.tensor([-1.5, -2.0, -2.5]).view(1, 3, 1, 1)
OWN = """
def brightness(model, images, image_index, class_index):
    return images.sum(1)[image_index]

def one_map(model, images, image_index, class_index):
    return images[0, 0]
"""


def small_model() -> nn.Sequential:
    return vgg.build(Network(width=4), CLASSES, seed=1).eval()


def some_batch(count: int = 3) -> engine.Batch:
    images = torch.randn(count, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    image_index = torch.arange(count).repeat_interleave(2)
    return engine.Batch(images, [f"id{i}" for i in range(count)], image_index, torch.arange(2 * count) % CLASSES)


def maps_of(*names: str, model: nn.Module | None = None, settings: Maps = SETTINGS) -> dict[str, np.ndarray]:
    return engine.explain(names, model or small_model(), some_batch(), settings, BLACK)


def same(first: np.ndarray, second: np.ndarray) -> bool:
    """Compare at the maps' own scale: those of guided backprop squared are of the order of 1e-11 here."""
    return np.allclose(first, second, rtol=1e-5, atol=1e-5 * float(np.abs(second).max()))


@pytest.fixture(scope="module")
def together() -> dict[str, np.ndarray]:
    return maps_of(*METHODS)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "my_methods.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path / "my_methods.py"


def keys_of(name: str, settings: Maps) -> dict[str, object]:
    """The part of the identity of a method's maps that comes from [maps]."""
    return MethodName.parse(name).keys(dataclasses.asdict(settings))


@pytest.mark.parametrize("name", METHODS)
def test_a_method_is_the_same_alone_and_in_company(name: str, together: dict[str, np.ndarray]) -> None:
    engine.check(name, small_model(), SETTINGS)
    alone = maps_of(name)[name]
    assert alone.shape == (6, SIZE, SIZE)
    assert alone.dtype == np.float32
    assert np.isfinite(alone).all()
    assert np.abs(alone).max() > 0
    assert same(alone, together[name])


def test_all_methods_differ(together: dict[str, np.ndarray]) -> None:
    names = list(together)
    for i, first in enumerate(names):
        for second in names[:i]:
            assert not same(together[first], together[second]), f"{first} is {second}"


def test_reductions(together: dict[str, np.ndarray]) -> None:
    for name in ("gradient", "input_x_gradient", "guided"):
        assert (together[f"{name}_abs"] >= np.abs(together[name]) - 1e-6).all()
    model, batch = small_model(), some_batch()
    images = batch.images[batch.image_index].requires_grad_()
    (gradient,) = torch.autograd.grad(model(images).gather(1, batch.class_index[:, None]).sum(), images)
    np.testing.assert_allclose(together["gradient"], gradient.sum(1), rtol=1e-4, atol=1e-7)
    product = (gradient * images).detach()
    np.testing.assert_allclose(together["input_x_gradient"], product.sum(1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(together["input_x_gradient_abs"], product.abs().sum(1), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("variant", VARIANTS)
def test_variants_are_of_the_methods_own_map(variant: str) -> None:
    found = maps_of("gradient", f"gradient+{variant}", f"lrp+{variant}")
    np.testing.assert_array_equal(found[f"gradient+{variant}"], postprocess.VARIANTS[variant](found["gradient"]))
    assert list(found) == ["gradient", f"gradient+{variant}", f"lrp+{variant}"]


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("gradcam", {"layer": "last_pool"}),
        ("ebp", {"layer": "last_pool"}),
        ("integrated_gradients", {"steps": 9}),
        ("integrated_gradients", {"baseline": "mean"}),
        ("smoothgrad", {"samples": 5}),
        ("vargrad", {"spread": 0.5}),
        ("smoothgrad_sq", {"noise_seed": 3}),
        ("guided_smoothgrad", {"samples": 5}),
        ("guided_smoothgrad_sq", {"spread": 0.5}),
        ("guided_vargrad", {"noise_seed": 3}),
        ("integrated_gradients_smoothgrad", {"noise_seed": 3}),
        ("integrated_gradients_smoothgrad", {"steps": 9}),
        ("integrated_gradients_smoothgrad_sq", {"samples": 5}),
        ("integrated_gradients_vargrad", {"baseline": "mean"}),
        ("integrated_gradients_vargrad", {"spread": 0.5}),
    ],
)
def test_settings_reach_their_method_and_its_identity(
    name: str, changes: dict[str, object], together: dict[str, np.ndarray]
) -> None:
    changed = dataclasses.replace(SETTINGS, **changes)  # type: ignore[arg-type]
    assert not same(maps_of(name, settings=changed)[name], together[name])
    assert keys_of(name, changed) != keys_of(name, SETTINGS)


def test_settings_of_other_methods_stay_out_of_the_identity() -> None:
    changed = dataclasses.replace(SETTINGS, steps=9, samples=9, layer="last_pool")
    for name in ("gradient", "lrp", "rap", "guided_abs+blur"):
        assert keys_of(name, changed) == keys_of(name, SETTINGS)
    changed = dataclasses.replace(SETTINGS, steps=9, baseline="mean", layer="last_pool")
    for name in ("smoothgrad", "guided_smoothgrad_sq", "guided_vargrad"):
        assert keys_of(name, changed) == keys_of(name, SETTINGS)


def test_a_methods_version_is_part_of_its_identity_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    def identities() -> dict[str, dict[str, object]]:
        return {name: keys_of(name, SETTINGS) for name in (*METHODS, "rap+blur", "lrp+max")}

    before = identities()
    assert before["rap"] == {"explain": "predicted", "batch": 64, "method_version": 2}
    assert before["lrp"] == {"explain": "predicted", "batch": 64}
    monkeypatch.setitem(METHODS, "lrp", dataclasses.replace(METHODS["lrp"], version=2))
    after = identities()
    assert {name for name in before if before[name] != after[name]} == {"lrp", "lrp+max"}


GRADIENT_METHODS = (
    *("gradient", "guided_abs", "input_x_gradient", "gradcam"),
    *("integrated_gradients", "smoothgrad", "vargrad"),
)


@pytest.mark.parametrize(
    ("arch", "layer", "names"),
    [
        ("squeezenet1_1", "features.7", GRADIENT_METHODS),
        ("resnet18", "layer3", (*GRADIENT_METHODS, "ebp", "lrp", "rap")),
    ],
)
def test_any_torchvision_classifier(arch: str, layer: str, names: tuple[str, ...]) -> None:
    from torchvision.models import get_model

    model = get_model(arch, num_classes=CLASSES).eval()
    settings = dataclasses.replace(SETTINGS, layer=layer)
    for name in names:
        engine.check(name, model, settings)
    found = maps_of(*names, model=model, settings=settings)
    for name in names:
        assert found[name].shape == (6, SIZE, SIZE)
        assert np.isfinite(found[name]).all()
        np.testing.assert_allclose(
            found[name], maps_of(name, model=model, settings=settings)[name], rtol=1e-3, atol=1e-5
        )
    for name in {"ebp", "lrp", "rap"} - set(names):
        with pytest.raises(InputError, match=f"{name}.*cannot explain this model.*SqueezeNet"):
            engine.check(name, model, SETTINGS)
    with pytest.raises(InputError, match="layer"):
        engine.check("gradcam", model, dataclasses.replace(SETTINGS, layer="layer9"))


def test_a_method_of_ones_own(own: Path) -> None:
    name = "my_methods:brightness"
    check_method(name)
    engine.check(name, small_model(), SETTINGS)
    batch = some_batch()
    wanted = batch.images.sum(1)[batch.image_index]
    np.testing.assert_allclose(maps_of(name)[name], wanted)
    assert MethodName.parse(name + "+blur").title == "my_methods:brightness, blurred"
    before = keys_of(name, SETTINGS)
    own.write_text(OWN + "# changed\n")
    assert keys_of(name, SETTINGS) != before


def test_a_method_of_ones_own_that_is_wrong(own: Path) -> None:
    with pytest.raises(InputError, match=r"must return a tensor of maps \(6, 32, 32\), one per pair; got \(32, 32\)"):
        maps_of("my_methods:one_map")
    with pytest.raises(InputError, match="cannot be loaded: AttributeError"):
        engine.check("my_methods:nothing", small_model(), SETTINGS)
    with pytest.raises(InputError, match="names no function of a module that Python finds"):
        check_method("no_such_module:f")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nonsense", r"unknown attribution method 'nonsense'. Known: gradcam, ebp, lrp.*random, sobel, center.*\+blur"),
        ("lrp+sharp", r"unknown variant '\+sharp' of 'lrp'. Known: \+blur, \+max"),
        ("", "unknown attribution method ''"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_method(name)
