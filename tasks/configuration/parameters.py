"""Task parameters that check their values; an error names the allowed ones."""

from collections.abc import Callable, Iterable
from typing import Any

import luigi

from roar_pipeline.errors import InputError
from roar_pipeline.methods import check_method
from roar_pipeline.models import LOSSES, check_model
from roar_pipeline.numerals import shortened, whole_number

__all__ = [
    "NO_MODEL",
    "AxisParameter",
    "DirectionParameter",
    "LossParameter",
    "MethodParameter",
    "MethodsParameter",
    "ModelParameter",
    "OptionalMethodParameter",
    "PercentParameter",
    "WholeParameter",
]

NO_MODEL = "none"
"""Text of None on command lines and in luigi.cfg: the model of controls, model and method of the clean cell."""


class _OptionalName(luigi.Parameter["str | None"]):
    """A name, or None, whose text is ``none``."""

    def __init__(self, check: Callable[[str], object], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._check = check

    def normalize(self, x: str | None) -> str | None:
        """Check the name."""
        if x is None or x == NO_MODEL:
            return None
        self._check(x)
        return x

    def serialize(self, x: str | None) -> str:
        """Write the value as ``normalize`` reads it."""
        return NO_MODEL if x is None else x


class ModelParameter(_OptionalName):
    """``teacher``; a student by its loss, or by loss and reduction (``sswa/8``); or None."""

    def __init__(self, default: str | None = None, **kwargs: Any) -> None:
        super().__init__(check_model, default=default, **kwargs)


class OptionalMethodParameter(_OptionalName):
    """An attribution method or a control; or None for the clean cell."""

    def __init__(self, default: str | None = None, **kwargs: Any) -> None:
        super().__init__(check_method, default=default, **kwargs)


class LossParameter(luigi.Parameter):
    """How a student is trained."""

    def normalize(self, x: str) -> str:
        """Check the name."""
        if x not in LOSSES:
            raise InputError(f"unknown loss '{x}'. Known: {', '.join(LOSSES)}.")
        return x


class MethodParameter(luigi.Parameter):
    """An attribution method or a control."""

    def normalize(self, x: str) -> str:
        """Check the name."""
        check_method(x)
        return x


class MethodsParameter(luigi.Parameter):
    """One attribution method or control, or several separated by commas, which then share a process.

    The value is a tuple, so that Luigi can batch methods of one model.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(batch_method=_distinct_names, **kwargs)

    def parse(self, s: str) -> tuple[str, ...]:
        """Read the names."""
        return tuple(name.strip() for name in s.split(","))

    def normalize(self, x: str | tuple[str, ...]) -> tuple[str, ...]:
        """Check the names; one name may be a string."""
        names = (x,) if isinstance(x, str) else x
        for name in names:
            check_method(name)
        return _distinct_names([names])

    def serialize(self, x: tuple[str, ...]) -> str:
        """Write the names as ``parse`` reads them."""
        return ",".join(x)


def _distinct_names(values: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for value in values for name in value))


class DirectionParameter(luigi.Parameter):
    """``remove`` (ROAR) or ``keep`` (KAR)."""

    def normalize(self, x: str) -> str:
        """Check the name."""
        if x not in ("remove", "keep"):
            raise InputError(f"unknown direction '{x}'. Known: remove (ROAR), keep (KAR).")
        return x


class WholeParameter(luigi.IntParameter):
    """A whole number from ``low``, such as a seed.

    ``unset`` is a default that stands for another setting; ``unset_name`` is its text.
    """

    def __init__(
        self, *, what: str, low: int = 0, unset: int | None = None, unset_name: str = "", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs if unset is None else {"default": unset, **kwargs})
        self._what, self._low, self._unset, self._unset_name = what, low, unset, unset_name

    def parse(self, s: str) -> int:
        """Read the number."""
        text = s.strip()
        if self._unset is not None and text == self._unset_name:
            return self._unset
        try:
            value = whole_number(text)
        except ValueError as error:
            raise self._error(s, "" if not text.isdigit() else f" ({error})") from None
        if value < self._low:
            raise self._error(s)
        return value

    def _error(self, text: str, reason: str = "") -> InputError:
        return InputError(f"{self._what} must be a whole number from {self._low}, got '{shortened(text)}'{reason}.")

    def serialize(self, x: int) -> str:
        """Write the value as ``parse`` reads it."""
        return self._unset_name if self._unset is not None and x == self._unset else str(x)


class AxisParameter(luigi.Parameter):
    """An axis of the grid, separated by commas; empty, or ``grid``, stands for [grid] of the settings."""

    def __init__(self, key: str) -> None:
        super().__init__(default="", description=f"between commas; default: [grid] {key}")

    def normalize(self, x: str) -> str:
        """Return the empty text for ``grid``."""
        return "" if x == "grid" else x

    def serialize(self, x: str) -> str:
        """Write the value as ``parse`` reads it."""
        return x or "grid"


class PercentParameter(luigi.Parameter):
    """A whole percentage: 0 is the clean cell, at 100 nothing is visible."""

    def parse(self, s: str) -> int:
        """Read the number."""
        try:
            return whole_number(s.strip())
        except ValueError:
            raise _not_a_percentage(s) from None

    def normalize(self, x: int) -> int:
        """Check the number."""
        if not 0 <= x <= 100:
            raise _not_a_percentage(str(x))
        return x


def _not_a_percentage(text: str) -> InputError:
    return InputError(
        f"percent must be a whole number in 1..99, 0 for the clean cell, or 100, got '{shortened(text)}'."
    )
