"""trust.json as version 0.1 wrote it (schema 1), brought to the present schema."""

from __future__ import annotations

from typing import Any

RENAMED = {
    "pictures": "images",
    "validation_pictures": "validation_images",
    "test_pictures": "test_images",
    "unknown": "out_of_distribution",
    "strangers_accepted": "ood_accepted",
    "known": "in_distribution",
    "mean_confidence_known": "mean_confidence_in_distribution",
    "mean_confidence_unknown": "mean_confidence_ood",
    "accepted_known": "accepted_in_distribution",
    "accepted_unknown": "accepted_ood",
    "aupr_known": "aupr_in_distribution",
    "aupr_unknown": "aupr_ood",
    "right": "correct",
    "one_shoot": "same_session",
}
"""Fields of schema 1, at any depth, and their present names."""
NAMED_BY_THE_USER = ("per_class", "figures")
"""Objects whose keys are names of classes or of figures: they stay."""


def from_schema_1(content: Any) -> Any:
    """The content of a file of schema 1 as one of schema 2; what is not as expected is left for the validation that follows."""
    now = _renamed(content)
    return now | {"schema": 2} if isinstance(now, dict) and now.get("schema") == 1 else now


def _renamed(value: Any) -> Any:
    if isinstance(value, list):
        return [_renamed(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {RENAMED.get(key, key): item if key in NAMED_BY_THE_USER else _renamed(item) for key, item in value.items()}
