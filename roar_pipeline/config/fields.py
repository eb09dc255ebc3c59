"""How a field of a section is declared."""

from collections.abc import Callable
from dataclasses import Field, field, fields
from typing import Any

__all__ = ["identity_of", "setting"]


def setting(
    default: Any,
    text: str,
    *,
    low: float | None = None,
    high: float | None = None,
    check: Callable[[str], None] | None = None,
    required: bool = False,
    added: bool = False,
) -> Any:
    """Declare a field of a section: its default, and a sentence for ``--help`` that names its unit.

    ``low`` and ``high`` are inclusive bounds, and ``check`` raises InputError; for a list, all three apply to every
    item. A ``required`` list needs at least one item. A field that was ``added`` after results existed is left out of
    identities while it has its default, so that their fingerprints stay.
    """
    rules = {"low": low, "high": high, "check": check, "required": required, "added": added}
    return field(default=default, metadata={"text": text, **rules})


def identity_of(section: Any) -> dict[str, Any]:
    """Return the fields of a section that count in an identity, with their values."""
    return {f.name: getattr(section, f.name) for f in fields(section) if not _is_left_out(f, section)}


def _is_left_out(declared: "Field[Any]", section: Any) -> bool:
    return bool(declared.metadata.get("added")) and getattr(section, declared.name) == declared.default
