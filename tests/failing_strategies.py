"""Learning strategies that meet what can go wrong in the middle of a run: in increment 1, when the base is finished."""

import os
import resource
import shutil
import signal
from collections.abc import Iterable

import torch
from torch import Tensor

from lightning_vision import Batch, Experience, Network, Strategy


class Failing(Strategy):
    """Fails in its own way once increment 1 is trained."""

    def before_experience(self, network: Network, experience: Experience) -> None:
        self.now = experience.index == 1

    def loss(self, network: Network, batch: Batch) -> Tensor:
        if self.now:
            self.fail()
        return super().loss(network, batch)

    def fail(self) -> None:
        """What goes wrong."""


class MemoryIsFull(Failing):
    """More than any machine has."""

    def fail(self) -> None:
        torch.empty(1 << 46)


class GraphicsMemoryIsFull(Failing):
    """What a GPU says, which is not here."""

    def fail(self) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nGPU 0 has ...")


class Interrupted(Failing):
    """Somebody presses Ctrl-C."""

    def fail(self) -> None:
        os.kill(os.getpid(), signal.SIGINT)


class LossIsInfinite(Failing):
    """Training diverges."""

    def loss(self, network: Network, batch: Batch) -> Tensor:
        loss = super().loss(network, batch)
        return loss * torch.inf if self.now else loss


class DiskFills(Strategy):
    """From the end of increment 1 on no file can grow beyond 20 kB; the test lifts the limit."""

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        if experience.index == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


class ImagesVanish(Strategy):
    """Somebody deletes the data once increment 1 is learned."""

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.folder = folder

    def after_experience(self, network: Network, experience: Experience, batches: Iterable[Batch]) -> None:
        if experience.index == 1:
            shutil.rmtree(self.folder)


class Weighted(Strategy):
    """Refuses an option as Python code does."""

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        if weight < 0:
            raise ValueError(f"weight must be 0 or more, not {weight}")
