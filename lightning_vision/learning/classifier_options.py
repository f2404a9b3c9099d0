"""Checks the options of the classifier, and selects those that a checkpoint keeps."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Any

from lightning_vision.errors import ConfigError


def check_options(class_names: list[str] | None, monitor: str, base_epochs: int | None, label_smoothing: float) -> None:
    """Check the options of ``ContinualClassifier``.

    Raises:
        ConfigError: There is one.
    """
    if class_names is not None and not class_names:
        raise ConfigError(
            "class_names: expected the names of the classes, found none. Leave it out to take the data's."
        )
    if monitor not in {"val/accuracy", "val/loss"}:
        raise ConfigError(f"model.monitor: expected val/accuracy or val/loss, found {monitor!r}.")
    if base_epochs is not None and base_epochs < 0:
        raise ConfigError(f"model.base_epochs: expected 0 or more, found {base_epochs}.")
    if not 0 <= label_smoothing < 1:
        raise ConfigError(f"model.label_smoothing: expected a share from 0 to below 1, found {label_smoothing}.")


def keep_plain(hparams: MutableMapping[str, Any]) -> None:
    """Remove hyper-parameters that are objects built in Python: they would make a checkpoint unsafe to load."""
    for key in [key for key, value in hparams.items() if not is_plain(value)]:
        del hparams[key]


def is_plain(value: Any) -> bool:
    """Whether a value holds nothing but what a safe checkpoint may hold."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(item) for key, item in value.items())
    if isinstance(value, (list, tuple)):
        return all(is_plain(item) for item in value)
    return value is None or type(value) in (bool, int, float, str)
