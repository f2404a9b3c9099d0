"""What a checkpoint says of itself."""

from __future__ import annotations

CHECKPOINT_SCHEMA = 1
"""Of the checkpoints that are written; raised when an older version could no longer read them."""
