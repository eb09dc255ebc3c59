"""Models by name: ``teacher``; a student by its loss, or by loss and reduction (``sswa/8``)."""

import re

from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened

__all__ = ["LOSSES", "check_model"]

LOSSES = ("plain", "naive_kd", "ewa", "swa", "sswa")
"""Losses of students: without a teacher (plain), and those of Park et al. 2020."""


def check_model(name: str) -> None:
    """Refuse a text that names no model of a grid: ``teacher``, a loss, or a loss and a reduction (``sswa/8``).

    Raises:
        InputError: lists the known names.
    """
    loss, slash, reduction = name.partition("/")
    is_whole = bool(re.fullmatch("[1-9][0-9]{0,17}", reduction))
    if name != "teacher" and not (loss in LOSSES and (is_whole or not slash)):
        raise InputError(
            f"unknown model '{shortened(name)}'. Known: teacher, {', '.join(LOSSES)}; a student of another size by its "
            "reduction, such as sswa/8."
        )
