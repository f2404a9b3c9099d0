"""Derives seeds from a seed and the purpose of a draw, so that no draw changes another."""

from __future__ import annotations

import hashlib
import json


def derive_seed(*words: int | str) -> int:
    """A 63-bit seed, a pure function of the words, for instance ``(seed, "order", experience, epoch)``."""
    text = json.dumps([word if isinstance(word, str) else int(word) for word in words])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
