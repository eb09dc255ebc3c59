"""Lists in sentences."""

from collections.abc import Sequence

__all__ = ["join_names"]


def join_names(names: Sequence[str], limit: int) -> str:
    """Join the first ``limit`` names, and count the others: ``a, b and 3 more``."""
    first = list(names[:limit])
    return ", ".join(first) + (f" and {len(names) - limit} more" if len(names) > limit else "")
