"""Variants of maps: blur and maximum against slow references, channel sums by hand."""

import numpy as np
import pytest
import torch

from roar_pipeline.attribution.postprocess import REDUCTIONS, VARIANTS, blur, maximum, reduce


def some_maps(count=3, height=7, width=9):
    return np.random.default_rng(0).normal(size=(count, height, width)).astype(np.float32)


def mirrored(place, side):
    """... 1 0 | 0 1 2 ..., as often as it takes."""
    place %= 2 * side
    return place if place < side else 2 * side - 1 - place


def blur_reference(map_):
    """The weighted mean of the 9 x 9 pixels around each pixel."""
    height, width = map_.shape
    weights = [[np.exp(-(i * i + j * j) / 2) for j in range(-4, 5)] for i in range(-4, 5)]
    blurred = np.zeros(map_.shape)
    for y in range(height):
        for x in range(width):
            around = [
                [map_[mirrored(y + i, height), mirrored(x + j, width)] for j in range(-4, 5)] for i in range(-4, 5)
            ]
            blurred[y, x] = np.sum(np.multiply(weights, around)) / np.sum(weights)
    return blurred


def maximum_reference(map_):
    height, width = map_.shape
    return np.array(
        [[map_[max(y - 1, 0) : y + 2, max(x - 1, 0) : x + 2].max() for x in range(width)] for y in range(height)]
    )


@pytest.mark.parametrize("size", [(7, 9), (1, 1), (2, 3), (12, 1)])
@pytest.mark.parametrize(("variant", "reference"), [(blur, blur_reference), (maximum, maximum_reference)])
def test_variants_equal_their_references(variant, reference, size):
    maps = some_maps(3, *size)
    held = maps.copy()
    found = variant(maps)
    assert found.dtype == np.float32
    for map_, wanted in zip(found, maps, strict=True):
        np.testing.assert_allclose(map_, reference(wanted), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(maps, held)


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_looks_at_one_map_at_a_time(name):
    maps = some_maps()
    together = VARIANTS[name](maps)
    for n in range(3):
        np.testing.assert_array_equal(VARIANTS[name](maps[n : n + 1])[0], together[n])
    assert VARIANTS[name](maps[:0]).shape == (0, 7, 9)
    assert VARIANTS[name](maps.astype(np.float64)).dtype == np.float32


@pytest.mark.parametrize("name", VARIANTS)
def test_constant_maps_stay_and_mirrors_mirror(name):
    constant = np.full((1, 6, 5), 0.7, np.float32)
    np.testing.assert_allclose(VARIANTS[name](constant), constant, rtol=1e-6)
    assert not VARIANTS[name](np.zeros((1, 6, 5), np.float32)).any()
    maps = some_maps()
    np.testing.assert_allclose(VARIANTS[name](maps[:, :, ::-1]), VARIANTS[name](maps)[:, :, ::-1], rtol=1e-5, atol=1e-6)


def test_blur_keeps_the_sum_and_maximum_the_maximum():
    maps = some_maps()
    np.testing.assert_allclose(blur(maps).sum((1, 2)), maps.sum((1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(maximum(maps).max((1, 2)), maps.max((1, 2)))


def test_channels_are_summed_with_or_without_their_sign():
    attributions = torch.tensor([[[[1.0, -2.0]], [[3.0, 1.0]], [[-6.0, 0.0]]]], dtype=torch.float64)
    assert reduce(attributions, "signed").tolist() == [[[-2.0, -1.0]]]
    assert reduce(attributions, "abs").tolist() == [[[10.0, 3.0]]]
    assert reduce(attributions, "abs").dtype == torch.float64
    assert reduce(attributions[:0], "signed").shape == (0, 1, 2)
    assert list(REDUCTIONS) == ["signed", "abs"]
    with pytest.raises(ValueError, match="how must be one of signed, abs, got 'max'"):
        reduce(attributions, "max")
