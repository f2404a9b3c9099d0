"""results.json as version 0.1 wrote it (schema 1), brought to the present schema."""

from __future__ import annotations

from typing import Any

FEATURES = {"kept": "cached", "why": "reason", "cosine": "smallest_cosine"}
"""Fields of `features` under schema 1, and their present names."""


def from_schema_1(content: dict[str, Any]) -> dict[str, Any]:
    """The content of a file of schema 1 as one of schema 2.

    What schema 1 did not have is null. Key and value of a variant are read from its name, such as ``epsilon=1e-05``.

    Args:
        content: Of the file; wrong types are left for the validation that follows.
    """
    now = {**content, "schema": 2}
    features = content.get("features")
    if isinstance(features, dict):
        now["features"] = {FEATURES.get(name, name): value for name, value in features.items()}
    variants = content.get("variants")
    if isinstance(variants, dict):
        now["variants"] = {
            name: {**_key_and_value(name), **variant} if isinstance(variant, dict) else variant
            for name, variant in variants.items()
        }
    return now


def _key_and_value(name: str) -> dict[str, str | float]:
    key, equals, text = name.partition("=")
    try:
        return {"key": key, "value": float(text)} if equals else {}
    except ValueError:  # a strategy may call its variants what it likes
        return {}
