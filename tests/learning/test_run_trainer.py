"""The Trainer of a stream run."""

import importlib.metadata

import pytest

from lightning_vision.learning.run_trainer import RunTrainer


def test_other_packages_are_asked_for_callbacks_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lightning reads files of all installed packages for each new Trainer."""
    RunTrainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
    monkeypatch.setattr(importlib.metadata, "distributions", lambda **_: pytest.fail("looked up again"))
    RunTrainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
