"""Learning-rate schedules of published code that torch does not have."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

END = 99 / 200
"""Share of pi that the cosine covers: nearly a quarter of its period, so that the last epoch has 1.6 % of the rate."""


class QuarterCosine(LambdaLR):
    r"""CODA-Prompt's cosine: in epoch e of E the rate is :math:`lr \cos(\tfrac{99}{200} \pi \tfrac{e}{E - 1})`.

    Args:
        optimizer: Its rates are the first epoch's.
        epochs: E.
    """

    def __init__(self, optimizer: Optimizer, epochs: int) -> None:
        super().__init__(optimizer, lambda epoch: math.cos(END * math.pi * min(epoch / max(epochs - 1, 1), 1.0)))
