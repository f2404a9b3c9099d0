"""Seeds the random number generators."""

from __future__ import annotations

import random

import numpy as np
import torch


def seed_generators(seed: int, device: torch.device) -> None:
    """Seed torch on the CPU and on a device, NumPy and Python."""
    # torch.manual_seed formats the stack for each kind of device that is missing, which takes a millisecond per batch.
    torch.default_generator.manual_seed(seed)
    if device.type != "cpu":
        torch.get_device_module(device).manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
