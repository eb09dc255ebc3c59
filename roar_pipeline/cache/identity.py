"""Identity: what a result is, in plain data, and the fingerprint that follows from it."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

__all__ = ["fingerprint"]


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return the sha256 of a plain mapping in canonical JSON: the same value, the same 64 hex digits, anywhere."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
