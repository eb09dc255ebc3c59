"""Numbers as people write them in settings and options, in the digits 0 to 9 only.

``int`` and ``float`` read more than that: digits of other scripts, underscores, numbers that no library below takes.
"""

import re

__all__ = ["number", "shortened", "whole_number"]

_DIGITS = 18
"""Of a whole number: more of them overflow the 64 bits that the libraries below count with."""
_SHOWN = 60


def whole_number(text: str) -> int:
    """Read a whole number, signed or not.

    Raises:
        ValueError: says what is wrong with the text.
    """
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError("not a whole number")
    if len(text.lstrip("+-").lstrip("0")) > _DIGITS:
        raise ValueError(f"longer than {_DIGITS} digits")
    return int(text)


def number(text: str) -> float:
    """Read a finite number, such as ``0.02`` or ``1e-4``.

    Raises:
        ValueError: says what is wrong with the text.
    """
    try:
        value = float("" if "_" in text or not text.isascii() else text)
    except ValueError:
        raise ValueError("not a number") from None
    if value - value != 0:
        raise ValueError("not a finite number")
    return value


def shortened(text: str) -> str:
    """Return the text as a message shows it: its first characters, if it is long."""
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}... ({len(text):,} characters)"
