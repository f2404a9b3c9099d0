"""Time and energy of a task over all nodes of a run."""

from __future__ import annotations

import torch

from lightning_vision.data.process_group import in_group, sum_over_processes
from lightning_vision.tracking.energy import EnergyMeter, Usage


def usage_of_nodes(used: Usage, meter: EnergyMeter, device: torch.device) -> Usage:
    """Energy of all nodes together, measured by one process of each; the time is this process's.

    Args:
        used: By this process.
        meter: Of this process. If that of a node has failed, the energy is not known.
        device: Where the processes exchange figures.
    """
    if not in_group():
        return used
    measured, missing = used.energy_kwh is not None, meter.measures_node and used.energy_kwh is None
    own = [float(measured), float(missing), used.energy_kwh or 0.0, used.co2eq_kg or 0.0]
    total = sum_over_processes(torch.tensor(own, dtype=torch.float64, device=device)).tolist()
    return Usage(used.seconds, *total[2:]) if total[0] and not total[1] else Usage(used.seconds)
