"""Moves a classifier to the device of a run."""

from __future__ import annotations

import torch
from lightning.pytorch import LightningModule


def place(model: LightningModule, device: torch.device) -> None:
    """Move a model to a device, which takes longer than a step of a head; not from the CPU to the CPU."""
    if device.type != "cpu" or model.device.type != "cpu":
        model.to(device)
