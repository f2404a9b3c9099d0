"""The identity of a transform for cache keys: its representation, settings, and output for two images of noise."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lightning_vision.images.apply_transform import Transform, seeded, transform_image
from lightning_vision.images.image_sources import InMemory

PROBES = ((3, 331, 457), (3, 457, 331))
"""Sizes of the images of noise."""


def same_transform(one: Transform, other: Transform) -> bool:
    """Whether two transforms are equal, as far as can be determined."""
    return _said(one) == _said(other) and fingerprint(one, 1) == fingerprint(other, 2)


def describe_transform(transform: Transform) -> dict[str, str]:
    """The representation of a transform with hashes of its settings and output, as plain values."""
    return {**_said(transform), "fingerprint": fingerprint(transform, 0)}


def fingerprint(transform: Transform, seed: int) -> str:
    """A hash of the representation of a transform and of its output for two images of noise.

    Args:
        transform: uint8 (3, h, w) to uint8 (3, H, W).
        seed: Of what it draws.
    """
    digest = hashlib.sha256(repr(transform).encode())
    for shape in PROBES:
        noise = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(shape[1]))
        image = seeded(lambda probe=noise: transform_image(transform, InMemory(probe)), seed)  # type: ignore[misc]
        digest.update(image.contiguous().numpy().tobytes())
    return digest.hexdigest()


def _said(transform: Transform) -> dict[str, str]:
    # Its settings too: a module may act on some images only, such as large or dark ones, and say nothing of it.
    settings = hashlib.sha256(repr(_settings(transform, ())).encode()).hexdigest()
    return {"says": repr(transform), "settings": settings}


def _settings(value: Any, above: tuple[int, ...]) -> Any:
    """A value as nested lists of texts that are the same in every process; ``above`` holds the objects it lies in."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes | PurePath):
        return repr(value)
    if isinstance(value, Tensor):
        value = value.detach().cpu().contiguous()
        return [str(value.dtype), list(value.shape), value.reshape(-1).view(torch.uint8).numpy().tobytes().hex()]
    if isinstance(value, np.ndarray):
        return [str(value.dtype), list(value.shape), value.tobytes().hex()]
    if isinstance(value, Enum | torch.dtype | torch.device | np.generic):
        return str(value)
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    if id(value) in above:
        return kind
    above = (*above, id(value))
    if isinstance(value, Mapping):
        return [
            kind,
            sorted(([_settings(name, above), _settings(item, above)] for name, item in value.items()), key=str),
        ]
    if isinstance(value, list | tuple):
        return [_settings(item, above) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_settings(item, above) for item in value), key=str)
    if isinstance(value, functools.partial):
        return [kind, _settings([value.func, value.args, value.keywords], above)]
    if hasattr(value, "__qualname__"):  # a class, function or method
        return f"{getattr(value, '__module__', '')}.{value.__qualname__}"
    return [kind, _settings(vars(value), above) if hasattr(value, "__dict__") else ""]
