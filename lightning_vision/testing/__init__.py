"""Tests for authors of learning strategies: a pytest class, and data that needs no files."""

try:
    import pytest as pytest
except ImportError as error:
    raise ImportError(
        "lightning_vision.testing needs pytest, which is not installed. Run pip install pytest."
    ) from error

from lightning_vision.testing.conformance import StrategyConformance
from lightning_vision.testing.squares import ColouredSquares

__all__ = ["ColouredSquares", "StrategyConformance"]
