"""Time and energy of a task over all nodes of a run."""

from __future__ import annotations

import torch

from lightning_vision.data.process_group import in_group, sum_over_processes
from lightning_vision.tracking.energy import Usage


def usage_of_nodes(used: Usage, device: torch.device) -> Usage:
    """Energy of all nodes together, measured by one process of each; the time is this process's."""
    if not in_group():
        return used
    measured = 0.0 if used.energy_kwh is None else 1.0
    own = [measured, used.energy_kwh or 0.0, used.co2eq_kg or 0.0]
    any_measured, energy, carbon = sum_over_processes(torch.tensor(own, dtype=torch.float64, device=device)).tolist()
    return Usage(used.seconds, energy, carbon) if any_measured else Usage(used.seconds)
