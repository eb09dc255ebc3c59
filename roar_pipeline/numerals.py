"""Numbers in settings and options, in the digits 0 to 9 only.

``int`` and ``float`` accept more: digits of other scripts, underscores, and numbers that overflow 64 bits.
"""

import re

__all__ = ["number", "shortened", "whole_number"]

_DIGITS = 18
"""Most digits of a whole number; 19 may overflow the 64 bits of numpy, torch and HDF5."""
_MAX_LENGTH = 60


def whole_number(text: str) -> int:
    """Read a whole number, signed or not.

    Raises:
        ValueError: states the fault of the text.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError("not a whole number")
    if len(text.lstrip("+-").lstrip("0")) > _DIGITS:
        raise ValueError(f"longer than {_DIGITS} digits")
    return int(text)


def number(text: str) -> float:
    """Read a finite number, such as ``0.02`` or ``1e-4``.

    Raises:
        ValueError: states the fault of the text.
    """
    try:
        value = float("" if "_" in text or not text.isascii() else text)
    except ValueError:
        raise ValueError("not a number") from None
    if value - value != 0:
        raise ValueError("not a finite number")
    return value


def shortened(text: str) -> str:
    """Shorten a long text for a message to its first characters."""
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}... ({len(text):,} characters)"
