"""Whether figures that were asked for are missing because no image is tested."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning_vision.errors import NotEvaluatedError

NOT_EVALUATED = NotEvaluatedError.exit_code
"""The exit code of a command that is done, but has no test figure."""
SENTENCE = (
    f"Not evaluated: there is no test image, so the exit code is {NOT_EVALUATED}. All else is done and written. Give test "
    "images, or set data.test_fraction to 0 if nothing shall be tested."
)


def misses_test(described: Mapping[str, Any]) -> bool:
    """Whether no image is tested although the user has not said so by ``test_fraction: 0``.

    Args:
        described: The data as ``StreamDataModule.describe`` and ``run.data`` of results.json describe it.
    """
    samples, options = described.get("samples") or {}, described.get("init_args") or {}
    return samples.get("test") == 0 and options.get("test_fraction") != 0
