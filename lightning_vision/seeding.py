"""Derives seeds from a seed and the purpose of a draw, so that no draw changes another."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import numpy.typing as npt

from lightning_vision.array_types import Rows


def derive_seed(*words: int | str) -> int:
    """A 63-bit seed, a pure function of the words, for instance ``(seed, "order", experience, epoch)``."""
    text = json.dumps([word if isinstance(word, str) else int(word) for word in words])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def sample_keys(index: Rows, seed: int) -> npt.NDArray[np.uint64]:
    """A fixed pseudo-random number for each index: the index-th output of SplitMix64 for a seed.

    Different indices always have different keys.

    Args:
        index: (N,) int64, 0 or more.
        seed: 0 to 2^64 - 1.
    """
    z = np.uint64(seed) + (index.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)  # modulo 2^64
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
