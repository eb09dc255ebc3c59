"""Functions of the user's own, named ``module:function``: methods, networks and data sets.

They are identified by the content of their module's file, which is read without importing it. What the function reads
elsewhere (other modules, files) is not part of the identity.
"""

import hashlib
import importlib
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

from roar_pipeline.errors import InputError
from roar_pipeline.numerals import shortened

__all__ = ["load", "source_digest", "source_file"]


def source_digest(reference: str) -> str:
    """Return the sha256 of the file of ``module:function``, 64 hex digits.

    Raises:
        InputError: as ``source_file``.
    """
    return hashlib.sha256(source_file(reference).read_bytes()).hexdigest()


def load(reference: str) -> Callable[..., Any]:
    """Import the function that ``module:function`` names.

    Raises:
        InputError: the module cannot be imported, or has no such function.
    """
    module, _, function = reference.partition(":")
    try:
        loaded = getattr(importlib.import_module(module), function)
    except Exception as error:
        raise InputError(f"{reference} cannot be loaded: {type(error).__name__}: {error}.") from error
    if not callable(loaded):
        raise InputError(f"{reference} is a {type(loaded).__name__}, not a function.")
    result: Callable[..., Any] = loaded
    return result


def source_file(reference: str) -> Path:
    """Find the file of ``module:function`` without importing it.

    Raises:
        InputError: Python finds no such module, or the module is no Python file.
    """
    module, _, function = reference.partition(":")
    try:
        spec = importlib.util.find_spec(module) if module and function.isidentifier() else None
    except Exception:  # of a module in a package, Python imports the package
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(
            f"{shortened(reference)} names no function of a module that Python finds. Write module:function, with the "
            "module's folder on PYTHONPATH."
        )
    if not (spec.has_location and spec.origin.endswith(".py")):
        raise InputError(
            f"{reference}: module {module} is built into Python or compiled, and results are identified by "
            "the content of a Python file. Call it from a function in a file of your own, and name that."
        )
    return Path(spec.origin)
