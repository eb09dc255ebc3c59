"""Task priorities: the grid runs depth-first, so that whole curves appear early.

Seed by seed, in a seed model by model, in a model method by method. Luigi passes a priority on to a task's
requirements, so that a curve's model, maps and levels come as early as its cells.
"""

from collections.abc import Sequence

from tasks.configuration.settings import settings

__all__ = ["urgency"]

_FIRST = 100_000


def urgency(model: str | None, method: str | None, seed: int) -> int:
    """Return the priority of the cells of a curve in a seed; controls and clean cells (no model) precede the others."""
    grid = settings().grid
    models, methods = len(grid.models) + 2, len(grid.methods) + 2
    start = (_index(grid.seeds, seed) * models + _after_controls(grid.models, model)) * methods
    return _FIRST - start - _after_controls(grid.methods, method)


def _index(values: Sequence[object], value: object) -> int:
    """Return the index of a value; values outside the grid come last."""
    return values.index(value) if value in values else len(values)


def _after_controls(values: Sequence[str], value: str | None) -> int:
    return 0 if value is None else 1 + _index(values, value)
