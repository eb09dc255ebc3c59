"""The fingerprint of an identity. An identity is everything that decides a result, in plain data."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["fingerprint", "flattened"]


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of an identity in canonical JSON, 64 hex digits: equal on all machines."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def flattened(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of an identity, and its settings under dotted names (``retrain.lr``)."""
    settings = identity.get("settings", {})
    sections = {name: values for name, values in settings.items() if isinstance(values, dict)}
    single = {name: value for name, value in settings.items() if name not in sections}
    dotted = {f"{name}.{key}": value for name, values in sections.items() for key, value in values.items()}
    return {**identity.get("parameters", {}), **dotted, **single}
