"""Maps by the ways they can go wrong."""

import numpy as np

SHAPES = [(1, 1), (1, 7), (3, 4), (10, 10), (13, 11)]


def some_maps(shape):
    """Maps by the ways they can go wrong: distinct values, many ties, mostly zero, constant, one peak, signed."""
    rng = np.random.default_rng(0)
    normal = rng.normal(size=shape).astype(np.float32)
    peak = np.zeros(shape, np.float32)
    peak[-1, -1] = 3
    return {
        "distinct": normal,
        "tied": rng.integers(0, 4, shape).astype(np.float32),
        "relu": np.maximum(normal - 0.8, 0),
        "zero": np.zeros(shape, np.float32),
        "constant": np.full(shape, -2.5, np.float32),
        "peak": peak,
        "signed zeros": np.where(normal > 0, 0.0, -0.0).astype(np.float32),
        "close in float64": 1 + normal.astype(np.float64) * 1e-15,
    }


CASES = [(shape, name) for shape in SHAPES for name in some_maps((1, 1))]


CASES = [(shape, name) for shape in SHAPES for name in some_maps((1, 1))]
"""Shape and name of every map."""
