"""Seeds derived from one by purpose: no two purposes share a stream, and none depends on earlier draws."""

import hashlib

__all__ = ["derived_seed"]


def derived_seed(seed: int, *purpose: str | int) -> int:
    """Return a seed in 0..2^63-1 for a purpose, such as ``("epoch", 3)``, under the user's ``seed``."""
    text = "/".join(str(part) for part in (seed, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
