"""What is run first: the grid depth-first, so that whole curves appear early.

Seed by seed, in a seed model by model, in a model method by method; Luigi hands a priority on to what a task waits for,
so that a curve's model, maps and levels come as early as its cells.
"""

from collections.abc import Sequence

from tasks.configuration.settings import settings

__all__ = ["urgency"]

_FIRST = 100_000


def urgency(model: str | None, method: str | None, seed: int) -> int:
    """Return the priority of the cells of a curve in a seed; controls and clean cells (no model) come first of it."""
    grid = settings().grid
    models, methods = len(grid.models) + 2, len(grid.methods) + 2
    place = (_place(grid.seeds, seed) * models + _after_controls(grid.models, model)) * methods
    return _FIRST - place - _after_controls(grid.methods, method)


def _place(known: Sequence[object], value: object) -> int:
    """Return where a value stands; what the grid does not have comes last."""
    return known.index(value) if value in known else len(known)


def _after_controls(known: Sequence[str], value: str | None) -> int:
    return 0 if value is None else 1 + _place(known, value)
