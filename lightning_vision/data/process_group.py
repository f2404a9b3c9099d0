"""Collective operations over all processes of a run. A single process is a group of one."""

from __future__ import annotations

import torch
from torch import Tensor
from torchmetrics.utilities.distributed import gather_all_tensors


def in_group() -> bool:
    """Whether a process group exists."""
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def sum_over_processes(value: Tensor) -> Tensor:
    """The sum of a tensor of one shape over all processes; the input is not changed."""
    if in_group():
        value = value.clone()
        torch.distributed.all_reduce(value)
    return value


def gather_from_processes(value: Tensor) -> list[Tensor]:
    """The tensor of each process, in the order of the ranks, without gradients.

    Args:
        value: (n, ...), n may differ between processes.
    """
    gathered: list[Tensor] = gather_all_tensors(value.detach()) if in_group() else [value]
    return gathered


def equal_on_processes(value: Tensor) -> bool:
    """Whether a tensor of one shape holds the same values on every process."""
    return all(torch.equal(value, other) for other in gather_from_processes(value))


def wait_for_processes() -> None:
    """Wait until every process has called this."""
    if in_group():
        torch.distributed.barrier()


def leave_group() -> None:
    """Leave the process group if there is one."""
    if in_group():
        torch.distributed.destroy_process_group()
