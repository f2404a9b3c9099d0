"""Linear probing, then fine-tuning (arXiv 2202.10054)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from torch import nn

from lightning_vision.data.stream import Experience
from lightning_vision.errors import ConfigError
from lightning_vision.learning.network import Network
from lightning_vision.learning.strategy import Strategy


class LinearProbeThenFineTune(Strategy):
    r"""Train the head on frozen features, then the whole network from there (LP-FT, arXiv 2202.10054).

    Two stages with the same loss L(\theta, h) = mean CE(h(f_\theta(x)), y) over the seen classes, each with a new
    optimizer and scheduler and with ``trainer.max_epochs``:

    1. ``probe``: h <- argmin_h L(\theta, h). Parameters \theta and running statistics of the backbone f_\theta (B, 3,
    H, W) -> (B, D) do not change, as in ``HeadOnly``.
    2. ``fine-tune``: (\theta, h) <- argmin L, from the head h (D,) -> (C,) of stage 1.

    A fitted head causes small gradients in the backbone, which distorts its features less than fine-tuning with a new
    head. The paper fine-tunes with a smaller learning rate, ``fine_tune_lr``.

    Differences from the paper:
        - The paper learns one dataset from a pretrained backbone; here both stages run in each experience.
        - Its probe is solved on features that were computed once; here it is trained with the run's own optimizer.

    Args:
        fine_tune_lr: Learning rate of the second stage. None: the optimizer's rate, as in the first stage.
    """

    def __init__(self, fine_tune_lr: float | None = None) -> None:
        super().__init__()
        if fine_tune_lr is not None and not fine_tune_lr >= 0:
            raise ConfigError(f"LinearProbeThenFineTune: expected fine_tune_lr >= 0 or null, found {fine_tune_lr}.")
        self.fine_tune_lr = fine_tune_lr

    def stages(self, experience: Experience) -> Sequence[str]:
        """The head first, then everything."""
        return ("probe", "fine-tune")

    def parameters_to_train(self, network: Network) -> Iterable[nn.Parameter] | Iterable[dict[str, Any]]:
        """The head alone in the first stage; all parameters in the second, at their own learning rate if one is given."""
        if self.stage == "probe":
            return network.head.parameters()
        if self.fine_tune_lr is None:
            return network.parameters()
        return [{"params": network.parameters(), "lr": self.fine_tune_lr}]
