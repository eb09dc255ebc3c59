"""Controls: maps without a model, against slow references."""

import numpy as np
import pytest

from roar_pipeline.attribution.controls import center, random, sobel
from roar_pipeline.removal.ranking import removal_levels, tie_order


def some_images(count=2, height=7, width=9):
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def blank(count, height, width):
    return np.zeros((count, height, width, 3), np.uint8)


@pytest.mark.parametrize("control", [random, sobel, center])
def test_every_control_is_a_row_per_image_and_leaves_the_images(control):
    images = some_images(3)
    held = images.copy()
    maps = control(["a", "b", "c"], images, 0)
    assert maps.shape == (3, 7, 9)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.max() > 0
    np.testing.assert_array_equal(images, held)
    np.testing.assert_array_equal(control(["c"], images[2:], 0)[0], maps[2])
    assert control([], images[:0], 0).shape == (0, 7, 9)
    assert control(["a"], blank(1, 1, 1), 0).shape == (1, 1, 1)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (5, 7), (48, 48), (227, 227)])
def test_the_random_control_ranks_as_a_constant_map(height, width):
    """Identity 3, and float32 tells all its values apart."""
    maps = random(["2007_000033", "b"], blank(2, height, width), 4)
    assert maps.shape == (2, height, width)
    assert maps.dtype == np.float32
    for map_, image_id in zip(maps, ["2007_000033", "b"], strict=True):
        falling = map_.ravel()[tie_order(image_id, 4, height * width)].astype(np.float64)
        assert (np.diff(falling) < 0).all()
        assert falling[0] == 1
        assert falling[-1] > 0
        constant = np.zeros((height, width), np.float32)
        np.testing.assert_array_equal(removal_levels(map_, image_id, 4), removal_levels(constant, image_id, 4))


def test_the_random_control_is_fixed_by_id_and_seed():
    one, two = blank(1, 6, 6), blank(2, 6, 6)
    np.testing.assert_array_equal(random(["a", "b"], two, 0)[1], random(["b"], one, 0)[0])
    assert (random(["a"], one, 0) != random(["b"], one, 0)).any()
    assert (random(["a"], one, 0) != random(["a"], one, 1)).any()
    np.testing.assert_array_equal(random(["a"], one, 0), random(["a"], some_images(1, 6, 6), 0))
    with pytest.raises(ValueError, match="at most 8388608 pixels in float32, got 3000 x 3000"):
        random([], blank(0, 3000, 3000), 0)


def sobel_reference(image):
    """One pixel at a time, with the nine weights of each filter written out."""
    height, width, _ = image.shape
    gray = [[0.299 * float(r) + 0.587 * float(g) + 0.114 * float(b) for r, g, b in line] for line in image]

    def at(y, x):
        """Mirror with the border pixel repeated: ... 1 0 | 0 1 2 ..."""
        y = -1 - y if y < 0 else 2 * height - 1 - y if y >= height else y
        x = -1 - x if x < 0 else 2 * width - 1 - x if x >= width else x
        return gray[y][x]

    right = [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]
    magnitude = np.zeros((height, width))
    for y in range(height):
        for x in range(width):
            around = [[at(y + i, x + j) for j in (-1, 0, 1)] for i in (-1, 0, 1)]
            across = sum(right[i][j] * around[i][j] for i in range(3) for j in range(3))
            down = sum(right[j][i] * around[i][j] for i in range(3) for j in range(3))
            magnitude[y, x] = (across**2 + down**2) ** 0.5
    return magnitude


def test_sobel_equals_the_slow_reference():
    images = some_images()
    for map_, image in zip(sobel(["a", "b"], images, 0), images, strict=True):
        np.testing.assert_allclose(map_, sobel_reference(image), rtol=1e-6)


def test_sobel_of_an_edge_is_four_times_its_height():
    """Both pixels at the edge, nothing else; the luminance of a color is that of BT.601."""
    images = blank(3, 6, 8)
    for image, color in zip(images, [(255, 0, 0), (0, 255, 0), (0, 0, 255)], strict=True):
        image[:, 4:] = color
    maps = sobel(["a", "b", "c"], images, 0)
    assert not np.delete(maps, (3, 4), axis=2).any()
    for map_, weight in zip(maps, (0.299, 0.587, 0.114), strict=True):
        np.testing.assert_allclose(map_[:, 3:5], 4 * 255 * weight, rtol=1e-6)
    turned = sobel(["a", "b", "c"], images.transpose(0, 2, 1, 3), 0)
    np.testing.assert_array_equal(turned, maps.transpose(0, 2, 1))


def test_sobel_of_constant_images_is_exactly_zero_and_mirrors_mirror():
    """Ties must be ties: whole weights leave no rounding to rank."""
    images = np.broadcast_to(some_images(50, 1, 1), (50, 6, 5, 3))
    assert not sobel([""] * 50, images, 0).any()
    images = some_images()
    np.testing.assert_array_equal(sobel(["a", "b"], images[:, :, ::-1], 0), sobel(["a", "b"], images, 0)[:, :, ::-1])
    assert not sobel(["a"], some_images(1, 1, 1), 0).any()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 5), (48, 48), (9, 16)])
def test_the_center_control_is_a_gaussian_about_the_center(height, width):
    maps = center(["a", "b"], some_images(2, height, width), 0)
    np.testing.assert_array_equal(maps[0], maps[1])
    for y in range(height):
        for x in range(width):
            away = ((y - (height - 1) / 2) / (height / 4)) ** 2 + ((x - (width - 1) / 2) / (width / 4)) ** 2
            assert maps[0, y, x] == pytest.approx(np.exp(-away / 2), rel=1e-6)
    np.testing.assert_array_equal(maps[0], maps[0, ::-1, ::-1])
    np.testing.assert_array_equal(center(["a"], blank(1, width, height), 1)[0], maps[0].T)
